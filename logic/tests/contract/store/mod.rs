//! The inbox writer and the repositories.

mod hostile;
mod mixture;
mod numbering;
mod older_data;
mod older_nodes;
mod push_claims;
mod receiver_lists;
mod repositories;
mod retention;
pub mod upgrade;
pub mod walks;
mod writer;

use std::{sync::Arc, time::Duration};

use gim_config::{
    request_shares::RequestShares,
    sql::{Database, DatabaseSettings},
};
use gim_logic::{
    domain::{
        group::{GroupAction, Kind, Member, MemberLimits, Profile},
        message::{Delivery, Message, Sent},
        message_id::MessageIds,
    },
    settings::InboxSettings,
    store::{
        self, Limit, Store, StoreError,
        id_floor::IdFloor,
        upgrade::Upgrade,
        work::{Ack, AckOutcome, GroupOutcome, GroupWork, Post},
        writer::{Numbering, PendingCommit, Writer},
    },
};
use sqlx::{AnyConnection, Connection as _, Executor as _};
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::support::backend;

const DEADLINE: Duration = Duration::from_secs(20);

pub struct StoreHarness {
    data: TempDir,
    pub database: DatabaseSettings,
    pub store: Store,
    writer: Writer,
    task: JoinHandle<()>,
    committed: mpsc::Receiver<Vec<Delivery>>,
    ids: Arc<MessageIds>,
    pub floor: IdFloor,
}

pub async fn harness() -> StoreHarness {
    harness_with(InboxSettings::default()).await
}

async fn harness_with(settings: InboxSettings) -> StoreHarness {
    start(tempfile::tempdir().unwrap(), backend::database(), settings).await
}

async fn start(data: TempDir, database: DatabaseSettings, settings: InboxSettings) -> StoreHarness {
    start_node(1, data, database, settings).await
}

/// The writer of one node among several on a database.
pub async fn start_node(
    number: u16,
    data: TempDir,
    database: DatabaseSettings,
    settings: InboxSettings,
) -> StoreHarness {
    let opened = Database::open(&database, data.path(), "logic.db", &store::migrations()).await;
    let store = Store::new(opened.unwrap());
    Upgrade::of(&store.database).run().await.unwrap();
    let (deliveries, committed) = mpsc::channel(10_000);
    let newest_id = store.inboxes.newest_message_id().await.unwrap();
    let ids = Arc::new(MessageIds::new(number, newest_id));
    let floor = IdFloor::new(ids.clone());
    let numbering = Numbering { floor: floor.clone(), keeps_receivers: true, unresolved: Duration::ZERO };
    let shares = Arc::new(RequestShares::new(0, 1));
    let (writer, task) = Writer::start(&store.database, &settings, shares, numbering, deliveries);
    StoreHarness { data, database, store, writer, task, committed, ids, floor }
}

/// Another process that holds a lock which the writer needs.
pub struct HeldLock(pub AnyConnection);

impl HeldLock {
    pub async fn release(mut self) {
        self.0.execute("ROLLBACK").await.unwrap();
    }
}

impl StoreHarness {
    /// Holds up whoever writes to the inbox of `user_id` (on SQLite, whoever writes), until released.
    pub async fn hold_up(&self, user_id: u64) -> HeldLock {
        let is_embedded = self.database.url.is_empty();
        let file = format!("sqlite:{}", self.data.path().join("logic.db").display());
        let url = if is_embedded { &file } else { &self.database.url };
        let mut connection = AnyConnection::connect(url).await.unwrap();
        if is_embedded {
            connection.execute("BEGIN IMMEDIATE").await.unwrap();
        } else {
            connection.execute("BEGIN").await.unwrap();
            let lock = "INSERT INTO inbox (user_id, seq) VALUES (?, 0) ON DUPLICATE KEY UPDATE seq = seq";
            sqlx::query(lock).bind(user_id.cast_signed()).execute(&mut connection).await.unwrap();
        }
        HeldLock(connection)
    }

