//! Nodes that do not fit together: each side says so in one line, however often it is tried again.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use gim_config::{
    admin,
    endpoints::Endpoints,
    listen::Endpoint,
    service::Running as _,
    testing::{Authority, keep_log_lines, logged_warnings},
};
use gim_conn::{
    Conn, ConnSettings,
    bridge::discovery::{Resolve, SystemResolver},
};
use gim_logic::{Logic, LogicSettings};
use gim_proto::{
    LINK_VERSION, ResultCode,
    logic::{
        Down, Hello, SyncRequest, Up, Welcome,
        link_service_client::LinkServiceClient,
        link_service_server::{LinkService, LinkServiceServer},
        message_ext_service_client::MessageExtServiceClient,
    },
    metadata,
};
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status, Streaming, async_trait, transport::Channel};

use crate::server::{DEADLINE, eventually};

/// How often it is tried at least.
const TRIES: usize = 20;

fn any_port() -> Endpoint {
    Endpoint::new("127.0.0.1:0")
}

async fn start_logic(data: &TempDir, token: &str) -> Logic {
    start_logic_with(data, token, |_| ()).await
}

async fn start_logic_with(data: &TempDir, token: &str, change: impl FnOnce(&mut LogicSettings)) -> Logic {
    let mut settings = LogicSettings { data_dir: data.path().to_owned(), ..LogicSettings::default() };
    settings.grpc.listen = any_port();
    settings.grpc.internal_token = token.into();
    settings.clients.listen = Endpoint::default();
    settings.admin.listen = Endpoint::default();
    change(&mut settings);
    gim_logic::start(settings).await.unwrap()
}

async fn start_conn(node: &str, logic: &str, token: &str, resolver: Arc<dyn Resolve>) -> Conn {
    start_conn_with(node, logic, token, resolver, |_| ()).await
}

async fn start_conn_with(
    node: &str,
    logic: &str,
    token: &str,
    resolver: Arc<dyn Resolve>,
    change: impl FnOnce(&mut ConnSettings),
) -> Conn {
    let mut settings = ConnSettings {
        node: node.into(),
        reactors: 1,
        logic: logic.split(',').map(Endpoint::new).collect(),
        ..ConnSettings::default()
    };
    settings.tcp.listen = any_port();
    settings.websocket.listen = Endpoint::default();
    settings.grpc.listen = any_port();
    settings.grpc.internal_token = token.into();
    settings.admin.listen = Endpoint::default();
    settings.link.reconnect_first_ms = 1;
    settings.link.reconnect_max_ms = 1;
    settings.link.resolve_interval_ms = 1;
    change(&mut settings);
    gim_conn::start_with(settings, resolver).await.unwrap()
}

async fn stop(conn: Conn) {
    tokio::time::timeout(DEADLINE, conn.stop()).await.expect("stops within the deadline");
}

/// Calls that were refused for want of trust, in this process.
fn refused_calls() -> usize {
    let metrics = admin::metrics_handle().render();
    let values = metrics.lines().filter(|line| line.starts_with("grpc_refused_total{"));
    values.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
}

#[test]
fn a_node_with_the_wrong_token_is_told_of_in_one_line_on_each_side() {
    keep_log_lines();
    let (runtime, data) = (Runtime::new().unwrap(), TempDir::new().unwrap());
    let logic = runtime.block_on(start_logic(&data, "right"));
    let peer = format!("http://{}", logic.grpc_address());
    let before = refused_calls();
    let conn = runtime.block_on(start_conn("conn-wrong-token", &peer, "wrong", Arc::new(SystemResolver)));
    eventually("it tries again and again", || refused_calls() >= before + TRIES);
    runtime.block_on(stop(conn));
    for words in [["cannot attach", &peer, "internal token"], ["are refused", "127.0.0.1", "internal token"]] {
        let lines = logged_warnings(&words);
        assert_eq!(lines.len(), 1, "{words:?}: {lines:?}");
    }
}

#[test]
fn two_logic_nodes_that_share_nothing_are_named_and_one_is_left_out() {
    keep_log_lines();
    let (runtime, data) = (Runtime::new().unwrap(), [TempDir::new().unwrap(), TempDir::new().unwrap()]);
    let logic = [0, 1].map(|index| runtime.block_on(start_logic(&data[index], "")));
    let peers = logic.each_ref().map(|logic| format!("http://{}", logic.grpc_address())).join(",");
    let conn = runtime.block_on(start_conn("conn-between", &peers, "", Arc::new(SystemResolver)));
    let words = ["cannot attach", "does not belong to", "shared_state.url"];
    eventually("one of them is left out", || !logged_warnings(&words).is_empty());
    runtime.block_on(stop(conn));
    assert_eq!(logged_warnings(&words).len(), 1, "{:?}", logged_warnings(&words));
}

#[test]
fn http_spoken_to_https_and_a_strange_authority_are_named_on_both_sides() {
    keep_log_lines();
    let (runtime, data, ours, other) =
        (Runtime::new().unwrap(), TempDir::new().unwrap(), Authority::new(), Authority::new());
    let (certificate, key) = ours.issue();
    let secure = runtime.block_on(start_logic_with(&data, "", |settings| {
        (settings.grpc.certificate, settings.grpc.key) = (certificate, key);
    }));
    let port = secure.grpc_address().port();
    for (node, peer, ca, at_conn, at_logic) in [
        ("conn-http", format!("http://localhost:{port}"), None, "does https:// belong here?", "it speaks no TLS"),
        (
            "conn-doubts",
            format!("https://localhost:{port}"),
            Some(other.ca()),
            "invalid peer certificate",
            "received fatal alert",
        ),
    ] {
        let with_ca = |settings: &mut ConnSettings| settings.grpc.server_ca = ca.unwrap_or_default();
        let conn = runtime.block_on(start_conn_with(node, &peer, "", Arc::new(SystemResolver), with_ca));
        eventually("conn says it", || !logged_warnings(&["cannot attach", &peer, at_conn]).is_empty());
        eventually("logic says it", || {
            !logged_warnings(&["TLS with a caller fails", "127.0.0.1", at_logic]).is_empty()
        });
        runtime.block_on(stop(conn));
    }
}

