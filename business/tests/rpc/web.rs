//! The chat page as browsers ask for it.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use flate2::read::GzDecoder;
use gim_business::BusinessSettings;
use gim_config::{Settings as _, listen::Endpoint};

use super::harness::{CODE, Server};

async fn start() -> (Server, SocketAddr) {
    let server = Server::start_with(|settings| settings.web.listen = Endpoint::new("127.0.0.1:0")).await;
    let address = server.business.web_address().unwrap();
    (server, address)
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // It may be refused before all of it is written.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

pub fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
}

pub fn post(address: SocketAddr, path: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    ask(
        address,
        &format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"),
    )
}

fn sign_in(address: SocketAddr, kind: &str, body: &str) -> String {
    post(address, "/sign-in", kind, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_its_script_are_served_and_run_nothing_else() {
    let (_server, address) = start().await;
    for (path, kind) in [
        ("/", "text/html"),
        ("/app.js", "text/javascript"),
        ("/worker.js", "text/javascript"),
        ("/app.css", "text/css"),
    ] {
        let answer = get(address, path);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(kind), "{path}: {answer:.200}");
        assert!(answer.contains("script-src 'self'; "), "{path}: {answer:.600}");
    }
    assert!(get(address, "/../Cargo.toml").starts_with("HTTP/1.1 404 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_reads_gzip_gets_a_third_of_the_bytes() {
    let (_server, address) = start().await;
    let ask_for = |accepted: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET /app.js HTTP/1.1\r\nhost: x\r\naccept-encoding: {accepted}\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let body = answer.split_off(end);
        (String::from_utf8(answer).unwrap(), body)
    };
    let (headers, plain) = ask_for("br, gzip;q=0");
    assert!(!headers.contains("content-encoding") && headers.contains("vary: accept-encoding"), "{headers}");
    for accepted in ["gzip", "gzip, deflate, br, zstd", "br;q=1.0, GZIP;q=0.5"] {
        let (headers, packed) = ask_for(accepted);
        assert!(headers.contains("content-encoding: gzip"), "{accepted}: {headers}");
        assert!(packed.len() * 5 < plain.len() * 2, "{accepted}: {} of {}", packed.len(), plain.len());
        let mut unpacked = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_told_where_to_connect_and_may_go_nowhere_else() {
    let (_server, address) = start().await;
    let config = get(address, "/config.json");
    let expected = r#"{"connect":"","is_for_development":true,"sends_codes":false,"media_origins":[],"files":""}"#;
    assert!(config.ends_with(expected), "{config}");
    let page = get(address, "/");
    assert!(
        page.contains("connect-src 'self' ws: wss:\r\n") && page.contains("x-dns-prefetch-control: off\r\n"),
        "{page}"
    );

    let proxied = Server::start_with(|settings| {
        settings.web.listen = Endpoint::new("127.0.0.1:0");
        settings.web.connect = "wss://chat.example.com/ws".into();
    })
    .await;
    let address = proxied.business.web_address().unwrap();
    let config = get(address, "/config.json");
    assert!(config.contains(r#"{"connect":"wss://chat.example.com/ws","#), "{config}");
    assert!(get(address, "/").contains("connect-src 'self' wss://chat.example.com/ws\r\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_told_where_files_are() {
    let server = Server::start_with(|settings| {
        settings.web.listen = Endpoint::new("127.0.0.1:0");
        settings.files.listen = Endpoint::new("127.0.0.1:0");
    })
    .await;
    let (address, port) = (server.business.web_address().unwrap(), server.business.files_address().unwrap().port());
    let config = get(address, "/config.json");
    assert!(config.contains(&format!(r#""files":"http://x:{port}""#)), "{config}");
    assert!(get(address, "/").contains(&format!("connect-src 'self' ws: wss: http://x:{port}\r\n")));

    let proxied = Server::start_with(|settings| {
        settings.web.listen = Endpoint::new("127.0.0.1:0");
        settings.files.listen = Endpoint::new("127.0.0.1:0");
        settings.files.public_url = "https://files.example.com/gim".into();
    })
    .await;
    let address = proxied.business.web_address().unwrap();
    assert!(get(address, "/config.json").contains(r#""files":"https://files.example.com/gim""#));
    assert!(get(address, "/").contains("connect-src 'self' ws: wss: https://files.example.com\r\n"));
}

#[test]
fn a_place_to_connect_that_is_no_address_is_refused() {
    for connect in ["chat.example.com", "https://chat.example.com", "wss://x/ws; script-src *", "ws://x\r\ny"] {
        let mut settings = BusinessSettings::default();
        settings.web.connect = connect.into();
        let refusal = settings.validate().unwrap_err();
        assert!(refusal.starts_with("web.connect must be"), "{connect}: {refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_signs_in_by_phone_number_and_code() {
    let (server, address) = start().await;
    let body = |code: &str| format!(r#"{{"phone_number":"+8613900000001","code":"{code}"}}"#);
    let answer = sign_in(address, "application/json", &body(CODE));
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""token":""#), "{answer}");
    let phone = server.sign_in("+8613900000001").await;
    assert!(answer.contains(&format!(r#""user_id":"{}""#, phone.user_id)), "{answer}");
    let refused = sign_in(address, "application/json", &body("wrong"));
    assert!(refused.starts_with("HTTP/1.1 400 ") && refused.contains(r#""code":10300"#), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pages_of_other_origins_can_send_unasked_is_refused() {
    let (_server, address) = start().await;
    let body = format!(r#"{{"phone_number":"1","code":"{CODE}"}}"#);
    let answer = sign_in(address, "text/plain", &body);
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
    let good = sign_in(address, "application/json", &body);
    assert!(!good.to_lowercase().contains("access-control-allow"), "{good}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_makes_no_sense_is_refused_with_a_sentence() {
    let (_server, address) = start().await;
    let bad = sign_in(address, "application/json", r#"{"phone_number":"","code":"1"}"#);
    assert!(bad.starts_with("HTTP/1.1 400 ") && bad.contains("phone_number: "), "{bad}");
    for body in ["", "{", r#"{"phone_number":7}"#, &"x".repeat(5_000)] {
        let answer = sign_in(address, "application/json", body);
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer:.200}");
    }
    assert!(get(address, "/locate?room_id=minus").starts_with("HTTP/1.1 400 "));
}