    /// Submits posts until one is refused; returns what was taken on, and the refusal.
    async fn fill(&self, post: impl Fn() -> Post) -> (Vec<PendingCommit<Sent>>, StoreError) {
        let mut pending = Vec::new();
        loop {
            match self.writer.submit_post(post()) {
                Ok(taken) => pending.push(taken),
                Err(error) => return (pending, error),
            }
            tokio::task::yield_now().await;
            assert!(pending.len() < 100);
        }
    }

    /// Stops everything, as a clean stop of the service does, and starts again on the same data.
    async fn restart(self) -> StoreHarness {
        self.writer.close();
        self.task.await.unwrap();
        self.store.database.close().await;
        start(self.data, self.database, InboxSettings::default()).await
    }

    pub fn submit_push(&self, user_ids: &[u64]) -> PendingCommit<Sent> {
        self.writer.submit_post(post(0, user_ids, None)).unwrap()
    }

    /// Sends from 7 to 8.
    pub fn submit_content(&self, content: &[u8], key: &str) -> PendingCommit<Sent> {
        let mut post = post(7, &[7, 8], Some(key));
        post.message.content = content.to_vec().into();
        self.writer.submit_post(post).unwrap()
    }

    pub async fn push(&self, user_ids: &[u64]) -> Sent {
        sent(self.submit_push(user_ids)).await
    }

    pub fn submit_send(&self, sender_id: u64, to: u64, key: &str) -> PendingCommit<Sent> {
        let post = post(sender_id, &[sender_id, to], Some(key));
        self.writer.submit_post(post).unwrap()
    }

    /// A new group, as a service makes it.
    async fn make_group(&self, kind: Kind, profile: Profile, members: Vec<Member>) -> u64 {
        let group_id = self.ids.next_id();
        let action = GroupAction::Create { kind, profile, members };
        sent_to_group(self.submit_group_work(group_id, None, action, None)).await;
        group_id
    }

    fn submit_to_group(&self, sender_id: u64, group_id: u64, key: &str) -> PendingCommit<GroupOutcome> {
        self.submit_group_work(group_id, Some(sender_id), GroupAction::Send, Some(key))
    }

    fn submit_group_work(
        &self,
        group_id: u64,
        actor: Option<u64>,
        action: GroupAction,
        key: Option<&str>,
    ) -> PendingCommit<GroupOutcome> {
        let message = Message { group_id, ..post(actor.unwrap_or(0), &[], None).message };
        let work = GroupWork {
            group_id,
            actor,
            action,
            messages: vec![message],
            not_told: Vec::new(),
            limits: MemberLimits { normal: 500, large: 1000 },
            client_msg_id: key.map(str::to_owned),
            origin_device_id: 0,
            request_id: "".into(),
        };
        self.writer.submit_group(work).unwrap()
    }

    async fn ack(&self, user_id: u64, device_id: u64, seq: u64) -> AckOutcome {
        let pending = self.writer.submit_ack(Ack { user_id, device_id, seq }).unwrap();
        pending.committed().await.unwrap()
    }

    pub async fn seqs(&self, user_id: u64) -> Vec<u64> {
        let page = self.store.inboxes.page(user_id, 0, Limit::messages(100_000)).await.unwrap();
        page.into_iter().map(|(seq, _)| seq).collect()
    }
}

/// A member who is called nothing.
fn member(user_id: u64, is_admin: bool) -> Member {
    Member { user_id, is_admin, status: 0, nickname: String::new(), extra: String::new() }
}

fn post(sender_id: u64, user_ids: &[u64], key: Option<&str>) -> Post {
    Post {
        message: Message::unnumbered(1, b"hello"[..].into(), sender_id),
        user_ids: user_ids.to_vec(),
        all_user_ids: Vec::new(),
        conversation: key.and_then(|_| Some((sender_id, *user_ids.last()?))),
        client_msg_id: key.map(str::to_owned),
        is_of_service: false,
        origin_device_id: 0,
        request_id: "".into(),
        is_stored: false,
    }
}

pub async fn sent(pending: PendingCommit<Sent>) -> Sent {
    pending.committed().await.unwrap()
}

async fn sent_to_group(pending: PendingCommit<GroupOutcome>) -> Sent {
    pending.committed().await.unwrap().unwrap()
}
