//! What logic does while what it stands on is away, and after.

use gim_proto::{
    ResultCode,
    connect::{PacketCommand, SendRequest, send_request::Target},
    logic::{PushToUsersRequest, down_item::Item},
};
use prost::Message as _;
use sqlx::{AnyConnection, Connection as _, Executor as _};

use crate::support::{
    Server, backend::ON_SERVERS, business::StubBusiness, conn::Conn, proxy::Proxy, refusal, server_with, soon,
};

/// A database that can be taken away: MariaDB by cutting its connections, SQLite by somebody who locks its file.
enum Outage {
    Cut(Proxy),
    Locked(Option<AnyConnection>),
}

impl Outage {
    async fn begin(&mut self, server: &Server) {
        match self {
            Self::Cut(proxy) => proxy.cut(),
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
            Self::Cut(proxy) => proxy.mend(),
            Self::Locked(held) => held.take().unwrap().close().await.unwrap(),
        }
    }
}

async fn server_and_outage() -> (Server, Outage) {
    let mut url = crate::support::backend::database().url;
    let outage = if ON_SERVERS { Outage::Cut(Proxy::before(&mut url).await) } else { Outage::Locked(None) };
    let change = |settings: &mut gim_logic::LogicSettings| {
        settings.database.url = url;
        settings.database.lock_timeout_ms = 300;
    };
    (server_with(StubBusiness::start().await, change).await, outage)
}

fn push_request(user_ids: &[u64]) -> PushToUsersRequest {
    PushToUsersRequest { user_ids: user_ids.to_vec(), command: 5000, content: b"hello"[..].into(), is_persist: true }
}

#[tokio::test]
async fn a_database_that_is_away_puts_requests_off_connections_stay_and_all_resumes_by_itself() {
    let (server, mut outage) = server_and_outage().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    server.push(&[7], "before").await;
    let Item::Push(_) = conn.next().await else { panic!("no push") };

    outage.begin(&server).await;
    for _ in 0..2 {
        let refused = soon(server.message_int().push_to_users(push_request(&[7]))).await;
        assert_eq!(refusal(refused).0, ResultCode::TryAgainLater);
    }
    let send = SendRequest {
        target: Some(Target::UserId(8)),
        content: b"hi"[..].into(),
        client_msg_id: "a".into(),
        ..SendRequest::default()
    };
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
