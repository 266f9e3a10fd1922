//! A service of several nodes, as its callers find it: who is away is passed over, and whoever is back is called again.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use gim_config::{
    endpoints::Endpoints,
    grpc::{self, GrpcServer, GrpcSettings, PeerChannel},
    listen::Endpoint,
};
use gim_proto::{
    ResultCode,
    connect::{
        DeviceMessage, PushToDevicesRequest,
        connect_int_service_client::ConnectIntServiceClient,
        connect_int_service_server::{ConnectIntService, ConnectIntServiceServer},
    },
};
use tonic::{Code, Request, Response, Status, service::RoutesBuilder};

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts the calls that came whole.
#[derive(Default)]
struct Counts(AtomicUsize);

struct Counting(Arc<Counts>);

#[tonic::async_trait]
impl ConnectIntService for Counting {
    async fn push_to_devices(&self, request: Request<PushToDevicesRequest>) -> Result<Response<()>, Status> {
        if request.into_inner() != message() {
            return Err(Status::data_loss("it is another message"));
        }
        self.0.0.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(()))
    }
}

impl Counts {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

fn message() -> PushToDevicesRequest {
    let device_messages = (1..=500).map(|device_id| DeviceMessage { device_id, ..DeviceMessage::default() }).collect();
    PushToDevicesRequest { device_messages, app_id: 7 }
}

async fn serve(listen: &str) -> (GrpcServer, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let mut routes = RoutesBuilder::default();
    routes.add_service(ConnectIntServiceServer::new(Counting(counts.clone())));
    let settings = GrpcSettings { listen: Endpoint::new(listen), ..GrpcSettings::default() };
    (grpc::serve(&settings, routes, &[]).await.unwrap(), counts)
}

fn client(endpoints: &str) -> ConnectIntServiceClient<PeerChannel> {
    let channel = grpc::channel_to_any(&Endpoints::new(endpoints), &GrpcSettings::default(), Some(PATIENCE));
    ConnectIntServiceClient::new(channel.unwrap())
}

async fn call(client: &ConnectIntServiceClient<PeerChannel>) -> Result<(), Status> {
    client.clone().push_to_devices(message()).await.map(Response::into_inner)
}

/// Calls until this node has one.
async fn call_until_it_is_asked(client: &ConnectIntServiceClient<PeerChannel>, node: &Counts) {
    let deadline = Instant::now() + PATIENCE;
    while node.take() == 0 {
        assert!(Instant::now() < deadline, "the node is not asked");
        call(client).await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn calls_go_round_and_a_node_that_is_away_costs_none_of_them() {
    let ((first, of_first), (second, of_second)) = (serve("127.0.0.1:0").await, serve("127.0.0.1:0").await);
    let address = first.address().to_string();
    let client = client(&format!("http://{address},http://{}", second.address()));
    for _ in 0..20 {
        call(&client).await.unwrap();
    }
    assert_eq!((of_first.take(), of_second.take()), (10, 10));
    first.stop(PATIENCE).await;
    for _ in 0..20 {
        call(&client).await.unwrap();
    }
    assert_eq!((of_first.take(), of_second.take()), (0, 20));
    let (_first, of_first) = serve(&address).await;
    call_until_it_is_asked(&client, &of_first).await;
}

#[tokio::test]
async fn while_all_are_away_calls_fail_and_the_first_that_is_back_is_found() {
    let ((first, _), (second, _)) = (serve("127.0.0.1:0").await, serve("127.0.0.1:0").await);
    let address = second.address().to_string();
    let client = client(&format!("http://{},http://{address}", first.address()));
    call(&client).await.unwrap();
    first.stop(PATIENCE).await;
    second.stop(PATIENCE).await;
    for _ in 0..4 {
        assert_eq!(call(&client).await.unwrap_err().code(), Code::Unavailable);
    }
    let (_second, of_second) = serve(&address).await;
    call(&client).await.unwrap();
    assert_eq!(of_second.take(), 1, "nobody waits to be told that it is back");
}

#[tokio::test]
async fn a_node_that_does_not_answer_in_time_is_named_with_the_time() {
    // Whoever connects waits in its queue.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    for endpoints in [address.clone(), format!("{address},{address}")] {
        let timeout = Some(Duration::from_millis(20));
        let channel = grpc::channel_to_any(&Endpoints::new(&endpoints), &GrpcSettings::default(), timeout);
        let late = call(&ConnectIntServiceClient::new(channel.unwrap())).await.unwrap_err();
        assert_eq!((late.code(), ResultCode::of_status(&late)), (Code::DeadlineExceeded, ResultCode::TryAgainLater));
        let waited = late.message().strip_prefix(&format!("{address}: no answer within ")).unwrap_or_default();
        assert!(waited.strip_suffix(" ms").is_some_and(|ms| ms.parse::<u64>().is_ok()), "{late:?}");
    }
}

#[tokio::test]
async fn the_nodes_of_a_name_are_those_of_its_addresses() {
    let (server, counts) = serve("127.0.0.1:0").await;
    let found = client(&format!("dns+http://localhost:{}", server.address().port()));
    call(&found).await.unwrap();
    assert_eq!(counts.take(), 1);
    let nowhere = client("dns+http://nowhere.invalid:1");
    assert_eq!(call(&nowhere).await.unwrap_err().code(), Code::Unavailable);
    let problem = grpc::channel_to_any(&Endpoints::new("dns+ftp://logic:1"), &GrpcSettings::default(), None);
    assert!(problem.unwrap_err().contains("needs the form dns+http://"));
}

#[tokio::test]
async fn tokens_change_for_whoever_listens_and_calls_already() {
    let settings = |token: &str| GrpcSettings {
        listen: Endpoint::new("127.0.0.1:0"),
        internal_token: token.into(),
        ..GrpcSettings::default()
    };
    let (served, calling, new) = (settings("the-old-token"), settings("the-old-token"), settings("the-new-token"));
    let counts = Arc::new(Counts::default());
    let mut routes = RoutesBuilder::default();
    routes.add_service(ConnectIntServiceServer::new(Counting(counts.clone())));
    let server = grpc::serve(&served, routes, &[]).await.unwrap();
    let endpoints = Endpoints::new(&format!("http://{}", server.address()));
    let client = ConnectIntServiceClient::new(grpc::channel_to_any(&endpoints, &calling, Some(PATIENCE)).unwrap());
    call(&client).await.unwrap();
    served.set_tokens(&GrpcSettings { accepted_tokens: vec!["the-old-token".into()], ..new.clone() });
    call(&client).await.unwrap();
    calling.set_tokens(&new);
    call(&client).await.unwrap();
    served.set_tokens(&new);
    call(&client).await.unwrap();
    calling.set_tokens(&settings("the-old-token"));
    assert!(ResultCode::is_untrusted(&call(&client).await.unwrap_err()));
    assert_eq!(counts.take(), 4);
}
