//! A device that never gives up: it sends, retries until it is answered, and follows its inbox by the rules of a client.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use gim_proto::{
    client::{Client, ClientError},
    connect::{Message, MessageCommand, Packet, PacketCommand, SendReply, SendRequest, send_request::Target},
    logic::{GroupMessagePush, SyncReply, SyncRequest, UserMessagePush},
};
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::USERS;

/// How long an answer may take before the device tries again on another connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two things that a device does.
const PAUSE: Duration = Duration::from_millis(40);
/// Of its sends, how many go to its group.
const GROUP_SENDS_PERCENT: u32 = 20;
/// Before it tries again what was refused.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// How long it may take to have all once nobody is killed any more.
const END_DEADLINE: Duration = Duration::from_secs(60);

/// What a device got and was told.
pub struct Seen {
    pub user_id: u64,
    /// Message id and text (none of a notice), the first under seq 1.
    pub inbox: Vec<(u64, String)>,
    pub acknowledged: Vec<Acknowledged>,
}

/// A send that was answered.
#[derive(Debug)]
pub struct Acknowledged {
    pub from: u64,
    pub to: Vec<u64>,
    pub text: String,
    pub message_id: u64,
    pub seq: u64,
}

/// A normal group.
pub struct Group {
    pub id: u64,
    pub user_ids: Vec<u64>,
}

pub struct Device {
    address: SocketAddr,
    user_id: u64,
    device_id: u64,
    random: StdRng,
    stop: Arc<AtomicBool>,
    /// One that the user is in.
    group: Arc<Group>,
    client: Option<Client>,
    next_text: u64,
    seen: Seen,
}

impl Device {
    pub fn new(
        address: SocketAddr,
        (user_id, number): (u64, u64),
        group: Arc<Group>,
        seed: u64,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let device_id = user_id * 100 + number;
        Self {
            address,
            user_id,
            device_id,
            random: StdRng::seed_from_u64(seed ^ (device_id << 32)),
            stop,
            group,
            client: None,
            next_text: 1,
            seen: Seen { user_id, inbox: Vec::new(), acknowledged: Vec::new() },
        }
    }

    /// Until it is told to stop; then it waits until nothing is missing.
    pub fn run(&mut self) -> Seen {
        while !self.stop.load(Ordering::Relaxed) {
            match self.random.random_range(0..100) {
                0..30 => self.send(),
                30..33 => self.client = None,
                33..36 => self.with_client(|device, client| device.sync(client)),
                _ => self.with_client(|device, client| device.listen(client)),
            }
        }
        let deadline = Instant::now() + END_DEADLINE;
        let mut idle_rounds = 0;
        // Others may still retry what they sent: three rounds without news, each longer than a retry.
        while idle_rounds < 3 {
            assert!(Instant::now() < deadline, "device {} is still not done", self.device_id);
            let count = self.seen.inbox.len();
            thread::sleep(Duration::from_millis(700));
            self.until_done(|device, client| device.sync(client));
            idle_rounds = if self.seen.inbox.len() == count { idle_rounds + 1 } else { 0 };
        }
        std::mem::replace(&mut self.seen, Seen { user_id: 0, inbox: Vec::new(), acknowledged: Vec::new() })
    }

    /// Sends a text, and retries under the same key until it is acknowledged.
    fn send(&mut self) {
        let (target, to) = if self.random.random_range(0..100) < GROUP_SENDS_PERCENT {
            let others = self.group.user_ids.iter().copied().filter(|user_id| *user_id != self.user_id);
            (Target::GroupId(self.group.id), others.collect())
        } else {
            let to = (self.user_id + self.random.random_range(1..USERS) - 1) % USERS + 1;
            (Target::UserId(to), vec![to])
        };
        let text = format!("{} of {}", self.next_text, self.device_id);
        self.next_text += 1;
        let request = SendRequest {
            target: Some(target),
            content: text.clone().into(),
            client_msg_id: text.clone(),
            ..SendRequest::default()
        };
        let reply = self.until_done(|_, client| {
            let reply = client.request(PacketCommand::PcSend as i32, request.encode_to_vec())?;
            Ok((reply.code == 0).then(|| SendReply::decode(reply.data).unwrap()))
        });
        let SendReply { message_id, seq, .. } = reply;
        self.seen.acknowledged.push(Acknowledged { from: self.user_id, to, text, message_id, seq });
    }

