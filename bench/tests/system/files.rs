//! Files by the SDK in Rust, at our own business: with progress, over broken connections and a restart, and until somebody stops it.

use std::{
    io::Cursor,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use gim_client::{
    GimError,
    files::{FileState, Files, FilesOptions, UploadOptions},
};
use gim_proto::business::SignInReply;
use tokio::{
    io::{AsyncReadExt as _, copy},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::server::{DEADLINE, Server};

const PART_BYTES: usize = 256 * 1024;

fn files_of(identity: &SignInReply, url: &str) -> Files {
    let token = identity.token.clone();
    let options = FilesOptions::new(url, identity.user_id, identity.device_id).part_bytes(PART_BYTES);
    let options = options.answer_timeout(Duration::from_secs(5)).get_token(move |_| {
        let token = token.clone();
        async { Ok(Some(token)) }
    });
    Files::new(options).unwrap()
}

fn bytes(count: u32) -> Vec<u8> {
    (0..count).flat_map(u32::to_le_bytes).collect()
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work).await.expect("within the deadline")
}

async fn read(files: &Files, id_or_url: &str) -> Result<Vec<u8>, GimError> {
    let mut to = Cursor::new(Vec::new());
    files.download(id_or_url, &mut to, |_, _| {}).await?;
    Ok(to.into_inner())
}

#[test]
fn a_file_goes_up_and_down_and_says_how_far_it_is() {
    let server = Server::start();
    let alice = server.business_sign_in("13800000031");
    let files = files_of(&alice, &server.files_url());
    server.runtime.block_on(in_time(async {
        let bytes = bytes(200_000);
        let mut told = Vec::new();
        let options = UploadOptions::named("sea & 度假.bin").on_progress(|sent, total| told.push((sent, total)));
        let info = files.upload(Cursor::new(&bytes), options).await.unwrap();
        assert_eq!((info.name.as_str(), info.size_bytes, info.state), ("sea & 度假.bin", 800_000, FileState::Good));
        let part = PART_BYTES as u64;
        assert_eq!(told, [0, part, 2 * part, 3 * part, 800_000].map(|sent| (sent, 800_000)));
        assert!(read(&files, &info.url).await.unwrap() == bytes);
        // A URL that is good no more: the server says so, and the SDK asks for a new one.
        let expired = format!("{}?expires=1&signature=AAAA", info.url.split('?').next().unwrap());
        assert!(read(&files, &expired).await.unwrap() == bytes);
        assert_eq!(files.about(&info.file_id).await.unwrap().sha256, info.sha256);

        let refused = files.upload(Cursor::new(Vec::new()), UploadOptions::named("nothing")).await.unwrap_err();
        assert_eq!(refused.message, "a file needs at least one byte");
        let stranger = files_of(&SignInReply { token: "wrong".into(), ..alice.clone() }, &server.files_url());
        assert_eq!(stranger.about(&info.file_id).await.unwrap_err().code, 10000);
        assert!(read(&files, "0123456789abcdef0123456789abcdef").await.unwrap_err().message.contains("no such file"));
    }));
}

/// A proxy over whose connections no more than so many bytes go in a direction; how many of them broke stands in the count.
async fn stingy_proxy(url: &str, bytes_max: u64, broke: Arc<AtomicU32>) -> String {
    let target = url.split_once("://").unwrap().1.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxied = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (target, broke) = (target.clone(), broke.clone());
            tokio::spawn(async move {
                let mut server = TcpStream::connect(target).await.unwrap();
                let ((from_client, mut to_client), (from_server, mut to_server)) = (client.split(), server.split());
                let (mut up, mut down) = (from_client.take(bytes_max), from_server.take(bytes_max));
                // What ends first ends both.
                let went = tokio::select! {
                    went = copy(&mut up, &mut to_server) => went,
                    went = copy(&mut down, &mut to_client) => went,
                };
                if went.is_ok_and(|bytes| bytes == bytes_max) {
                    broke.fetch_add(1, Relaxed);
                }
            });
        }
    });
    proxied
}

#[test]
fn a_file_gets_through_when_every_connection_breaks() {
    let server = Server::start();
    let alice = server.business_sign_in("13800000032");
    server.runtime.block_on(in_time(async {
        let broke = Arc::new(AtomicU32::new(0));
        let url = stingy_proxy(&server.files_url(), PART_BYTES as u64 / 2, broke.clone()).await;
        let (files, bytes) = (files_of(&alice, &url), bytes(200_000));
        let mut progress = 0;
        let options = UploadOptions::named("a").on_progress(|sent, _| {
            assert!(sent >= progress, "it never goes back");
            progress = sent;
        });
        let info = files.upload(Cursor::new(&bytes), options).await.unwrap();
        assert!(broke.load(Relaxed) >= 3, "each part but the last, at least");
        let mut to = Cursor::new(Vec::new());
        let count = files.download(&info.url, &mut to, |_, _| {}).await.unwrap();
        assert!(broke.load(Relaxed) >= 9 && count == 800_000 && to.into_inner() == bytes, "{broke:?} {count}");
    }));
}

#[test]
fn an_upload_that_was_stopped_goes_on_after_a_restart_or_is_given_up() {
    let mut server = Server::start();
    let alice = server.business_sign_in("13800000033");
    let (files, bytes) = (files_of(&alice, &server.files_url()), bytes(400_000));
    let begun = Arc::new(Mutex::new(String::new()));
    let stop_after_some = async || {
        let (stopped, stop) = tokio::sync::oneshot::channel();
        let mut stopped = Some(stopped);
        let url = begun.clone();
        let options = UploadOptions::named("a")
            .on_begun(move |at| at.clone_into(&mut url.lock().unwrap()))
            .on_progress(move |sent, _| {
                if sent > 500_000
                    && let Some(stopped) = stopped.take()
                {
                    stopped.send(()).unwrap();
                }
            });
        tokio::select! {
            _ = files.upload(Cursor::new(&bytes), options) => panic!("it was not stopped"),
            _ = stop => begun.lock().unwrap().clone(),
        }
    };
    let (first, second) =
        server.runtime.block_on(in_time(async { (stop_after_some().await, stop_after_some().await) }));
    server.restart();
    server.runtime.block_on(in_time(async {
        let mut from = None;
        let options = UploadOptions::default().resume(&first).on_progress(|sent, _| {
            from.get_or_insert(sent);
        });
        let info = files.upload(Cursor::new(&bytes), options).await.unwrap();
        assert!(from.unwrap() > 500_000, "{from:?}: what had come is not sent again");
        assert!(read(&files, &info.url).await.unwrap() == bytes);
        files.give_up(&second).await.unwrap();
        let gone = files.upload(Cursor::new(&bytes), UploadOptions::default().resume(&second)).await;
        assert!(gone.unwrap_err().message.contains("404"), "an answer to HEAD has no sentence");
    }));
}
