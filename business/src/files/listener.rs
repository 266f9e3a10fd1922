//! Connections that carry files, by HTTP/1.1 or 2, as long as their transfers go on.
//!
//! One task accepts, one more serves each connection, on the [`Threads`] of files. Always holds: a connection over which nothing goes for a while, or too
//! little, is ended, unless something is done for it here; where there are too many, one that is idle gives its place to the new one, or
//! the slowest of an address that has more than the new one's, and else the new one is refused. What hyper keeps of a connection is bounded
//! below.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{Router, body::Body, response::IntoResponse as _};
use gim_config::{acceptor::Acceptor, listen::ListenError, networks::holder_of};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinHandle},
};
use tower::ServiceExt as _;

use super::{
    activity::{Activity, Watched},
    refusal::FileRefusal,
    request_places::RequestPlaces,
    staged::READ_BYTES,
    threads::Threads,
};
use crate::{metrics::FILE_CONNECTIONS_ENDED_TOTAL, settings::FilesSettings};

/// What hyper keeps of a connection of HTTP/1.1 in each direction, and reads at once. The longest name has three times as many bytes in a URL.
const BUFFER_BYTES: usize = READ_BYTES;
/// What may come over one of HTTP/2 before it is taken, for each of its transfers; twice as much for all.
const WINDOW_BYTES: u32 = 128 * 1_024;
/// What waits to go, for each transfer of HTTP/2: a client may open them all and take nothing.
const SEND_BUFFER_BYTES: usize = 32 * 1_024;
/// Transfers of one connection of HTTP/2.
const STREAMS_MAX: u32 = 16;
const HEADER_BYTES_MAX: u32 = 32 * 1_024;

/// The running listener. Dropping it ends all connections a little later.
#[derive(Debug)]
pub struct FileListener {
    address: SocketAddr,
    task: Option<JoinHandle<()>>,
}

