//! Uploads that go on where they broke off, by tus 1.0.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use super::*;

const OFFSET_BYTES: &str = "application/offset+octet-stream";

fn ask(method: &'static str, target: &str, phone: &Phone) -> Ask {
    Ask::new(method, target).by(phone).header("tus-resumable", "1.0.0")
}

/// What is said of an upload: the name "sea.bin", and other things.
const METADATA: &str = "filename c2VhLmJpbg==,filetype YQ==, is_confidential";

/// Begins an upload; its URL.
#[track_caller]
pub fn begin(address: SocketAddr, phone: &Phone, length: usize) -> String {
    let ask =
        ask("POST", "/uploads", phone).header("upload-length", length).header("upload-metadata", METADATA).body("");
    let answer = ask.send(address);
    assert_eq!((answer.status, answer.header("tus-resumable")), (201, "1.0.0"));
    assert!(answer.header("upload-expires").ends_with(" GMT"));
    answer.header("location").to_owned()
}

pub fn patch(url: &str, phone: &Phone, offset: usize) -> Ask {
    ask("PATCH", url, phone).header("upload-offset", offset).header("content-type", OFFSET_BYTES)
}

#[track_caller]
pub fn offset(address: SocketAddr, url: &str, phone: &Phone) -> usize {
    let answer = ask("HEAD", url, phone).send(address);
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
    answer.header("upload-offset").parse().unwrap()
}

/// Waits until so many bytes of uploads are in the folder.
async fn until(server: &Server, holds: impl Fn(u64) -> bool) {
    let root = server.settings.data_dir.join("files/uploads");
    // A file may go while they are looked at.
    let bytes =
        || fs::read_dir(&root).unwrap().filter_map(|entry| entry.unwrap().metadata().ok()).map(|file| file.len());
    let look = async {
        while !holds(bytes().sum()) {
            tokio::task::yield_now().await;
        }
    };
    soon(look).await;
}

