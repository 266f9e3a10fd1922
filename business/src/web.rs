//! The chat page: what browsers load of it, and by HTTP what they cannot ask by gRPC, where to connect and the sign-in. Everything else
//! goes over the page's long connection. A listener of its own, off by default.
//!
//! On tasks of Tokio, within the bounds of [`bounded_http`](gim_config::bounded_http). Pages of other origins cannot sign in: no answer
//! allows them to, and to send JSON they have to be allowed. The page names nothing by an absolute path, so that a proxy may have it in
//! a folder.

use std::{io::Read as _, sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, Query, State},
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use flate2::{Compression, read::GzEncoder};
use gim_config::{
    bounded_http::{HttpBounds, HttpServer, PeerAddress},
    listen::ListenError,
    page_json::{LocateAnswer, Problem},
};
use gim_proto::{
    ResultCode,
    business::{SendCodeReply, SendCodeRequest, SignInRequest},
    logic::{Device, DeviceType, LocateRequest},
};
use serde::{Deserialize, Serialize};
use tonic::Status;

use crate::{
    error::UseCaseError,
    logic::Logic,
    rpc::UserExt,
    settings::{SignInSettings, WebSettings},
    usecase::attempt_counts::Origin,
};

/// Bytes of what is posted.
const SIGN_IN_BYTES_MAX: usize = 4 * 1024;

/// Only what is served here runs in the page. Pictures and sounds may lie anywhere on the web: the page asks before it shows them. What it
/// may connect to comes after it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data: blob: https: http:; media-src 'self' blob: https: http:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self' ";

/// Whatever node Locate names.
const ALL_NODES: &str = "ws: wss:";

/// The page is a part of the program, and may be another one after the next start.
const CHECKED_EACH_TIME: (HeaderName, &str) = (header::CACHE_CONTROL, "no-cache");

const GZIP: &str = "gzip";

const NOT_STORED: (HeaderName, &str) = (header::CACHE_CONTROL, "no-store");

const INDEX: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/index.html"));
const SCRIPT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/app.js"));
const WORKER: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/worker.js"));
const STYLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/app.css"));

#[derive(Clone)]
struct Services {
    users: UserExt,
    logic: Logic,
    page: Arc<Page>,
}

/// What the settings make of the page.
#[derive(Debug)]
struct Page {
    policy: String,
    config: Config,
    files: FilesAt,
}

/// A part of the page, and the same in gzip, which is a third of it.
#[derive(Debug, Clone)]
struct File {
    kind: &'static str,
    text: &'static str,
    packed: Bytes,
}

/// What the page asks for first.
#[derive(Debug, Clone, Serialize)]
struct Config {
    /// Where to connect; empty where Locate is to be asked.
    connect: String,
    /// Whether anybody may sign in by the code of the settings.
    is_for_development: bool,
    /// Whether `/send-code` sends codes.
    sends_codes: bool,
    /// Where pictures may come from that are shown without being asked for.
    media_origins: Vec<String>,
    /// Where files are uploaded; empty for nowhere.
    files: String,
}

/// Where files are uploaded, if they are.
#[derive(Debug, Clone)]
pub enum FilesAt {
    Nowhere,
    /// At this URL.
    Url(String),
    /// At this port of the host that serves the page.
    Port(u16),
}

/// What the page offers to whoever wants to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignInBy {
    /// Any phone number, with the code of the settings.
    Development,
    /// A code that is sent.
    Webhook,
    /// A code of which nothing is known here.
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    phone_number: String,
    code: String,
    /// In decimal, as all ids in JSON; empty asks for a new one.
    #[serde(default)]
    device_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SendCode {
    phone_number: String,
}

#[derive(Debug, Serialize)]
struct Sent {
    valid_s: u32,
}

#[derive(Debug, Serialize)]
struct SignedIn {
    user_id: String,
    device_id: String,
    token: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LocateQuery {
    room_id: u64,
}

/// Starts the listener, where the settings have one.
pub async fn start(
    settings: &WebSettings,
    sign_in_by: SignInBy,
    files: FilesAt,
    users: UserExt,
    logic: Logic,
) -> Result<HttpServer, ListenError> {
    let timeout = Duration::from_millis(settings.connection_timeout_ms);
    let bounds = HttpBounds { connections_max: settings.connections_max, timeout };
    let page = Arc::new(Page::new(settings, sign_in_by, files));
    HttpServer::start(&settings.listen, routes(Services { users, logic, page }), bounds, "the chat page").await
}

impl SignInBy {
    /// What the settings say.
    pub fn of(settings: &SignInSettings) -> Self {
        if !settings.code_webhook.is_empty() {
            Self::Webhook
        } else if settings.development_code.is_empty() {
            Self::Other
        } else {
            Self::Development
        }
    }
}

impl Page {
    fn new(settings: &WebSettings, sign_in_by: SignInBy, files: FilesAt) -> Self {
        let connect = &settings.connect;
        let nodes = if connect.is_empty() { ALL_NODES } else { connect };
        Self {
            policy: format!("{CONTENT_SECURITY_POLICY}{nodes}"),
            config: Config {
                connect: connect.clone(),
                is_for_development: sign_in_by == SignInBy::Development,
                sends_codes: sign_in_by == SignInBy::Webhook,
                media_origins: settings.media_origins.clone(),
                files: String::new(),
            },
            files,
        }
    }

    /// What a page is told that was asked for at this host.
    fn config_at(&self, host: &str) -> Config {
        Config { files: self.files.url_at(host), ..self.config.clone() }
    }

