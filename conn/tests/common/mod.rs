//! A conn node on ephemeral ports with a logic that does what a test says. Every wait has a deadline.

#![allow(dead_code, reason = "each test binary uses another part")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

pub mod web;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use gim_config::{grpc::GrpcSettings, listen::Endpoint, service::Running as _};
use gim_conn::{
    Conn, ConnSettings,
    bridge::discovery::{Resolve, SystemResolver},
    settings::AppSettings,
    wire::transport::Entrance,
};
use gim_legacy::Dialect;
use gim_proto::{
    CloseReason, LINK_VERSION,
    client::{Client, ClientError},
    connect::{CloseNotice, Message, PacketCommand, SignInRequest, SubscribeRoomRequest},
    logic::{
        ClientPacket, Down, DownItem, Hello, PacketReply, RoomPush, RoomSubscribed, SignInResult, Up, Welcome,
        down_item,
        link_service_server::{LinkService, LinkServiceServer},
        up_item,
    },
};
use prost::Message as _;
use tokio::{runtime::Runtime, sync::mpsc as async_mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// Longer than anything takes that works.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The token that [`Script::Obliging`] accepts.
pub const TOKEN: &str = "good";

/// What the logic of a test does with requests by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Lets everybody with [`TOKEN`] in, joins every room, answers every packet with its own content.
    Obliging,
    /// Answers sign-ins, and nothing else.
    SignInsOnly,
    /// Answers nothing.
    Silent,
    /// Answers sign-ins until the first packet, and takes nothing more from then on.
    Stuck,
    /// Refuses the stream: another process has the node's name.
    NameTaken,
    /// Speaks a newer version of the link.
    Newer,
    /// Like `Obliging`, but shares nothing with other logic nodes.
    Alone,
}

/// The stream to the conn node, while it is attached.
type DownStream = Arc<Mutex<Option<async_mpsc::Sender<Result<Down, Status>>>>>;

/// The logic end of the link.
#[derive(Debug)]
pub struct Logic {
    pub hellos: mpsc::Receiver<Hello>,
    items: mpsc::Receiver<up_item::Item>,
    last: mpsc::Receiver<()>,
    down: DownStream,
}

/// The whole arrangement. Dropping it stops everything.
pub struct Harness {
    pub logic: Logic,
    /// The logic of further apps, in the order of the settings.
    pub others: Vec<Logic>,
    pub tcp: SocketAddr,
    pub grpc: SocketAddr,
    conn: Option<Conn>,
    runtime: Runtime,
}

impl Harness {
    pub fn start(script: Script) -> Self {
        Self::start_with(script, |_| {})
    }

    pub fn start_with(script: Script, change: impl FnOnce(&mut ConnSettings)) -> Self {
        let mut harness = Self::start_unattached(script, change, Arc::new(SystemResolver));
        harness.await_link();
        harness
    }

    /// With further apps, of these ids; 0 is another logic node of the first one.
    pub fn start_apps(script: Script, others: &[(u32, Script)], change: impl FnOnce(&mut ConnSettings)) -> Self {
        let runtime = Runtime::new().unwrap();
        let (logics, apps): (Vec<_>, Vec<_>) = others
            .iter()
            .map(|&(id, script)| {
                let (logic, address) = runtime.block_on(Logic::start(script));
                (logic, AppSettings { id, logic: vec![url(address)], ..AppSettings::default() })
            })
            .unzip();
        let change = |settings: &mut ConnSettings| {
            let (more, apps): (Vec<_>, Vec<_>) = apps.into_iter().partition(|app: &AppSettings| app.id == 0);
            settings.logic.extend(more.into_iter().flat_map(|app| app.logic));
            settings.apps = apps;
            change(settings);
        };
        let mut harness = Self::start_on(runtime, script, change, Arc::new(SystemResolver));
        harness.others = logics;
        // The node is ready with the first link; the others may still be on their way.
        [0].into_iter().chain(others.iter().map(|other| other.0)).for_each(|id| harness.await_link_of(id));
        [&harness.logic].into_iter().chain(&harness.others).for_each(|logic| drop(logic.so_far()));
        harness
    }

