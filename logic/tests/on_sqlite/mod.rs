//! What only SQLite can get into.

use std::{os::unix::fs::symlink, path::Path, process::Command};

use gim_config::service::Running as _;
use gim_logic::store::StoreError;
use sqlx::{AssertSqlSafe, Executor as _};

use crate::{
    contract::store::{StoreHarness, harness},
    support::{Server, server},
};

/// Sets a pragma on the one connection that writes.
async fn pragma(harness: &StoreHarness, pragma: &str) {
    harness.store.database.writer.execute(AssertSqlSafe(format!("PRAGMA {pragma}"))).await.unwrap();
}

#[tokio::test]
async fn a_full_database_puts_requests_off_stores_no_half_and_goes_on_later() {
    let harness = harness().await;
    harness.push(&[7]).await;
    pragma(&harness, "max_page_count = 1").await;
    let many: Vec<u64> = (7..5000).collect();
    let refused = harness.submit_push(&many).committed().await;
    assert!(matches!(refused, Err(StoreError::PutOff(_))), "{refused:?}");
    assert_eq!((harness.seqs(7).await, harness.seqs(8).await), (vec![1], vec![]));
    pragma(&harness, "max_page_count = 1000000").await;
    assert_eq!(harness.push(&many).await.seq, 2);
    assert_eq!(harness.seqs(8).await, [1]);
}

#[tokio::test]
async fn a_read_only_database_puts_requests_off_and_recovers_by_itself() {
    let harness = harness().await;
    pragma(&harness, "query_only = ON").await;
    let refused = harness.submit_push(&[7]).committed().await;
    assert!(matches!(refused, Err(StoreError::PutOff(_))), "{refused:?}");
    pragma(&harness, "query_only = OFF").await;
    assert_eq!(harness.push(&[7]).await.seq, 1);
}

#[tokio::test]
async fn what_is_acknowledged_after_a_full_or_read_only_database_is_kept() {
    let harness = harness().await;
    let many: Vec<u64> = (7..5000).collect();
    for round in 1..4 {
        for trouble in ["max_page_count = 1", "query_only = ON"] {
            pragma(&harness, trouble).await;
            let refused = harness.submit_push(&many).committed().await;
            assert!(matches!(refused, Err(StoreError::PutOff(_))), "{refused:?}");
        }
        assert_eq!(harness.push(&[7]).await.seq, round);
        // Another connection sees what is committed, and nothing else.
        assert_eq!(harness.seqs(7).await, (1..=round).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_second_logic_on_the_same_folder_is_refused_before_it_opens_anything() {
    let server = server().await;
    let mut settings = server.settings.clone();
    settings.node = "logic-2".into();
    settings.node_number = 2;
    let refused = gim_logic::start(settings).await.unwrap_err().to_string();
    let folder = server.data.path().display();
    let expected = format!("the data folder {folder} is in use by another gim-logic (process {})", std::process::id());
    assert_eq!(refused, expected);
    server.push(&[7], "still here").await;
    let _comes_back_on_its_own_folder = server.restart().await;
}

#[tokio::test]
async fn a_second_logic_on_the_same_file_is_refused_whatever_it_calls_it() {
    let server = server().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("x.db");
    symlink(server.data.path().join("logic.db"), &link).unwrap();
    let mut settings = server.settings.clone();
    elsewhere.path().clone_into(&mut settings.data_dir);
    let expected = format!("the data folder {} is in use by another gim-logic", server.data.path().display());
    for file in [&server.data.path().join("logic.db"), &link] {
        settings.database.url = format!("sqlite:{}", file.display());
        let refused = gim_logic::start(settings.clone()).await.unwrap_err().to_string();
        assert!(refused.starts_with(&expected), "{refused}");
        let refused = gim_logic::raise_seqs(settings.clone(), 1).await.unwrap_err().to_string();
        assert!(refused.starts_with(&expected), "{refused}");
    }
    settings.database.url = format!("sqlite:{}", elsewhere.path().join("none.db").display());
    let refused = gim_logic::raise_seqs(settings.clone(), 1).await.unwrap_err().to_string();
    assert!(refused.starts_with("there is no ") && !elsewhere.path().join("none.db").exists(), "{refused}");
    settings.database.url += "/deep.db?mode=rw";
    let refused = gim_logic::start(settings).await.unwrap_err().to_string();
    assert!(refused.contains("mode=rw makes none") && !elsewhere.path().join("none.db").exists(), "{refused}");
}

/// What `gim-logic raise-seqs` says, on which stream.
fn raise_seqs(folder: &Path, more: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gim-logic"));
    let output = command.arg("raise-seqs").args(more).arg("--data").arg(folder).output().unwrap();
    let [said, refused] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap().trim().to_owned());
    (output.status.success(), said, refused)
}

#[tokio::test]
async fn seqs_are_raised_from_the_command_line_while_nothing_runs() {
    let server = server().await;
    server.push(&[7, 8], "before").await;
    let folder = server.data.path().to_owned();
    let (is_done, _, refused) = raise_seqs(&folder, &[]);
    let expected = format!("gim-logic: the data folder {} is in use by another gim-logic", folder.display());
    assert!(!is_done && refused.starts_with(&expected), "{refused}");
    let Server { logic, data: _data, .. } = server;
    logic.stop().await;
    let (is_done, said, refused) = raise_seqs(&folder, &[]);
    assert!(is_done, "{refused}");
    assert_eq!(said, "gim-logic: raised the seqs of 2 inboxes, 0 groups and 0 rooms by 100000000");
    let (is_done, said, _) = raise_seqs(&folder, &["--by", "5"]);
    assert!(is_done && said.ends_with("by 5"), "{said}");
    let (is_done, _, refused) = raise_seqs(&folder.join("elsewhere"), &[]);
    assert!(!is_done && refused.starts_with("gim-logic: there is no "), "{refused}");
    assert!(!folder.join("elsewhere").exists());
    assert!(!raise_seqs(&folder, &["--by", "0"]).0);
}

#[tokio::test]
async fn seqs_of_a_database_that_nothing_was_put_back_into_are_not_raised() {
    let server = server().await;
    let folder = server.data.path().to_owned();
    let Server { logic, data: _data, .. } = server;
    logic.stop().await;
    let (is_done, said, refused) = raise_seqs(&folder, &[]);
    let file = folder.join("logic.db");
    let expected =
        format!("gim-logic: there is no message and no inbox in {}: was the backup put back?", file.display());
    assert_eq!((is_done, said.as_str(), refused), (false, "", expected));
}