    /// Where a page may connect that was asked for at this host.
    fn policy_at(&self, host: &str) -> String {
        match self.files.url_at(host) {
            url if url.is_empty() || !is_host(host) => self.policy.clone(),
            url => format!("{} {}", self.policy, origin_of(&url)),
        }
    }

    fn answer(&self, file: &File, host: &str, accepts_gzip: bool) -> Response {
        let policy = self.policy_at(host);
        let headers = [
            (header::CONTENT_TYPE, file.kind),
            (header::CONTENT_SECURITY_POLICY, &policy),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            // Names in links of strangers are looked up when somebody follows them.
            (header::X_DNS_PREFETCH_CONTROL, "off"),
            (header::VARY, "accept-encoding"),
            CHECKED_EACH_TIME,
        ];
        if accepts_gzip {
            (headers, [(header::CONTENT_ENCODING, GZIP)], file.packed.clone()).into_response()
        } else {
            (headers, file.text).into_response()
        }
    }
}

impl FilesAt {
    fn url_at(&self, host: &str) -> String {
        match self {
            Self::Nowhere => String::new(),
            Self::Url(url) => url.clone(),
            Self::Port(port) => {
                let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
                let name = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(name, _)| name);
                format!("http://{name}:{port}")
            }
        }
    }
}

/// Whether it can stand in a policy: a name or an address, and perhaps a port.
fn is_host(text: &str) -> bool {
    let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    !text.is_empty() && text.bytes().all(is_of_host)
}

/// A URL without its path.
fn origin_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |path| &url[..host + path])
}

impl File {
    fn new(kind: &'static str, text: &'static str) -> Self {
        let mut packed = Vec::new();
        let mut encoder = GzEncoder::new(text.as_bytes(), Compression::best());
        encoder.read_to_end(&mut packed).expect("memory can be read");
        Self { kind, text, packed: packed.into() }
    }
}

/// Whether a browser reads gzip: all do, but for those that say so by `q=0`.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|encoding| {
        let (name, quality) = encoding.split_once(';').unwrap_or((encoding, ""));
        let is_refused = quality.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case(GZIP) && !is_refused
    })
}

fn routes(services: Services) -> Router {
    let file = |kind, text| {
        let file = File::new(kind, text);
        get(async move |State(services): State<Services>, headers: HeaderMap| {
            services.page.answer(&file, host_of(&headers), accepts_gzip(&headers))
        })
    };
    Router::new()
        .route("/", file("text/html; charset=utf-8", INDEX))
        .route("/app.js", file("text/javascript; charset=utf-8", SCRIPT))
        .route("/worker.js", file("text/javascript; charset=utf-8", WORKER))
        .route("/app.css", file("text/css; charset=utf-8", STYLE))
        .route("/config.json", get(config))
        .route("/locate", get(locate))
        .route("/send-code", post(send_code))
        .route("/sign-in", post(sign_in))
        .layer(DefaultBodyLimit::max(SIGN_IN_BYTES_MAX))
        .with_state(services)
}

async fn config(State(services): State<Services>, headers: HeaderMap) -> Response {
    ([NOT_STORED], Json(services.page.config_at(host_of(&headers)))).into_response()
}

/// At which host a page was asked for.
fn host_of(headers: &HeaderMap) -> &str {
    headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
}

async fn send_code(
    State(services): State<Services>,
    Extension(PeerAddress(address)): Extension<PeerAddress>,
    Json(SendCode { phone_number }): Json<SendCode>,
) -> Response {
    let request = SendCodeRequest { phone_number };
    match services.users.send_code_from(Some(Origin::Address(address)), request, "").await {
        Ok(SendCodeReply { valid_s }) => ([NOT_STORED], Json(Sent { valid_s })).into_response(),
        Err(status) => refused(&status),
    }
}

async fn sign_in(
    State(services): State<Services>,
    Extension(PeerAddress(address)): Extension<PeerAddress>,
    Json(asked): Json<SignIn>,
) -> Response {
    let SignIn { phone_number, code, device_id } = asked;
    let device_id = if device_id.is_empty() { Ok(0) } else { device_id.parse() };
    let Ok(id) = device_id else { return refusal(ResultCode::BadRequest.number(), "device_id: must be a number") };
    let device = Device { id, r#type: DeviceType::DtWeb.into(), ..Device::default() };
    let request = SignInRequest { phone_number, code, device: Some(device), ..SignInRequest::default() };
    match services.users.sign_in_from(Some(Origin::Address(address)), None, request, "").await {
        Ok(reply) => {
            let (user_id, device_id) = (reply.user_id.to_string(), reply.device_id.to_string());
            ([NOT_STORED], Json(SignedIn { user_id, device_id, token: reply.token })).into_response()
        }
        Err(status) => refused(&status),
    }
}

async fn locate(State(services): State<Services>, Query(query): Query<LocateQuery>) -> Response {
    let request = LocateRequest { platform: "web".into(), room_id: query.room_id };
    match services.logic.locate(request).await {
        Ok(reply) => ([NOT_STORED], Json(LocateAnswer::from(reply))).into_response(),
        Err(error) => refused(&Status::from(UseCaseError::from(error))),
    }
}

fn refused(status: &Status) -> Response {
    refusal(ResultCode::number_of_status(status), status.message())
}

fn refusal(code: i32, message: &str) -> Response {
    let problem = Problem::new(code, message);
    (problem.status(), [NOT_STORED], Json(problem)).into_response()
}
