//! A bucket of S3, or of whatever speaks like it.
//!
//! On tasks of Tokio. Always holds: of a file that is sent there one part at a time is in memory, and so many files are sent at once, by
//! turns between users; a call that fails is told as a store that does not answer.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use gim_config::places::Places;
use object_store::{
    GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _, PutPayload, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    multipart::{MultipartStore as _, PartId},
    path::Path,
    signer::{SignedUrlOptions, Signer as _},
};

use super::{
    bucket_client::{BucketClient, SILENCE_MAX},
    contents::{FileBytes, NewContent, ReadAs},
    disk::Disk,
    sending::Sending,
    signed_url::Variant,
    threads::Threads,
};
use crate::{domain::file::FileId, settings::FilesSettings};

/// The folder of the bucket in which files are.
const CONTENTS: &str = "contents";

/// Bytes of a part; S3 takes none that is smaller than 5 MiB, but for the last.
const PART_BYTES: u64 = 8 << 20;

/// Files that are sent there at the same time.
const SENDS_MAX: usize = 4;

/// Of a call that was refused at once; one that was answered by silence is not repeated.
const RETRIES_MAX: usize = 2;

/// Bytes that are handed to a connection at once, so that it can be seen whether the bucket takes them.
const SLICE_BYTES: usize = 64 * 1_024;

/// How long a file waits for its turn to be sent.
const SEND_WAIT: Duration = Duration::from_secs(60);

/// The bucket. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Bucket {
    store: Arc<AmazonS3>,
    redirects: bool,
    sends: Places,
    disk: Disk,
    threads: Threads,
}

/// A file that is sent in parts.
struct Whole {
    file: Arc<File>,
    length: u64,
    path: Path,
    /// What it is, so that no parts of another one are taken for its own.
    bytes: String,
}