    /// Takes what comes for a while.
    fn listen(&mut self, client: &mut Client) -> Result<Option<()>, ClientError> {
        let until = Instant::now() + PAUSE;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let packet = match client.take_set_aside() {
                Some(packet) => packet,
                None => match client.receive_within(left) {
                    Err(ClientError::Timeout(_)) => break,
                    packet => packet?,
                },
            };
            if self.take(packet) {
                return self.sync(client);
            }
        }
        Ok(Some(()))
    }

    /// Takes a packet in; whether it shows that something is missing.
    fn take(&mut self, packet: Packet) -> bool {
        match PacketCommand::try_from(packet.command) {
            Ok(PacketCommand::PcMessage) => self.note(&Message::decode(packet.content).unwrap()),
            Ok(PacketCommand::PcSyncHint) => packet.seq > self.seen.inbox.len() as u64,
            _ => false,
        }
    }

    /// Notes a message where it is the next one; whether some before it are missing.
    fn note(&mut self, message: &Message) -> bool {
        let newest_seq = self.seen.inbox.len() as u64;
        let text = text_of(message);
        if message.seq > newest_seq + 1 {
            return true;
        }
        if message.seq == newest_seq + 1 {
            self.seen.inbox.push((message.message_id, text));
        } else {
            let known = &self.seen.inbox[usize::try_from(message.seq - 1).unwrap()];
            assert_eq!(*known, (message.message_id, text), "device {}: seq {} changed", self.device_id, message.seq);
        }
        false
    }

    fn sync(&mut self, client: &mut Client) -> Result<Option<()>, ClientError> {
        loop {
            // Seq 0 would mean "after the newest ack", and nobody acks here.
            let request = SyncRequest { seq: self.seen.inbox.len() as u64, ..SyncRequest::default() };
            let reply = client.request(PacketCommand::PcSync as i32, request.encode_to_vec())?;
            if reply.code != 0 {
                return Ok(None);
            }
            let page = SyncReply::decode(reply.data).unwrap();
            for message in &page.messages {
                assert!(!self.note(message), "device {}: a page skips to seq {}", self.device_id, message.seq);
            }
            if !page.has_more {
                return Ok(Some(()));
            }
        }
    }

    /// Does something once, if there is a connection; what fails costs the connection and nothing else.
    fn with_client<T>(&mut self, act: impl FnOnce(&mut Self, &mut Client) -> Result<Option<T>, ClientError>) {
        if let Some(mut client) = self.client.take().or_else(|| self.connect())
            && act(self, &mut client).is_ok()
        {
            self.client = Some(client);
        }
    }

    /// Does something again and again until it is done.
    fn until_done<T>(&mut self, mut act: impl FnMut(&mut Self, &mut Client) -> Result<Option<T>, ClientError>) -> T {
        let deadline = Instant::now() + END_DEADLINE;
        loop {
            assert!(Instant::now() < deadline, "device {}: refused for too long", self.device_id);
            if let Some(mut client) = self.client.take().or_else(|| self.connect())
                && let Ok(done) = act(self, &mut client)
            {
                self.client = Some(client);
                if let Some(done) = done {
                    return done;
                }
            }
            thread::sleep(RETRY_PAUSE);
        }
    }

    /// A signed-in connection, where logic is there to let it in.
    fn connect(&mut self) -> Option<Client> {
        let mut client = Client::connect(self.address, ANSWER_TIMEOUT).ok()?;
        match client.sign_in(self.user_id, self.device_id, "any") {
            Ok(reply) if reply.code == 0 => Some(client),
            _ => {
                thread::sleep(RETRY_PAUSE);
                None
            }
        }
    }
}

fn text_of(message: &Message) -> String {
    let content = message.content.clone();
    let text = match MessageCommand::try_from(message.command).unwrap() {
        MessageCommand::McUserMessage => UserMessagePush::decode(content).unwrap().content,
        MessageCommand::McGroupMessage => GroupMessagePush::decode(content).unwrap().content,
        MessageCommand::McAddGroupMembers => return String::new(),
        other => panic!("nobody sent a {other:?}"),
    };
    String::from_utf8(text.to_vec()).unwrap()
}
