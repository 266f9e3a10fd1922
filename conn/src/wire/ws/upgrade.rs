//! The HTTP request with which a WebSocket begins, or what else was asked on that port.
//!
//! Called on a reactor's thread, without IO: the front of the input goes in, an [`Opening`] comes out. Always holds: nothing is kept
//! between calls, and no more than [`REQUEST_BYTES_MAX`] are looked at.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use gim_config::networks::Networks;
use gim_proto::connect::{Packet, PacketCommand, SignInRequest};
use prost::Message as _;
use tungstenite::{
    handshake::server::{Request, create_response, write_response},
    http::{HeaderName, HeaderValue, Method, StatusCode, Version, header},
};

use crate::wire::{http, proxy::NamedProxies};

/// Where WebSockets are.
pub const PATH: &str = "/ws";

/// The same, as proxies and libraries that tidy paths up write it.
const PATH_WITH_SLASH: &str = "/ws/";

/// Longest request that is read: browsers send their cookies along.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Most header lines of a request.
const HEADERS_MAX: usize = 100;

/// The subprotocol that a client may ask for; browsers end a connection whose answer leaves theirs out.
const SUBPROTOCOL: &str = "gim";

const ABOUT: &str = "gim: clients connect here by WebSocket, at /ws";

/// What a listener asks of requests.
#[derive(Debug, Default, Clone)]
pub struct Site {
    /// Pages that may connect, as browsers name them; empty for all.
    pub origins: Vec<String>,
    /// Whose word about the client's address counts.
    pub proxies: Networks,
    /// Those of them that the log named; shared by all reactors.
    pub named_proxies: Arc<NamedProxies>,
}

/// What the front of the input is.
#[derive(Debug)]
pub enum Opening {
    /// No whole request yet.
    NeedMore,
    /// The connection is a WebSocket from `consumed` on.
    Upgrade(Upgrade),
    /// Something else, answered; the connection ends with it.
    Answer {
        /// What to write.
        response: Bytes,
        /// Whether the request was a proper one.
        is_fine: bool,
    },
}

/// A request that was accepted.
#[derive(Debug)]
pub struct Upgrade {
    /// Bytes of the request.
    pub consumed: usize,
    /// What to write.
    pub response: Bytes,
    /// The sign-in that the query holds, as a packet.
    pub sign_in: Option<Vec<u8>>,
    /// The client, where a proxy names it.
    pub client: Option<IpAddr>,
}

const ALLOWED: http::Extra<'_> = &[("Allow", "GET, HEAD")];

/// Why a request is not done.
struct UpgradeRefusal(StatusCode, &'static str);

const NO_REQUEST: UpgradeRefusal = UpgradeRefusal(StatusCode::BAD_REQUEST, "this is no HTTP request");

/// Looks at the front of `input`; `peer` is who sent it. What is wrong in a sign-in of the query is left to whoever answers sign-ins where
/// clients have a form of their own for answers (`is_older`).
pub fn read(input: &[u8], peer: Option<IpAddr>, site: &Site, is_older: bool) -> Opening {
    match parse(input) {
        Ok(None) => Opening::NeedMore,
        Ok(Some((consumed, request))) => match *request.method() {
            Method::GET => respond(consumed, &request, peer, site, is_older),
            Method::HEAD => respond_to_head(&request),
            _ => refuse(UpgradeRefusal(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD"), ALLOWED),
        },
        Err(refusal) => refuse(refusal, &[]),
    }
}

fn parse(input: &[u8]) -> Result<Option<(usize, Request)>, UpgradeRefusal> {
    const TOO_LARGE: UpgradeRefusal =
        UpgradeRefusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too large");
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut lines);
    match parsed.parse(input) {
        Ok(httparse::Status::Complete(consumed)) if consumed <= REQUEST_BYTES_MAX => {
            let request = request_of(&parsed);
            request.map(|request| Some((consumed, request))).ok_or(NO_REQUEST)
        }
        Ok(httparse::Status::Partial) if input.len() <= REQUEST_BYTES_MAX => Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Err(TOO_LARGE),
        Err(httparse::Error::Version) => {
            Err(UpgradeRefusal(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "this port speaks HTTP/1.1"))
        }
        Err(_) => Err(NO_REQUEST),
    }
}

fn request_of(parsed: &httparse::Request<'_, '_>) -> Option<Request> {
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    *request.uri_mut() = parsed.path?.parse().ok()?;
    *request.version_mut() = if parsed.version? == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    for line in parsed.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(line.value).ok()?);
    }
    Some(request)
}

