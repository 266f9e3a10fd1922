//! Random sequences of sends, reads, recalls, deletions and what users set, on devices that come and go, against a model in memory: at rest
//! the lists of every user are those of the model, through every node, and every device that stayed knows how far its user has read.

mod plain;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gim_proto::{
    connect::{Message, MessageCommand, SendReply},
    logic::{
        Conversation, ConversationPush, ConversationReadRequest, ConversationSetRequest, GroupKind, HistoryRequest,
        RecallRequest, conversation_delete_request as delete_of, conversation_push,
        conversation_read_request as read_of, conversation_set_request as set_of, down_item::Item, history_request,
    },
};
use prost::Message as _;

use self::plain::{Line, Model, ModelPlace, Peer, USERS};
use super::{delete, list, say, send, set, signed};
use crate::support::{Server, conn::Conn};

/// Devices of each user.
const DEVICES: u64 = 3;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// A device that is signed in: how far it knows its user to have read.
#[derive(Debug)]
struct Device {
    user_id: u64,
    device_id: u64,
    read: BTreeMap<(bool, u64), u64>,
}

/// The connection of user 99, who is told when everything was.
const LAST: u64 = 9_900;

struct Run<'a> {
    nodes: &'a [&'a Server],
    /// One conn node, attached to all of them.
    conns: Vec<Conn>,
    random: Random,
    model: Model,
    groups: [Peer; 2],
    /// By connection.
    devices: HashMap<u64, Device>,
    connections: u64,
    sent: Vec<(u64, Peer, u64)>,
}

/// So many steps from one seed, which stands in the output where it fails.
#[allow(clippy::print_stdout, reason = "what a test prints is shown where it fails")]
pub async fn run(nodes: &[&Server], seed: u64, steps: usize) {
    println!("the seed is {seed}");
    let mut run = Run::new(nodes, seed).await;
    for _ in 0..steps {
        run.step().await;
    }
    run.rest().await;
}

