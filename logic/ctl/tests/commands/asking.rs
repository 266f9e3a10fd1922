//! What running services are asked.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use gim_config::{
    Readiness,
    admin::{self, AdminSettings},
    listen::Endpoint,
    reload_requests::ReloadOutcome,
};
use gim_proto::{
    client::ClientError,
    connect::{CloseReason, PacketCommand, SubscribeRoomRequest},
    logic::{Group, GroupCreateRequest, GroupMember, MemberType, group_int_service_client::GroupIntServiceClient},
};
use prost::Message as _;
use serde_json::json;
use tempfile::TempDir;
use tonic::Request;

use crate::server::{DEADLINE, Server, TOKEN, done, refusal};

/// How long a node waits for clients that do not close.
const LONGER_THAN_THE_TEST_MS: u64 = 600_000;

#[test]
fn status_tells_what_runs_and_fails_where_something_does_not() {
    let server = Server::start();
    let admins = [8001, 8011, 8021].map(|port| server.address(port));
    let [conn, logic, business] = admins.each_ref().map(String::as_str);
    let said = server.json(&["status", conn, logic, business]);
    let services = said["services"].as_array().unwrap();
    assert!(services.iter().all(|service| service["is_ready"] == true), "{said}");
    let addresses: Vec<_> = services.iter().map(|service| service["admin"].as_str().unwrap()).collect();
    assert_eq!(addresses, [conn, logic, business]);
    // All services of this process share its metrics.
    assert_eq!(services[1]["figures"]["conn nodes"], 1.0, "{said}");
    let nobody = server.address(9);
    let done = server.ctl(&["status", conn, &nobody]);
    assert_eq!((done.code, done.err.as_str()), (1, ""));
    assert!(done.out.contains("nobody answers: Connection refused") && done.out.contains("  ready"), "{}", done.out);
}

#[test]
fn a_reload_tells_what_holds_now_what_waits_and_what_was_refused() {
    let server = Server::start();
    let outcomes = [
        ReloadOutcome { applied: vec!["log.filter".into()], waiting: vec!["node".into()], problem: None },
        ReloadOutcome::default(),
        ReloadOutcome { problem: Some("jwt.keys[0].file: it is gone".into()), ..ReloadOutcome::default() },
        ReloadOutcome { applied: vec!["log.filter".into()], ..ReloadOutcome::default() },
        ReloadOutcome { applied: vec!["log.slow_ms".into()], ..ReloadOutcome::default() },
        ReloadOutcome { applied: vec!["jwt.issuer".into()], ..ReloadOutcome::default() },
    ];
    let address = server.runtime.block_on(async {
        let settings = AdminSettings { listen: Endpoint::new("127.0.0.1:0"), ..AdminSettings::default() };
        let mut admin = admin::start(&settings, &[], Readiness::default()).await.unwrap();
        let address = admin.address().unwrap().to_string();
        tokio::spawn(async move {
            let mut requests = admin.reload_requests().unwrap();
            for outcome in outcomes {
                requests.next().await.send(outcome).unwrap();
            }
            std::future::pending::<()>().await;
        });
        address
    });
    let done = server.ctl(&["reload", &address]);
    assert_eq!(done.out, format!("{address}: applied log.filter; changes that need a restart: node\n"));
    let said = server.json(&["reload", &address]);
    assert_eq!(said["services"][0], json!({"admin": address, "applied": [], "needs_restart": [], "problem": null}));
    let refused = server.ctl(&["reload", &address]);
    assert_eq!((refused.code, refused.err.as_str()), (1, ""));
    assert!(refused.out.contains("what is set stays as it was: jwt.keys[0].file: it is gone"), "{}", refused.out);
    let nobody = refusal(&server.ctl(&["reload", &server.address(9)]));
    assert!(nobody.starts_with("nobody answers at ") && nobody.contains("Connection refused"), "{nobody}");
    let away = server.address(9);
    let some = server.ctl(&["reload", &address, &away, &address]);
    assert_eq!((some.code, some.err.as_str()), (1, ""));
    let lines: Vec<_> = some.out.lines().collect();
    assert_eq!(
        (lines[0], lines[2]),
        (&*format!("{address}: applied log.filter"), &*format!("{address}: applied log.slow_ms"))
    );
    assert!(lines[1].starts_with(&format!("nobody answers at {away}: ")), "{lines:?}");
    let mistyped = refusal(&server.ctl(&["reload", &address, "127.0.0.1"]));
    assert!(mistyped.starts_with("127.0.0.1: "), "{mistyped}");
    for command in ["reload", "status"] {
        let with_scheme = refusal(&server.ctl(&[command, &format!("http://{address}")]));
        assert_eq!(with_scheme, format!("http://{address}: write HOST:PORT, without a scheme"));
    }
    let of_grpc = server.address(8010);
    let elsewhere = refusal(&server.ctl(&["reload", &of_grpc]));
    assert_eq!(elsewhere, format!("{of_grpc}: no admin listener is here: is it the port of [admin] listen?"));
    let next = server.ctl(&["reload", &address]);
    assert_eq!(next.out, format!("{address}: applied jwt.issuer\n"), "nobody was asked where an address is none");
}