    fn await_link_of(&self, app_id: u32) {
        let deadline = Instant::now() + PATIENCE;
        let request = SignInRequest { user_id: 1, device_id: 1, token: "bad".into(), app_id, heartbeat_s: 0 };
        let ask = || self.connect().request(PacketCommand::PcSignIn as i32, request.encode_to_vec()).unwrap().code;
        while ask() == 10004 {
            assert!(Instant::now() < deadline, "the link of app {app_id} attaches");
        }
    }

    /// With a resolver of its own for names among the logic nodes, and without waiting for a link.
    pub fn start_unattached(
        script: Script,
        change: impl FnOnce(&mut ConnSettings),
        resolver: Arc<dyn Resolve>,
    ) -> Self {
        Self::start_on(Runtime::new().unwrap(), script, change, resolver)
    }

    fn start_on(
        runtime: Runtime,
        script: Script,
        change: impl FnOnce(&mut ConnSettings),
        resolver: Arc<dyn Resolve>,
    ) -> Self {
        let (logic, address) = runtime.block_on(Logic::start(script));
        let mut settings = settings(address);
        change(&mut settings);
        let conn = runtime.block_on(gim_conn::start_with(settings, resolver)).unwrap();
        let (tcp, grpc) = (conn.tcp_address(), conn.grpc_address());
        Self { logic, others: Vec::new(), tcp, grpc, conn: Some(conn), runtime }
    }

    /// Waits until the node is ready.
    pub fn await_link(&mut self) {
        let readiness = self.conn.as_ref().expect("not stopped").readiness().clone();
        self.wait(readiness.wait());
    }

    /// Whether the node takes requests.
    pub fn is_ready(&self) -> bool {
        self.conn.as_ref().expect("not stopped").readiness().missing().is_empty()
    }

    /// Waits until the node ends by itself; returns why.
    pub fn await_failure(&mut self) -> String {
        let mut conn = self.conn.take().expect("not stopped");
        let problem = self.wait(conn.failed());
        self.conn = Some(conn);
        problem
    }

    /// Another logic node, and where it is.
    pub fn start_logic(&self, script: Script) -> (Logic, SocketAddr) {
        self.runtime.block_on(Logic::start(script))
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.tcp, PATIENCE).unwrap()
    }

    /// Where an entrance is.
    pub fn address(&self, entrance: Entrance) -> SocketAddr {
        self.conn.as_ref().and_then(|conn| conn.address(entrance)).expect("the entrance is open")
    }

    /// Where clients of a dialect connect, of which there is an entry in the settings.
    pub fn older_address(&self, dialect: Dialect) -> SocketAddr {
        self.conn.as_ref().unwrap().legacy_address(Entrance::Tcp, dialect).unwrap()
    }

    /// What SIGHUP does.
    pub fn reload(&mut self, settings: Option<&ConnSettings>) -> Result<(), String> {
        let conn = self.conn.as_mut().expect("not stopped");
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, conn.reload(settings)).await.expect("in time") })
    }

    /// A signed-in client.
    pub fn sign_in(&self, user_id: u64, device_id: u64) -> Client {
        let mut client = self.connect();
        assert_eq!(client.sign_in(user_id, device_id, TOKEN).unwrap().code, 0);
        client
    }

    /// Runs something asynchronous.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("in time") })
    }

    /// Drains the node.
    pub fn stop(&mut self) {
        let conn = self.conn.take().expect("stopped once");
        self.wait(conn.stop());
    }

    /// Begins to drain the node; the returned receiver hears when that is done.
    pub fn begin_stop(&mut self) -> mpsc::Receiver<()> {
        let conn = self.conn.take().expect("stopped once");
        let (sender, done) = mpsc::channel();
        self.runtime.spawn(async move {
            conn.stop().await;
            sender.send(()).unwrap();
        });
        done
    }
}

impl Logic {
    async fn start(script: Script) -> (Self, SocketAddr) {
        let (hello_sender, hellos) = mpsc::channel();
        let (item_sender, items) = mpsc::channel();
        let (last_sender, last) = mpsc::channel();
        let down = Arc::new(Mutex::new(None));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let name = format!("logic-{}", address.port());
        let stub =
            LinkStub { name, script, hellos: hello_sender, items: item_sender, last: last_sender, down: down.clone() };
        let service = LinkServiceServer::new(stub);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (Self { hellos, items, last, down }, address)
    }

