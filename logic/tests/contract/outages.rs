//! What logic does while what it stands on is away, and after.

use gim_config::testing::Proxy;
use gim_logic::LogicSettings;
use gim_proto::{
    ResultCode,
    connect::{PacketCommand, SendRequest, send_request::Target},
    logic::{PushToUsersRequest, down_item::Item},
};
use prost::Message as _;
use sqlx::{AnyConnection, Connection as _, Executor as _};

use crate::support::{Server, backend::ON_SERVERS, business::StubBusiness, conn::Conn, refusal, server_with, soon};

/// A database that can be taken away: MariaDB by cutting its connections or by answering nothing, SQLite by somebody who
/// locks its file.
enum Outage {
    Cut(Proxy),
    Hung(Proxy),
    Locked(Option<AnyConnection>),
}

impl Outage {
    async fn begin(&mut self, server: &Server) {
        match self {
            Self::Cut(proxy) => proxy.cut(),
            Self::Hung(proxy) => proxy.hang(),
            Self::Locked(held) => {
                let url = format!("sqlite:{}", server.data.path().join("logic.db").display());
                let mut connection = AnyConnection::connect(&url).await.unwrap();
                connection.execute("BEGIN IMMEDIATE").await.unwrap();
                *held = Some(connection);
            }
        }
    }

    async fn end(&mut self) {
        match self {
            Self::Cut(proxy) | Self::Hung(proxy) => proxy.mend(),
            Self::Locked(held) => held.take().unwrap().close().await.unwrap(),
        }
    }
}

async fn server_and_outage(kind: fn(Proxy) -> Outage, change: impl FnOnce(&mut LogicSettings)) -> (Server, Outage) {
    let mut url = crate::support::backend::database().url;
    let outage = if ON_SERVERS { kind(Proxy::before(&mut url).await) } else { Outage::Locked(None) };
    let change = |settings: &mut LogicSettings| {
        settings.database.url = url;
        change(settings);
    };
    (server_with(StubBusiness::start().await, change).await, outage)
}

fn push_request(user_ids: &[u64]) -> PushToUsersRequest {
    PushToUsersRequest {
        user_ids: user_ids.to_vec(),
        command: 5000,
        content: b"hello"[..].into(),
        is_persist: true,
        ..PushToUsersRequest::default()
    }
}

fn send_to(user_id: u64, key: &str) -> SendRequest {
    SendRequest {
        target: Some(Target::UserId(user_id)),
        content: b"hi"[..].into(),
        client_msg_id: key.into(),
        ..SendRequest::default()
    }
}

#[tokio::test]
async fn a_database_that_is_away_puts_requests_off_and_connections_stay() {
    let (server, mut outage) = server_and_outage(Outage::Cut, |settings| settings.database.lock_timeout_ms = 300).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    server.push(&[7], "before").await;
    let Item::Push(_) = conn.next().await else { panic!("no push") };

    outage.begin(&server).await;
    for _ in 0..2 {
        let refused = soon(server.message_int().push_to_users(push_request(&[7]))).await;
        assert_eq!(refusal(refused).0, ResultCode::TryAgainLater);
    }
    let send = send_to(8, "a");
    let reply = conn.packet(7, PacketCommand::PcSend as i32, send.encode_to_vec()).await;
    assert_eq!(reply.code, ResultCode::TryAgainLater.number());
    outage.end().await;

    let resumed = async { while server.message_int().push_to_users(push_request(&[7])).await.is_err() {} };
    soon(resumed).await;
    let Item::Push(push) = conn.next().await else { panic!("no push on the connection that stayed") };
    assert_eq!(push.targets[0].seq, 2, "what was refused left no gap");
    let sent = conn.send_message(7, send).await.unwrap();
    assert!(!sent.duplicate, "what was put off was not stored");
}

#[tokio::test]
async fn a_database_that_hangs_puts_requests_off_in_time_and_all_resumes() {
    let hasty = |settings: &mut LogicSettings| {
        settings.database.statement_timeout_ms = 1_000;
        settings.database.acquire_timeout_ms = 1_000;
        settings.database.lock_timeout_ms = 60_000;
    };
    let (server, mut outage) = server_and_outage(Outage::Hung, hasty).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    conn.sign_in(8, 80, 800).await;
    server.push(&[7], "before").await;
    let Item::Push(_) = conn.next().await else { panic!("no push") };

    outage.begin(&server).await;
    // More than there are connections to the database.
    for number in 0..12 {
        conn.begin_packet(8, PacketCommand::PcSend as i32, send_to(9, &number.to_string()).encode_to_vec()).await;
    }
    for _ in 0..12 {
        assert_eq!(conn.reply().await.code, ResultCode::TryAgainLater.number());
    }
    let refused = soon(server.message_int().push_to_users(push_request(&[7]))).await;
    assert_eq!(refusal(refused).0, ResultCode::TryAgainLater);
    if ON_SERVERS {
        // SQLite's readers go on while its file is locked.
        let refused = conn.try_sign_in(9, 90, 900, "token-9").await;
        assert_eq!(refused.code, ResultCode::TryAgainLater.number());
        let reply = conn.packet(7, PacketCommand::PcSync as i32, Vec::new()).await;
        assert_eq!(reply.code, ResultCode::TryAgainLater.number());
    }
    outage.end().await;

    let resumed = async { while server.message_int().push_to_users(push_request(&[7])).await.is_err() {} };
    soon(resumed).await;
    let Item::Push(push) = conn.next().await else { panic!("no push on the connection that stayed") };
    assert_eq!(push.targets[0].seq, 2, "what was refused left no gap");
    for number in 0..12 {
        let sent = conn.send_message(8, send_to(9, &number.to_string())).await.unwrap();
        assert!(!sent.duplicate, "what was put off was not stored");
    }
}
