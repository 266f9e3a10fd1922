//! A server of the test, which says what the test wants, and what the app heard.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use gim_client::{Client, Event, Events, Options, StartAt, State};
use gim_proto::connect::{Packet, PacketCommand, Reply};
use prost::Message as _;
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Mutex,
    time::timeout,
};

use crate::server::{Server, USER_ID};

pub const DEADLINE: Duration = Duration::from_secs(30);

/// Fails where it takes too long.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

pub async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    (listener, url)
}

pub fn options(url: &str) -> Options {
    Options::new(USER_ID, 70).url(url).start_at(StartAt::First).get_token(|_| async { Ok(Some("a token".to_owned())) })
}

pub async fn started(options: Options) -> (Client, Events) {
    let (client, events) = Client::new(options).unwrap();
    client.start().await;
    (client, events)
}

/// The first event of which this is something; what comes before it is passed over.
pub async fn until<T>(events: &mut Events, what: &str, mut find: impl FnMut(Event) -> Option<T>) -> T {
    within(what, async {
        loop {
            let event = events.next().await.unwrap_or_else(|| panic!("the client is gone before: {what}"));
            if let Some(found) = find(event) {
                return found;
            }
        }
    })
    .await
}

pub async fn until_state(events: &mut Events, what: &str, is_it: impl Fn(&State) -> bool) {
    until(events, what, |event| matches!(&event, Event::State(state) if is_it(state)).then_some(())).await;
}

/// The server's end of a connection.
pub struct Peer<S> {
    pub stream: S,
    read: BytesMut,
}

pub async fn accept(listener: &TcpListener) -> Peer<TcpStream> {
    Peer::new(within("somebody connects", listener.accept()).await.unwrap().0)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, read: BytesMut::new() }
    }

    /// None where the client closed.
    pub async fn receive(&mut self) -> Option<Packet> {
        loop {
            let mut peek = &self.read[..];
            if let Ok(length) = prost::decode_length_delimiter(&mut peek)
                && peek.len() >= length
            {
                let start = self.read.len() - peek.len();
                let packet = self.read.split_to(start + length);
                return Some(Packet::decode(&packet[start..]).unwrap());
            }
            if self.stream.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The next packet with this command; others are passed over.
    pub async fn receive_the(&mut self, command: PacketCommand) -> Packet {
        within(command.as_str_name(), async {
            loop {
                let packet = self.receive().await.unwrap_or_else(|| panic!("no {command:?}, but the end"));
                if packet.command == command as i32 {
                    return packet;
                }
            }
        })
        .await
    }

    pub async fn send(&mut self, packet: &Packet) -> bool {
        self.stream.write_all(&packet.encode_length_delimited_to_vec()).await.is_ok()
    }

    pub async fn answer(&mut self, packet: &Packet, reply: Reply) {
        self.send(&Packet { content: reply.encode_to_vec().into(), ..packet.clone() }).await;
    }

    /// Lets whoever it is sign in.
    pub async fn let_in(&mut self) {
        let packet = self.receive_the(PacketCommand::PcSignIn).await;
        self.answer(&packet, Reply::default()).await;
    }
}

/// Serves as a server should, until the client goes.
pub async fn serve(listener: Arc<TcpListener>, server: Arc<Mutex<Server>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut peer = Peer::new(stream);
        server.lock().await.reset();
        let mut random = StdRng::seed_from_u64(1);
        while let Some(packet) = peer.receive().await {
            let answers = server.lock().await.receive(&packet, &mut random);
            for answer in answers {
                peer.send(&answer).await;
            }
        }
    }
}

/// A kind server, in a task of its own.
pub async fn kind_server() -> (Arc<Mutex<Server>>, String) {
    let (listener, url) = listen().await;
    let server = Arc::new(Mutex::new(Server::kind()));
    tokio::spawn(serve(Arc::new(listener), server.clone()));
    (server, url)
}
