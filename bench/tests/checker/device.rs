//! A device that never gives up: it sends, retries until it is answered, and follows its inbox and the timeline of a large group
//! by the rules of a client. One thread each.

use std::{
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use gim_proto::{
    client::{Client, ClientError},
    connect::{Message, MessageCommand, Packet, PacketCommand, SendReply, SendRequest, send_request::Target},
    logic::{GroupCursor, GroupMessagePush, SyncReply, SyncRequest, UserMessagePush},
};
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::{
    board::{Board, Phase},
    judge::{Acknowledged, Seen},
    people::{Identity, People},
};

/// How long an answer may take before the device tries again on another connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two things that a device does.
const PAUSE: Duration = Duration::from_millis(40);
/// Of its sends, how many go to its normal group, and to the large one.
const GROUP_SENDS_PERCENT: u32 = 20;
const LARGE_GROUP_SENDS_PERCENT: u32 = 20;
/// Before it tries again what was refused.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// How long a refusal may last.
const REFUSED_DEADLINE: Duration = Duration::from_secs(60);

pub struct Device {
    /// Of the conn nodes.
    addresses: Vec<SocketAddr>,
    identity: Identity,
    people: Arc<People>,
    board: Arc<Board>,
    random: StdRng,
    client: Option<Client>,
    /// A connection that a newer one of the device replaced, and that does not know it yet.
    former: Option<Client>,
    next_text: u64,
    seen: Seen,
}

impl Device {
    pub fn new(
        addresses: Vec<SocketAddr>,
        identity: Identity,
        people: Arc<People>,
        board: Arc<Board>,
        seed: u64,
    ) -> Self {
        Self {
            addresses,
            random: StdRng::seed_from_u64(seed ^ (identity.device_id << 32)),
            seen: Seen::new(identity.user_id),
            identity,
            people,
            board,
            client: None,
            former: None,
            next_text: 1,
        }
    }

    /// Through all phases of the board.
    pub fn run(&mut self) -> Seen {
        self.until_done(|device, client| device.sync(client));
        while self.board.phase() == Phase::Load {
            match self.random.random_range(0..100) {
                0..30 => self.send(),
                30..33 => self.client = None,
                33..35 => self.sign_in_elsewhere(),
                35..38 => self.with_client(|device, client| device.sync(client)),
                _ => self.with_client(|device, client| device.listen(client)),
            }
        }
        self.former = None;
        self.board.everything_sent();
        self.board.await_phase(Phase::CatchUp);
        self.until_done(|device, client| device.sync(client));
        self.board.caught_up();
        while self.board.phase() != Phase::Leave {
            self.with_client(|device, client| device.listen(client));
        }
        self.client = None;
        std::mem::replace(&mut self.seen, Seen::new(0))
    }

    /// Sends a text, and retries under the same key until it is acknowledged.
    fn send(&mut self) {
        let (target, to) = self.receiver();
        let is_large_group = target == Target::GroupId(self.people.large_group_id);
        let text = format!("{} of {}", self.next_text, self.identity.device_id);
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
        let from = self.identity.user_id;
        self.seen.acknowledged.push(Acknowledged { from, to, is_large_group, text, message_id, seq });
    }

    /// Where the next text goes, and whose inboxes it has to be in.
    fn receiver(&mut self) -> (Target, Vec<u64>) {
        let user_id = self.identity.user_id;
        let group = self.people.group_of(user_id);
        match self.random.random_range(0..100) {
            0..GROUP_SENDS_PERCENT => (Target::GroupId(group.id), group.user_ids.clone()),
            percent if percent < GROUP_SENDS_PERCENT + LARGE_GROUP_SENDS_PERCENT => {
                (Target::GroupId(self.people.large_group_id), Vec::new())
            }
            _ => {
                let others: Vec<u64> = self.people.user_ids().filter(|other| *other != user_id).collect();
                let to = *others.choose(&mut self.random).unwrap();
                (Target::UserId(to), vec![user_id, to])
            }
        }
    }

    /// Signs in over a second connection while the first one is open, as a device does whose first one died unnoticed.
    fn sign_in_elsewhere(&mut self) {
        self.former = self.client.take();
        self.client = self.connect();
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
            // Also of a large group, which has no number of its own in a hint.
            Ok(PacketCommand::PcSyncHint) => true,
            _ => false,
        }
    }

    /// Notes a message where it is the next one; whether some before it are missing.
    fn note(&mut self, message: &Message) -> bool {
        let text = text_of(message);
        let (log, seq) = match (message.seq, message.group_seq) {
            (0, 0) => {
                self.board.note_live(self.identity.device_id, text);
                return false;
            }
            (0, group_seq) => (&mut self.seen.timeline, group_seq),
            (seq, _) => (&mut self.seen.inbox, seq),
        };
        !log.note(seq, (message.message_id, text), self.identity.device_id)
    }

    fn sync(&mut self, client: &mut Client) -> Result<Option<()>, ClientError> {
        loop {
            let cursor = GroupCursor { group_id: self.people.large_group_id, seq: self.seen.timeline.newest_seq() };
            let request = SyncRequest {
                seq: self.seen.inbox.newest_seq(),
                large_groups: true,
                group_cursors: vec![cursor],
                from_start: true,
            };
            let reply = client.request(PacketCommand::PcSync as i32, request.encode_to_vec())?;
            if reply.code != 0 {
                return Ok(None);
            }
            let page = SyncReply::decode(reply.data).unwrap();
            if let Some(first) = page.groups.iter().find_map(|group| group.messages.first()) {
                self.seen.timeline.begin_after(first.prev_group_seq);
            }
            let timelines = page.groups.iter().flat_map(|group| &group.messages);
            for message in page.messages.iter().chain(timelines) {
                let device_id = self.identity.device_id;
                assert!(!self.note(message), "device {device_id}: a page skips to {message:?}");
            }
            if !page.has_more && !page.groups_have_more {
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
        let deadline = Instant::now() + REFUSED_DEADLINE;
        loop {
            assert!(Instant::now() < deadline, "device {}: refused for too long", self.identity.device_id);
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

    /// A signed-in connection to any conn node, where it lets in.
    fn connect(&mut self) -> Option<Client> {
        let address = *self.addresses.choose(&mut self.random).unwrap();
        let Identity { user_id, device_id, token } = &self.identity;
        let signed_in = Client::connect(address, ANSWER_TIMEOUT).and_then(|mut client| {
            let reply = client.sign_in(*user_id, *device_id, token)?;
            Ok((reply.code == 0).then_some(client))
        });
        if !matches!(signed_in, Ok(Some(_))) {
            thread::sleep(RETRY_PAUSE);
        }
        signed_in.ok().flatten()
    }
}

fn text_of(message: &Message) -> String {
    let content = message.content.clone();
    let text = match MessageCommand::try_from(message.command) {
        Ok(MessageCommand::McUserMessage) => UserMessagePush::decode(content).unwrap().content,
        Ok(MessageCommand::McGroupMessage) => GroupMessagePush::decode(content).unwrap().content,
        Ok(MessageCommand::McAddGroupMembers | MessageCommand::McConversation | MessageCommand::McRead) => {
            return String::new();
        }
        // An app's.
        _ => content,
    };
    String::from_utf8(text.to_vec()).unwrap()
}