impl Bucket {
    /// The bucket of the settings.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn open(settings: &FilesSettings, disk: &Disk, threads: &Threads) -> Result<Self, String> {
        let client = BucketClient::new(threads).map_err(|problem| format!("files.bucket: {problem}"))?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.bucket_region)
            .with_access_key_id(&settings.bucket_access_key_id)
            .with_secret_access_key(&settings.bucket_secret_access_key)
            .with_allow_http(true)
            .with_retry(RetryConfig { max_retries: RETRIES_MAX, retry_timeout: SILENCE_MAX, ..RetryConfig::default() })
            .with_http_connector(client);
        if !settings.bucket_endpoint.is_empty() {
            builder = builder.with_endpoint(&settings.bucket_endpoint);
        }
        let store = builder.build().map_err(|error| format!("files.bucket: {error}"))?;
        // A picture has a thumbnail.
        let of_user_max = 2 * settings.uploads_per_user_max as usize;
        let sends = Places::new(SENDS_MAX, of_user_max, SEND_WAIT);
        let (redirects, disk, threads) = (settings.bucket_redirects, disk.clone(), threads.clone());
        Ok(Self { store: Arc::new(store), redirects, sends, disk, threads })
    }

    /// Sends a file of a user when it is her turn, in parts where it is large: behind those that the bucket has of an earlier try.
    pub async fn keep(&self, new: NewContent) -> io::Result<()> {
        let NewContent { user_id, from, content_id, variant, hash, note } = new;
        let turn = self.sends.take(user_id).await;
        let _turn = turn.map_err(|why| io::Error::new(io::ErrorKind::HostUnreachable, why))?;
        let opened = move || {
            let file = File::open(from)?;
            let length = file.metadata()?.len();
            Ok((Arc::new(file), length))
        };
        let (file, length) = self.disk.run(opened).await?;
        let path = path_of(content_id, variant);
        if length <= PART_BYTES {
            let bytes = self.part(&file, 0..length).await?;
            return self.store.put(&path, payload(&bytes)).await.map(drop).map_err(problem);
        }
        let whole = Whole { file, length, path, bytes: format!("{hash} {length}") };
        if let Some(sending) = self.begun(&whole, note.clone()).await? {
            match self.send(&whole, sending).await {
                // The bucket knows nothing of these parts: they lay there for longer than a rule of it allows, say.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                sent => return sent,
            }
        }
        let multipart_id = self.store.create_multipart(&whole.path).await.map_err(problem).map_err(unsendable)?;
        let (path, bytes) = (whole.path.to_string(), whole.bytes.clone());
        let sending = self.disk.run(move || Sending::begin(note, path, bytes, multipart_id)).await?;
        self.send(&whole, sending).await.map_err(unsendable)
    }

    /// What an earlier try has sent of this file.
    async fn begun(&self, whole: &Whole, note: PathBuf) -> io::Result<Option<Sending>> {
        let Some(sending) = self.disk.run(move || Sending::read(note)).await? else { return Ok(None) };
        let path: &str = whole.path.as_ref();
        if sending.path == path && sending.bytes == whole.bytes {
            return Ok(Some(sending));
        }
        self.abort(&sending);
        Ok(None)
    }

    /// Sends what the bucket does not have yet. What it has by then it keeps, for another try, unless it cannot make a file of it.
    async fn send(&self, whole: &Whole, mut sending: Sending) -> io::Result<()> {
        let multipart_id = sending.multipart_id.clone();
        let mut offset = sending.part_ids.len() as u64 * PART_BYTES;
        while offset < whole.length {
            let end = (offset + PART_BYTES).min(whole.length);
            let bytes = self.part(&whole.file, offset..end).await?;
            let number = sending.part_ids.len();
            let sent = self.store.put_part(&whole.path, &multipart_id, number, payload(&bytes)).await;
            let part_id = sent.map_err(problem)?.content_id;
            sending = self.disk.run(move || sending.with_part(part_id)).await?;
            offset = end;
        }
        let parts = sending.part_ids.iter().map(|id| PartId { content_id: id.clone() }).collect();
        let completed = self.store.complete_multipart(&whole.path, &multipart_id, parts).await;
        if completed.is_err() {
            self.abort(&sending);
        }
        self.disk.run(move || sending.end()).await?;
        completed.map(drop).map_err(problem)
    }

    /// Has the bucket forget the parts that are noted there.
    pub async fn forget_sent(&self, note: PathBuf) -> io::Result<()> {
        if let Some(sending) = self.disk.run(move || Sending::read(note)).await? {
            self.abort(&sending);
        }
        Ok(())
    }

    /// Has the bucket forget parts. Nobody waits for it: it may be why.
    fn abort(&self, sending: &Sending) {
        let (store, path) = (self.store.clone(), Path::from(sending.path.as_str()));
        let multipart_id = sending.multipart_id.clone();
        self.threads.spawn(async move {
            match store.abort_multipart(&path, &multipart_id).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(%error, "parts of a file that were sent to the bucket could not be taken back");
                }
            }
        });
    }

    /// Whether a file is there, whole.
    pub async fn has(&self, content_id: FileId, variant: Variant, size_bytes: u64) -> io::Result<bool> {
        match self.store.head(&path_of(content_id, variant)).await {
            Ok(found) => Ok(found.size == size_bytes),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(problem(error)),
        }
    }

    /// Reads a part of a file.
    pub async fn read(&self, content_id: FileId, variant: Variant, bytes: Range<u64>) -> io::Result<FileBytes> {
        let options = GetOptions { range: Some(GetRange::Bounded(bytes)), ..GetOptions::default() };
        let found = self.store.get_opts(&path_of(content_id, variant), options).await.map_err(problem)?;
        let bytes = found.into_stream().map(|bytes| bytes.map_err(problem));
        Ok(stream::unfold(Some(bytes), next_in_time).boxed())
    }

    /// A URL of the bucket's own, where clients are to read by themselves.
    pub async fn redirect(
        &self,
        content_id: FileId,
        variant: Variant,
        read_as: &ReadAs<'_>,
    ) -> io::Result<Option<String>> {
        if !self.redirects {
            return Ok(None);
        }
        let said = [("response-content-type", read_as.kind), ("response-content-disposition", read_as.disposition)];
        let options = SignedUrlOptions::new().with_query(said);
        let path = path_of(content_id, variant);
        let signed = self.store.signed_url_opts(http::Method::GET, &path, read_as.good_for, &options).await;
        signed.map(|url| Some(url.into())).map_err(problem)
    }

    /// Removes a file with its thumbnail, if it is there.
    pub async fn remove(&self, content_id: FileId) -> io::Result<()> {
        for variant in [Variant::Thumbnail, Variant::Whole] {
            match self.store.delete(&path_of(content_id, variant)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(problem(error)),
            }
        }
        Ok(())
    }

    /// What came into this part of the bucket so long ago.
    pub async fn older(&self, part: u8, age: Duration) -> io::Result<Vec<FileId>> {
        let prefix = format!("{part:02x}");
        let listed =
            self.store.list_with_offset(Some(&Path::from(CONTENTS)), &Path::from(format!("{CONTENTS}/{prefix}")));
        let mut listed = listed.map_err(problem);
        let mut older = Vec::new();
        while let Some(object) = listed.try_next().await? {
            let Some(name) = object.location.filename().filter(|name| name.starts_with(&prefix)) else { break };
            let Some(file_id) = FileId::parse(name.split_once('.').map_or(name, |(id, _)| id)) else { continue };
            let came_at = SystemTime::from(object.last_modified);
            if SystemTime::now().duration_since(came_at).is_ok_and(|passed| passed >= age) {
                older.push(file_id);
            }
        }
        older.dedup();
        Ok(older)
    }

    async fn part(&self, file: &Arc<File>, bytes: Range<u64>) -> io::Result<Bytes> {
        let file = file.clone();
        let read = move || {
            let mut part = vec![0; (bytes.end - bytes.start) as usize];
            file.read_exact_at(&mut part, bytes.start)?;
            Ok(part.into())
        };
        self.disk.run(read).await
    }
}

