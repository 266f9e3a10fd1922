//! A bare handler of files on hyper: `PUT` hashes what comes (SHA-256), writes it, and syncs it to the disk; `GET` reads it. No users, no
//! database, no names, nothing that is kept for others. On a Tokio runtime with as many workers as there are cores.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Empty};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use ring::digest::{Context as Hash, SHA256};

const CHUNK_BYTES: usize = 64 * 1024;

/// Serves until standard input ends.
pub fn serve(listener: TcpListener, folder: PathBuf) -> anyhow::Result<()> {
    std::thread::spawn(|| {
        let _ended = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
    listener.set_nonblocking(true)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let folder = folder.clone();
            let service = service_fn(move |request| answer(folder.clone(), request));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    })
}

type Answer = Response<Either<Empty<Bytes>, Chunks>>;

async fn answer(folder: PathBuf, request: Request<Incoming>) -> io::Result<Answer> {
    let path = folder.join(request.uri().path().trim_start_matches('/'));
    if request.method() == Method::GET {
        let file = File::open(path)?;
        let left = file.metadata()?.len();
        return Ok(Response::new(Either::Right(Chunks { file, left })));
    }
    store(&path, request.into_body()).await?;
    let mut answer = Response::new(Either::Left(Empty::new()));
    *answer.status_mut() = StatusCode::CREATED;
    Ok(answer)
}

async fn store(path: &Path, mut body: Incoming) -> io::Result<()> {
    let (mut file, mut hash) = (File::create(path)?, Hash::new(&SHA256));
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.map_err(io::Error::other)?.into_data() else { continue };
        hash.update(&bytes);
        file.write_all(&bytes)?;
    }
    let hash = hash.finish();
    file.sync_all()?;
    // As a store would: the hash is of use to somebody.
    std::fs::write(path.with_extension("sha256"), hash.as_ref())
}

/// A file, as it is taken.
struct Chunks {
    file: File,
    left: u64,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut chunk = vec![0; CHUNK_BYTES.min(self.left as usize)];
        let read = self.file.read_exact(&mut chunk);
        self.left -= chunk.len() as u64;
        Poll::Ready(Some(read.map(|()| Frame::data(chunk.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
