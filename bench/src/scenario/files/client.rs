//! A client of files that costs little: bytes that were made before go up, and those that come down are counted. A connection for each.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Empty};
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use rand::Rng as _;
use serde_json::Value;
use tokio::{net::TcpStream, sync::mpsc};

use super::DEADLINE;

const CHUNK_BYTES: u64 = 64 * 1024;

/// What a transfer does on its way, by how many bytes of it are through.
pub type Pause<'a> = Option<&'a (dyn AsyncPause + Sync)>;

/// Something to do between two parts of a transfer.
pub trait AsyncPause {
    /// Returns when the transfer may go on.
    fn after<'a>(&'a self, done: u64) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// Who uploads.
#[derive(Debug, Clone)]
pub struct User {
    headers: [(&'static str, String); 3],
}

/// See the module's documentation. Clones share the bytes.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    chunk: Bytes,
    /// No two uploads are equal: equal bytes are kept once.
    uploads: Arc<AtomicU64>,
}

impl User {
    /// The same user as in long connections.
    pub fn of(user: &crate::users::User) -> Self {
        let headers = [
            ("user_id", user.id.to_string()),
            ("device_id", user.device_id.to_string()),
            ("token", user.token.clone()),
        ];
        Self { headers }
    }
}

impl Client {
    /// Of the server at this address.
    pub fn new(address: SocketAddr) -> Self {
        let mut chunk = vec![0; CHUNK_BYTES as usize];
        rand::rng().fill_bytes(&mut chunk);
        Self { address, chunk: chunk.into(), uploads: Arc::new(AtomicU64::new(rand::random::<u64>() >> 1)) }
    }

    /// Uploads so many bytes to business; the path by which they are read.
    pub async fn upload(&self, user: &User, length: u64, pause: Pause<'_>) -> anyhow::Result<String> {
        let mut request = Request::post("/files?name=bench");
        for (name, value) in &user.headers {
            request = request.header(*name, value);
        }
        let answer = self.send(request, length, pause).await?;
        let about: Value = serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?;
        let url = about["url"].as_str().context("business does not say where the file is")?;
        let path = url.splitn(4, '/').nth(3).context("business says no URL")?;
        Ok(format!("/{path}"))
    }

    /// Uploads so many bytes to the baseline.
    pub async fn put(&self, path: &str, length: u64) -> anyhow::Result<()> {
        self.send(Request::put(path), length, None).await.map(drop)
    }

    /// Reads a file that has so many bytes.
    pub async fn download(&self, path: &str, length: u64, pause: Pause<'_>) -> anyhow::Result<()> {
        let request = Request::get(path).header("host", self.address.to_string());
        let mut sender = self.connect().await?;
        let answer = tokio::time::timeout(DEADLINE, sender.send_request(request.body(Either::Right(Empty::new()))?));
        let mut body = accepted(answer.await??).await?.into_body();
        let mut done = 0;
        while let Some(frame) = tokio::time::timeout(DEADLINE, body.frame()).await? {
            if let Ok(bytes) = frame?.into_data() {
                done += bytes.len() as u64;
                if let Some(pause) = pause {
                    pause.after(done).await;
                }
            }
        }
        ensure!(done == length, "of {length} bytes {done} came back");
        Ok(())
    }

    async fn send(
        &self,
        request: hyper::http::request::Builder,
        length: u64,
        pause: Pause<'_>,
    ) -> anyhow::Result<Response<Incoming>> {
        let (give, taken) = mpsc::channel(1);
        let body = Either::Left(Chunks { taken, left: length });
        let request = request.header("host", self.address.to_string()).body(body)?;
        let mut sender = self.connect().await?;
        let feed = async {
            let mut done = 0;
            while done < length {
                let chunk = if done == 0 { self.first_chunk() } else { self.chunk.clone() };
                let chunk = chunk.slice(..CHUNK_BYTES.min(length - done) as usize);
                done += chunk.len() as u64;
                // The answer says why nobody takes it.
                if give.send(chunk).await.is_err() {
                    return;
                }
                if let Some(pause) = pause {
                    pause.after(done).await;
                }
            }
        };
        let answered = async { tokio::time::timeout(DEADLINE, sender.send_request(request)).await };
        let ((), answer) = tokio::join!(feed, answered);
        accepted(answer??).await
    }

    fn first_chunk(&self) -> Bytes {
        let mut chunk = self.chunk.to_vec();
        chunk[..8].copy_from_slice(&self.uploads.fetch_add(1, Relaxed).to_le_bytes());
        chunk.into()
    }

    async fn connect(&self) -> anyhow::Result<http1::SendRequest<Either<Chunks, Empty<Bytes>>>> {
        let stream =
            TcpStream::connect(self.address).await.with_context(|| format!("cannot reach {}", self.address))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with its sender, or breaks, which the sender hears.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

async fn accepted(answer: Response<Incoming>) -> anyhow::Result<Response<Incoming>> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let text = answer.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    anyhow::bail!("the server of files answers {status}: {}", String::from_utf8_lossy(&text))
}

/// A body of a known length, as it is fed.
struct Chunks {
    taken: mpsc::Receiver<Bytes>,
    left: u64,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let polled = self.taken.poll_recv(context);
        if let Poll::Ready(Some(chunk)) = &polled {
            self.left -= chunk.len() as u64;
        }
        polled.map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