impl<'a> Run<'a> {
    async fn new(nodes: &'a [&'a Server], seed: u64) -> Self {
        let server = nodes[0];
        let normal = server.make(GroupKind::GkNormal, &USERS).await;
        let large = server.make(GroupKind::GkLarge, &USERS).await;
        let mut inboxes = HashMap::new();
        for user_id in USERS {
            inboxes.insert(user_id, server.store_newest_seq(user_id).await);
        }
        let mut groups = Vec::new();
        for (peer, group_id) in [(Peer::Normal(normal), normal), (Peer::Large(large), large)] {
            let request =
                HistoryRequest { peer: Some(history_request::Peer::GroupId(group_id)), ..HistoryRequest::default() };
            let page = server.message_ext().history(signed(7, request)).await.unwrap().into_inner();
            groups.push((peer, page.messages[0].group_seq, page.messages[0].message_id));
        }
        let mut conns = Vec::new();
        for node in nodes {
            conns.push(Conn::attach(node, "conn-1", 1).await);
        }
        conns[0].sign_in(99, 990, LAST).await;
        Self {
            nodes,
            conns,
            random: Random(seed),
            model: Model::new(inboxes, &groups),
            groups: [Peer::Normal(normal), Peer::Large(large)],
            devices: HashMap::new(),
            connections: 0,
            sent: Vec::new(),
        }
    }

    fn node(&mut self) -> &'a Server {
        self.nodes[self.random.below(self.nodes.len())]
    }

    /// One of a user's conversations that has a message, with its places.
    fn some(&mut self, user_id: u64) -> (Peer, Vec<ModelPlace>) {
        let of_user = self.model.owned.iter().filter(|((owner, _), _)| *owner == user_id);
        let all: Vec<_> = of_user.map(|((_, peer), own)| (*peer, own.places.clone())).collect();
        all[self.random.below(all.len())].clone()
    }

    async fn step(&mut self) {
        let user_id = self.random.of(&USERS);
        match self.random.below(100) {
            0..40 => self.send(user_id).await,
            40..70 => self.read(user_id).await,
            70..78 => self.recall().await,
            78..90 => self.set(user_id).await,
            90..94 => {
                let (peer, _) = self.some(user_id);
                let of = match peer {
                    Peer::User(id) => delete_of::Peer::UserId(id),
                    Peer::Normal(id) | Peer::Large(id) => delete_of::Peer::GroupId(id),
                };
                delete(self.node(), user_id, of).await.unwrap();
                self.model.delete(user_id, peer);
            }
            _ => self.change_device(user_id).await,
        }
    }

    async fn send(&mut self, user_id: u64) {
        let group = self.random.of(&self.groups);
        let to_user = Peer::User(self.random.of(&USERS));
        let peer = if self.random.below(2) == 0 { group } else { to_user };
        let node = self.node();
        let SendReply { message_id, seq, .. } = match peer {
            Peer::User(id) => send(node, user_id, id).await,
            Peer::Normal(id) | Peer::Large(id) => say(node, user_id, id).await,
        };
        assert_eq!(self.model.send(user_id, peer, message_id), seq, "{user_id} to {peer:?}");
        self.sent.push((user_id, peer, message_id));
    }

    /// One to three reads of one conversation at the same time, through any nodes, in whatever order they are done.
    async fn read(&mut self, user_id: u64) {
        let (peer, places) = self.some(user_id);
        let mut reads = Vec::new();
        for _ in 0..=self.random.below(3) {
            let place = self.random.of(&places);
            // What the user deleted is no message of the conversation, though its number is passed.
            let is_there = place.seq > self.model.owned[&(user_id, peer)].cleared;
            let is_by_message = self.random.below(2) == 0 && is_there;
            let of = match peer {
                Peer::User(id) => read_of::Peer::UserId(id),
                Peer::Normal(id) | Peer::Large(id) => read_of::Peer::GroupId(id),
            };
            let (seq, message_id) = if is_by_message { (0, place.message_id) } else { (place.seq, 0) };
            let request = ConversationReadRequest { peer: Some(of), seq, message_id };
            let mut client = self.node().conversation_ext();
            reads.push(async move { client.read(signed(user_id, request)).await.map(drop) });
            self.model.read(user_id, peer, place);
        }
        for done in futures_util::future::join_all(reads).await {
            done.unwrap();
        }
    }

    async fn recall(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let (sender_id, peer, message_id) = self.random.of(&self.sent);
        let request = RecallRequest { message_id };
        self.node().message_ext().recall(signed(sender_id, request)).await.unwrap();
        self.model.recall(sender_id, peer, message_id);
    }

    async fn set(&mut self, user_id: u64) {
        let (peer, places) = self.some(user_id);
        let of = match peer {
            Peer::User(id) => set_of::Peer::UserId(id),
            Peer::Normal(id) | Peer::Large(id) => set_of::Peer::GroupId(id),
        };
        let value = self.random.below(2) == 0;
        let mut change = ConversationSetRequest::default();
        let own = self.model.owned.get_mut(&(user_id, peer)).unwrap();
        match self.random.below(4) {
            0 => (change.is_muted, own.is_muted) = (Some(value), value),
            1 => (change.is_marked_unread, own.is_marked) = (Some(value), value),
            2 => (change.is_pinned, own.is_pinned) = (Some(value), value),
            _ => {
                change.is_hidden = Some(value);
                own.hidden_before = if value { places.last().unwrap().seq + 1 } else { 0 };
            }
        }
        set(self.node(), user_id, of, change).await.unwrap();
    }

    /// A device signs in and reads the list, or leaves.
    async fn change_device(&mut self, user_id: u64) {
        self.drain().await;
        let device_id = user_id * 10 + 1 + self.random.next() % DEVICES;
        let at = self.random.below(self.conns.len());
        let former = self.devices.iter().find(|(_, device)| device.device_id == device_id).map(|(id, _)| *id);
        if let Some(connection_id) = former {
            self.devices.remove(&connection_id);
            return self.conns[at].sign_out(user_id, device_id, connection_id).await;
        }
        self.connections += 1;
        let (connection_id, token) = (self.connections, format!("token-{user_id}"));
        let result = self.conns[at].try_sign_in_any(user_id, device_id, connection_id, &token).await;
        assert_eq!(result.code, 0, "{}", result.message);
        let (pinned, all) = list(self.node(), user_id, 0).await;
        let read = pinned.iter().chain(&all).map(|conversation| (named(conversation), conversation.read_seq)).collect();
        self.devices.insert(connection_id, Device { user_id, device_id, read });
    }

    /// Takes in everything that was pushed so far, through every node.
    async fn drain(&mut self) {
        for (index, conn) in self.conns.iter_mut().enumerate() {
            self.nodes[index].push(&[99], "the end").await;
            loop {
                let Item::Push(push) = conn.next().await else { continue };
                let connections: BTreeSet<u64> =
                    push.targets.iter().flat_map(|target| target.connection_ids.iter().copied()).collect();
                if connections.contains(&LAST) {
                    break;
                }
                let message = Message::decode(push.message).unwrap();
                if message.command() == MessageCommand::McConversation {
                    let push = ConversationPush::decode(message.content).unwrap();
                    connections.iter().for_each(|id| note(&mut self.devices, *id, &push));
                }
            }
        }
    }

    async fn rest(mut self) {
        self.drain().await;
        for user_id in USERS {
            let (pinned, lines) = self.model.lists(user_id);
            for node in self.nodes {
                let limit = u32::try_from(1 + self.random.below(6)).unwrap();
                let (found_pinned, found) = list(node, user_id, limit).await;
                assert_eq!(found_pinned.iter().map(Peer::of).collect::<BTreeSet<_>>(), pinned, "pinned by {user_id}");
                assert_eq!(found.iter().map(line).collect::<Vec<_>>(), lines, "the list of {user_id}");
            }
        }
        for Device { user_id, device_id, read } in self.devices.values() {
            for (&(_, peer), own) in self.model.owned.iter().filter(|((owner, _), _)| owner == user_id) {
                let key = match peer {
                    Peer::User(id) => (false, id),
                    Peer::Normal(id) | Peer::Large(id) => (true, id),
                };
                let known = read.get(&key).copied();
                assert!(known.is_none_or(|known| known == own.read.0), "{device_id} knows of {peer:?}: {known:?}");
            }
        }
    }
}