/// What the upload became.
#[track_caller]
pub fn file(address: SocketAddr, url: &str, phone: &Phone) -> Vec<u8> {
    let file_id = url.rsplit('/').next().unwrap();
    let about = Ask::new("GET", &format!("/files/{file_id}/about")).by(phone).send(address).json();
    assert_eq!(about["name"].as_str(), Some("sea.bin"));
    read(address, about["url"].as_str().unwrap()).body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_says_what_it_understands() {
    let (server, address) = start().await;
    let answer = Ask::new("OPTIONS", "/uploads").send(address);
    assert_eq!((answer.status, answer.header("tus-version")), (204, "1.0.0"));
    assert_eq!(answer.header("tus-extension"), "creation,expiration,checksum,termination");
    assert_eq!(answer.header("tus-checksum-algorithm"), "sha1,sha256,sha512");
    assert_eq!(answer.header("tus-max-size"), "1073741824");
    let phone = server.sign_in("1").await;
    let other =
        Ask::new("POST", "/uploads").by(&phone).header("tus-resumable", "0.2.2").header("upload-length", 5).body("");
    assert_eq!((other.send(address).status, other.send(address).header("tus-version")), (412, "1.0.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_after_a_break_and_a_restart() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let url = begin(address, &phone, bytes.len());
    assert_eq!(offset(address, &url, &phone), 0);
    let first = patch(&url, &phone, 0).body(&bytes[..100_000]).send(address);
    assert_eq!((first.status, first.header("upload-offset")), (204, "100000"));
    // A connection that ends in the middle of a request, of which a part has come.
    let mut broken = patch(&url, &phone, 100_000).length(300_000).begin(address);
    broken.write_all(&bytes[100_000..250_000]).unwrap();
    until(&server, |staged_bytes| staged_bytes > 100_000).await;
    drop(broken);
    let left = async {
        loop {
            let answer = ask("HEAD", &url, &phone).send(address);
            if answer.status == 200 {
                break answer.header("upload-offset").parse::<usize>().unwrap();
            }
            assert_eq!(answer.status, 423, "the writer is still there");
            tokio::time::sleep(ASK_INTERVAL).await;
        }
    };
    let at = soon(left).await;
    assert!((100_001..=250_000).contains(&at), "{at}");
    let server = server.restart().await;
    let address = server.business.files_address().unwrap();
    assert_eq!(offset(address, &url, &phone), at);
    let last = patch(&url, &phone, at).body(&bytes[at..]).send(address);
    assert_eq!((last.status, last.header("upload-offset")), (204, "400000"));
    assert_eq!(offset(address, &url, &phone), 400_000);
    assert!(file(address, &url, &phone) == bytes);
    assert_eq!(kept(&server), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_an_upload_is_told_as_it_was_said() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let url = begin(address, &phone, 5);
    let told = |url: &str| {
        let answer = ask("HEAD", url, &phone).send(address);
        (answer.status, answer.header("upload-metadata").to_owned())
    };
    assert_eq!(told(&url), (200, METADATA.to_owned()));
    assert_eq!(patch(&url, &phone, 0).body("hello").send(address).status, 204);
    assert_eq!(told(&url), (200, METADATA.to_owned()), "it is a file");
    let create = || ask("POST", "/uploads", &phone).header("upload-length", 5).body("");
    let unsaid = create().send(address);
    assert_eq!(told(unsaid.header("location")), (200, String::new()));
    let long = create().header("upload-metadata", "a".repeat(8_193)).send(address);
    assert_eq!(long.refusal(400), "upload-metadata: has more than 8192 bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_knows_only_post_names_the_method_in_a_header() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let by_post = |method: &str, url: &str| ask("POST", url, &phone).header("x-http-method-override", method);
    assert_eq!(by_post("OPTIONS", "/uploads").body("").send(address).header("tus-version"), "1.0.0");
    let url = begin(address, &phone, 10);
    let part = by_post("PATCH", &url).header("upload-offset", 0).header("content-type", OFFSET_BYTES);
    assert_eq!(part.body("hello").send(address).status, 204);
    let head = by_post("HEAD", &url).body("").send(address);
    assert_eq!((head.status, head.header("upload-offset"), head.body.len()), (200, "5", 0));
    assert_eq!(by_post("DELETE", &url).body("").send(address).status, 204);
    assert_eq!(ask("HEAD", &url, &phone).send(address).status, 404);
    by_post("a method", &url).body("").send(address).refusal(400);
    assert_eq!(by_post("BREW", &url).body("").send(address).status, 405);
    // Whoever says nothing of the kind is taken at the request's word.
    assert_eq!(ask("POST", &url, &phone).body("").send(address).status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_offset_or_checksum_changes_nothing() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let url = begin(address, &phone, 10);
    assert_eq!(patch(&url, &phone, 0).body("hello").send(address).status, 204);
    for wrong in [0, 4, 6, 10] {
        assert!(patch(&url, &phone, wrong).body("world").send(address).refusal(409).starts_with("upload-offset: "));
    }
    let checked =
        |checksum: &str| patch(&url, &phone, 5).header("upload-checksum", checksum).body("world").send(address);
    checked("sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=").refusal(460);
    checked("crc32 AAAA").refusal(400);
    assert_eq!(offset(address, &url, &phone), 5);
    patch(&url, &phone, 5).body("world!").send(address).refusal(413);
    ask("PATCH", &url, &phone).header("upload-offset", 5).body("world").send(address).refusal(415);
    ask("PATCH", &url, &phone).header("content-type", OFFSET_BYTES).body("world").send(address).refusal(400);
    assert_eq!(checked("sha1 fCEUM/AgcVl3Qeb/Wo6jR4mrv0M=").status, 204);
    assert_eq!(file(address, &url, &phone), b"helloworld");
    let again = patch(&url, &phone, 10).body("").send(address);
    assert_eq!((again.status, again.header("upload-offset")), (204, "10"), "there was nothing to add");
    patch(&url, &phone, 10).body("!").send(address).refusal(409);
    patch(&url, &phone, 9).body("").send(address).refusal(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_has_one_writer_at_a_time() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let url = begin(address, &phone, 200_000);
    let mut first = patch(&url, &phone, 0).length(200_000).begin(address);
    first.write_all(&[b'a'; 100_000]).unwrap();
    until(&server, |staged_bytes| staged_bytes > 0).await;
    for method in ["PATCH", "HEAD", "DELETE"] {
        let second = ask(method, &url, &phone).header("upload-offset", 0).header("content-type", OFFSET_BYTES);
        let answer = second.body("").send(address);
        assert_eq!((answer.status, answer.header("retry-after")), (423, "1"), "{method}");
    }
    first.write_all(&[b'a'; 100_000]).unwrap();
    assert_eq!(http::answer(first).status, 204);
    assert!(file(address, &url, &phone) == [b'a'; 200_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_another_process_writes_to_is_left_alone() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let url = begin(address, &phone, 10);
    let file = server.settings.data_dir.join("files/uploads").join(url.rsplit('/').next().unwrap());
    let mut other = Command::new("flock")
        .arg(file)
        .args(["sh", "-c", "echo locked && read -r end"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(other.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "locked\n");
    patch(&url, &phone, 0).body("hello").send(address).refusal(423);
    for method in ["HEAD", "DELETE"] {
        assert_eq!(ask(method, &url, &phone).send(address).status, 423, "{method}");
    }
    drop(other.stdin.take());
    other.wait().unwrap();
    assert_eq!(offset(address, &url, &phone), 0);
    assert_eq!(patch(&url, &phone, 0).body("helloworld").send(address).status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_its_users_alone_until_given_up() {
    let (server, address) = start().await;
    let [alice, bob] = [server.sign_in("1").await, server.sign_in("2").await];
    let url = begin(address, &alice, 10);
    for method in ["HEAD", "DELETE", "PATCH"] {
        let answer = ask(method, &url, &bob)
            .header("upload-offset", 0)
            .header("content-type", OFFSET_BYTES)
            .body("")
            .send(address);
        assert_eq!(answer.status, 404, "{method}");
    }
    let file_id = url.rsplit('/').next().unwrap();
    Ask::new("GET", &format!("/files/{file_id}/about")).by(&bob).send(address).refusal(404);
    assert_eq!(kept(&server), (1, 0));
    assert_eq!(ask("DELETE", &url, &alice).send(address).status, 204);
    assert_eq!(ask("HEAD", &url, &alice).send(address).status, 404);
    assert_eq!(kept(&server), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_no_or_too_many_bytes_does_not_begin() {
    let (server, address) = start_with(|files| files.file_bytes_max = 100).await;
    let phone = server.sign_in("1").await;
    let create = |length: &str| ask("POST", "/uploads", &phone).header("upload-length", length).body("").send(address);
    create("0").refusal(400);
    create("101").refusal(413);
    create("-1").refusal(400);
    create("99999999999999999999").refusal(400);
    ask("POST", "/uploads", &phone).header("upload-defer-length", 1).body("").send(address).refusal(400);
    assert_eq!(kept(&server), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_of_an_upload_counts_also_when_it_is_given_up() {
    let (server, address) = start_with(|files| files.bytes_per_day_max = 1_000).await;
    let phone = server.sign_in("1").await;
    let url = begin(address, &phone, 900);
    assert_eq!(patch(&url, &phone, 0).body(vec![0; 500]).send(address).status, 204);
    assert_eq!(ask("DELETE", &url, &phone).send(address).status, 204);
    assert!(upload(address, &phone, "a", &[0; 501]).refusal(429).contains("as many bytes as a day allows"));
    // What a checksum was wrong for was sent all the same.
    let wrong = "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=";
    let post = Ask::new("POST", "/files?name=a").by(&phone).header("upload-checksum", wrong).body(vec![0; 300]);
    post.send(address).refusal(460);
    let url = begin(address, &phone, 150);
    patch(&url, &phone, 0).header("upload-checksum", wrong).body(vec![0; 50]).send(address).refusal(460);
    assert_eq!(ask("DELETE", &url, &phone).send(address).status, 204);
    upload(address, &phone, "a", &[0; 151]).refusal(429);
    uploaded(address, &phone, "a", &[0; 150]);
    assert_eq!(kept(&server), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_break_off_before_their_checksum_count_as_well() {
    let (server, address) = start_with(|files| files.bytes_per_day_max = 1_300_000).await;
    let phone = server.sign_in("1").await;
    let checksum = "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=";
    // All but one byte, twice in one request each, and once in a part of an upload.
    for ask in [
        Ask::new("POST", "/files?name=a").by(&phone),
        Ask::new("POST", "/files?name=b").by(&phone),
        patch(&begin(address, &phone, 300_000), &phone, 0),
    ] {
        let broken = ask.header("upload-checksum", checksum).length(300_000).body(vec![0; 299_999]).begin(address);
        until(&server, |staged_bytes| staged_bytes > 0).await;
        drop(broken);
        until(&server, |staged_bytes| staged_bytes == 0).await;
    }
    let create = || ask("POST", "/uploads", &phone).header("upload-length", 400_000).body("").send(address);
    // As soon as the server has seen that the clients are gone. What began and of which nothing came does not count.
    let counted = async {
        loop {
            let answer = create();
            if answer.status == 429 {
                break answer.refusal(429);
            }
            assert_eq!(ask("DELETE", answer.header("location"), &phone).send(address).status, 204);
            tokio::time::sleep(ASK_INTERVAL).await;
        }
    };
    assert!(soon(counted).await.contains("as many bytes as a day allows"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_used_up_takes_no_more_parts_that_may_be_taken_back() {
    let (server, address) = start_with(|files| files.bytes_per_day_max = 1_000).await;
    let phone = server.sign_in("1").await;
    let url = begin(address, &phone, 800);
    let wrong = || {
        let wrong = "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=";
        patch(&url, &phone, 0).header("upload-checksum", wrong).body(vec![0; 300]).send(address)
    };
    wrong().refusal(460);
    assert!(wrong().refusal(429).contains("as many bytes as a day allows"));
    assert_eq!(patch(&url, &phone, 0).body(vec![0; 800]).send(address).status, 204, "what counts already comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_has_rested_gives_its_place_to_a_new_one() {
    let (server, address) = start_with(|files| files.uploads_per_user_max = 2).await;
    let phone = server.sign_in("1").await;
    let [first, second] = [begin(address, &phone, 10), begin(address, &phone, 10)];
    let create = || ask("POST", "/uploads", &phone).header("upload-length", 10).body("").send(address);
    assert!(create().refusal(429).contains("too many uploads"), "both may go on");
    let file = |url: &str| server.settings.data_dir.join("files/uploads").join(url.rsplit('/').next().unwrap());
    let rested = SystemTime::now() - Duration::from_secs(601);
    fs::File::options().append(true).open(file(&second)).unwrap().set_modified(rested).unwrap();
    assert_eq!(create().status, 201);
    assert_eq!(ask("HEAD", &second, &phone).send(address).status, 404);
    assert_eq!(offset(address, &first, &phone), 0);
    create().refusal(429);
}
