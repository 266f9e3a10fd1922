//! Connections of gRPC callers, from the listener to HTTP/2: let in, in TLS where there is a certificate, and watched.
//!
//! One task accepts, one for each connection makes the TLS handshake. Always holds: a connection counts from its accept on, so that
//! silent ones and endless handshakes are ended like all others, and out of files nothing spins.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::{connection::Connection, frames::FrameWatch, peer_tls::ListenerTls, peers::Peers};

use crate::{acceptor::is_gone, metrics as names, refused_peers::RefusedPeers};

/// How a handshake of TLS begins, and no call without it.
const TLS_RECORD: u8 = 0x16;

/// What was said of callers with which TLS fails.
static TLS_FAILURES: LazyLock<RefusedPeers<IpAddr>> = LazyLock::new(RefusedPeers::default);

/// No handshake begins with more.
const HELLO_BYTES: usize = 16 * 1024;

const NO_TLS_HERE: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const UNASKED_TLS: &str = "it speaks TLS, and there is no certificate here: is it told https:// and not http://?";

const STRANGE_CALLER: &str = "its certificate is of no authority in our client_ca";

/// What may be wrong in the settings, by what the library says.
const HINTS: [(&str, &str); 4] = [
    ("InvalidContentType", "it speaks no TLS: is it told http:// and not https://?"),
    ("UnknownIssuer", STRANGE_CALLER),
    // Another authority of the same name signed it.
    ("BadSignature", STRANGE_CALLER),
    ("received fatal alert", "it does not take our certificate: is that of an authority in its server_ca?"),
];

/// Connections that wait to be served.
const SERVE_QUEUE_MAX: usize = 64;
/// How long nothing is accepted where there are no files or no memory for it.
const PAUSE: Duration = Duration::from_secs(1);

/// A connection that is let in.
pub(super) struct Watched {
    io: Io,
    connection: Arc<Connection>,
    frames: FrameWatch,
    _leaves: LeavesAtDrop,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Accepts until nobody takes them any more.
pub(super) fn accept(
    listener: TcpListener,
    peers: Arc<Peers>,
    tls: Option<Arc<ListenerTls>>,
) -> ReceiverStream<io::Result<Watched>> {
    let (sender, accepted) = mpsc::channel(SERVE_QUEUE_MAX);
    tokio::spawn(async move {
        let mut is_paused = false;
        loop {
            let next = tokio::select! {
                next = listener.accept() => next,
                () = sender.closed() => break,
            };
            match next {
                Ok((stream, address)) => {
                    is_paused = false;
                    let Some(connection) = peers.admit(address.ip(), Instant::now()) else { continue };
                    let tls = tls.as_ref().map(|tls| tls.acceptor());
                    let let_in = let_in(stream, LeavesAtDrop(connection), tls, sender.clone());
                    tokio::spawn(let_in);
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => {
                    if !is_paused {
                        tracing::warn!(%error, "no gRPC connection can be accepted, it is tried again every second");
                    }
                    is_paused = true;
                    metrics::counter!(names::GRPC_ACCEPT_PAUSES).increment(1);
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => {}
                        () = sender.closed() => break,
                    }
                }
            }
        }
    });
    ReceiverStream::new(accepted)
}

/// Whatever becomes of a connection, its place is given back.
struct LeavesAtDrop(Arc<Connection>);

impl Drop for LeavesAtDrop {
    fn drop(&mut self) {
        self.0.leave();
    }
}

async fn let_in(
    stream: TcpStream,
    leaves: LeavesAtDrop,
    tls: Option<TlsAcceptor>,
    sender: mpsc::Sender<io::Result<Watched>>,
) {
    let connection = leaves.0.clone();
    // With Nagle's algorithm an answer can wait 40 ms for the peer's delayed acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let handshake = async {
        // A silent one costs no HTTP/2 and no TLS, is told nothing, and goes first where there are too many.
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        connection.speak();
        let Some(tls) = tls else {
            if first == [TLS_RECORD] {
                answer_in_plain(stream).await?;
                return Err(told(&connection, io::Error::new(io::ErrorKind::InvalidData, UNASKED_TLS)));
            }
            TLS_FAILURES.forget(&connection.address.ip);
            return Ok(Io::Plain(stream));
        };
        let stream = tls.accept(stream).await.map_err(|error| told(&connection, error))?;
        if stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty()) {
            connection.certify();
        }
        TLS_FAILURES.forget(&connection.address.ip);
        Ok(Io::Tls(Box::new(stream)))
    };
    let ended = std::future::poll_fn(|context| connection.poll_ended(context));
    let io: io::Result<Io> = tokio::select! {
        io = handshake => io,
        () = ended => return,
    };
    match io {
        Ok(io) => {
            let watched = Watched { io, connection, frames: FrameWatch::new(), _leaves: leaves };
            // Where nobody takes it any more, it is dropped.
            let _is_taken = sender.send(Ok(watched)).await.is_ok();
        }
        Err(error) => {
            tracing::debug!(caller = %connection.address.ip, %error, "a gRPC connection ended before it began")
        }
    }
}

/// Has whoever speaks TLS find out that nobody does here, rather than only that the connection broke.
async fn answer_in_plain(mut stream: TcpStream) -> io::Result<()> {
    // What is not taken would destroy the answer on its way.
    let _count = stream.read(&mut vec![0; HELLO_BYTES]).await?;
    stream.write_all(NO_TLS_HERE).await?;
    stream.shutdown().await
}

/// Says once of each caller why TLS with it fails, until it succeeds: otherwise both sides would only try again.
fn told(connection: &Connection, error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::InvalidData {
        let said = error.to_string();
        let hint = HINTS.iter().find(|(of, _)| said.contains(of)).map(|(_, hint)| *hint);
        let problem = hint.map_or_else(|| said.clone(), |hint| format!("{hint} ({said})"));
        let ip = connection.address.ip;
        if let Some(left_out) = TLS_FAILURES.due(&ip, &problem, Instant::now()) {
            tracing::warn!(caller = %ip, problem, left_out, "TLS with a caller fails; it is told of once");
        }
    }
    error
}

impl Watched {
    fn io(&mut self) -> Pin<&mut dyn Stream> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io),
            Io::Tls(io) => Pin::new(io.as_mut()),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

impl Connected for Watched {
    type ConnectInfo = Arc<Connection>;

    fn connect_info(&self) -> Arc<Connection> {
        self.connection.clone()
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.connection.poll_ended(context).is_ready() {
            return Poll::Ready(self.connection.check_ended());
        }
        let before = buffer.filled().len();
        std::task::ready!(self.io().poll_read(context, buffer))?;
        if self.connection.is_trusted() {
            return Poll::Ready(Ok(()));
        }
        let seen = self.frames.on_bytes(&buffer.filled()[before..]);
        Poll::Ready(self.connection.on_frames(seen, Instant::now()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.connection.check_ended()?;
        self.io().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.check_ended()?;
        self.io().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.check_ended()?;
        self.io().poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection.check_ended()?;
        self.io().poll_write_vectored(context, slices)
    }
}
