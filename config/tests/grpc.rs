//! What a connection between two services bears: bursts of calls, callers that give up, and streams that are read late.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc as sync_mpsc,
    },
    time::Duration,
};

use gim_config::{
    grpc::{self, CALLS_PER_CONNECTION_MAX, GrpcServer, GrpcSettings, PeerChannel},
    listen::Endpoint,
};
use gim_proto::{
    connect::{
        PushToDevicesRequest,
        connect_int_service_client::ConnectIntServiceClient,
        connect_int_service_server::{ConnectIntService, ConnectIntServiceServer},
    },
    logic::{
        Down, Up,
        link_service_client::LinkServiceClient,
        link_service_server::{LinkService, LinkServiceServer},
    },
};
use tokio::{
    sync::{Barrier, Notify, mpsc, oneshot},
    task::{JoinSet, yield_now},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, service::RoutesBuilder};

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// Messages of a stream, more than its window takes.
const MESSAGES: usize = 60_000;

/// As many of the smallest messages as fit into a stream's window, nearly.
const MESSAGES_UNREAD: usize = 50_000;

async fn serve(routes: RoutesBuilder) -> GrpcServer {
    let settings = GrpcSettings { listen: Endpoint::new("127.0.0.1:0"), ..GrpcSettings::default() };
    grpc::serve(&settings, routes, &[]).await.unwrap()
}

fn channel(server: &GrpcServer, call_timeout: Duration) -> PeerChannel {
    let peer = Endpoint::new(&format!("http://{}", server.address()));
    grpc::channel(&peer, &GrpcSettings::default(), Some(call_timeout)).unwrap()
}

/// Answers when as many calls are there as there may be at once.
struct InCrowds {
    crowd: Barrier,
    under_way: AtomicUsize,
}

#[tonic::async_trait]
impl ConnectIntService for InCrowds {
    async fn push_to_devices(&self, _request: Request<PushToDevicesRequest>) -> Result<Response<()>, Status> {
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(under_way <= CALLS_PER_CONNECTION_MAX as usize, "{under_way} calls at once");
        self.crowd.wait().await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        Ok(Response::new(()))
    }
}

#[tokio::test]
async fn a_burst_of_calls_over_one_connection_is_answered_to_the_last() {
    let crowd = Barrier::new(CALLS_PER_CONNECTION_MAX as usize);
    let mut routes = RoutesBuilder::default();
    routes.add_service(ConnectIntServiceServer::new(InCrowds { crowd, under_way: AtomicUsize::new(0) }));
    let server = serve(routes).await;
    let client = ConnectIntServiceClient::new(channel(&server, PATIENCE));
    let mut calls = JoinSet::new();
    for _ in 0..4 * CALLS_PER_CONNECTION_MAX {
        let mut client = client.clone();
        calls.spawn(async move { client.push_to_devices(PushToDevicesRequest::default()).await });
    }
    while let Some(answer) = calls.join_next().await {
        answer.unwrap().unwrap();
    }
}

/// Stands still, with its whole process, at a call for app 1.
struct StandsStill {
    stands: mpsc::UnboundedSender<()>,
    go_on: Mutex<sync_mpsc::Receiver<()>>,
}

#[tonic::async_trait]
impl ConnectIntService for StandsStill {
    async fn push_to_devices(&self, request: Request<PushToDevicesRequest>) -> Result<Response<()>, Status> {
        if request.into_inner().app_id == 1 {
            self.stands.send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
        }
        Ok(Response::new(()))
    }
}