/// The next bytes of an answer, and what is behind them: a bucket that falls silent in the middle has failed as well.
async fn next_in_time<S: Stream<Item = io::Result<Bytes>> + Unpin>(
    answer: Option<S>,
) -> Option<(io::Result<Bytes>, Option<S>)> {
    let mut answer = answer?;
    match tokio::time::timeout(SILENCE_MAX, answer.next()).await {
        Ok(bytes) => bytes.map(|bytes| (bytes, Some(answer))),
        Err(late) => Some((Err(late.into()), None)),
    }
}

/// A part, in slices of it.
fn payload(bytes: &Bytes) -> PutPayload {
    let slice = |at| bytes.slice(at..bytes.len().min(at + SLICE_BYTES));
    (0..bytes.len()).step_by(SLICE_BYTES).map(slice).collect()
}

fn path_of(content_id: FileId, variant: Variant) -> Path {
    match variant {
        Variant::Whole | Variant::Check => Path::from(format!("{CONTENTS}/{content_id}")),
        Variant::Thumbnail => Path::from(format!("{CONTENTS}/{content_id}.thumbnail")),
    }
}

/// A bucket that knows nothing of what was just begun there does not do what it is asked for, either.
fn unsendable(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(io::ErrorKind::HostUnreachable, error),
        _ => error,
    }
}

/// Whatever else a bucket says, it does not do what it was asked for now.
fn problem(error: object_store::Error) -> io::Error {
    let kind = match &error {
        object_store::Error::NotFound { .. } => io::ErrorKind::NotFound,
        _ => io::ErrorKind::HostUnreachable,
    };
    io::Error::new(kind, error)
}
