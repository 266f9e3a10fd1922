//! What nobody should send, and what becomes of it.

use std::time::SystemTime;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::hmac;

use super::{DOT, *};

#[tokio::test(flavor = "multi_thread")]
async fn names_are_only_names() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let name_of = |name: &str| uploaded(address, &phone, name, b"hello")["name"].as_str().unwrap().to_owned();
    assert_eq!(name_of("..%2F..%2Fetc%2Fpasswd"), "passwd");
    assert_eq!(name_of("a%00b%22c%0D%0Ad.txt"), "ab\"cd.txt");
    assert_eq!(name_of("q%26a.txt"), "q&a.txt");
    assert_eq!(name_of(""), "file");
    assert_eq!(name_of(&"%E7%94%BB".repeat(341)).len(), 1_023);
    let about = uploaded(address, &phone, "a%22b%0D%0Aset-cookie%3A%20x%3D1.txt", b"hello");
    let file = read(address, about["url"].as_str().unwrap());
    assert_eq!(file.header("set-cookie"), "");
    assert!(file.header("content-disposition").starts_with("attachment; filename=\"a_bset-cookie: x=1.txt\""));
    let sentence = upload(address, &phone, &"x".repeat(1_025), b"hello").refusal(400);
    assert_eq!(sentence, "name: has more than 1024 bytes");
    assert_eq!(kept(&server), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_file_and_a_condition_are_not_taken_for_a_whole_one() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let put = |name, value| Ask::new("PUT", "/files?name=a").by(&phone).header(name, value).body("hello").send(address);
    assert!(put("content-range", "bytes 0-4/10").refusal(400).contains("begins at /uploads"));
    assert!(put("content-encoding", "gzip").refusal(415).starts_with("content-encoding: "));
    assert!(put("if-match", "\"a\"").refusal(412).starts_with("if-match: "));
    let twice = Ask::new("POST", "/files?name=a&name=b").by(&phone).body("hello").send(address);
    assert_eq!(twice.refusal(400), "name: must be there once at most, as UTF-8 with percent-encoding");
    assert_eq!(kept(&server), (0, 0));
    let about = uploaded(address, &phone, "a", b"hello");
    let get = |tag: &str| Ask::new("GET", about["url"].as_str().unwrap()).header("if-match", tag).send(address);
    let etag = get("*").header("etag").to_owned();
    assert_eq!(get(&etag).status, 200);
    get(&format!("W/{etag}")).refusal(412);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_says_why() {
    let (server, address) = start().await;
    assert_eq!(Ask::new("GET", "/nothing").send(address).refusal(404), "there is nothing at this path");
    let wrong = Ask::new("DELETE", "/files").send(address);
    assert!(wrong.refusal(405).contains("no such method") && wrong.header("allow").contains("POST"));
    let phone = server.sign_in("1").await;
    let about = uploaded(address, &phone, "a", b"hello");
    let beyond = Ask::new("GET", about["url"].as_str().unwrap()).header("range", "bytes=9-").send(address);
    assert_eq!(beyond.header("content-range"), "bytes */5");
    assert_eq!(beyond.refusal(416), "range: begins after the end, the file has 5 bytes");
}

/// RFC 9110, 10.1.1: who asks before sending is told at once, and sends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_whether_to_send_is_refused_before_any_byte_is_asked_for() {
    let (server, address) = start_with(|files| files.file_bytes_max = 100).await;
    let phone = server.sign_in("1").await;
    let expecting = |ask: Ask| http::all(ask.header("expect", "100-continue").begin(address));
    for (status, ask) in [
        ("400", Ask::new("POST", "/files?name=a").length(100)),
        ("413", Ask::new("POST", "/files?name=a").by(&phone).length(101)),
        ("400", Ask::new("POST", "/files?name=a").by(&phone).header("content-range", "bytes 0-9/99").length(10)),
        ("404", Ask::new("POST", "/upload").length(10)),
    ] {
        let answer = expecting(ask);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    let mut taken =
        Ask::new("POST", "/files?name=a").by(&phone).header("expect", "100-continue").length(5).begin(address);
    let mut head = [0; 25];
    std::io::Read::read_exact(&mut taken, &mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 100 Continue\r\n\r\n");
    std::io::Write::write_all(&mut taken, b"hello").unwrap();
    assert_eq!(http::answer(taken).status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bytes_and_a_wrong_hash_are_refused() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    assert_eq!(upload(address, &phone, "a", b"").refusal(400), "a file needs at least one byte");
    let ask =
        |checksum: &str| Ask::new("POST", "/files?name=a").by(&phone).header("upload-checksum", checksum).body("hello");
    assert!(ask("sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=").send(address).refusal(460).contains("other bytes came"));
    assert!(ask("md5 AAAA").send(address).refusal(400).starts_with("upload-checksum: must be"));
    assert_eq!(kept(&server), (0, 0));
    assert_eq!(ask("sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=").send(address).status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_was_changed_reads_nothing() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let [one, other] = [uploaded(address, &phone, "a", b"one"), uploaded(address, &phone, "b", b"other")];
    let url = one["url"].as_str().unwrap();
    let id = |about: &Value| about["file_id"].as_str().unwrap().to_owned();
    let wrong = "this URL is not one that was given away here";
    for changed in [
        url.replace(&id(&one), &id(&other)),
        url.replace("expires=1", "expires=2"),
        url.replace("signature=", "signature=A"),
        url.split_once('?').unwrap().0.to_owned(),
        url.replace("?expires", "/thumbnail?expires"),
        url.replace(&id(&one), "..%2F..%2Fetc%2Fpasswd"),
    ] {
        assert_eq!(read(address, &changed).refusal(403), wrong, "{changed}");
    }
    assert_eq!(read(address, url).status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_has_expired_reads_nothing_until_it_is_asked_for_anew() {
    let secret = "a secret of at least 32 bytes, so that nobody guesses it";
    let (server, address) = start_with(|files| files.url_secret = secret.into()).await;
    let phone = server.sign_in("1").await;
    let about = uploaded(address, &phone, "a", b"hello");
    let file_id = about["file_id"].as_str().unwrap();
    let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    // As the server itself signs.
    let signed = |expires_s: u64| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, format!("file\n{file_id}\n{expires_s}").as_bytes());
        format!("/files/{file_id}?expires={expires_s}&signature={}", BASE64_URL_SAFE_NO_PAD.encode(tag))
    };
    assert_eq!(read(address, &signed(now_s + 1_000)).body, b"hello");
    let expired = read(address, &signed(now_s - 1));
    assert_eq!(expired.refusal(403), "this URL has expired: ask for a new one");
    let again = Ask::new("GET", &format!("/files/{file_id}/about")).by(&phone).send(address).json();
    assert_eq!(read(address, again["url"].as_str().unwrap()).body, b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_run_in_a_browser_is_only_saved() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let files: [(&str, &[u8], &str); 3] = [
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "image/svg+xml"),
        ("a.png", b"<!doctype html><script>alert(1)</script>", "text/html"),
        ("a.jpg", b"hello", "text/plain"),
    ];
    for (name, bytes, kind) in files {
        let about = uploaded(address, &phone, name, bytes);
        assert_eq!(about["kind"].as_str(), Some(kind));
        let file = read(address, about["url"].as_str().unwrap());
        assert!(file.header("content-disposition").starts_with("attachment; "), "{name}");
        assert_eq!(file.header("x-content-type-options"), "nosniff");
        assert!(!file.header("content-type").contains("html") && !file.header("content-type").contains("svg"));
    }
    let shown = uploaded(address, &phone, "a.html", DOT);
    let saved = read(address, &format!("{}&download=1", shown["url"].as_str().unwrap()));
    assert!(saved.header("content-disposition").starts_with("attachment; "), "a client may ask for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_bytes_than_a_file_may_have_are_refused_also_unannounced() {
    let (server, address) = start_with(|files| files.file_bytes_max = 100_000).await;
    let phone = server.sign_in("1").await;
    let announced = upload(address, &phone, "a", &vec![b'a'; 100_001]);
    assert_eq!(announced.refusal(413), "a file may have no more than 100000 bytes");
    let chunk = format!("{:x}\r\n{}\r\n0\r\n\r\n", 100_001, "a".repeat(100_001));
    let mut stream = Ask::new("POST", "/files").by(&phone).header("transfer-encoding", "chunked").begin(address);
    std::io::Write::write_all(&mut stream, chunk.as_bytes()).unwrap();
    assert_eq!(http::answer(stream).refusal(413), "more bytes came than were announced");
    assert_eq!(kept(&server), (0, 0));
}
