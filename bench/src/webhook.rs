//! A webhook: takes calls of one JSON body each, and answers as it is told to. On the runtime that it is started on; dropped, it ends with all its
//! connections, as a process does that is killed.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// A call that says more is none of logic's.
const BODY_BYTES_MAX: usize = 256 << 20;

/// So long one that was killed may leave its port taken.
const PORT_WAIT: Duration = Duration::from_secs(10);

/// Whether a call is answered with 2xx.
pub type Take = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// One that listens.
#[derive(Debug)]
pub struct WebhookListener(JoinHandle<()>);

impl WebhookListener {
    /// Listens there.
    pub async fn start(address: SocketAddr, take: Take) -> anyhow::Result<Self> {
        let bind = async {
            loop {
                match TcpListener::bind(address).await {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    bound => return bound,
                }
            }
        };
        let bound =
            tokio::time::timeout(PORT_WAIT, bind).await.unwrap_or_else(|_| Err(io::ErrorKind::AddrInUse.into()));
        let listener = bound.with_context(|| format!("cannot listen on {address}"))?;
        Ok(Self(tokio::spawn(accept(listener, take))))
    }
}

impl Drop for WebhookListener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn accept(listener: TcpListener, take: Take) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, take.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// Answers calls until the caller goes, or says what is no call.
async fn serve(stream: TcpStream, take: Take) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(length) = read_head(&mut stream).await? {
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let status = if take(&body) { "204 No Content" } else { "500 Internal Server Error\r\ncontent-length: 0" };
        stream.get_mut().write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await?;
    }
    Ok(())
}

/// How long the body of the next call is; none where there is none.
async fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<Option<usize>> {
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some(length));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            let said = value.trim().parse().ok().filter(|length| *length <= BODY_BYTES_MAX);
            length = said.ok_or(io::ErrorKind::InvalidData)?;
        }
    }
}
