//! Where clients are told to connect: by gRPC, by plain HTTP, and by the conn nodes that send them away.

use gim_config::listen::Endpoint;
use gim_proto::{
    LINK_VERSION, ResultCode,
    check::ID_MAX,
    logic::{
        Hello, LocateReply, LocateRequest, NodeAddresses, NodeLoad, Up, down_item::Item,
        gateway_ext_service_client::GatewayExtServiceClient, up_item,
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Server, business::StubBusiness, conn::Conn, refusal, server_with, soon};

async fn server() -> Server {
    let change = |settings: &mut gim_logic::LogicSettings| {
        settings.clients.listen = Endpoint::new("127.0.0.1:0");
        settings.link.lease_ms = 500;
    };
    server_with(StubBusiness::start().await, change).await
}

fn load(connections: u64, is_draining: bool) -> NodeLoad {
    NodeLoad { connections, connections_max: 1000, is_draining }
}

/// A conn node that says where it is.
async fn attach(server: &Server, node: &str, load: NodeLoad) -> Conn {
    let addresses =
        NodeAddresses { tcp: format!("{node}:8002"), ws: format!("ws://{node}/ws"), ..NodeAddresses::default() };
    let hello = Hello {
        version: LINK_VERSION,
        node: node.into(),
        epoch: 1,
        addresses: Some(addresses),
        load: Some(load),
        ..Hello::default()
    };
    Conn::attach_with(server.channel.clone(), Up { hello: Some(hello), items: Vec::new() }).await.unwrap()
}

async fn locate(server: &Server, platform: &str, room_id: u64) -> Result<LocateReply, tonic::Status> {
    let mut client = GatewayExtServiceClient::new(server.channel.clone());
    let request = LocateRequest { platform: platform.into(), room_id };
    Ok(client.locate(request).await?.into_inner())
}

/// Asks until exactly these nodes are offered.
async fn await_offer(server: &Server, expected: &[&str]) {
    let offered = async {
        loop {
            let nodes = locate(server, "", 0).await.unwrap_or_default().nodes;
            let mut names: Vec<String> = nodes.into_iter().map(|node| node.tcp.replace(":8002", "")).collect();
            names.sort();
            if names == expected {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(offered).await;
}

async fn http(server: &Server, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server.logic.clients_address().unwrap()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

async fn get(server: &Server, path: &str) -> (String, String) {
    http(server, &format!("GET {path} HTTP/1.1\r\nHost: gim\r\nConnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn clients_are_told_of_nodes_that_have_room_and_of_no_other() {
    let server = server().await;
    let refused = locate(&server, "", 0).await;
    assert_eq!(refusal(refused).0, ResultCode::TryAgainLater, "nobody is there");
    let one = attach(&server, "conn-1", load(10, false)).await;
    let _two = attach(&server, "conn-2", load(20, false)).await;
    let _full = attach(&server, "conn-3", load(999, false)).await;
    let _draining = attach(&server, "conn-4", load(0, true)).await;
    await_offer(&server, &["conn-1", "conn-2"]).await;
    let reply = locate(&server, "web", 0).await.unwrap();
    assert!(reply.nodes.iter().all(|node| node.tcp.is_empty() && node.ws.starts_with("ws://conn-")), "{reply:?}");
    assert_eq!((reply.heartbeat_s, reply.backoff.unwrap().first_ms), (150, 500));
    let in_room = locate(&server, "", 7).await.unwrap();
    assert_eq!(in_room.nodes[0], locate(&server, "", 7).await.unwrap().nodes[0], "a room has its node");

    one.send(vec![up_item::Item::NodeLoad(load(10, true))]).await;
    await_offer(&server, &["conn-2"]).await;
    one.send(vec![up_item::Item::NodeLoad(load(10, false))]).await;
    await_offer(&server, &["conn-1", "conn-2"]).await;
    drop(one);
    await_offer(&server, &["conn-2"]).await;
}

#[tokio::test]
async fn each_node_is_told_which_others_take_clients() {
    let server = server().await;
    let mut one = attach(&server, "conn-1", load(0, false)).await;
    one.wants_peers = true;
    let two = attach(&server, "conn-2", load(0, false)).await;
    let Item::PeerNodes(peers) = one.next().await else { panic!("no peers") };
    assert_eq!(peers.nodes.iter().map(|node| node.tcp.as_str()).collect::<Vec<_>>(), ["conn-2:8002"]);
    two.send(vec![up_item::Item::NodeLoad(load(1, true))]).await;
    let Item::PeerNodes(peers) = one.next().await else { panic!("no peers") };
    assert!(peers.nodes.is_empty(), "it sends its own clients away");
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused_by_its_field() {
    let server = server().await;
    let _one = attach(&server, "conn-1", load(0, false)).await;
    await_offer(&server, &["conn-1"]).await;
    let cases = [
        ("x".repeat(33), 0, ResultCode::TooLarge, "platform: has 33 bytes"),
        ("a b".into(), 0, ResultCode::BadRequest, "platform: must consist of"),
        (String::new(), ID_MAX + 1, ResultCode::BadRequest, "room_id: must be from 1 to"),
    ];
    for (platform, room_id, code, text) in cases {
        let (refused, problem) = refusal(locate(&server, &platform, room_id).await);
        assert_eq!(refused, code);
        assert!(problem.starts_with(text), "{problem}");
    }
    for (path, status, text) in [
        ("/locate?room_id=x", "400", "10001"),
        ("/locate?platform=a%20b", "400", "platform: must consist of"),
        ("/locate?room_id=18446744073709551615", "400", "room_id: must be from 1 to"),
        ("/metrics", "404", ""),
    ] {
        let (head, body) = get(&server, path).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")) && body.contains(text), "{path}: {head} {body}");
    }
    let (head, _) =
        http(&server, "POST /locate HTTP/1.1\r\nHost: gim\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 415"), "{head}");
}

#[tokio::test]
async fn the_same_is_answered_over_plain_http() {
    let server = server().await;
    let (head, body) = get(&server, "/locate").await;
    assert!(head.starts_with("HTTP/1.1 503") && body.contains("10004"), "{head} {body}");
    let _one = attach(&server, "conn-1", load(250, false)).await;
    await_offer(&server, &["conn-1"]).await;
    let (head, body) = get(&server, "/locate?platform=web&room_id=5").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("access-control-allow-origin: *"), "{head}");
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["nodes"][0]["ws"], "ws://conn-1/ws");
    assert_eq!(answer["nodes"][0]["weight"], 750);
    assert_eq!((&answer["heartbeat_s"], &answer["backoff"]["max_ms"]), (&150.into(), &30_000.into()));
    for path in ["/locate/?platform=web", "/locate?_=1700000000", "/locate?platform=web&room_id=5&version=2.1&t"] {
        let (head, same) = get(&server, path).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head} {same}");
    }
    for path in ["/locate", "/openapi.json"] {
        let asked = format!("HEAD {path} HTTP/1.1\r\nHost: gim\r\nConnection: close\r\n\r\n");
        let (head, body) = http(&server, &asked).await;
        assert!(head.starts_with("HTTP/1.1 200") && body.is_empty(), "{path}: {head} {body}");
    }
}