    /// The next item that `pick` takes; others are passed over.
    pub fn next<T>(&self, mut pick: impl FnMut(up_item::Item) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let item = self.items.recv_timeout(left).expect("the item comes in time");
            if let Some(picked) = pick(item) {
                return picked;
            }
        }
    }

    pub fn next_sign_in(&self) -> gim_proto::logic::SignIn {
        self.next(|item| if let up_item::Item::SignIn(sign_in) = item { Some(sign_in) } else { None })
    }

    pub fn next_sign_out(&self) -> gim_proto::logic::SignOut {
        self.next(|item| if let up_item::Item::SignOut(sign_out) = item { Some(sign_out) } else { None })
    }

    pub fn next_packet(&self) -> ClientPacket {
        self.next(|item| if let up_item::Item::Packet(packet) = item { Some(packet) } else { None })
    }

    /// Everything that came so far.
    pub fn so_far(&self) -> Vec<up_item::Item> {
        std::iter::from_fn(|| self.items.try_recv().ok()).collect()
    }

    /// Whether nothing comes for a moment, beside how loaded the node is, which it tells whenever that changes. Only for what must
    /// never come; never makes a right program fail.
    pub fn is_quiet(&self) -> bool {
        let deadline = Instant::now() + Duration::from_millis(50);
        loop {
            match self.items.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(up_item::Item::NodeLoad(_)) => {}
                other => return matches!(other, Err(RecvTimeoutError::Timeout)),
            }
        }
    }

    /// Waits until it is attached to.
    pub fn await_hello(&self) -> Hello {
        self.hellos.recv_timeout(PATIENCE).expect("somebody attaches")
    }

    /// Waits until the conn node ended its direction of the stream.
    pub fn await_last(&self) {
        self.last.recv_timeout(PATIENCE).expect("the stream ends");
    }

    /// Whether the conn node ended its direction of the stream.
    pub fn has_said_last(&self) -> bool {
        self.last.try_recv().is_ok()
    }

    pub fn say(&self, item: down_item::Item) {
        let down = self.down.lock().unwrap().clone().expect("the link is attached");
        down.blocking_send(Ok(Down { welcome: None, items: vec![DownItem { item: Some(item) }] })).unwrap();
    }

    /// Ends the stream.
    pub fn hang_up(&self) {
        self.down.lock().unwrap().take();
    }

    pub fn let_in(&self, request_no: u64, newest_seq: u64) {
        let result = SignInResult { request_no, newest_seq, ..SignInResult::default() };
        self.say(down_item::Item::SignInResult(result));
    }

    pub fn reply(&self, request_no: u64) {
        self.say(down_item::Item::PacketReply(PacketReply { request_no, ..PacketReply::default() }));
    }
}

struct LinkStub {
    name: String,
    script: Script,
    hellos: mpsc::Sender<Hello>,
    items: mpsc::Sender<up_item::Item>,
    last: mpsc::Sender<()>,
    down: DownStream,
}

#[tonic::async_trait]
impl LinkService for LinkStub {
    type AttachStream = ReceiverStream<Result<Down, Status>>;

