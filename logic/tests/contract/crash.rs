//! A process that is killed while it answers.

use std::{
    collections::HashSet,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    thread,
};

use gim_config::sql::Database;
use gim_logic::{
    LogicSettings,
    store::{self, Store},
};
use gim_proto::{
    LINK_VERSION,
    connect::{self, PacketCommand, SendRequest, send_request::Target},
    logic::{Hello, SyncRequest, Up, down_item::Item},
    metadata,
};
use prost::Message as _;
use tonic::transport::Channel;

use crate::support::{self, business::StubBusiness, conn::Conn, soon};

const SENDS: u64 = 40;

const READY: &str = "is ready: gRPC on ";

/// A process that is killed when this is dropped, as a power cut would, but for the disk.
pub struct KilledProcess(pub Child);

/// `gim-logic` as a process of its own; it ends with this.
pub struct Process {
    _child: KilledProcess,
    url: String,
}

impl KilledProcess {
    /// `gim-logic`, which may not be ready for a long time.
    pub fn start(settings: &LogicSettings, folder: &Path) -> Self {
        Self(command(settings, folder).stderr(Stdio::null()).spawn().unwrap())
    }
}

/// What a process says.
pub struct Lines(pub BufReader<ChildStderr>);

impl Lines {
    /// The first line with these words. Fails where it ends without.
    pub fn find(&mut self, words: &str) -> String {
        let mut lines = self.0.by_ref().lines().map_while(Result::ok);
        lines.find(|line| line.contains(words)).expect("it says so before it ends")
    }

    /// Until a line with these words; what else it says is read from then on, so that it can say it.
    pub fn until(mut self, words: &str) -> String {
        let line = self.find(words);
        thread::spawn(move || self.0.lines().map_while(Result::ok).for_each(drop));
        line
    }
}

pub fn command(settings: &LogicSettings, folder: &Path) -> Command {
    let file = folder.join("logic.toml");
    fs::write(&file, toml::to_string(settings).unwrap()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gim-logic"));
    command.arg("--config").arg(&file).stdin(Stdio::null());
    command
}

impl Process {
    pub fn start(settings: &LogicSettings, folder: &Path) -> Self {
        let mut child = command(settings, folder).stderr(Stdio::piped()).spawn().unwrap();
        let line = Lines(BufReader::new(child.stderr.take().unwrap())).until(READY);
        let (_, address) = line.split_once(READY).unwrap();
        let address = address.split(',').next().unwrap();
        Self { _child: KilledProcess(child), url: format!("http://{address}") }
    }

    pub async fn channel(&self) -> Channel {
        Channel::from_shared(self.url.clone()).unwrap().connect().await.unwrap()
    }

    pub async fn connect(&self) -> Conn {
        let channel = self.channel().await;
        let hello = Hello { version: LINK_VERSION, node: "conn-1".into(), epoch: 1, ..Hello::default() };
        Conn::attach_with(channel, Up { hello: Some(hello), items: Vec::new() }).await.unwrap()
    }
}

impl Drop for KilledProcess {
    fn drop(&mut self) {
        let Self(child) = self;
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn send_request(number: u64) -> SendRequest {
    SendRequest {
        target: Some(Target::UserId(8)),
        content: number.to_string().into(),
        client_msg_id: format!("key {number}"),
        ..SendRequest::default()
    }
}

#[tokio::test]
async fn a_send_retried_after_a_kill_before_the_reply_is_delivered_once() {
    let (data, business) = (tempfile::tempdir().unwrap(), StubBusiness::start().await);
    let mut settings = support::settings(data.path(), &business);
    settings.link.lease_ms = 1_000;
    let (for_process, folder) = (settings.clone(), data.path().to_owned());
    let process = tokio::task::spawn_blocking(move || Process::start(&for_process, &folder)).await.unwrap();

    // Nobody reads a reply: it is killed as soon as something is committed, and many sends are somewhere on the way.
    let mut conn = process.connect().await;
    for number in 0..SENDS {
        conn.begin_packet(7, PacketCommand::PcSend as i32, send_request(number).encode_to_vec()).await;
    }
    let database = Database::open(&settings.database, data.path(), "logic.db", &store::migrations()).await.unwrap();
    let inboxes = Store::new(database.clone()).inboxes;
    let committed = async {
        while inboxes.newest_seq(8).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(committed).await;
    drop(process);
    database.close().await;

    let server = support::start(data, business, settings).await;
    let mut conn = Conn::attach(&server, "conn-1", 2).await;
    let stored_before = conn.sign_in(8, 80, 800).await;
    let mut message_ids = HashSet::new();
    for is_second in [false, true] {
        let mut duplicates = 0;
        for number in 0..SENDS {
            let signed = metadata::signed(send_request(number), 7, 70, "token-7");
            let sent = server.message_ext().send(signed).await.unwrap().into_inner();
            assert_eq!(message_ids.insert(sent.message_id), !is_second, "a retry is told the same message");
            duplicates += u64::from(sent.duplicate);
        }
        assert_eq!(duplicates, if is_second { SENDS } else { stored_before });
    }

    let last = server.push(&[8], "the end").await;
    let mut delivered = Vec::new();
    while delivered.last() != Some(&last) {
        let Item::Push(push) = conn.next().await else { panic!("no push") };
        delivered.push(connect::Message::decode(push.message).unwrap().message_id);
    }
    assert_eq!(delivered.len() as u64, SENDS - stored_before + 1, "what was new, each once");
    let signed = metadata::signed(SyncRequest::default(), 8, 80, "token-8");
    let inbox = server.message_ext().sync(signed).await.unwrap().into_inner().messages;
    assert!(inbox.iter().map(|message| message.seq).eq(1..=SENDS + 1));
    let in_inbox: HashSet<u64> = inbox.iter().map(|message| message.message_id).filter(|&id| id != last).collect();
    assert_eq!(in_inbox, message_ids);
}