#[test]
fn calls_given_up_while_the_server_stood_still_end_no_connection() {
    let on_one_thread = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (servers, callers) = (on_one_thread(), on_one_thread());
    let (stands, mut standing) = mpsc::unbounded_channel();
    let (let_go, go_on) = sync_mpsc::channel();
    let mut routes = RoutesBuilder::default();
    routes.add_service(ConnectIntServiceServer::new(StandsStill { stands, go_on: Mutex::new(go_on) }));
    let server = servers.block_on(serve(routes));
    callers.block_on(async {
        let client = ConnectIntServiceClient::new(channel(&server, PATIENCE));
        let call = |app_id| {
            let mut client = client.clone();
            async move { client.push_to_devices(PushToDevicesRequest { app_id, ..Default::default() }).await }
        };
        let held = tokio::spawn(call(1));
        standing.recv().await.unwrap();
        let mut given_up = JoinSet::new();
        for _ in 0..CALLS_PER_CONNECTION_MAX / 4 {
            given_up.spawn(tokio::time::timeout(Duration::from_millis(500), call(0)));
        }
        for given_up in given_up.join_all().await {
            given_up.unwrap_err();
        }
        let_go.send(()).unwrap();
        held.await.unwrap().unwrap();
        call(0).await.unwrap();
    });
}

/// So many of the smallest messages, each in a frame of its own, and when those that are left unread are on their way.
fn smallest<T: Send + 'static>(count: usize, make: fn() -> T) -> (ReceiverStream<T>, oneshot::Receiver<()>) {
    let (sender, messages) = mpsc::channel(1);
    let (tell, on_their_way) = oneshot::channel();
    tokio::spawn(async move {
        let mut tell = Some(tell);
        for number in 0..count {
            if number == MESSAGES_UNREAD {
                tell.take().unwrap().send(()).unwrap();
            }
            sender.send(make()).await.unwrap();
            // The stream finds nothing more, and sends what it has.
            yield_now().await;
        }
    });
    (ReceiverStream::new(messages), on_their_way)
}

async fn count<T>(mut stream: Streaming<T>) -> Result<usize, Status> {
    let mut count = 0;
    while stream.message().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// Sends `down` messages, and counts what came up once it is told to.
struct ReadsLate {
    down: usize,
    on_their_way: mpsc::UnboundedSender<oneshot::Receiver<()>>,
    begin: Arc<Notify>,
    counted: mpsc::UnboundedSender<Result<usize, Status>>,
}

#[tonic::async_trait]
impl LinkService for ReadsLate {
    type AttachStream = ReceiverStream<Result<Down, Status>>;

    async fn attach(&self, request: Request<Streaming<Up>>) -> Result<Response<Self::AttachStream>, Status> {
        let (down, on_their_way) = smallest(self.down, || Ok(Down::default()));
        self.on_their_way.send(on_their_way).unwrap();
        let (begin, counted) = (self.begin.clone(), self.counted.clone());
        tokio::spawn(async move {
            begin.notified().await;
            counted.send(count(request.into_inner()).await).unwrap();
        });
        Ok(Response::new(down))
    }
}

/// Has so many messages go up and down a stream, which are read when most of a window is full.
async fn assert_read_whole(up: usize, down: usize) {
    let (tell, mut told) = mpsc::unbounded_channel();
    let (counted, mut counts) = mpsc::unbounded_channel();
    let begin = Arc::new(Notify::new());
    let service = ReadsLate { down, on_their_way: tell, begin: begin.clone(), counted };
    let mut routes = RoutesBuilder::default();
    routes.add_service(LinkServiceServer::new(service));
    let server = serve(routes).await;
    let (ups, ups_on_their_way) = smallest(up, Up::default);
    let mut client = LinkServiceClient::new(channel(&server, PATIENCE));
    let downs = client.attach(ups).await.unwrap().into_inner();
    let downs_on_their_way = told.recv().await.unwrap();
    for (count, on_their_way) in [(up, ups_on_their_way), (down, downs_on_their_way)] {
        assert_eq!(on_their_way.await.is_ok(), count > MESSAGES_UNREAD);
    }
    begin.notify_one();
    assert_eq!(count(downs).await.unwrap(), down);
    assert_eq!(counts.recv().await.unwrap().unwrap(), up);
}

#[tokio::test]
async fn a_stream_of_small_messages_that_the_server_reads_late_is_read_whole() {
    assert_read_whole(MESSAGES, 0).await;
}

#[tokio::test]
async fn a_stream_of_small_messages_that_the_caller_reads_late_is_read_whole() {
    assert_read_whole(0, MESSAGES).await;
}