    async fn attach(&self, request: Request<Streaming<Up>>) -> Result<Response<Self::AttachStream>, Status> {
        let mut up = request.into_inner();
        let hello = up.message().await?.and_then(|first| first.hello).expect("hello comes first");
        self.hellos.send(hello).unwrap();
        if self.script == Script::NameTaken {
            return Err(Status::already_exists("the conn node name conn-1 is in use by another process"));
        }
        let (sender, receiver) = async_mpsc::channel(1024);
        let version = if self.script == Script::Newer { LINK_VERSION + 1 } else { LINK_VERSION };
        let deployment = if self.script == Script::Alone { self.name.clone() } else { String::new() };
        let welcome = Welcome { version, node: self.name.clone(), deployment };
        sender.send(Ok(Down { welcome: Some(welcome), items: Vec::new() })).await.unwrap();
        *self.down.lock().unwrap() = Some(sender.clone());
        let weak = sender.downgrade();
        let (script, items, last) = (self.script, self.items.clone(), self.last.clone());
        tokio::spawn(async move {
            while let Ok(Some(message)) = up.message().await {
                for item in message.items.into_iter().filter_map(|item| item.item) {
                    let answer = answer(script, &item);
                    let is_packet = matches!(item, up_item::Item::Packet(_));
                    if items.send(item).is_err() {
                        return;
                    }
                    if script == Script::Stuck && is_packet {
                        std::future::pending::<()>().await;
                    }
                    if let (Some(answer), Some(sender)) = (answer, weak.upgrade()) {
                        let down = Down { welcome: None, items: vec![DownItem { item: Some(answer) }] };
                        if sender.send(Ok(down)).await.is_err() {
                            return;
                        }
                    }
                }
            }
            // The test may be over.
            let _nobody_waits = last.send(()).is_err();
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn answer(script: Script, item: &up_item::Item) -> Option<down_item::Item> {
    match item {
        up_item::Item::SignIn(sign_in) if script != Script::Silent => {
            let code = if sign_in.token == TOKEN { 0 } else { 10000 };
            let request_no = sign_in.request_no;
            Some(down_item::Item::SignInResult(SignInResult { request_no, code, ..SignInResult::default() }))
        }
        up_item::Item::Packet(packet) if matches!(script, Script::Obliging | Script::Alone) => {
            let subscribed = (packet.command == PacketCommand::PcSubscribeRoom as i32).then(|| {
                let request = SubscribeRoomRequest::decode(packet.content.clone()).unwrap();
                RoomSubscribed { room_id: request.room_id, ..RoomSubscribed::default() }
            });
            let data = packet.content.clone();
            let request_no = packet.request_no;
            Some(down_item::Item::PacketReply(PacketReply { request_no, data, subscribed, ..PacketReply::default() }))
        }
        _ => None,
    }
}

fn url(address: SocketAddr) -> Endpoint {
    Endpoint::new(&format!("http://{address}"))
}

fn settings(logic: SocketAddr) -> ConnSettings {
    let any = || Endpoint::new("127.0.0.1:0");
    let mut settings = ConnSettings {
        reactors: 1,
        logic: vec![url(logic)],
        grpc: GrpcSettings { listen: any(), ..GrpcSettings::default() },
        ..ConnSettings::default()
    };
    settings.tcp.listen = any();
    settings.websocket.listen = any();
    settings.tls.listen = any();
    settings.tls.websocket_listen = any();
    settings.admin.listen = Endpoint::default();
    settings.link.reconnect_first_ms = 1;
    settings
}

/// Subscribes to a room and waits for the answer.
pub fn subscribe(client: &mut Client, room_id: u64) {
    let request = SubscribeRoomRequest { room_id, ..SubscribeRoomRequest::default() };
    let reply = client.request(PacketCommand::PcSubscribeRoom as i32, request.encode_to_vec()).unwrap();
    assert_eq!(reply.code, 0);
}

/// The next packet, which has to be a message.
pub fn next_message(client: &mut Client) -> Message {
    let packet = client.receive().unwrap();
    assert_eq!(packet.command, PacketCommand::PcMessage as i32);
    Message::decode(packet.content).unwrap()
}

/// Reads until the server says goodbye.
pub fn goodbye(client: &mut Client) -> CloseNotice {
    loop {
        match client.receive() {
            Ok(_) => {}
            Err(ClientError::Closed(Some(notice))) => return notice,
            Err(other) => panic!("no goodbye: {other}"),
        }
    }
}

/// Reads until the server says goodbye for this reason, and then ends the connection.
pub fn assert_closed_for(client: &mut Client, reason: CloseReason) {
    assert_eq!(goodbye(client).reason(), reason);
    assert!(matches!(client.receive(), Err(ClientError::Closed(None))), "the connection ends after its goodbye");
}

/// A push of `content` to everybody in a room.
pub fn room_push(room_id: u64, content: &[u8]) -> down_item::Item {
    let message = Message { room_id, content: content.to_vec().into(), ..Message::default() }.encode_to_vec();
    down_item::Item::RoomPush(RoomPush { room_id, message: message.into(), ..RoomPush::default() })
}

/// A push with an inbox seq to one connection.
pub fn inbox_push(connection_id: u64, seq: u64, content: &[u8]) -> down_item::Item {
    let message = Message { content: content.to_vec().into(), ..Message::default() }.encode_to_vec();
    let target =
        gim_proto::logic::PushTarget { seq, prev_seq: seq.saturating_sub(1), connection_ids: vec![connection_id] };
    let push = gim_proto::logic::Push { message: message.into(), targets: vec![target], ..Default::default() };
    down_item::Item::Push(push)
}