fn respond(consumed: usize, request: &Request, peer: Option<IpAddr>, site: &Site, is_older: bool) -> Opening {
    match request.uri().path() {
        PATH | PATH_WITH_SLASH => match upgrade(consumed, request, peer, site, is_older) {
            Ok(upgrade) => Opening::Upgrade(upgrade),
            Err(refusal) if refusal.0 == StatusCode::UPGRADE_REQUIRED => {
                refuse(refusal, &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")])
            }
            Err(refusal) => refuse(refusal, &[]),
        },
        path => match page(path) {
            Some(body) => Opening::Answer { response: http::answer(StatusCode::OK, &[], body, true), is_fine: true },
            None => refuse(UpgradeRefusal(StatusCode::NOT_FOUND, "there is nothing here; WebSockets are at /ws"), &[]),
        },
    }
}

fn respond_to_head(request: &Request) -> Opening {
    let path = request.uri().path();
    let (status, body) = match page(path) {
        Some(body) => (StatusCode::OK, body),
        None if path == PATH || path == PATH_WITH_SLASH => {
            (StatusCode::METHOD_NOT_ALLOWED, "a WebSocket begins with GET")
        }
        None => (StatusCode::NOT_FOUND, "there is nothing here"),
    };
    Opening::Answer { response: http::answer(status, ALLOWED, body, false), is_fine: status == StatusCode::OK }
}

/// What a browser, or a health check, may look at.
fn page(path: &str) -> Option<&'static str> {
    match path {
        "/" => Some(ABOUT),
        "/healthz" => Some("ok"),
        _ => None,
    }
}

fn refuse(UpgradeRefusal(status, text): UpgradeRefusal, extra: http::Extra<'_>) -> Opening {
    Opening::Answer { response: http::refusal(status, extra, text), is_fine: false }
}

fn upgrade(
    consumed: usize,
    request: &Request,
    peer: Option<IpAddr>,
    site: &Site,
    is_older: bool,
) -> Result<Upgrade, UpgradeRefusal> {
    let headers = request.headers();
    // What a proxy asks that was not told to pass WebSockets on; pages are for it, too.
    if request.version() < Version::HTTP_11 {
        return Err(UpgradeRefusal(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "WebSockets need HTTP/1.1"));
    }
    if !headers.contains_key(header::UPGRADE) {
        return Err(UpgradeRefusal(StatusCode::UPGRADE_REQUIRED, "this is where WebSockets are"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version != "13") {
        return Err(UpgradeRefusal(
            StatusCode::UPGRADE_REQUIRED,
            "this server speaks version 13 of the WebSocket protocol",
        ));
    }
    let has_one = |name| headers.get_all(name).iter().count() == 1;
    if !has_one(header::HOST) || !has_one(header::SEC_WEBSOCKET_KEY) {
        return Err(UpgradeRefusal(
            StatusCode::BAD_REQUEST,
            "a WebSocket handshake has one Host and one Sec-WebSocket-Key",
        ));
    }
    // Programs other than browsers name no page, and could name any.
    let origin = headers.get(header::ORIGIN).map(|origin| origin.as_bytes());
    let is_welcome = |origin: &[u8]| site.origins.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(origin));
    if !site.origins.is_empty() && origin.is_some_and(|origin| !is_welcome(origin)) {
        return Err(UpgradeRefusal(StatusCode::FORBIDDEN, "pages of this origin may not connect"));
    }
    let query = request.uri().query().unwrap_or("");
    let sign_in = if is_older { sign_in_of_old(query)? } else { sign_in(query)? };
    let mut response = create_response(request)
        .map_err(|_| UpgradeRefusal(StatusCode::BAD_REQUEST, "this is no WebSocket handshake"))?;
    if asks_for_subprotocol(request) {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    let mut bytes = Vec::new();
    write_response(&mut bytes, &response)
        .map_err(|_| UpgradeRefusal(StatusCode::BAD_REQUEST, "this is no WebSocket handshake"))?;
    let named = headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes);
    let client = peer.filter(|peer| site.proxies.contains(*peer)).and_then(|_| site.proxies.client_of(named));
    Ok(Upgrade { consumed, response: bytes.into(), sign_in, client })
}

fn asks_for_subprotocol(request: &Request) -> bool {
    let lines = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).any(|name| name.trim() == SUBPROTOCOL)
}

