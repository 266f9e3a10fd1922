//! A conn node that speaks the link by hand.

use std::collections::VecDeque;

use gim_proto::{
    LINK_VERSION,
    connect::{PacketCommand, SendReply, SendRequest, SubscribeRoomRequest},
    logic::{
        Announce, ClientPacket, Down, DownItem, Hello, LiveConnection, PacketReply, Push, SignIn, SignInResult,
        SignOut, Up, UpItem, announce::What, down_item, link_service_client::LinkServiceClient, up_item,
    },
};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::{Server, soon};

/// One attached stream.
pub struct Conn {
    up: Option<mpsc::Sender<Up>>,
    down: Streaming<Down>,
    items: VecDeque<DownItem>,
    next_request_no: u64,
    /// Whether `next` returns news of other nodes as well.
    pub wants_peers: bool,
}

impl Conn {
    /// Attaches with a hello of its own making.
    pub async fn attach_with(channel: Channel, first: Up) -> Result<Conn, Status> {
        let (up, ups) = mpsc::channel(64);
        up.send(first).await.unwrap();
        let mut client = LinkServiceClient::new(channel);
        let mut down = soon(client.attach(ReceiverStream::new(ups))).await?.into_inner();
        let welcome = soon(down.message()).await?.expect("a welcome").welcome.expect("a welcome first");
        assert_eq!(welcome.version, LINK_VERSION);
        Ok(Conn { up: Some(up), down, items: VecDeque::new(), next_request_no: 1, wants_peers: false })
    }

    /// Attaches as this process.
    pub async fn attach(server: &Server, node: &str, epoch: u64) -> Conn {
        let hello = Hello { version: LINK_VERSION, node: node.into(), epoch, ..Hello::default() };
        Self::attach_with(server.channel.clone(), Up { hello: Some(hello), items: Vec::new() }).await.unwrap()
    }

    pub async fn send(&self, items: Vec<up_item::Item>) {
        let items = items.into_iter().map(|item| UpItem { item: Some(item) }).collect();
        let up = self.up.as_ref().expect("our direction is open");
        soon(up.send(Up { hello: None, items })).await.unwrap();
    }

    /// The next item down, whatever it is.
    pub async fn next(&mut self) -> down_item::Item {
        loop {
            if let Some(item) = self.items.pop_front() {
                match item.item.unwrap() {
                    // Comes whenever other nodes come and go; the test about it looks for it.
                    down_item::Item::PeerNodes(peers) if !self.wants_peers => drop(peers),
                    item => return item,
                }
                continue;
            }
            self.items.extend(soon(self.down.message()).await.unwrap().expect("the stream ended").items);
        }
    }

    /// Ends our direction of the stream where logic leaves, and returns what is pushed until it ends.
    pub async fn pushed_at_the_end(mut self) -> Vec<Push> {
        let mut pushed = Vec::new();
        loop {
            for item in self.items.drain(..) {
                match item.item.unwrap() {
                    down_item::Item::Push(push) => pushed.push(push),
                    down_item::Item::Leaving(_) => self.up = None,
                    _ => {}
                }
            }
            match soon(self.down.message()).await {
                Ok(Some(down)) => self.items.extend(down.items),
                Ok(None) | Err(_) => return pushed,
            }
        }
    }

    /// Ends our direction of the stream.
    pub fn end_up(&mut self) {
        self.up = None;
    }

    /// Waits until logic ends the stream.
    pub async fn ended(mut self) {
        while let Ok(Some(_)) = soon(self.down.message()).await {}
    }

    /// Sends a sign-in and returns its request number.
    pub async fn begin_sign_in(&mut self, user_id: u64, device_id: u64, connection_id: u64, token: &str) -> u64 {
        let request_no = self.request_no();
        let sign_in = SignIn {
            request_no,
            connection_id,
            request_id: format!("sign-in-{connection_id}"),
            user_id,
            device_id,
            token: token.into(),
            app_id: 0,
            client_addr: "127.0.0.1:1".into(),
        };
        self.send(vec![up_item::Item::SignIn(sign_in)]).await;
        request_no
    }

