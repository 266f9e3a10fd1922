//! Files as clients see them: over HTTP, against a running service with a folder of its own.

mod bad_input;
mod checked;
mod full_disk;
mod http;
mod old;
mod one_request;
mod pictures;
mod resumed;
mod taken_back;

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use gim_business::FilesSettings;
use gim_config::listen::Endpoint;
use serde_json::Value;

use self::http::{Answer, Ask};
use super::harness::{Phone, Server};

/// The smallest picture that browsers show: one dot.
pub const DOT: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\xff\xff\xff\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

/// Whoever asks again more often has soon no share of requests left.
const ASK_INTERVAL: Duration = Duration::from_millis(20);

/// Waits for what has to happen soon, on a machine that is busy as well.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("this should have happened by now")
}

async fn start() -> (Server, SocketAddr) {
    start_with(|_| {}).await
}

async fn start_with(change: impl FnOnce(&mut FilesSettings)) -> (Server, SocketAddr) {
    let server = Server::start_with(|settings| {
        settings.files.listen = Endpoint::new("127.0.0.1:0");
        change(&mut settings.files);
    })
    .await;
    let address = server.business.files_address().unwrap();
    (server, address)
}

fn upload(address: SocketAddr, phone: &Phone, name: &str, body: &[u8]) -> Answer {
    Ask::new("POST", &format!("/files?name={name}")).by(phone).body(body).send(address)
}

/// Uploads a file that is taken; what is told of it.
#[track_caller]
fn uploaded(address: SocketAddr, phone: &Phone, name: &str, body: &[u8]) -> Value {
    let answer = upload(address, phone, name, body);
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

fn read(address: SocketAddr, url: &str) -> Answer {
    Ask::new("GET", url).send(address)
}

/// The files in the folder of uploads, and in that of contents.
fn kept(server: &Server) -> (usize, usize) {
    let root = server.settings.data_dir.join("files");
    (files_below(&root.join("uploads")), files_below(&root.join("contents")))
}

fn files_below(folder: &Path) -> usize {
    let count = |entry: fs::DirEntry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 };
    fs::read_dir(folder).unwrap().map(|entry| count(entry.unwrap())).sum()
}