const MALFORMED: UpgradeRefusal =
    UpgradeRefusal(StatusCode::BAD_REQUEST, "the query is no sign-in: user_id, device_id, token, app_id, heartbeat_s");

const NEWER: UpgradeRefusal = UpgradeRefusal(
    StatusCode::BAD_REQUEST,
    "this listener is for older clients, whose query has neither app_id nor heartbeat_s; clients of today have another",
);

/// `?user_id=&device_id=&token=` in a dialect: what is no number is taken for one beyond those that ids can be, and is refused as that.
fn sign_in_of_old(query: &str) -> Result<Option<Vec<u8>>, UpgradeRefusal> {
    let id = |text: &str| text.parse().unwrap_or(u64::MAX);
    let mut request = SignInRequest::default();
    let mut is_sign_in = false;
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "user_id" => request.user_id = id(&percent_decoded(value).ok_or(MALFORMED)?),
            "device_id" => request.device_id = id(&percent_decoded(value).ok_or(MALFORMED)?),
            "token" => request.token = percent_decoded(value).ok_or(MALFORMED)?,
            "app_id" | "heartbeat_s" => return Err(NEWER),
            _ => continue,
        }
        is_sign_in = true;
    }
    Ok(is_sign_in.then(|| packet_of(&request)))
}

/// The sign-in of clients that name themselves in the URL: `?user_id=&device_id=&token=&app_id=&heartbeat_s=`.
fn sign_in(query: &str) -> Result<Option<Vec<u8>>, UpgradeRefusal> {
    let mut request = SignInRequest::default();
    let mut is_sign_in = false;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decoded(value).ok_or(MALFORMED)?;
        match name {
            "user_id" => request.user_id = value.parse().map_err(|_| MALFORMED)?,
            "device_id" => request.device_id = value.parse().map_err(|_| MALFORMED)?,
            "app_id" => request.app_id = value.parse().map_err(|_| MALFORMED)?,
            "heartbeat_s" => request.heartbeat_s = value.parse().map_err(|_| MALFORMED)?,
            "token" => request.token = value,
            _ => continue,
        }
        is_sign_in = true;
    }
    if !is_sign_in {
        return Ok(None);
    }
    if request.user_id == 0 || request.device_id == 0 || request.token.is_empty() {
        return Err(MALFORMED);
    }
    Ok(Some(packet_of(&request)))
}

