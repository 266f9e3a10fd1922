//! A file that comes in one request, and how it is read.

use std::io::{Read as _, Write as _};

use ring::digest::{SHA256, digest};

use super::{DOT, http::answer, *};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_back_as_it_was_and_says_what_it_is() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let about = uploaded(address, &phone, "sea%20%26%20sun.bin", &bytes);
    assert_eq!((about["name"].as_str(), about["size_bytes"].as_u64()), (Some("sea & sun.bin"), Some(4_000_000)));
    assert_eq!((about["kind"].as_str(), about["state"].as_str()), (Some("application/octet-stream"), Some("good")));
    let hash: String = digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(about["sha256"].as_str(), Some(hash.as_str()));
    let file = read(address, about["url"].as_str().unwrap());
    assert_eq!((file.status, file.body == bytes), (200, true));
    assert_eq!(file.header("content-type"), "application/octet-stream");
    assert_eq!(file.header("content-disposition"), r#"attachment; filename="sea & sun.bin""#);
    assert_eq!(file.header("x-content-type-options"), "nosniff");
    assert_eq!(file.header("content-security-policy"), "default-src 'none'; sandbox");
    assert!(file.header("cache-control").starts_with("private, max-age="));
    let head = Ask::new("HEAD", about["url"].as_str().unwrap()).send(address);
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "4000000", 0));
    assert_eq!(kept(&server), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_outlives_a_restart_and_so_does_its_url() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let about = uploaded(address, &phone, "a.gif", DOT);
    let server = server.restart().await;
    let address = server.business.files_address().unwrap();
    let file = read(address, about["url"].as_str().unwrap());
    assert_eq!((file.status, file.body.as_slice()), (200, DOT));
    assert_eq!(file.header("content-disposition"), r#"inline; filename="a.gif""#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_file_is_read_by_range() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let about = uploaded(address, &phone, "a.txt", b"0123456789");
    let ask = || Ask::new("GET", about["url"].as_str().unwrap());
    let part = ask().header("range", "bytes=2-5").send(address);
    assert_eq!((part.status, part.body.as_slice()), (206, &b"2345"[..]));
    assert_eq!((part.header("content-range"), part.header("content-length")), ("bytes 2-5/10", "4"));
    let etag = part.header("etag").to_owned();
    let end = ask().header("range", "bytes=-3").header("if-range", &etag).send(address);
    assert_eq!((end.status, end.body.as_slice()), (206, &b"789"[..]));
    let other = ask().header("range", "bytes=2-5").header("if-range", "\"other\"").send(address);
    assert_eq!((other.status, other.body.len()), (200, 10));
    let several = ask().header("range", "bytes=0-1,4-5").send(address);
    assert_eq!((several.status, several.body.len()), (200, 10));
    let beyond = ask().header("range", "bytes=10-").send(address);
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */10"));
    let known = ask().header("if-none-match", &etag).send(address);
    assert_eq!((known.status, known.header("etag"), known.body.len()), (304, etag.as_str(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_bytes_are_kept_once_and_told_of_to_nobody() {
    let (server, address) = start().await;
    let [alice, bob] = [server.sign_in("1").await, server.sign_in("2").await];
    let first = uploaded(address, &alice, "hers.txt", b"the same bytes");
    let second = uploaded(address, &bob, "his.txt", b"the same bytes");
    assert_eq!(first["sha256"], second["sha256"]);
    assert_ne!(first["file_id"], second["file_id"]);
    assert_eq!((second["name"].as_str(), kept(&server)), (Some("his.txt"), (0, 1)));
    let fields = |about: &Value| about.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!((fields(&first), &first["state"]), (fields(&second), &second["state"]), "nothing tells the second");
    for about in [&first, &second] {
        assert_eq!(read(address, about["url"].as_str().unwrap()).body, b"the same bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_were_lost_come_back_with_who_brings_them_again() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let first = uploaded(address, &phone, "a.png", DOT);
    let url = first["url"].as_str().unwrap();
    let contents = server.settings.data_dir.join("files/contents");
    fs::remove_dir_all(&contents).unwrap();
    assert_eq!(read(address, url).status, 500);
    uploaded(address, &phone, "b.png", DOT);
    assert_eq!(read(address, url).body, DOT, "it is the same content");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thumbnail_that_was_lost_comes_back_as_it_is_made_by_then() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let picture = pictures::picture(400, 300);
    let first = uploaded(address, &phone, "a.png", &picture);
    let thumbnail = |about: &Value| read(address, about["thumbnail_url"].as_str().unwrap());
    let before = thumbnail(&first).body;
    // Of another length: as after a change of the settings.
    let contents = server.settings.data_dir.join("files/contents");
    let file_id = first["file_id"].as_str().unwrap();
    let path = contents.join(&file_id[..2]).join(format!("{file_id}.thumbnail"));
    fs::write(&path, b"cut").unwrap();
    let second = uploaded(address, &phone, "b.png", &picture);
    assert_eq!((thumbnail(&first).body == before, thumbnail(&second).body == before), (true, true));
    fs::remove_file(&path).unwrap();
    assert_eq!(thumbnail(&first).status, 500);
    uploaded(address, &phone, "c.png", &picture);
    assert!(thumbnail(&first).body == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_used_again_fits_pages_that_embed_and_that_read() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let about = uploaded(address, &phone, "a.gif", DOT);
    for origin in [None, Some("https://app.example.com")] {
        let ask = Ask::new("GET", about["url"].as_str().unwrap());
        let file = origin.into_iter().fold(ask, |ask, origin| ask.header("origin", origin)).send(address);
        assert_eq!((file.status, file.header("vary")), (200, "origin"), "{origin:?}");
        assert_eq!(file.header("cross-origin-resource-policy"), "cross-origin", "{origin:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_asks_for_a_new_url_by_the_id() {
    let (server, address) = start().await;
    let [alice, bob] = [server.sign_in("1").await, server.sign_in("2").await];
    let about = uploaded(address, &alice, "a.txt", b"hello");
    let path = format!("/files/{}/about", about["file_id"].as_str().unwrap());
    let again = Ask::new("GET", &path).by(&bob).send(address);
    assert_eq!((again.status, again.json()["name"].as_str()), (200, Some("a.txt")));
    assert_eq!(read(address, again.json()["url"].as_str().unwrap()).body, b"hello");
    Ask::new("GET", &path).send(address).refusal(400);
    let stranger = Phone { token: "wrong".into(), ..bob };
    Ask::new("GET", &path).by(&stranger).send(address).refusal(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_each_users_own() {
    let (server, address) = start_with(|files| {
        files.files_per_day_max = 3;
        files.bytes_per_day_max = 1_000;
        files.file_bytes_max = 600;
    })
    .await;
    let [alice, bob] = [server.sign_in("1").await, server.sign_in("2").await];
    assert_eq!(upload(address, &alice, "a", &[b'a'; 601]).refusal(413), "a file may have no more than 600 bytes");
    uploaded(address, &alice, "a", &[b'a'; 600]);
    assert!(upload(address, &alice, "b", &[b'b'; 600]).refusal(429).contains("as many bytes as a day allows"));
    uploaded(address, &alice, "b", &[b'b'; 100]);
    uploaded(address, &alice, "c", &[b'c'; 100]);
    assert!(upload(address, &alice, "d", b"d").refusal(429).contains("as many files as a day allows"));
    uploaded(address, &bob, "a", &[b'a'; 600]);
    assert_eq!(kept(&server), (0, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let (server, address) = start_with(|files| files.uploads_per_user_max = 1).await;
    let phone = server.sign_in("1").await;
    let mut begun = Ask::new("POST", "/files?name=a").by(&phone).length(1_000_000).begin(address);
    begun.write_all(&[b'a'; 200_000]).unwrap();
    while kept(&server).0 == 0 {
        tokio::task::yield_now().await;
    }
    assert!(upload(address, &phone, "b", b"b").refusal(429).contains("too many uploads"));
    drop(begun);
    // As soon as the server sees that it is gone, there is room for another one.
    let taken = async {
        while upload(address, &phone, "b", b"b").status != 201 {
            tokio::time::sleep(ASK_INTERVAL).await;
        }
    };
    soon(taken).await;
    assert_eq!(kept(&server), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_silent_is_ended() {
    let (server, address) = start_with(|files| files.idle_timeout_ms = 300).await;
    let phone = server.sign_in("1").await;
    let mut begun = Ask::new("POST", "/files?name=a").by(&phone).length(10).begin(address);
    let mut nothing = Vec::new();
    begun.read_to_end(&mut nothing).unwrap();
    while kept(&server) != (0, 0) {
        tokio::task::yield_now().await;
    }
    uploaded(address, &phone, "a", b"a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_trickles_is_ended() {
    let (server, address) = start_with(|files| files.idle_timeout_ms = 300).await;
    let phone = server.sign_in("1").await;
    let mut begun = Ask::new("POST", "/files?name=a").by(&phone).length(1_000_000).begin(address);
    begun.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut nothing = [0; 100];
    // A byte now and then is never silence, and far from the least rate.
    let ended = loop {
        if begun.write_all(b"a").is_err() {
            break true;
        }
        match begun.read(&mut nothing) {
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Ok(0) | Err(_) => break true,
            Ok(_) => break false,
        }
    };
    assert!(ended, "it was not answered");
    while kept(&server) != (0, 0) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_almost_full_is_left_to_others() {
    let (server, address) = start_with(|files| files.folder_free_bytes_min = 1 << 50).await;
    let phone = server.sign_in("1").await;
    for _ in 0..2 {
        assert!(upload(address, &phone, "a", b"a").refusal(507).contains("no room for the file"));
    }
    assert_eq!(kept(&server), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_question_is_refused_as_everything_else() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let answer = Ask::new("POST", "/files?name=a&name=b").by(&phone).body(vec![0; 100_000]).send(address);
    assert!(answer.refusal(400).starts_with("name: must be there once"));
    Ask::new("GET", "/files/0123456789abcdef0123456789abcdef?expires=1&expires=2").send(address).refusal(403);
    assert_eq!(kept(&server), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_can_read_by_url_and_upload_nothing() {
    let (server, address) = start_with(|files| files.origins = vec!["https://app.example.com".into()]).await;
    let phone = server.sign_in("1").await;
    let asked = |origin: &str| {
        Ask::new("OPTIONS", "/files")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .send(address)
    };
    let listed = asked("https://app.example.com");
    assert_eq!((listed.status, listed.header("access-control-allow-origin")), (204, "https://app.example.com"));
    assert!(listed.header("access-control-allow-headers").contains("upload-offset"));
    asked("https://evil.test").refusal(403);
    let post = Ask::new("POST", "/files?name=a").by(&phone).header("origin", "https://evil.test").body("a");
    post.send(address).refusal(403);
    assert_eq!(kept(&server), (0, 0));
    let about = uploaded(address, &phone, "a.gif", DOT);
    let file = Ask::new("GET", about["url"].as_str().unwrap()).header("origin", "https://evil.test").send(address);
    assert_eq!((file.status, file.header("access-control-allow-origin")), (200, "https://evil.test"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_a_length_is_taken_to_its_end() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let mut stream =
        Ask::new("PUT", "/files?name=a.txt").by(&phone).header("transfer-encoding", "chunked").begin(address);
    stream.write_all(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n").unwrap();
    let about = answer(stream).json();
    assert_eq!((about["size_bytes"].as_u64(), about["kind"].as_str()), (Some(11), Some("text/plain")));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_uploads_at_once_are_all_stored() {
    const UPLOADS: u8 = 100;
    let (server, address) = start_with(|files| files.uploads_per_user_max = 1_000).await;
    let phone = server.sign_in("1").await;
    let send = |number: u8| {
        let phone = phone.clone();
        std::thread::spawn(move || {
            let about = uploaded(address, &phone, "a", &[number; 100_000]);
            assert!(read(address, about["url"].as_str().unwrap()).body == [number; 100_000]);
        })
    };
    let sending: Vec<_> = (0..UPLOADS).map(send).collect();
    sending.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(kept(&server), (0, UPLOADS.into()));
}
