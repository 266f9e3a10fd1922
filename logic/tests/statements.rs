//! What a send costs the database: every statement of it, with settings and read positions of those who get it and without; and what
//! a list of conversations costs. The rows that a send writes are counted where lists are tested.
//!
//! A process of its own, because the statements of all databases in a process are listened to.

#![allow(clippy::unwrap_used)] // helpers of tests fail loudly

mod support;

use std::{
    fmt::Debug,
    sync::{Mutex, PoisonError},
};

use gim_config::testing;
use gim_logic::LogicSettings;
use gim_proto::{
    connect::{SendRequest, send_request::Target},
    logic::{
        ConversationListRequest, ConversationReadRequest, ConversationSetRequest, Group, GroupCreateRequest, GroupKind,
        GroupMember, MemberType, conversation_read_request as read_of, conversation_set_request as set_of,
    },
    metadata,
};
use tonic::Request;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use support::{Server, business::StubBusiness, server_with};

/// What statements of a send touch; everything else that a server does by itself meanwhile has its own tables.
const TABLES: [&str; 8] = [
    "inbox",
    "message",
    "other_inbox",
    "direct_inbox",
    "group_message",
    "chat_group",
    "read_position",
    "conversation_setting",
];

static HEARD: Mutex<Vec<Statement>> = Mutex::new(Vec::new());

/// A statement that was done, as sqlx tells it.
#[derive(Debug, Default, Clone)]
struct Statement {
    text: String,
}

/// The statements of a send to a user, to a normal group and to a large one, as verbs and tables.
type Cost = [Vec<String>; 3];

/// How often the database was asked for these, and to begin and to commit.
type RoundTrips = [usize; 3];

/// The statements of a list of these conversations, in no order, as two of them run at once.
type ListCost = Vec<String>;