fn packet_of(request: &SignInRequest) -> Vec<u8> {
    let content = request.encode_to_vec().into();
    Packet { command: PacketCommand::PcSignIn as i32, content, ..Packet::default() }.encode_to_vec()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or("").as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UPGRADE: &str = "Host: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    fn get(target: &str, headers: &str) -> String {
        format!("GET {target} HTTP/1.1\r\n{headers}\r\n")
    }

    fn status(request: &str) -> u16 {
        let site = Site { origins: vec!["https://app.example".into()], ..Site::default() };
        match read(request.as_bytes(), None, &site, false) {
            Opening::NeedMore => 0,
            Opening::Upgrade(_) => 101,
            Opening::Answer { response, is_fine } => {
                let status = str::from_utf8(&response[9..12]).unwrap().parse().unwrap();
                assert_eq!(is_fine, status == 200);
                status
            }
        }
    }

    fn upgraded(request: &str, peer: &str, site: &Site) -> Upgrade {
        match read(request.as_bytes(), Some(peer.parse().unwrap()), site, false) {
            Opening::Upgrade(upgrade) => upgrade,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_request_has_its_status() {
        let without = |line: &str| UPGRADE.replace(line, "");
        for (request, expected) in [
            (get("/ws", UPGRADE), 101),
            (get("/ws/", UPGRADE), 101),
            (get("/ws/x", UPGRADE), 404),
            (get("/ws", &format!("{UPGRADE}Origin: https://APP.example\r\n")), 101),
            (get("/ws", &format!("{UPGRADE}Origin: https://other.example\r\n")), 403),
            (get("/ws", "Host: a\r\n"), 426),
            (get("/ws", &without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")), 400),
            (get("/ws", &UPGRADE.replace("dGhl", "x")), 400),
            (get("/ws", &UPGRADE.replace("Version: 13", "Version: 8")), 426),
            (get("/ws", &without("Sec-WebSocket-Version: 13\r\n")), 400),
            (get("/ws", &UPGRADE.replace("Upgrade: websocket", "Upgrade: h2c")), 400),
            (get("/ws?user_id=abc", UPGRADE), 400),
            (get("/ws?user_id=1&device_id=2", UPGRADE), 400),
            (get("/ws?user_id=1&device_id=2&token=%zz", UPGRADE), 400),
            (get("/ws", UPGRADE).replace("GET", "POST"), 405),
            (get("/", "Host: a\r\n"), 200),
            (get("/healthz", "Host: a\r\n"), 200),
            (get("/healthz", "Host: a\r\n").replace("GET", "HEAD"), 200),
            (get("/", "Host: a\r\n").replace("GET", "DELETE"), 405),
            (get("/elsewhere", UPGRADE), 404),
            // What HAProxy's health check and nginx say, as long as nobody tells them otherwise.
            (get("/healthz", "").replace("1.1", "1.0"), 200),
            (get("/", "").replace("GET", "HEAD").replace("1.1", "1.0"), 200),
            (get("/", "").replace("GET", "OPTIONS").replace("1.1", "1.0"), 405),
            (get("/ws", UPGRADE).replace("HTTP/1.1", "HTTP/1.0"), 505),
            (get("/", "Host: a\r\n").replace("1.1", "2.0"), 505),
            (get("/ws", &without("Host: a\r\n")), 400),
            (get("/ws", &format!("{UPGRADE}Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n")), 400),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
            ("\u{16}\u{3}\u{1}\u{2}".into(), 400),
            (get("/", &"A: b\r\n".repeat(200)), 431),
            (get("/", &format!("Cookie: {}\r\n", "x".repeat(64 * 1024))), 431),
            (format!("GET /{}", "x".repeat(64 * 1024)), 431),
        ] {
            assert_eq!(status(&request), expected, "{}", &request[..request.len().min(300)]);
        }
    }

    #[test]
    fn the_answer_is_that_of_the_rfc_and_a_subprotocol_is_repeated() {
        let request = get("/ws", &format!("{UPGRADE}Sec-WebSocket-Protocol: other, gim\r\n"));
        let upgrade = upgraded(&format!("{request}rest"), "192.0.2.1", &Site::default());
        assert_eq!(upgrade.consumed, request.len());
        let response = String::from_utf8(upgrade.response.to_vec()).unwrap().to_lowercase();
        assert!(response.starts_with("http/1.1 101 switching protocols\r\n"));
        assert!(response.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"));
        assert!(response.contains("sec-websocket-protocol: gim\r\n"));
    }

    #[test]
    fn a_head_request_gets_no_body() {
        let Opening::Answer { response, .. } =
            read(get("/", "Host: a\r\n").replace("GET", "HEAD").as_bytes(), None, &Site::default(), false)
        else {
            panic!()
        };
        assert!(response.ends_with(b"\r\n\r\n"));
    }

    #[test]
    fn a_request_cut_anywhere_waits_for_the_rest() {
        let request = get("/ws?user_id=1&device_id=2&token=t", UPGRADE);
        for cut in 0..request.len() {
            assert_eq!(status(&request[..cut]), 0, "cut at {cut}");
        }
    }

    #[test]
    fn a_sign_in_of_a_dialect_is_judged_by_whoever_answers_it() {
        let asked = |query: &str| {
            let request = get(&format!("/ws?{query}"), UPGRADE);
            let Opening::Upgrade(Upgrade { sign_in, .. }) = read(request.as_bytes(), None, &Site::default(), true)
            else {
                panic!("{query}");
            };
            let SignInRequest { user_id, device_id, token, app_id, heartbeat_s } =
                SignInRequest::decode(Packet::decode(&sign_in?[..]).unwrap().content).unwrap();
            assert_eq!((app_id, heartbeat_s), (0, 0), "{query}");
            Some((user_id, device_id, token))
        };
        assert_eq!(asked("user_id=1&device_id=2&token=a%20b&v=9"), Some((1, 2, "a b".into())));
        assert_eq!(asked("user_id=-1&token=t"), Some((u64::MAX, 0, "t".into())));
        assert_eq!(asked("user_id=18446744073709551616&device_id=x"), Some((u64::MAX, u64::MAX, String::new())));
        assert_eq!((asked(""), asked("v=7")), (None, None));
        for newer in ["user_id=1&device_id=2&token=t&app_id=7", "user_id=1&device_id=2&token=t&heartbeat_s=9"] {
            let request = get(&format!("/ws?{newer}"), UPGRADE);
            let opening = read(request.as_bytes(), None, &Site::default(), true);
            assert!(matches!(&opening, Opening::Answer { is_fine: false, .. }), "{newer}: {opening:?}");
        }
    }

    #[test]
    fn the_query_of_older_clients_is_a_sign_in() {
        let request = get("/ws?user_id=7&device_id=8&token=a%2Bb%3D&app_id=3&heartbeat_s=60&v=1", UPGRADE);
        let packet = upgraded(&request, "192.0.2.1", &Site::default()).sign_in.expect("a sign-in");
        let packet = Packet::decode(&packet[..]).unwrap();
        assert_eq!(packet.command, PacketCommand::PcSignIn as i32);
        let expected = SignInRequest { user_id: 7, device_id: 8, token: "a+b=".into(), app_id: 3, heartbeat_s: 60 };
        assert_eq!(SignInRequest::decode(packet.content).unwrap(), expected);
    }

    #[test]
    fn only_a_listed_proxy_names_the_client() {
        let site = Site {
            proxies: "10.0.0.0/8".parse().map(|network| Networks::new(vec![network])).unwrap(),
            ..Site::default()
        };
        let request =
            get("/ws", &format!("{UPGRADE}X-Forwarded-For: 1.1.1.1, 203.0.113.9\r\nX-Forwarded-For: 10.1.1.1\r\n"));
        assert_eq!(upgraded(&request, "10.2.3.4", &site).client, Some("203.0.113.9".parse().unwrap()));
        assert_eq!(upgraded(&request, "192.0.2.1", &site).client, None);
    }

    #[test]
    fn what_a_client_writes_before_its_proxy_hides_nothing() {
        let site = Site { proxies: Networks::new(vec!["10.0.0.0/8".parse().unwrap()]), ..Site::default() };
        let request = get("/ws", &format!("{UPGRADE}X-Forwarded-For: ?, 203.0.113.9\r\n"));
        let mut bytes = request.into_bytes();
        let mark = bytes.windows(2).position(|pair| pair == b"?,").unwrap();
        bytes[mark] = 0xff;
        let Opening::Upgrade(upgrade) = read(&bytes, Some("10.2.3.4".parse().unwrap()), &site, false) else { panic!() };
        assert_eq!(upgrade.client, Some("203.0.113.9".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[ -~\r\n]{0,200}") {
            read(&bytes, None, &Site::default(), false);
            read(text.as_bytes(), None, &Site::default(), true);
            read(get(&format!("/ws?{}", text.replace(' ', "")), UPGRADE).as_bytes(), None, &Site::default(), true);
        }
    }
}
