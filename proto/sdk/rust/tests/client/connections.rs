//! Servers that send garbage, close at once, never answer; tokens that run out; an app that ends.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gim_client::{About, Client, Event, Options, OptionsError, State, Target, local_code, text_of};
use gim_proto::connect::{Message, Packet, PacketCommand, Reply, SendReply, SendRequest, SignInRequest};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::stand_in::{accept, kind_server, listen, options, started, until, until_state, within};

fn is_error_about(event: &Event, about: About) -> bool {
    matches!(event, Event::Error { about: found, .. } if *found == about)
}

async fn until_error(events: &mut gim_client::Events, about: About) -> String {
    until(events, &about.to_string(), |event| match event {
        Event::Error { about: found, message } if found == about => Some(message),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_message_a_send_and_a_call_over_one_connection() {
    let (server, url) = kind_server().await;
    server.lock().await.store_in_inbox("before".into(), false);
    let (client, mut events) = started(options(&url)).await;
    let text = until(&mut events, "the message", |event| match event {
        Event::Message(message) => Some(text_of(&message)),
        _ => None,
    });
    assert_eq!(text.await, "before");
    let id = client.send(Target::User(8), "hello").await.unwrap();
    let sent =
        until(&mut events, "the send", |event| if let Event::Sent(sent) = event { Some(sent) } else { None }).await;
    assert_eq!((&sent.client_msg_id, sent.seq, sent.is_duplicate), (&id, 2, false));
    let own = until(&mut events, "the own message", |event| match event {
        Event::Message(message) => Some(message),
        _ => None,
    });
    let own = own.await;
    assert!(own.is_own && own.client_msg_id == id && own.seq == 2 && text_of(&own) == "hello", "{own:?}");
    let refused = client.request(1000, "a question").await.unwrap_err();
    assert_eq!(refused.code, 10005, "the stand-in has no backend");
    assert_eq!(client.state(), State::Live);
}

#[tokio::test]
async fn garbage_ends_the_connection_and_the_client_comes_back() {
    let (listener, url) = listen().await;
    let (client, mut events) = started(options(&url)).await;
    // No frame; a frame that is no packet; a packet whose message is none.
    let message =
        Packet { command: PacketCommand::PcMessage as i32, content: b"\0garbage"[..].into(), ..Packet::default() };
    for garbage in [vec![0xff; 16], vec![3, 0xff, 0xff, 0xff], message.encode_length_delimited_to_vec()] {
        let mut peer = accept(&listener).await;
        peer.let_in().await;
        until_state(&mut events, "it is live", |state| *state == State::Live).await;
        peer.stream.write_all(&garbage).await.unwrap();
        until_error(&mut events, About::Packet).await;
        until_state(&mut events, "it waits", |state| matches!(state, State::Waiting { .. })).await;
        client.nudge().await;
    }
    accept(&listener).await.let_in().await;
    until_state(&mut events, "it is live", |state| *state == State::Live).await;
}

#[tokio::test]
async fn a_server_that_closes_at_once_is_tried_again() {
    let (listener, url) = listen().await;
    let (client, mut events) = started(options(&url)).await;
    for _ in 0..3 {
        drop(accept(&listener).await);
        until_state(&mut events, "it waits", |state| matches!(state, State::Waiting { .. })).await;
        client.nudge().await;
    }
    accept(&listener).await.let_in().await;
    until_state(&mut events, "it is live", |state| *state == State::Live).await;
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_and_tried_again() {
    let (listener, url) = listen().await;
    let (_client, mut events) = started(options(&url).answer_timeout(Duration::from_millis(100))).await;
    let mut silent = accept(&listener).await;
    until_error(&mut events, About::Answer).await;
    silent.receive_the(PacketCommand::PcSignIn).await;
    assert_eq!(within("it is closed", silent.receive()).await, None);
    // One that dies after the sign-in is noticed as well.
    let mut dying = accept(&listener).await;
    dying.let_in().await;
    until_error(&mut events, About::Answer).await;
    accept(&listener).await;
}

#[tokio::test]
async fn nobody_listens_and_the_reason_is_told() {
    let (listener, url) = listen().await;
    drop(listener);
    let (_client, mut events) = started(options(&url)).await;
    let message = until_error(&mut events, About::Connection).await;
    assert!(message.contains("refused"), "{message}");
}

#[tokio::test]
async fn a_token_that_runs_out_is_followed_by_a_new_one_and_the_send_arrives() {
    let (listener, url) = listen().await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = asked.clone();
    let options = options(&url).get_token(move |request| {
        let mut asked = noted.lock().unwrap();
        asked.push(request.was_refused);
        let token = format!("token {}", asked.len());
        async move { Ok(Some(token)) }
    });
    let (client, mut events) = started(options).await;
    let mut peer = accept(&listener).await;
    peer.let_in().await;
    let id = client.send(Target::User(8), "hello").await.unwrap();
    let send = peer.receive_the(PacketCommand::PcSend).await;
    peer.answer(&send, Reply { code: 10000, ..Reply::default() }).await;

    let mut peer = accept(&listener).await;
    let sign_in = peer.receive_the(PacketCommand::PcSignIn).await;
    assert_eq!(SignInRequest::decode(sign_in.content.clone()).unwrap().token, "token 2");
    peer.answer(&sign_in, Reply::default()).await;
    let send = peer.receive_the(PacketCommand::PcSend).await;
    assert_eq!(SendRequest::decode(send.content.clone()).unwrap().client_msg_id, id);
    let reply = SendReply { message_id: 500, seq: 1, ..SendReply::default() };
    peer.answer(&send, Reply { data: reply.encode_to_vec().into(), ..Reply::default() }).await;
    let sent =
        until(&mut events, "the send", |event| if let Event::Sent(sent) = event { Some(sent) } else { None }).await;
    assert_eq!((sent.client_msg_id, sent.message_id), (id, 500));
    assert_eq!(*asked.lock().unwrap(), [false, true]);
}

#[tokio::test]
async fn a_token_provider_that_fails_or_panics_is_asked_again() {
    let (listener, url) = listen().await;
    let is_broken = Arc::new(AtomicBool::new(true));
    let asked = is_broken.clone();
    let options = options(&url).get_token(move |_| {
        let was_broken = asked.swap(false, Ordering::Relaxed);
        async move {
            assert!(!was_broken, "a mistake of the app");
            Err("the app's backend is away".into())
        }
    });
    let (client, mut events) = started(options).await;
    assert_eq!(until_error(&mut events, About::Token).await, "get_token panicked");
    until_state(&mut events, "it waits", |state| matches!(state, State::Waiting { .. })).await;
    client.nudge().await;
    assert_eq!(until_error(&mut events, About::Token).await, "the app's backend is away");
    drop(listener);
}

#[tokio::test]
async fn without_a_token_it_stays_away() {
    let (_listener, url) = listen().await;
    let (client, mut events) = started(options(&url).get_token(|_| async { Ok(None) })).await;
    until_state(&mut events, "it ends", |state| matches!(state, State::Ended { .. })).await;
    assert!(matches!(client.state(), State::Ended { .. }));
}

#[tokio::test]
async fn whoever_drops_the_events_ends_everything() {
    let (listener, url) = listen().await;
    let (client, events) = started(options(&url)).await;
    let mut peer = accept(&listener).await;
    peer.let_in().await;
    let question = tokio::spawn({
        let client = client.clone();
        async move { client.request(1000, "a question").await }
    });
    within("the question", async { while peer.receive().await.is_some_and(|packet| packet.command != 1000) {} }).await;
    drop(events);
    assert_eq!(within("it is closed", peer.receive()).await, None);
    let refused = within("the answer", question).await.unwrap().unwrap_err();
    assert_eq!(refused.code, local_code::STOPPED);
    assert_eq!(client.send(Target::User(8), "late").await.unwrap_err().code, local_code::STOPPED);
}

#[tokio::test]
async fn stopped_it_disconnects_and_may_be_started_again() {
    let (listener, url) = listen().await;
    let (client, mut events) = started(options(&url)).await;
    let mut peer = accept(&listener).await;
    peer.let_in().await;
    until_state(&mut events, "it is live", |state| *state == State::Live).await;
    client.stop().await;
    until_state(&mut events, "it is idle", |state| *state == State::Idle).await;
    within("it is closed", async { while peer.receive().await.is_some() {} }).await;
    client.start().await;
    accept(&listener).await.let_in().await;
    until_state(&mut events, "it is live", |state| *state == State::Live).await;
}

#[tokio::test]
async fn a_web_socket_that_is_refused_or_none_is_told() {
    let (listener, url) = listen().await;
    let url = format!("{}/ws", url.replace("tcp:", "ws:"));
    let (client, mut events) = started(options(&url)).await;
    for (answer, expected) in [
        (&b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..], "HTTP status 503"),
        (b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n", "its answer is to another request"),
        (b"\xff\xfe garbage\r\n\r\n", "its answer is no HTTP"),
    ] {
        let mut peer = accept(&listener).await;
        let mut request = [0; 64];
        peer.stream.read_exact(&mut request).await.unwrap();
        assert!(request.starts_with(b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:"));
        peer.stream.write_all(answer).await.unwrap();
        let message = until_error(&mut events, About::Connection).await;
        assert!(message.ends_with(expected), "{message}");
        until_state(&mut events, "it waits", |state| matches!(state, State::Waiting { .. })).await;
        client.nudge().await;
    }
}

#[tokio::test]
async fn locate_is_asked_where_to_connect() {
    let (listener, url) = listen().await;
    let (locate, locate_url) = listen().await;
    let options = options("").locate(format!("{}/locate?platform=desktop", locate_url.replace("tcp:", "http:")));
    let (client, mut events) = Client::new(options).unwrap();
    client.enter_room(5, false).await;
    client.start().await;
    let body = format!("{{\"nodes\":[{{\"tcp\":\"{}\"}}],\"heartbeat_s\":60}}", url.replace("tcp://", ""));
    for (status, body) in [("503 Service Unavailable", "busy"), ("200 OK", "{\"nodes\":7}"), ("200 OK", &body)] {
        let mut peer = accept(&locate).await;
        let mut request = [0; 52];
        peer.stream.read_exact(&mut request).await.unwrap();
        assert!(request.starts_with(b"GET /locate?platform=desktop&room_id=5 HTTP/1.1\r\n"));
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        peer.stream.write_all(answer.as_bytes()).await.unwrap();
        if status.starts_with("200") && body.contains("heartbeat_s") {
            break;
        }
        until_error(&mut events, About::Locate).await;
        until_state(&mut events, "it waits", |state| matches!(state, State::Waiting { .. })).await;
        client.nudge().await;
    }
    let mut peer = accept(&listener).await;
    let sign_in = peer.receive_the(PacketCommand::PcSignIn).await;
    assert_eq!(SignInRequest::decode(sign_in.content).unwrap().heartbeat_s, 60);
}

#[tokio::test]
async fn a_goodbye_says_why_it_stays_away() {
    let (listener, url) = listen().await;
    let (client, mut events) = started(options(&url)).await;
    let mut peer = accept(&listener).await;
    peer.let_in().await;
    let notice = gim_proto::connect::CloseNotice { reason: 5, ..Default::default() };
    let content = notice.encode_to_vec().into();
    peer.send(&Packet { command: PacketCommand::PcClose as i32, content, ..Packet::default() }).await;
    until_state(&mut events, "it was replaced", |state| {
        matches!(state, State::Ended { reason: gim_client::EndReason::Replaced, .. })
    })
    .await;
    // It does not fight who replaced it, also where the network comes back.
    client.nudge().await;
    client.send(Target::User(8), "later").await.unwrap();
    assert!(matches!(client.state(), State::Ended { .. }));
}

#[tokio::test]
async fn a_message_of_60_kib_comes_as_it_was_sent() {
    let (listener, url) = listen().await;
    let (_client, mut events) = started(options(&url)).await;
    let mut peer = accept(&listener).await;
    peer.let_in().await;
    let text = "<b>\u{200b}\u{7}مرحبا 👋</b>".repeat(2000);
    let message = Message { command: 2001, content: text.clone().into(), message_id: 1, ..Message::default() };
    let content = message.encode_to_vec().into();
    peer.send(&Packet { command: PacketCommand::PcMessage as i32, content, ..Packet::default() }).await;
    let found = until(&mut events, "the message", |event| match event {
        Event::Message(message) => Some(text_of(&message)),
        event if is_error_about(&event, About::Packet) => panic!("{event:?}"),
        _ => None,
    });
    assert_eq!(found.await, text);
}

#[test]
fn options_that_lack_something_are_refused() {
    let token = |options: Options| options.get_token(|_| async { Ok(None) });
    let refused = |options| Client::new(options).map(drop).unwrap_err();
    assert_eq!(refused(token(Options::new(0, 1).url("tcp://host"))), OptionsError::Id);
    assert_eq!(refused(token(Options::new(1, u64::MAX).url("tcp://host"))), OptionsError::Id);
    assert_eq!(refused(token(Options::new(1, 1))), OptionsError::Way);
    assert_eq!(refused(Options::new(1, 1).url("tcp://host")), OptionsError::Token);
    assert_eq!(refused(token(Options::new(1, 1).url("tcp://host"))), OptionsError::Runtime);
}