/// Has logic ask its business, by a call of somebody who claims to be signed in.
async fn ask_for_its_business(logic: &Logic) {
    let channel = Channel::from_shared(format!("http://{}", logic.grpc_address())).unwrap().connect_lazy();
    let request = metadata::signed(SyncRequest::default(), 7, 1, "some token");
    let refused = MessageExtServiceClient::new(channel).sync(request).await.unwrap_err();
    assert_eq!(ResultCode::of_status(&refused), ResultCode::TryAgainLater, "{refused}");
}

#[test]
fn https_spoken_to_http_is_named_by_conn_and_by_logic_with_the_address() {
    keep_log_lines();
    let (runtime, data, ours) =
        (Runtime::new().unwrap(), [TempDir::new().unwrap(), TempDir::new().unwrap()], Authority::new());
    let plain = runtime.block_on(start_logic(&data[0], ""));
    let peer = format!("https://localhost:{}", plain.grpc_address().port());
    let with_ca = |settings: &mut ConnSettings| settings.grpc.server_ca = ours.ca();
    let conn = runtime.block_on(start_conn_with("conn-https", &peer, "", Arc::new(SystemResolver), with_ca));
    let hint = "it speaks no TLS: does http:// belong here?";
    eventually("conn says it", || !logged_warnings(&["cannot attach", &peer, hint]).is_empty());
    eventually("logic says it", || {
        !logged_warnings(&["127.0.0.1", "it speaks TLS, and there is no certificate"]).is_empty()
    });
    runtime.block_on(stop(conn));
    // To a logic node, the first one is a business whose address has the wrong scheme.
    let asking = runtime.block_on(start_logic_with(&data[1], "", |settings| {
        settings.grpc.server_ca = ours.ca();
        settings.business.endpoint = Endpoints::new(&peer);
    }));
    runtime.block_on(ask_for_its_business(&asking));
    eventually("logic says it", || !logged_warnings(&["the business service is away", &peer, hint]).is_empty());
}

#[test]
fn a_conn_node_of_an_older_version_is_told_of_in_one_line_by_logic() {
    keep_log_lines();
    let (runtime, data) = (Runtime::new().unwrap(), TempDir::new().unwrap());
    runtime.block_on(async {
        let logic = start_logic(&data, "").await;
        let channel = Channel::from_shared(format!("http://{}", logic.grpc_address())).unwrap().connect_lazy();
        for version in [LINK_VERSION - 1, LINK_VERSION + 1] {
            let hello = Hello { version, node: format!("conn-{version}"), epoch: 1, ..Hello::default() };
            let up = Up { hello: Some(hello), items: Vec::new() };
            for _ in 0..TRIES {
                let refused = LinkServiceClient::new(channel.clone()).attach(tokio_stream::iter([up.clone()])).await;
                assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
            }
            let node = format!("conn-{version}");
            let lines = logged_warnings(&[&node, "the same release"]);
            assert_eq!(lines.len(), 1, "{lines:?}");
        }
    });
}

/// A logic of an older version: it refuses nobody, and its welcome says which one it is.
#[derive(Clone)]
struct OlderLogic(Arc<AtomicUsize>);

#[async_trait]
impl LinkService for OlderLogic {
    type AttachStream = tokio_stream::Once<Result<Down, Status>>;

    async fn attach(&self, _request: Request<Streaming<Up>>) -> Result<Response<Self::AttachStream>, Status> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let welcome = Welcome { version: LINK_VERSION - 1, node: "logic-older".into(), ..Welcome::default() };
        Ok(Response::new(tokio_stream::once(Ok(Down { welcome: Some(welcome), items: Vec::new() }))))
    }
}

#[test]
fn a_logic_node_of_an_older_version_is_told_of_in_one_line_by_conn() {
    keep_log_lines();
    let (runtime, tries) = (Runtime::new().unwrap(), Arc::new(AtomicUsize::new(0)));
    let logic = OlderLogic(tries.clone());
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let peer = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(LinkServiceServer::new(logic));
    runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let conn = runtime.block_on(start_conn("conn-newer", &peer, "", Arc::new(SystemResolver)));
    eventually("it tries again and again", || tries.load(Ordering::SeqCst) >= TRIES);
    runtime.block_on(stop(conn));
    let lines = logged_warnings(&[&peer]);
    assert!(matches!(&lines[..], [line] if line.contains("the peer speaks link version")), "{lines:?}");
}

/// Knows a name and no address of it.
struct NoAddresses(Arc<AtomicUsize>);

#[async_trait]
impl Resolve for NoAddresses {
    async fn resolve(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Vec::new())
    }
}

#[test]
fn a_name_without_addresses_is_told_of_in_one_line() {
    keep_log_lines();
    let (runtime, tries) = (Runtime::new().unwrap(), Arc::new(AtomicUsize::new(0)));
    let resolver = Arc::new(NoAddresses(tries.clone()));
    let conn = runtime.block_on(start_conn("conn-no-name", "dns+http://empty.test:8010", "", resolver));
    eventually("it asks again and again", || tries.load(Ordering::SeqCst) >= TRIES);
    runtime.block_on(stop(conn));
    let lines = logged_warnings(&["empty.test"]);
    assert!(matches!(&lines[..], [line] if line.contains("the name has no addresses")), "{lines:?}");
}
