//! Rows of an earlier version are moved by one node, when no other is there.

use std::{io::BufReader, path::Path, process::Stdio, time::Duration};

use gim_config::sql::{Claim, Database, at_rest::Location};
use gim_logic::{LogicSettings, store::upgrade::LEFT};
use tokio::task::spawn_blocking;

use crate::{
    contract::{
        crash::{KilledProcess, Lines, Process, command},
        store::upgrade::{before_send_keys, fill_before_send_keys},
    },
    support::{self, business::StubBusiness},
};

/// The name is held by a connection that says nothing meanwhile.
const LEASE: Duration = Duration::from_secs(600);

const MESSAGES: u64 = 100;

/// A database of before.
struct Older {
    data: tempfile::TempDir,
    settings: LogicSettings,
    database: Database,
    _business: StubBusiness,
}

async fn older() -> Older {
    let (data, business) = (tempfile::tempdir().unwrap(), StubBusiness::start().await);
    let settings = support::settings(data.path(), &business);
    let database = Database::open(&settings.database, data.path(), "logic.db", &before_send_keys()).await.unwrap();
    fill_before_send_keys(&database, MESSAGES).await;
    Older { data, settings, database, _business: business }
}

impl Older {
    /// As a node of an earlier version has it.
    async fn claim(&self) -> Claim {
        self.database.claim("logic 5", &[], LEASE, Duration::ZERO).await.unwrap().expect("MariaDB has names")
    }

    async fn left(&self) -> Vec<Option<i64>> {
        let location = Location::new(&self.settings.database, self.data.path(), "logic.db").unwrap();
        let mut left = Vec::new();
        for count in LEFT {
            left.push(location.number(count).await.unwrap());
        }
        left
    }
}

/// Starts a node, and returns once it has said something, with what it is going to say.
fn start_until(settings: &LogicSettings, folder: &Path, words: &str) -> (KilledProcess, Lines) {
    let mut child = command(settings, folder).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = Lines(BufReader::new(child.stderr.take().unwrap()));
    lines.find(words);
    (KilledProcess(child), lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_waits_until_no_other_is_there_and_moves_nothing_before() {
    let older = older().await;
    let claim = older.claim().await;
    let (settings, folder) = (older.settings.clone(), older.data.path().to_owned());
    let waits = spawn_blocking(move || start_until(&settings, &folder, "stop all of them")).await.unwrap();
    let (process, lines) = waits;
    let rows = i64::try_from(MESSAGES).unwrap();
    assert_eq!(older.left().await, [Some(rows), Some(2 * rows), None, None], "an older node finds all of its tables");
    let refused = gim_logic::open_offline(older.settings.clone()).await.expect_err("a node is there").to_string();
    assert!(refused.contains("in use by a gim-logic"), "{refused}");
    assert_eq!(older.left().await, [Some(rows), Some(2 * rows), None, None]);

    drop(claim);
    spawn_blocking(move || lines.until("is ready: gRPC on ")).await.unwrap();
    assert_eq!(older.left().await, [None; 4]);
    drop(process);
    older.database.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_nodes_that_start_at_once_one_moves_the_rows_and_both_serve() {
    let older = older().await;
    let start = |number: u16| {
        let mut settings = older.settings.clone();
        (settings.node, settings.node_number) = (format!("logic-{number}"), number);
        let folder = older.data.path().join(number.to_string());
        std::fs::create_dir(&folder).unwrap();
        spawn_blocking(move || Process::start(&settings, &folder))
    };
    let (first, second) = tokio::join!(start(1), start(2));
    assert_eq!(older.left().await, [None; 4]);
    drop((first.unwrap(), second.unwrap()));
    older.database.close().await;
}
