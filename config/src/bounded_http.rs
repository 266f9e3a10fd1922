//! A small HTTP/1.1 server for questions that are answered from memory: one question per connection, with a deadline, and a bounded
//! number of connections.
//!
//! One task of Tokio accepts, one more serves each connection. Always holds: where there are too many connections, one of the address
//! that has most of them gives its place to the new one, the oldest first, and first of all one whose question is not whole; so whoever
//! asks is answered, however many others only connect, or take no answer.

use std::{
    collections::HashMap,
    net::IpAddr,
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
    task::AbortHandle,
};
use tower::ServiceExt as _;

/// Bytes of a request line and headers; hyper takes nothing smaller.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// How long accepting pauses when the process is out of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a server may take.
#[derive(Debug, Clone, Copy)]
pub struct HttpBounds {
    /// Connections at a time.
    pub connections_max: usize,
    /// From the first byte of a connection to its last.
    pub timeout: Duration,
}

/// Answers questions until it is aborted.
pub async fn serve(listener: TcpListener, routes: Router, bounds: HttpBounds, name: &'static str) {
    let places = Arc::new(Semaphore::new(bounds.connections_max));
    let (mut is_failing, mut connections) = (false, Connections::default());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => {
                is_failing = false;
                accepted
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, name, "connections cannot be accepted; tried again and again");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if places.available_permits() == 0 {
            connections.end_one();
        }
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let has_asked = Arc::new(AtomicBool::new(false));
        let answered = answer(stream, routes.clone(), has_asked.clone(), place);
        let limited = async move {
            if tokio::time::timeout(bounds.timeout, answered).await.is_err() {
                tracing::debug!(name, "a question took too long");
            }
        };
        connections.push(peer.ip(), has_asked, tokio::spawn(limited).abort_handle());
    }
}

/// Answers one question; the place is given back after it.
async fn answer(stream: TcpStream, routes: Router, has_asked: Arc<AtomicBool>, _place: OwnedSemaphorePermit) {
    let service = service_fn(move |request: Request<Incoming>| {
        has_asked.store(true, Relaxed);
        routes.clone().oneshot(request)
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(REQUEST_BYTES_MAX).timer(TokioTimer::new());
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a question broke off");
    }
}

/// The connections, the oldest first, each with whether its question is whole. No more than have places.
#[derive(Debug, Default)]
struct Connections(Vec<(IpAddr, Arc<AtomicBool>, AbortHandle)>);

impl Connections {
    fn push(&mut self, ip: IpAddr, has_asked: Arc<AtomicBool>, task: AbortHandle) {
        self.0.retain(|(.., task)| !task.is_finished());
        self.0.push((ip, has_asked, task));
    }

    fn end_one(&mut self) {
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
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    async fn start() -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/", get(|| std::future::ready("here")));
        let bounds = HttpBounds { connections_max: 8, timeout: Duration::from_secs(600) };
        tokio::spawn(serve(listener, routes, bounds, "test"));
        address
    }

    #[tokio::test]
    async fn who_only_begins_a_question_holds_nobody_up() {
        let address = start().await;
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
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
    }
}
