//! A small HTTP/1.1 server for questions that are answered from memory: one question per connection, with a deadline, and a bounded
//! number of connections.
//!
//! One task of Tokio accepts, one more serves each connection. Always holds: where there are too many connections, one of the address
//! that has most of them gives its place to the new one, the oldest first, and first of all one whose question is not whole; so whoever
//! asks is answered, however many others only connect, or take no answer.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{AbortHandle, JoinHandle},
};
use tower::ServiceExt as _;

use crate::{
    acceptor::Acceptor,
    listen::{Endpoint, ListenError},
    metrics as metric,
};

/// Bytes of a request line and headers; hyper takes nothing smaller.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// What a server may take.
#[derive(Debug, Clone, Copy)]
pub struct HttpBounds {
    /// Connections at a time.
    pub connections_max: usize,
    /// From the first byte of a connection to its last.
    pub timeout: Duration,
}

/// Who asks: it stands in the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub IpAddr);

/// A running server. Dropping it stops it a little later.
#[derive(Debug)]
pub struct HttpServer {
    address: Option<SocketAddr>,
    name: &'static str,
    task: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Answers by `routes` where `listen` says, which may be nowhere. `name` is for the log.
    pub async fn start(
        listen: &Endpoint,
        routes: Router,
        bounds: HttpBounds,
        name: &'static str,
    ) -> Result<Self, ListenError> {
        if listen.is_off() {
            return Ok(Self { address: None, name, task: None });
        }
        let listener = listen.listen().await?;
        let address = listener.local_addr().ok();
        Ok(Self { address, name, task: Some(tokio::spawn(serve(listener, routes, bounds, name))) })
    }

    /// Where it listens, if it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Stops it; the address is free afterwards.
    pub async fn stop(mut self) {
        let Some(task) = self.task.take() else { return };
        task.abort();
        if let Err(error) = task.await
            && error.is_panic()
        {
            tracing::error!(%error, "{} failed", self.name);
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Answers questions until it is aborted.
async fn serve(listener: TcpListener, routes: Router, bounds: HttpBounds, name: &'static str) {
    let places = Arc::new(Semaphore::new(bounds.connections_max));
    let (mut acceptor, mut connections) = (Acceptor::new(listener, name), Connections::default());
    loop {
        let (stream, peer) = acceptor.next().await;
        if places.available_permits() == 0 {
            connections.end_one(name);
        }
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let has_asked = Arc::new(AtomicBool::new(false));
        let answered = answer(stream, PeerAddress(peer.ip()), routes.clone(), has_asked.clone(), place);
        let limited = async move {
            if tokio::time::timeout(bounds.timeout, answered).await.is_err() {
                count_ended(name, "late");
            }
        };
        connections.push(peer.ip(), has_asked, tokio::spawn(limited).abort_handle());
    }
}

/// Answers one question; the place is given back after it.
async fn answer(
    stream: TcpStream,
    peer: PeerAddress,
    routes: Router,
    has_asked: Arc<AtomicBool>,
    _place: OwnedSemaphorePermit,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        has_asked.store(true, Relaxed);
        request.extensions_mut().insert(peer);
        routes.clone().oneshot(request)
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(REQUEST_BYTES_MAX).timer(TokioTimer::new());
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a question broke off");
    }
}

fn count_ended(name: &'static str, why: &'static str) {
    metrics::counter!(metric::HTTP_CONNECTIONS_ENDED, "why" => why).increment(1);
    tracing::debug!(name, why, "a connection was ended before its question was answered");
}

/// The connections, the oldest first, each with whether its question is whole. No more than have places.
#[derive(Debug, Default)]
struct Connections(Vec<(IpAddr, Arc<AtomicBool>, AbortHandle)>);

impl Connections {
    fn push(&mut self, ip: IpAddr, has_asked: Arc<AtomicBool>, task: AbortHandle) {
        self.0.retain(|(.., task)| !task.is_finished());
        self.0.push((ip, has_asked, task));
    }

    fn end_one(&mut self, name: &'static str) {
        self.0.retain(|(.., task)| !task.is_finished());
        let is_asking = self.0.iter().any(|(_, has_asked, _)| !has_asked.load(Relaxed));
        let may_go = |has_asked: &AtomicBool| !is_asking || !has_asked.load(Relaxed);
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for (ip, has_asked, _) in &self.0 {
            *counts.entry(*ip).or_default() += usize::from(may_go(has_asked));
        }
        let most = counts.values().copied().max().unwrap_or_default();
        let oldest = self.0.iter().position(|(ip, has_asked, _)| counts[ip] == most && may_go(has_asked));
        if let Some(index) = oldest {
            self.0.remove(index).2.abort();
            count_ended(name, "evicted");
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{Extension, routing::get};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    async fn start() -> HttpServer {
        let caller = async |Extension(PeerAddress(ip)): Extension<PeerAddress>| format!("hello {ip}");
        let routes = Router::new().route("/", get(caller));
        let bounds = HttpBounds { connections_max: 8, timeout: Duration::from_secs(600) };
        HttpServer::start(&Endpoint::new("127.0.0.1:0"), routes, bounds, "the test").await.unwrap()
    }

    #[tokio::test]
    async fn who_only_begins_a_question_holds_nobody_up() {
        let server = start().await;
        let address = server.address().unwrap();
        let mut begun = Vec::new();
        for _ in 0..64 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nx: y").await.unwrap();
            begun.push(stream);
        }
        let asked = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = tokio::time::timeout(DEADLINE, asked).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello 127.0.0.1"), "{answer}");
        server.stop().await;
    }
}