    /// Signs in and returns the answer, which must be the next item.
    pub async fn try_sign_in(&mut self, user_id: u64, device_id: u64, connection_id: u64, token: &str) -> SignInResult {
        let request_no = self.begin_sign_in(user_id, device_id, connection_id, token).await;
        match self.next().await {
            down_item::Item::SignInResult(result) => {
                assert_eq!(result.request_no, request_no);
                result
            }
            other => panic!("{other:?}"),
        }
    }

    /// [`Conn::try_sign_in`] where other items may come first.
    pub async fn try_sign_in_any(
        &mut self,
        user_id: u64,
        device_id: u64,
        connection_id: u64,
        token: &str,
    ) -> SignInResult {
        let request_no = self.begin_sign_in(user_id, device_id, connection_id, token).await;
        loop {
            match self.next().await {
                down_item::Item::SignInResult(result) if result.request_no == request_no => return result,
                _ => {}
            }
        }
    }

    /// Signs in with the right token and returns the newest seq.
    pub async fn sign_in(&mut self, user_id: u64, device_id: u64, connection_id: u64) -> u64 {
        let result = self.try_sign_in(user_id, device_id, connection_id, &format!("token-{user_id}")).await;
        assert_eq!(result.code, 0, "{}", result.message);
        result.newest_seq
    }

    pub async fn sign_out(&self, user_id: u64, device_id: u64, connection_id: u64) {
        self.send(vec![up_item::Item::SignOut(SignOut { connection_id, user_id, device_id })]).await;
    }

    pub async fn announce(&self, connections: &[LiveConnection]) {
        let announce = |connection: &LiveConnection| {
            up_item::Item::Announce(Announce { what: Some(What::Connection(connection.clone())) })
        };
        self.send(connections.iter().map(announce).collect()).await;
    }

    /// Sends a packet of `user_id` on device `user_id * 10` and returns its request number.
    pub async fn begin_packet(&mut self, user_id: u64, command: i32, content: Vec<u8>) -> u64 {
        let request_no = self.request_no();
        let packet = ClientPacket {
            request_no,
            connection_id: user_id * 100,
            user_id,
            device_id: user_id * 10,
            command,
            request_id: format!("packet-{request_no}"),
            content: content.into(),
            is_silent: false,
            ..ClientPacket::default()
        };
        self.send(vec![up_item::Item::Packet(packet)]).await;
        request_no
    }

    /// Sends a packet and returns its reply, which must be the next item.
    pub async fn packet(&mut self, user_id: u64, command: i32, content: Vec<u8>) -> PacketReply {
        let request_no = self.begin_packet(user_id, command, content).await;
        let reply = self.reply().await;
        assert_eq!(reply.request_no, request_no);
        reply
    }

    /// The next item, which must be a reply.
    pub async fn reply(&mut self) -> PacketReply {
        match self.next().await {
            down_item::Item::PacketReply(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    pub async fn send_message(&mut self, user_id: u64, request: SendRequest) -> Result<SendReply, PacketReply> {
        let reply = self.packet(user_id, PacketCommand::PcSend as i32, request.encode_to_vec()).await;
        if reply.code == 0 { Ok(SendReply::decode(reply.data).unwrap()) } else { Err(reply) }
    }

    pub async fn subscribe(&mut self, user_id: u64, room_id: u64, seq: u64) -> PacketReply {
        let request = SubscribeRoomRequest { room_id, seq, from_start: false };
        self.packet(user_id, PacketCommand::PcSubscribeRoom as i32, request.encode_to_vec()).await
    }

    fn request_no(&mut self) -> u64 {
        self.next_request_no += 1;
        self.next_request_no
    }
}
