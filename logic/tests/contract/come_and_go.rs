//! Conn nodes that come back, start anew or die, and a logic that stops.

use gim_config::service::Running as _;
use gim_proto::{
    LINK_VERSION,
    connect::PacketCommand,
    logic::{
        Announce, Hello, LiveConnection, PushResult, PushToUsersRequest, Up, announce::What, down_item::Item, up_item,
    },
};
use prost::Message as _;

use super::link::{online, pushed, room_push, send_request};
use crate::support::{Server, business::StubBusiness, conn::Conn, server, server_with, soon};

#[tokio::test]
async fn a_node_that_comes_back_learns_what_its_connections_missed() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    conn.subscribe(7, 9, 0).await;
    // A newer stream of the same process takes the place of the older one, which ends.
    let mut back = Conn::attach(&server, "conn-1", 1).await;
    conn.ended().await;
    assert_eq!(online(&server, 7).await.len(), 1, "the lease holds");
    server.push(&[7], "seen at once").await;
    assert_eq!(pushed(back.next().await).3, [700]);

    let live = LiveConnection {
        connection_id: 700,
        user_id: 7,
        device_id: 70,
        since_ms: i64::MAX,
        ..LiveConnection::default()
    };
    back.announce(std::slice::from_ref(&live)).await;
    let Item::NewestSeq(answer) = back.next().await else { panic!("no newest seq") };
    assert_eq!((answer.connections[0].connection_id, answer.connections[0].newest_seq), (700, 1));
    // An announced time in the future does not win against a later sign-in.
    let mut other = Conn::attach(&server, "conn-2", 1).await;
    other.sign_in(7, 70, 900).await;
    assert!(matches!(back.next().await, Item::Kick(kick) if kick.connection_id == 700));
    back.announce(&[LiveConnection { since_ms: 1, ..live.clone() }]).await;
    let (mut kicked, mut told) = (false, false);
    while !kicked || !told {
        match back.next().await {
            Item::Kick(kick) => kicked = kick.connection_id == 700,
            Item::NewestSeq(_) => told = true,
            item => panic!("{item:?}"),
        }
    }
    back.send(vec![up_item::Item::Announce(Announce { what: Some(What::RoomId(9)) })]).await;
    back.packet(7, 999, Vec::new()).await;
    server.room_int().push_room(room_push(9, "hello")).await.unwrap();
    assert!(matches!(back.next().await, Item::RoomPush(_)));
}

#[tokio::test]
async fn a_restarted_node_takes_nothing_over_from_its_former_process() {
    let server = server().await;
    let mut old = Conn::attach(&server, "conn-1", 1).await;
    old.sign_in(7, 70, 700).await;
    let attach = || {
        let hello = Hello { version: LINK_VERSION, node: "conn-1".into(), epoch: 2, ..Hello::default() };
        Conn::attach_with(server.channel.clone(), Up { hello: Some(hello), items: Vec::new() })
    };
    let Err(status) = attach().await else { panic!("two processes of one name were let in") };
    assert_eq!(status.code(), tonic::Code::AlreadyExists);
    assert!(status.message().starts_with("the conn node name conn-1 is in use"), "{}", status.message());
    assert_eq!(online(&server, 7).await.len(), 1, "the one that is there stays");
    drop(old);
    let back = async {
        loop {
            if let Ok(conn) = attach().await {
                return conn;
            }
        }
    };
    let mut new = soon(back).await;
    assert!(online(&server, 7).await.is_empty());
    new.sign_in(7, 70, 700).await;
    assert_eq!(online(&server, 7).await.len(), 1);
}

#[tokio::test]
async fn the_devices_of_a_node_that_died_are_offline_when_its_lease_ends() {
    let server = server_with(StubBusiness::start().await, |settings| settings.link.lease_ms = 300).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    drop(conn);
    let offline = async {
        while !online(&server, 7).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    soon(offline).await;
}

#[tokio::test]
async fn connections_that_are_gone_lose_their_routes() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    conn.send(vec![up_item::Item::PushResult(PushResult { gone_connection_ids: vec![700, 12345] })]).await;
    conn.packet(7, 999, Vec::new()).await;
    assert!(online(&server, 7).await.is_empty());
}

#[tokio::test]
async fn a_stop_says_so_first_and_what_is_committed_meanwhile_is_still_pushed() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    let mut messages = server.message_int();
    let Server { logic, channel, .. } = server;
    let stopping = tokio::spawn(logic.stop());
    assert!(matches!(conn.next().await, Item::Leaving(_)));
    let late = Hello { version: LINK_VERSION, node: "conn-2".into(), epoch: 1, ..Hello::default() };
    let refused = Conn::attach_with(channel.clone(), Up { hello: Some(late), items: Vec::new() }).await;
    assert_eq!(refused.err().unwrap().code(), tonic::Code::Unavailable);
    let request = PushToUsersRequest {
        user_ids: vec![7],
        command: 5000,
        content: b"late"[..].into(),
        is_persist: true,
        ..PushToUsersRequest::default()
    };
    messages.push_to_users(request).await.unwrap();
    conn.end_up();
    assert_eq!(pushed(conn.next().await).1, 1);
    conn.ended().await;
    drop((messages, channel));
    soon(stopping).await.unwrap();
}

#[tokio::test]
async fn a_stop_answers_what_is_under_way_and_ends_the_streams() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    for number in 0..20 {
        let content = send_request(8, "hi", &format!("id-{number}")).encode_to_vec();
        conn.begin_packet(7, PacketCommand::PcSend as i32, content).await;
    }
    assert_eq!(conn.reply().await.code, 0);
    let Server { logic, channel, .. } = server;
    drop(channel);
    let stopping = tokio::spawn(logic.stop());
    conn.end_up();
    conn.ended().await;
    soon(stopping).await.unwrap();
}
