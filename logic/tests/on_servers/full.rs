//! A database whose disk is full, and has room again: nobody is told a wrong thing, and logic goes on by itself.
//!
//! MariaDB 10.11 says that a table is full, or tries for longer than a statement may take; and what it cannot roll back for want
//! of room ends it, so that whoever supervises it has to start it again.

use std::collections::{BTreeMap, HashMap};

use gim_config::testing::PrivateServer;
use gim_proto::{
    ResultCode,
    connect::{Message, PacketCommand, SendReply, SendRequest, send_request::Target},
};
use prost::Message as _;

use crate::support::{self, Server, business::StubBusiness, conn::Conn, server_with, soon};

const RECEIVER: u64 = 8;

/// Sends before the disk is full: tables that have grown beyond their first pages grow by many at a time.
const SENDS_BEFORE: u64 = 1_024;

/// Sends that are under way at once, each of another user.
const SENDERS: u64 = 16;

/// Far more than a disk that is full has room for in what was taken of it.
const SENDS_MAX: u64 = 10_000;

/// Message ids by the keys of the sends.
type Acknowledged = BTreeMap<u64, u64>;

struct FullDiskHarness {
    database: PrivateServer,
    server: Server,
    conn: Conn,
    content: Vec<u8>,
    acknowledged: Acknowledged,
}

impl FullDiskHarness {
    async fn start(content_bytes: usize, statement_timeout_ms: u64) -> Self {
        let database = tokio::task::spawn_blocking(PrivateServer::mysql_on_small_disk).await.unwrap();
        let url = format!("{}/gim", database.url);
        let change = |settings: &mut gim_logic::LogicSettings| {
            settings.database.url = url;
            settings.database.statement_timeout_ms = statement_timeout_ms;
        };
        let server = server_with(StubBusiness::start().await, change).await;
        let conn = Conn::attach(&server, "conn-1", 1).await;
        Self { database, server, conn, content: vec![b'x'; content_bytes], acknowledged: Acknowledged::new() }
    }

    /// Sends all at once, and notes what is acknowledged. What is put off is returned, and nothing else may happen.
    async fn send(&mut self, keys: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut asked = HashMap::new();
        for key in keys {
            let request = SendRequest {
                target: Some(Target::UserId(RECEIVER)),
                content: self.content.clone().into(),
                client_msg_id: key.to_string(),
                ..SendRequest::default()
            };
            let sender = 100 + key % SENDERS;
            let request_no =
                self.conn.begin_packet(sender, PacketCommand::PcSend as i32, request.encode_to_vec()).await;
            asked.insert(request_no, key);
        }
        let mut put_off = Vec::new();
        while !asked.is_empty() {
            let reply = self.conn.reply().await;
            let key = asked.remove(&reply.request_no).expect("one answer for each");
            match reply.code {
                0 => drop(self.acknowledged.insert(key, SendReply::decode(reply.data).unwrap().message_id)),
                code => {
                    assert_eq!(code, ResultCode::TryAgainLater.number(), "{}", reply.message);
                    put_off.push(key);
                }
            }
        }
        put_off
    }

    /// Sends until something is put off, twice. The next key is returned as well.
    async fn send_until_full(&mut self) -> (Vec<u64>, u64) {
        self.database.fill_disk();
        for first in (SENDS_BEFORE..SENDS_MAX).step_by(SENDERS as usize) {
            let put_off = self.send(first..first + SENDERS).await;
            let put_off = self.send(put_off).await;
            if !put_off.is_empty() {
                return (put_off, first + SENDERS);
            }
        }
        panic!("the disk is full, and takes everything");
    }

    /// Sends, and what is put off again and again, while somebody supervises the database.
    async fn send_all(&mut self, keys: impl IntoIterator<Item = u64>) {
        let mut left: Vec<u64> = keys.into_iter().collect();
        let sent = async {
            while !left.is_empty() {
                left = self.send(left).await;
                self.database.start_again();
            }
        };
        soon(sent).await;
    }

    /// Asked for until the database answers, while somebody supervises it.
    async fn inbox(&mut self) -> Vec<Message> {
        loop {
            match self.server.try_inbox(RECEIVER).await {
                Ok(messages) => return messages,
                Err(status) => assert_eq!(ResultCode::of_status(&status), ResultCode::TryAgainLater, "{status}"),
            }
            self.database.start_again();
        }
    }

    async fn assert_inbox_is_what_was_acknowledged(&mut self) {
        let inbox = soon(self.inbox()).await;
        let seqs: Vec<u64> = inbox.iter().map(|message| message.seq).collect();
        assert_eq!(seqs, (1..=inbox.len() as u64).collect::<Vec<_>>(), "no gap");
        let mut stored: Vec<u64> = inbox.iter().map(|message| message.message_id).collect();
        let mut acknowledged: Vec<u64> = self.acknowledged.values().copied().collect();
        stored.sort_unstable();
        acknowledged.sort_unstable();
        assert_eq!(stored, acknowledged);
    }

    async fn stop(self) {
        let Self { database: _until_then, server, conn, .. } = self;
        drop(conn);
        support::stop(server).await;
    }
}

#[tokio::test]
async fn a_mariadb_with_a_full_disk_puts_sends_off_until_there_is_room() {
    let mut harness = FullDiskHarness::start(3_000, 10_000).await;
    harness.send_all(0..SENDS_BEFORE).await;
    let (put_off, next) = harness.send_until_full().await;
    harness.database.free_disk();
    harness.send_all(put_off.into_iter().chain(next..next + SENDERS)).await;
    harness.assert_inbox_is_what_was_acknowledged().await;
    harness.stop().await;
}

#[tokio::test]
async fn a_mariadb_that_a_full_disk_ended_keeps_what_was_acknowledged() {
    let mut harness = FullDiskHarness::start(60_000, 1_000).await;
    harness.send_all(0..SENDERS).await;
    let (put_off, next) = harness.send_until_full().await;
    harness.database.kill();
    harness.database.free_disk();
    harness.send_all(put_off.into_iter().chain(next..next + SENDERS)).await;
    harness.assert_inbox_is_what_was_acknowledged().await;
    harness.stop().await;
}
