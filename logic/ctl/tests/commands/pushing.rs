//! A message to many, stopped and gone on with.

use std::{fs, process::Stdio, time::Instant};

use gim_proto::connect::{Message, PacketCommand};
use prost::Message as _;
use serde_json::json;

use crate::server::{DEADLINE, Server, TOKEN, ctl, refusal};

#[test]
fn a_push_that_is_killed_goes_on_and_nobody_gets_it_twice() {
    let server = Server::start();
    let (first, last) = (server.sign_up("+1"), server.sign_up("+2"));
    let mut clients = [server.connect(&first), server.connect(&last)];
    let list = server.folder.path().join("users");
    // Users whom nobody knows have an inbox all the same.
    let others = 1_000_001..1_000_399u64;
    let ids: Vec<_> =
        [first.user_id].into_iter().chain(others).chain([last.user_id]).map(|id| id.to_string()).collect();
    fs::write(&list, ids.join("\n")).unwrap();
    let list = list.to_str().unwrap();
    let journal = format!("{list}.pushed");
    let push = ["push", "--users", list, "--command", "2001", "--content", "news", "--batch", "10"];
    let mut child = ctl(&[&push[..], &["--rate", "50"]].concat())
        .env("GIM_CTL_LOGIC", format!("http://{}", server.address(8010)))
        .env("GIM_CTL_INTERNAL_TOKEN", TOKEN)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while fs::read_to_string(&journal).map_or(0, |text| text.lines().count()) < 3 {
        assert!(begun.elapsed() < DEADLINE, "two batches go out");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // As if it had been killed while it noted its last batch.
    let text = fs::read_to_string(&journal).unwrap();
    let cut = text.trim_end().rfind('\n').unwrap();
    fs::write(&journal, &text[..cut + 2]).unwrap();
    let said = server.json(&[&push[..], &["--rate", "100000"]].concat());
    assert_eq!(said["users"], 400);
    assert!(said["pushed_before"].as_u64().unwrap() > 0, "{said}");
    let again = server.json(&push);
    assert_eq!(again, json!({"users": 400, "pushed_now": 0, "pushed_before": 400}));
    let told = server.ctl(&push).out;
    assert!(told.starts_with("nothing was pushed: 400 users have it by an earlier run; "), "{told}");
    for client in &mut clients {
        let packet = client.receive().unwrap();
        let message = Message::decode(packet.content).unwrap();
        assert_eq!(
            (packet.command, message.seq, &message.content[..]),
            (PacketCommand::PcMessage as i32, 1, &b"news"[..])
        );
        assert_eq!(client.heartbeat().unwrap(), 1, "the inbox has one message");
    }
}

#[test]
fn a_list_with_a_bad_line_and_another_push_are_refused_whole() {
    let server = Server::start();
    let list = server.folder.path().join("users");
    fs::write(&list, "1\ntwo\n3\n").unwrap();
    let list = list.to_str().unwrap();
    let push = |content| server.ctl(&["push", "--users", list, "--command", "2001", "--content", content]);
    let said = refusal(&push("a"));
    assert!(said.ends_with("1 lines hold no user id: line 2 (`two`); nothing was pushed"), "{said}");
    assert!(!fs::exists(format!("{list}.pushed")).unwrap());
    fs::write(list, "1\n3\n").unwrap();
    assert_eq!(push("a").code, 0);
    let said = refusal(&push("b"));
    assert!(said.contains("is of another push (other users, content or --batch)"), "{said}");
}

#[test]
fn what_logic_refuses_ends_a_push_with_how_many_have_it() {
    let server = Server::start();
    let list = server.folder.path().join("users");
    fs::write(&list, "1\n").unwrap();
    let content = server.folder.path().join("content");
    fs::write(&content, vec![b'x'; 100_000]).unwrap();
    let [list, content] = [&list, &content].map(|path| path.to_str().unwrap());
    let said = refusal(&server.ctl(&["push", "--users", list, "--command", "2001", "--content-file", content]));
    assert!(said.contains(": content: has 100000 bytes, at most 61440 are allowed; "), "{said}");
    assert!(said.ends_with("0 of 1 users have it, and the same command goes on from there"), "{said}");
}
