//! A process that is killed while it answers.

use std::{
    collections::HashSet,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
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

/// `gim-logic` as a process of its own; it ends with this.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(settings: &LogicSettings, folder: &Path) -> Self {
        let file = folder.join("logic.toml");
        fs::write(&file, toml::to_string(settings).unwrap()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gim-logic"));
        command.arg("--config").arg(&file).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.by_ref().find_map(|line| {
            let (_, address) = line.split_once("is ready: gRPC on ")?;
            Some(address.split(',').next()?.to_owned())
        });
        // What else it says is read, so that it can say it.
        thread::spawn(move || lines.for_each(drop));
        Self { child, url: format!("http://{}", address.expect("it starts")) }
    }

    async fn connect(&self) -> Conn {
        let channel = Channel::from_shared(self.url.clone()).unwrap().connect().await.unwrap();
        let hello = Hello { version: LINK_VERSION, node: "conn-1".into(), epoch: 1, ..Hello::default() };
        Conn::attach_with(channel, Up { hello: Some(hello), items: Vec::new() }).await.unwrap()
    }
}

impl Drop for Process {
    /// As a power cut would, but for the disk.
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
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
