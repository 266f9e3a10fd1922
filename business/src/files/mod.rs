//! Files that users upload: pictures, voice, documents. A listener of its own, off by default.
//!
//! On threads of its own (`threads`); the disk is read and written on those that may wait, [`disk`] says how many. What each part does:
//!
//! - `listener`: connections, HTTP/1.1 and 2, and their bounds. `routes`: which request is whose; pages (`cors`).
//! - `upload`: a file in one request. `tus`: one that goes on where it broke off. `download`: a file, or a part of it. `about`: what a file is, and where it is read.
//! - `old_upload`: as to gim in Go, by a `form`.
//! - `activity`: what goes on at a connection; `request_places`: at all of them. `lookup`: what downloads ask the database for.
//! - `staged`, `writers`, `checksum`: bytes as they come in. `finish`: an upload becomes a file. `sweep`: or is given up. `take_back`: a file goes again.
//! - `scan`: somebody looks at it first; `check_turns`: at whose next.
//! - `picture`: sizes and thumbnails; `metadata`, `blank`: what pictures tell of their makers.
//! - `folder`: where bytes are kept; `contents`: those of whole files, also in a `bucket`, which gets them by `sending`; `reading`: of one in the folder. `kind`, `disposition`, `range`, `signed_url`: pure.
//!
//! Always holds: a file can be read after its bytes and its row are on the disk, and not before; who reads has a URL that was signed here;
//! a transfer keeps no more than a few chunks in memory.

mod about;
mod activity;
mod blank;
#[cfg(feature = "s3")]
mod bucket;
#[cfg(feature = "s3")]
mod bucket_client;
mod check_turns;
mod checksum;
mod contents;
mod cors;
mod disk;
mod disposition;
mod download;
mod finish;
mod folder;
mod form;
mod kind;
mod listener;
mod lookup;
mod metadata;
mod old_upload;
mod picture;
mod range;
mod reading;
mod refusal;
mod request_places;
mod routes;
mod scan;
#[cfg(feature = "s3")]
mod sending;
mod signed_url;
mod staged;
mod sweep;
mod take_back;
mod threads;
mod tus;
mod upload;
mod writers;

use std::{io, net::SocketAddr, path::Path, sync::Arc};

use gim_config::{listen::ListenError, sql::persevere};
use tokio::task::JoinSet;

use self::{
    contents::Contents,
    disk::Disk,
    folder::Folder,
    listener::FileListener,
    lookup::Lookup,
    picture::Pictures,
    scan::Scanner,
    signed_url::Signer,
    threads::{RunningThreads, Threads},
    writers::Writers,
};
use crate::{
    rpc::Callers,
    settings::FilesSettings,
    store::{Store, StoreError},
};

/// The running part of the service.
#[derive(Debug, Default)]
pub struct FileServer {
    listener: Option<FileListener>,
    /// What goes on beside the requests; ends with them.
    tasks: JoinSet<()>,
    threads: Option<RunningThreads>,
}

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The settings make no sense here.
    #[error("{0}")]
    Settings(String),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("files have no threads: {0}")]
    Threads(#[from] io::Error),
}

/// What all requests share. Clones mean the same.
#[derive(Debug, Clone)]
struct Files(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: FilesSettings,
    /// The port of the chat page, 0 for none.
    page_port: u16,
    store: Store,
    lookup: Lookup,
    callers: Callers,
    signer: Signer,
    folder: Folder,
    contents: Contents,
    writers: Writers,
    disk: Disk,
    pictures: Pictures,
    scanner: Option<Arc<Scanner>>,
    threads: Threads,
}

impl std::ops::Deref for Files {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Files {
    /// Opens the folder, and the bucket where there is one.
    async fn open(
        settings: &FilesSettings,
        data_dir: &Path,
        page_port: u16,
        store: Store,
        callers: Callers,
        threads: &Threads,
    ) -> Result<Self, FilesError> {
        let folder = Folder::open(&settings.folder_in(data_dir), settings.folder_free_bytes_min)
            .map_err(FilesError::Settings)?;
        let secret = match settings.url_secret.as_bytes() {
            [] => persevere(async || store.file_secret(rand::random()).await).await?,
            given => given.to_vec(),
        };
        let disk = Disk::new(settings.disk_tasks_max, threads.clone());
        let contents = Contents::open(settings, &folder, &disk, threads).map_err(FilesError::Settings)?;
        Ok(Self(Arc::new(Shared {
            page_port,
            lookup: Lookup::new(store.clone()),
            store,
            callers,
            signer: Signer::new(&secret, settings.url_ttl_s),
            folder,
            contents,
            writers: Writers::default(),
            disk,
            pictures: Pictures::new(settings, threads.clone()),
            scanner: Scanner::new(settings).map_err(FilesError::Settings)?.map(Arc::new),
            settings: settings.clone(),
            threads: threads.clone(),
        })))
    }
}

impl FileServer {
    /// Starts the listener, where the settings have one.
    pub async fn start(
        settings: &FilesSettings,
        data_dir: &Path,
        page_port: u16,
        store: Store,
        callers: Callers,
    ) -> Result<Self, FilesError> {
        if settings.listen.is_off() {
            return Ok(Self::default());
        }
        let (threads, running) = threads::start()?;
        let files = Files::open(settings, data_dir, page_port, store, callers, &threads).await?;
        let routes = routes::routes(files.clone());
        let listener = threads.for_own(FileListener::start(settings.clone(), routes, threads.clone())).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(sweep::run(files.clone()));
        tasks.spawn(scan::run(files, listener.address()));
        Ok(Self { listener: Some(listener), tasks, threads: Some(running) })
    }

    /// Where it listens, if it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(FileListener::address)
    }

    /// Ends all transfers; the address is free afterwards.
    pub async fn stop(mut self) {
        if let Some(listener) = self.listener.take() {
            listener.stop().await;
        }
        self.tasks.shutdown().await;
        drop(self.threads.take());
    }
}