impl FileListener {
    /// Answers by `routes`.
    pub async fn start(settings: FilesSettings, routes: Router, threads: Threads) -> Result<Self, ListenError> {
        let listener = settings.listen.listen().await?;
        let address = listener
            .local_addr()
            .map_err(|source| ListenError::Refused { address: settings.listen.to_string(), source })?;
        let task = tokio::spawn(serve(listener, routes, settings, threads));
        Ok(Self { address, task: Some(task) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it; the address is free afterwards.
    pub async fn stop(mut self) {
        let Some(task) = self.task.take() else { return };
        task.abort();
        if let Err(error) = task.await
            && error.is_panic()
        {
            tracing::error!(%error, "the listener of files failed");
        }
    }
}

impl Drop for FileListener {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Accepts until it is aborted.
async fn serve(listener: TcpListener, routes: Router, settings: FilesSettings, threads: Threads) {
    let (mut acceptor, mut connections) = (Acceptor::new(listener, "files"), Connections::default());
    let places = RequestPlaces::new(settings.connections_max, settings.connections_per_address_max);
    let idle_timeout = Duration::from_millis(settings.idle_timeout_ms);
    loop {
        let (stream, peer) = acceptor.next().await;
        let ip = holder_of(peer.ip());
        if !connections.make_place(ip, &settings) {
            count_ended("full");
            continue;
        }
        let activity = Activity::default();
        let peer = Peer { ip, activity: activity.clone(), places: places.clone() };
        let task = tokio::spawn(answer(stream, routes.clone(), threads.clone(), peer, idle_timeout));
        let task = EndsWhenDropped(task.abort_handle());
        connections.0.push(Connection { ip, activity, since: Instant::now(), task });
    }
}

/// Whose a connection is, and what goes on at it.
struct Peer {
    ip: IpAddr,
    activity: Activity,
    places: RequestPlaces,
}

/// Answers all requests of a connection.
async fn answer(stream: TcpStream, routes: Router, threads: Threads, peer: Peer, idle_timeout: Duration) {
    let Peer { ip, activity, places } = peer;
    let for_requests = activity.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let activity = for_requests.clone();
        let place = places.take(ip);
        let (counted, working) = (activity.request(), activity.working());
        request.extensions_mut().insert(activity.clone());
        let request = request.map(|body| Watched::of_request(body, &activity));
        let (answered, threads) = (routes.clone().oneshot(request), threads.clone());
        async move {
            let Some(place) = place else {
                return Ok(FileRefusal::too_many_requests().into_response());
            };
            let answer = threads.for_others(answered).await?;
            drop(working);
            let watched = |body| Body::new(Watched::of_answer(body, &activity, counted, place));
            Ok::<_, Infallible>(answer.map(watched))
        }
    });
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(idle_timeout).max_buf_size(BUFFER_BYTES);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEADER_BYTES_MAX);
    let stream = TokioIo::new(CountedStream { stream, activity: activity.clone() });
    let mut served = std::pin::pin!(http.serve_connection(stream, service));
    loop {
        let before = activity.mark();
        match tokio::time::timeout(idle_timeout, served.as_mut()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => return tracing::debug!(%error, "a connection for files broke off"),
            Err(_) => {
                let slow = activity.has_slow_body().then_some("slow");
                if let Some(why) = activity.fault_since(before).or(slow) {
                    return count_ended(why);
                }
            }
        }
    }
}

fn count_ended(why: &'static str) {
    metrics::counter!(FILE_CONNECTIONS_ENDED_TOTAL, "why" => why).increment(1);
    tracing::debug!(why, "a connection for files was ended");
}

/// The connections, the oldest first.
#[derive(Debug, Default)]
struct Connections(Vec<Connection>);

#[derive(Debug)]
struct Connection {
    /// Who it counts for.
    ip: IpAddr,
    activity: Activity,
    since: Instant,
    task: EndsWhenDropped,
}

#[derive(Debug)]
struct EndsWhenDropped(AbortHandle);

impl Drop for EndsWhenDropped {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connections {
    /// Whether there is a place for one more of this address, for which an idle one may have to go.
    fn make_place(&mut self, ip: IpAddr, settings: &FilesSettings) -> bool {
        self.0.retain(|connection| !connection.task.0.is_finished());
        let of_address = self.0.iter().filter(|connection| connection.ip == ip).count();
        if of_address >= settings.connections_per_address_max {
            return self.end_idle(|connection, _, _| connection.ip == ip);
        }
        if self.0.len() < settings.connections_max {
            return true;
        }
        self.end_idle(|connection, counts, most| counts.get(&connection.ip) == Some(&most))
            || self.end_slowest(of_address)
    }

    /// Ends the slowest connection of the address that has most, unless that is not more than an address has that gets one more; whether
    /// there was one.
    fn end_slowest(&mut self, of_address: usize) -> bool {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for connection in &self.0 {
            *counts.entry(connection.ip).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or_default();
        if most <= of_address + 1 {
            return false;
        }
        let of_fullest = |(_, connection): &(usize, &Connection)| counts.get(&connection.ip) == Some(&most);
        let slowest = self.0.iter().enumerate().filter(of_fullest).min_by_key(|(_, connection)| connection.rate());
        let Some((index, _)) = slowest else { return false };
        self.0.remove(index);
        count_ended("evicted");
        true
    }

    /// Ends the oldest idle connection that may go; whether there was one.
    fn end_idle(&mut self, may_go: impl Fn(&Connection, &HashMap<IpAddr, usize>, usize) -> bool) -> bool {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for connection in self.0.iter().filter(|connection| connection.activity.is_idle()) {
            *counts.entry(connection.ip).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or_default();
        let mut all = self.0.iter();
        let idle = all.position(|connection| connection.activity.is_idle() && may_go(connection, &counts, most));
        let Some(index) = idle else { return false };
        self.0.remove(index);
        count_ended("evicted");
        true
    }
}

impl Connection {
    /// Bytes per second.
    fn rate(&self) -> u64 {
        self.activity.bytes() / self.since.elapsed().as_secs().max(1)
    }
}

/// A stream that tells what goes over it.
struct CountedStream {
    stream: TcpStream,
    activity: Activity,
}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.activity.note(buffer.filled().len() - before);
        polled
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = polled {
            self.activity.note(count);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(count)) = polled {
            self.activity.note(count);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