/// Hears the statements of all connections.
struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut statement = Statement::default();
        event.record(&mut statement);
        HEARD.lock().unwrap_or_else(PoisonError::into_inner).push(statement);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        // The summary is the beginning, where it is short enough to be all.
        if field.name() == "db.statement" && !value.trim().is_empty()
            || self.text.is_empty() && field.name() == "summary"
        {
            self.text = value.split_whitespace().collect::<Vec<_>>().join(" ");
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

/// The statements of what is done meanwhile, each with its verb and the table that it writes or reads first, and in how many texts.
async fn heard(what: impl Future<Output = ()>) -> (Vec<String>, usize) {
    HEARD.lock().unwrap().clear();
    what.await;
    let heard = HEARD.lock().unwrap().clone();
    // The texts of MariaDB hold several statements each.
    let each = heard.iter().flat_map(|statement| statement.text.split(';').map(str::to_owned));
    let is_asked = |text: &str| ["BEGIN", "COMMIT", "ROLLBACK"].contains(&text) || described(text).is_some();
    let round_trips = heard.iter().filter(|statement| statement.text.split(';').any(is_asked)).count();
    (each.filter_map(|text| described(&text)).collect(), round_trips)
}

fn described(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split(|character: char| !character.is_alphanumeric() && character != '_').collect();
    let table = words.iter().find(|word| TABLES.contains(word))?;
    Some(format!("{} {table}", words[0]))
}

fn signed<T>(user_id: u64, message: T) -> Request<T> {
    metadata::signed(message, user_id, user_id * 10, &format!("token-{user_id}"))
}

/// Sends a text that nobody sent before.
async fn send(server: &Server, from: u64, target: Target) {
    let client_msg_id = format!("{:?}", std::time::Instant::now());
    let request = SendRequest { target: Some(target), content: "text".into(), client_msg_id, ..SendRequest::default() };
    server.message_ext().send(signed(from, request)).await.unwrap();
}

async fn make(server: &Server, kind: GroupKind) -> u64 {
    let member = |user_id| GroupMember { user_id, r#type: MemberType::MtAdmin as i32, ..GroupMember::default() };
    let group = Group { name: "group".into(), kind: kind as i32, ..Group::default() };
    let request = GroupCreateRequest { group: Some(group), members: [7, 8, 9].map(member).into() };
    server.group_int().create(request).await.unwrap().into_inner().group_id
}

/// Everybody has lists, settings and read positions of what is going to be written to.
async fn put_positions(server: &Server, group_ids: [u64; 2]) {
    for (user_id, peer_id) in [(7, 8), (8, 7)] {
        let of_groups = group_ids.map(|id| (read_of::Peer::GroupId(id), set_of::Peer::GroupId(id)));
        let of_user = (read_of::Peer::UserId(peer_id), set_of::Peer::UserId(peer_id));
        for (read, set) in of_groups.into_iter().chain([of_user]) {
            let seq = if read == of_user.0 { server.store_newest_seq(user_id).await } else { 1 };
            let request = ConversationReadRequest { peer: Some(read), seq, message_id: 0 };
            server.conversation_ext().read(signed(user_id, request)).await.unwrap();
            let mute = ConversationSetRequest { peer: Some(set), is_muted: Some(true), ..Default::default() };
            server.conversation_ext().set(signed(user_id, mute)).await.unwrap();
        }
    }
}

async fn cost(change: impl FnOnce(&mut LogicSettings)) -> (Cost, RoundTrips, ListCost) {
    let server = server_with(StubBusiness::start().await, |settings| {
        settings.conversation.read_delay_ms = 0;
        // Whoever wakes devices reads what was sent, on a task of its own.
        settings.offline_push.business = false;
        change(settings);
    })
    .await;
    let groups = [make(&server, GroupKind::GkNormal).await, make(&server, GroupKind::GkLarge).await];
    send(&server, 7, Target::UserId(8)).await;
    let targets = [Target::UserId(8), Target::GroupId(groups[0]), Target::GroupId(groups[1])];
    let (without, round_trips) = heard_of(&server, targets).await;
    put_positions(&server, groups).await;
    assert_eq!(
        heard_of(&server, targets).await,
        (without.clone(), round_trips),
        "with positions in place, and without"
    );
    let (mut of_list, _) = heard(async {
        let list = server.conversation_ext().list(signed(8, ConversationListRequest::default())).await.unwrap();
        let unread: Vec<u32> = list.into_inner().conversations.iter().map(|one| one.unread).collect();
        assert!(unread.len() == 3 && unread.iter().all(|unread| *unread > 0), "{unread:?}");
    })
    .await;
    of_list.sort_unstable();
    support::stop(server).await;
    (without, round_trips, of_list)
}

async fn heard_of(server: &Server, targets: [Target; 3]) -> (Cost, RoundTrips) {
    let (mut all, mut round_trips) = (Cost::default(), RoundTrips::default());
    for (index, target) in targets.into_iter().enumerate() {
        (all[index], round_trips[index]) = heard(send(server, 7, target)).await;
    }
    (all, round_trips)
}

fn texts(statements: &[&str]) -> Vec<String> {
    statements.iter().map(|&statement| statement.to_owned()).collect()
}

fn sorted(mut statements: Vec<String>) -> Vec<String> {
    statements.sort_unstable();
    statements
}

#[tokio::test]
async fn a_send_is_as_many_statements_as_ever_and_a_list_few() {
    tracing::subscriber::set_global_default(Listener).unwrap();
    let (of_sqlite, _, list_of_sqlite) = cost(|_| ()).await;
    let (url, key_prefix) = testing::redis();
    let (of_mariadb, round_trips, list_of_mariadb) = cost(|settings| {
        settings.database.url = testing::mysql_database();
        (settings.shared_state.url, settings.shared_state.key_prefix) = (url, key_prefix);
    })
    .await;
    let to_large =
        texts(&["SELECT chat_group", "SELECT message", "INSERT message", "INSERT group_message", "UPDATE chat_group"]);
    let to_user = texts(&["INSERT inbox", "INSERT message", "INSERT direct_inbox"]);
    // Three members are two and one.
    let to_normal = texts(&[
        "SELECT chat_group",
        "SELECT message",
        "INSERT inbox",
        "INSERT inbox",
        "INSERT message",
        "INSERT other_inbox",
        "INSERT other_inbox",
        "INSERT group_message",
        "UPDATE chat_group",
    ]);
    assert_eq!(of_sqlite, [to_user, to_normal, to_large.clone()]);
    // MariaDB does not return what it counted, and takes all members at once.
    let to_user = texts(&["INSERT inbox", "SELECT inbox", "INSERT message", "INSERT direct_inbox"]);
    let to_normal = texts(&[
        "SELECT chat_group",
        "SELECT message",
        "INSERT inbox",
        "SELECT inbox",
        "INSERT message",
        "INSERT other_inbox",
        "INSERT group_message",
        "UPDATE chat_group",
    ]);
    assert_eq!(of_mariadb, [to_user, to_normal, to_large]);
    // The transaction begins with the first text and is committed with the last one. (Members are not among the tables that are heard.)
    assert_eq!(round_trips, [2, 4, 3]);

    // Which conversations there are, what is kept of them, and their newest messages; nobody is looked up alone.
    let of_list = texts(&[
        "SELECT conversation_setting",
        "SELECT conversation_setting",
        "SELECT conversation_setting",
        "SELECT direct_inbox",
        "SELECT group_message",
        "SELECT message",
        "SELECT read_position",
        "SELECT read_position",
        "SELECT read_position",
    ]);
    let unread = |verb: &str| [format!("{verb} direct_inbox"), format!("{verb} group_message")];
    assert_eq!(list_of_sqlite, sorted([&of_list[..], &unread("WITH")].concat()));
    assert_eq!(list_of_mariadb, sorted([&of_list[..], &unread("SELECT")].concat()));
}
