//! A webhook that says whether files may be read.

use std::sync::{
    Arc,
    atomic::{AtomicU16, AtomicU64, Ordering::SeqCst},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use gim_config::webhook::Secret;
use tokio::{net::TcpListener, sync::mpsc};

use super::*;
use crate::rpc::stub_webhook::SECRET;

/// A stand-in for a scanner: answers with a status, and hands on what it is asked.
#[derive(Clone)]
struct StubScanner {
    status: Arc<AtomicU16>,
    /// It never answers about files of this length.
    hangs_over_bytes: Arc<AtomicU64>,
    asked: mpsc::UnboundedSender<(String, Value)>,
}

async fn take(State(scanner): State<StubScanner>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).unwrap().to_str().unwrap();
    let (id, timestamp_s) = (header("webhook-id"), header("webhook-timestamp").parse().unwrap());
    assert_eq!(header("webhook-signature"), Secret::new(SECRET).unwrap().signature(id, timestamp_s, &body));
    let status = scanner.status.load(SeqCst);
    let event: Value = serde_json::from_slice(&body).unwrap();
    let hangs = event["data"]["size_bytes"].as_u64() == Some(scanner.hangs_over_bytes.load(SeqCst));
    scanner.asked.send((id.to_owned(), event)).unwrap();
    if hangs {
        std::future::pending::<()>().await;
    }
    StatusCode::from_u16(status).unwrap()
}

async fn start_checked(status: u16) -> (Server, SocketAddr, StubScanner, mpsc::UnboundedReceiver<(String, Value)>) {
    let (asked, calls) = mpsc::unbounded_channel();
    let scanner = StubScanner { status: Arc::new(AtomicU16::new(status)), hangs_over_bytes: Arc::default(), asked };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhook = format!("http://{}/check", listener.local_addr().unwrap());
    let routes = Router::new().route("/check", post(take)).with_state(scanner.clone());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let (server, address) = start_with(|files| {
        files.check_webhook = webhook;
        files.check_webhook_secret = SECRET.into();
        files.check_webhook_timeout_ms = 600_000;
    })
    .await;
    (server, address, scanner, calls)
}

/// Asks what a file is until its state is another one.
async fn settled(address: SocketAddr, phone: &Phone, about: &Value) -> String {
    let path = format!("/files/{}/about", about["file_id"].as_str().unwrap());
    let looked_at = async {
        loop {
            let state = Ask::new("GET", &path).by(phone).send(address).json()["state"].as_str().unwrap().to_owned();
            if state != "unchecked" {
                return state;
            }
            tokio::time::sleep(ASK_INTERVAL).await;
        }
    };
    soon(looked_at).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_after_somebody_has_looked_at_it() {
    let (server, address, scanner, mut calls) = start_checked(503).await;
    let phone = server.sign_in("1").await;
    let about = uploaded(address, &phone, "a.txt", b"hello");
    let url = about["url"].as_str().unwrap();
    assert_eq!(about["state"].as_str(), Some("unchecked"));
    assert!(read(address, url).refusal(503).contains("is being checked"));
    let (id, event) = calls.recv().await.unwrap();
    assert_eq!((event["type"].as_str(), &event["data"]["sha256"]), (Some("file.check"), &about["sha256"]));
    assert_eq!((event["data"]["kind"].as_str(), event["data"]["size_bytes"].as_u64()), (Some("text/plain"), Some(5)));
    assert_eq!(read(address, event["data"]["url"].as_str().unwrap()).body, b"hello", "for whoever checks");
    read(address, url).refusal(503);
    // It is asked again, by the same id, also where something else is asked about.
    scanner.status.store(204, SeqCst);
    uploaded(address, &phone, "b.txt", b"world");
    let again = loop {
        let (id, event) = calls.recv().await.unwrap();
        if event["data"]["sha256"] == about["sha256"] {
            break id;
        }
    };
    assert_eq!((again, settled(address, &phone, &about).await), (id, "good".into()));
    assert_eq!(read(address, url).body, b"hello");
}

/// A scanner that answers at once keeps all calls busy with the database, of which SQLite has one writer.
#[tokio::test(flavor = "multi_thread")]
async fn many_files_are_asked_about_once_each_and_hold_nobody_up() {
    let (server, address, _scanner, mut calls) = start_checked(204).await;
    let mut uploads = Vec::new();
    for user in 1..=4_u32 {
        let phone = server.sign_in(&user.to_string()).await;
        uploads.push(tokio::task::spawn_blocking(move || {
            let bytes = |number: u32| format!("{user} {number}").into_bytes();
            let all: Vec<Value> = (0..40).map(|number| uploaded(address, &phone, "a", &bytes(number))).collect();
            (phone, all)
        }));
    }
    for upload in uploads {
        let (phone, all) = soon(upload).await.unwrap();
        for about in &all {
            assert_eq!(settled(address, &phone, about).await, "good");
        }
    }
    let mut asked = 0;
    while calls.try_recv().is_ok() {
        asked += 1;
    }
    assert_eq!(asked, 160, "none again, as what came of each was noted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_refused_is_gone_and_so_are_its_likes() {
    let (server, address, _scanner, _calls) = start_checked(403).await;
    let phone = server.sign_in("1").await;
    let about = uploaded(address, &phone, "a.txt", b"a virus");
    assert_eq!(settled(address, &phone, &about).await, "refused");
    assert_eq!(read(address, about["url"].as_str().unwrap()).refusal(403), "the file was checked and is refused");
    while kept(&server) != (0, 0) {
        tokio::task::yield_now().await;
    }
    assert_eq!(upload(address, &phone, "b.txt", b"a virus").refusal(403), "the file was checked and is refused");
    assert_eq!(kept(&server), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_over_which_a_scanner_hangs_hold_up_nobody_elses() {
    let (server, address, scanner, mut calls) = start_checked(204).await;
    scanner.hangs_over_bytes.store(7, SeqCst);
    let mut hanging = Vec::new();
    for number in ["1", "2"] {
        let phone = server.sign_in(number).await;
        for count in 0..10 {
            let about = uploaded(address, &phone, "a", format!("{number}: {count:04}").as_bytes());
            hanging.push((phone.clone(), about));
        }
    }
    // Both have as many calls as they get: two in the places for new files, and one in the others.
    soon(async {
        for _ in 0..6 {
            calls.recv().await.unwrap();
        }
    })
    .await;
    let phone = server.sign_in("3").await;
    for count in 0..10 {
        let about = uploaded(address, &phone, "a", format!("of another user, {count}").as_bytes());
        assert_eq!(settled(address, &phone, &about).await, "good");
    }
    for (phone, about) in &hanging {
        let path = format!("/files/{}/about", about["file_id"].as_str().unwrap());
        assert_eq!(Ask::new("GET", &path).by(phone).send(address).json()["state"].as_str(), Some("unchecked"));
    }
}