fn note(devices: &mut HashMap<u64, Device>, connection_id: u64, push: &ConversationPush) {
    let Some(device) = devices.get_mut(&connection_id).filter(|_| push.read_seq > 0) else { return };
    let key = match push.peer.unwrap() {
        conversation_push::Peer::UserId(id) => (false, id),
        conversation_push::Peer::GroupId(id) => (true, id),
    };
    let known = device.read.entry(key).or_default();
    *known = push.read_seq.max(*known);
}

fn named(conversation: &Conversation) -> (bool, u64) {
    match Peer::of(conversation) {
        Peer::User(id) => (false, id),
        Peer::Normal(id) | Peer::Large(id) => (true, id),
    }
}

fn line(conversation: &Conversation) -> Line {
    let message = conversation.last_message.as_ref().unwrap();
    Line {
        peer: Peer::of(conversation),
        last: (message.seq.max(message.group_seq), message.message_id),
        unread: conversation.unread,
        read: (conversation.read_seq, conversation.read_message_id),
        peer_read: (conversation.peer_read_seq, conversation.peer_read_message_id),
        is_muted: conversation.is_muted,
        is_marked: conversation.is_marked_unread,
    }
}

/// Two of them in each run of the tests, or the one that is asked for.
pub fn seeds() -> Vec<u64> {
    match std::env::var("GIM_CONVERSATIONS_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => vec![1, 2],
    }
}

#[tokio::test]
async fn random_sequences_end_as_in_a_model_in_memory() {
    for seed in seeds() {
        let server = super::reads::prompt_server().await;
        run(&[&server], seed, 250).await;
    }
}