#[test]
fn users_are_shown_with_their_devices_and_their_tokens_ended() {
    let server = Server::start();
    let (one, other) = (server.sign_up("+1"), server.sign_up("+2"));
    let mut client = server.connect(&one);
    let [one_id, other_id] = [one.user_id, other.user_id].map(|id| id.to_string());
    let said = server.json(&["users", "get", &one_id, &other_id]);
    let device = &said["users"][0]["devices"][0];
    assert_eq!(
        (&device["device_id"], &device["type"], &device["node"]),
        (&json!(one.device_id), &json!("web"), &json!("conn-1"))
    );
    assert_eq!((&said["users"][1]["is_known"], &said["users"][1]["devices"]), (&json!(true), &json!([])));
    let unknown = server.ctl(&["users", "get", "987654321"]);
    let text = unknown.out;
    assert!(unknown.code == 1 && text.contains("987654321") && text.contains("no such user"), "{text}");
    server.json(&["users", "revoke", &one_id]);
    match client.receive_within(DEADLINE) {
        Err(ClientError::Closed(Some(notice))) => assert_eq!(notice.reason(), CloseReason::CrTokenRevoked),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_group_is_shown_with_its_members() {
    let server = Server::start();
    let users: Vec<u64> = (0..120).map(|number| server.sign_up(&format!("+{number}")).user_id).collect();
    let member = |(index, &user_id): (usize, &u64)| {
        let r#type = if index == 110 { MemberType::MtAdmin } else { MemberType::MtMember };
        GroupMember { user_id, r#type: r#type as i32, nickname: format!("n{index}"), ..GroupMember::default() }
    };
    let members = users.iter().enumerate().map(member).collect();
    let group = Some(Group { name: "Chess\u{1b}[2J".into(), ..Group::default() });
    let mut request = Request::new(GroupCreateRequest { group, members });
    request.metadata_mut().insert("internal_token", TOKEN.parse().unwrap());
    let address = format!("http://{}", server.address(8010));
    let group_id = server.runtime.block_on(async {
        let mut client = GroupIntServiceClient::connect(address).await.unwrap();
        client.create(request).await.unwrap().into_inner().group_id.to_string()
    });
    let said = server.json(&["groups", &group_id]);
    assert_eq!((&said["kind"], &said["member_count"]), (&json!("normal"), &json!(120)));
    let listed = said["members"].as_array().unwrap();
    assert_eq!(listed.len(), 120);
    assert_eq!(listed[110], json!({"user_id": users[110], "type": "admin", "nickname": "n110"}));
    let text = server.ctl(&["groups", &group_id, "--members", "115"]).out;
    assert!(text.ends_with("and 5 more\n") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn rooms_are_counted() {
    let server = Server::start();
    let user = server.sign_up("+1");
    let mut client = server.connect(&user);
    let subscribe = SubscribeRoomRequest { room_id: 7, ..SubscribeRoomRequest::default() };
    let reply = client.request(PacketCommand::PcSubscribeRoom as i32, subscribe.encode_to_vec()).unwrap();
    assert_eq!(reply.code, 0);
    let begun = std::time::Instant::now();
    // conn tells logic once a second.
    while server.json(&["rooms", "7", "8"])["rooms"]
        != json!([{"room_id": 7, "members": 1}, {"room_id": 8, "members": 0}])
    {
        assert!(begun.elapsed() < DEADLINE, "room 7 is never counted");
    }
}

#[test]
fn who_is_kicked_is_told_and_may_come_back() {
    let server = Server::start();
    let user = server.sign_up("+1");
    let mut client = server.connect(&user);
    let user_id = user.user_id.to_string();
    assert_eq!(server.json(&["users", "kick", &user_id, "--device", "12345"])["connections"], 0);
    assert_eq!(server.json(&["users", "kick", &user_id])["connections"], 1);
    match client.receive_within(DEADLINE) {
        Err(ClientError::Closed(Some(notice))) => assert_eq!(notice.reason(), CloseReason::CrKicked),
        other => panic!("{other:?}"),
    }
    server.connect(&user);
}

#[test]
fn a_node_is_listed_and_drained_and_its_clients_are_told() {
    let mut server = Server::start();
    let user = server.sign_up("+1");
    let mut client = server.connect(&user);
    let listed = server.json(&["nodes"]);
    let node = &listed["nodes"][0];
    assert_eq!(
        (&listed["logic_node"], &node["node"], &node["is_draining"]),
        (&json!("logic-1"), &json!("conn-1"), &json!(false))
    );
    assert_eq!(node["tcp"], server.address(8002));
    let nobody = refusal(&server.ctl(&["drain", "conn-9"]));
    assert_eq!(nobody, "no conn node `conn-9` is attached to logic-1: there are conn-1");
    server.stop_conn_when_asked();
    let drained = server.json(&["drain", "conn-1", "--gone-after-s", "1"]);
    assert_eq!(drained["node"], "conn-1");
    match client.receive_within(DEADLINE) {
        Err(ClientError::Closed(Some(notice))) => assert_eq!(notice.reason(), CloseReason::CrServerDraining),
        other => panic!("{other:?}"),
    }
    assert_eq!(server.json(&["nodes"])["nodes"], json!([]));
}

#[test]
fn a_node_whose_link_is_cut_while_it_drains_is_not_told_to_be_gone() {
    let mut server = Server::start_with(TempDir::new().unwrap(), Some(LONGER_THAN_THE_TEST_MS));
    let user = server.sign_up("+1");
    let mut client = server.connect(&user);
    server.stop_conn_when_asked();
    let mut command = server.command(&["drain", "conn-1", "--gone-after-s", "8"]);
    let mut drain = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    match client.receive_within(DEADLINE) {
        Err(ClientError::Closed(Some(notice))) => assert_eq!(notice.reason(), CloseReason::CrServerDraining),
        other => panic!("{other:?}"),
    }
    let begun = Instant::now();
    let is_listed = || server.json(&["nodes"])["nodes"] != json!([]);
    server.wire().cut();
    while is_listed() {
        assert!(begun.elapsed() < DEADLINE, "the link is never cut");
    }
    // For as long as the command asks several times.
    let missing = Instant::now();
    while missing.elapsed() < Duration::from_secs(1) {
        assert!(!is_listed());
    }
    server.wire().mend();
    while !is_listed() {
        assert!(begun.elapsed() < DEADLINE, "the node never comes back");
    }
    assert!(drain.try_wait().unwrap().is_none(), "it said that the node is gone");
    drop(client);
    let told = done(drain.wait_with_output().unwrap());
    assert!(told.code == 0 && told.out.starts_with("conn-1 is gone after "), "{}{}", told.out, told.err);
}
