//! `gim-ctl import gim`, from a MariaDB and a Redis as gim leaves them, into SQLite and into MariaDB: killed at any moment it loses
//! and doubles nothing, and users go on from where they are.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod fixture;
mod outcome;

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use fixture::{Fixture, SEED};
use gim_business::BusinessSettings;
use gim_config::{sql::DatabaseSettings, testing};
use gim_logic::LogicSettings;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// How often one import is killed, at most.
const KILLS: usize = 5;

/// A kill comes within this time, as long as the import takes on a machine with nothing else to do.
const KILL_WITHIN_MS: u64 = 4_000;

/// Where an import comes to.
struct Target {
    folder: tempfile::TempDir,
    logic_url: String,
    business_url: String,
}

impl Target {
    fn sqlite() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), logic_url: String::new(), business_url: String::new() }
    }

    fn mariadb() -> Self {
        Self { logic_url: testing::mysql_database(), business_url: testing::mysql_database(), ..Self::sqlite() }
    }

    fn logic(&self) -> LogicSettings {
        let database = DatabaseSettings { url: self.logic_url.clone(), ..DatabaseSettings::default() };
        LogicSettings { data_dir: self.folder.path().to_owned(), database, ..LogicSettings::default() }
    }

    fn business(&self) -> BusinessSettings {
        let database = DatabaseSettings { url: self.business_url.clone(), ..DatabaseSettings::default() };
        BusinessSettings { data_dir: self.folder.path().to_owned(), database, ..BusinessSettings::default() }
    }

    fn command(&self, fixture: &Fixture) -> Command {
        let mut command = gim_ctl(fixture, self.folder.path());
        for (name, url) in
            [("GIM_LOGIC_DATABASE__URL", &self.logic_url), ("GIM_BUSINESS_DATABASE__URL", &self.business_url)]
        {
            if !url.is_empty() {
                command.env(name, url);
            }
        }
        command
    }

    fn import(&self, fixture: &Fixture) -> String {
        said(self.command(fixture).output().unwrap())
    }
}

fn gim_ctl(fixture: &Fixture, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gim-ctl"));
    command.args(["import", "gim", "--time-zone", "+08:00"]);
    command.args(["--mysql", &fixture.mysql, "--redis", &fixture.redis]).arg("--data").arg(folder);
    command
}

fn said(output: Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

/// The counts of a kind: found, taken, there before, not taken.
fn counts(report: &str, kind: &str) -> [u64; 4] {
    let line = report.lines().find_map(|line| line.strip_prefix(kind)).unwrap_or_else(|| panic!("{kind}: {report}"));
    let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

#[tokio::test]
async fn a_dry_run_judges_everything_and_writes_nothing() {
    let fixture = fixture::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let report = said(gim_ctl(fixture, folder.path()).arg("--dry-run").output().unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
    assert!(report.ends_with("This was a dry run: nothing was written.\n"), "{report}");
    assert_eq!(counts(&report, "users"), [fixture::USERS, fixture::USERS, 0, 0]);
    assert_eq!(counts(&report, "messages"), [fixture::MESSAGES, fixture::MESSAGES, 0, 0]);
    assert_eq!(counts(&report, "places without message"), [fixture.without_message(), fixture.without_message(), 0, 0]);
    for problem in [
        "tokens: not taken: it has expired: 1 (auth:10009 20009)",
        "tokens: not taken: the value is no token: 1 (auth:10008 777)",
        "tokens: not taken: the key or the field is no id: 2 (auth:",
        "friends and requests: not taken: only one of the two agreed to be friends: 1 (user 10004 and 10005)",
        "places in inboxes: the message is gone, an expired one takes its place: 1 (user 10000 seq ",
    ] {
        assert!(report.contains(problem), "{problem}\n{report}");
    }
}

/// What a dry run into a target is refused with.
fn refused(target: &Target, fixture: &Fixture) -> String {
    let output = target.command(fixture).arg("--dry-run").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.lines().count() == 1, "{said}");
    said
}

#[tokio::test]
async fn a_dry_run_looks_at_the_databases_that_it_would_come_into() {
    let fixture = fixture::shared().await;
    let unreachable = Target { logic_url: "mysql://root@127.0.0.1:1/gim".into(), ..Target::sqlite() };
    let said = refused(&unreachable, fixture);
    assert!(said.contains("logic: cannot open the database mysql://root"), "{said}");
    for target in [Target::sqlite(), Target::mariadb()] {
        let report = said_of_dry_run(&target, fixture);
        assert!(report.contains("databases that the import makes first: 2 ("), "{report}");
        let logic = gim_logic::open_offline(target.logic()).await.unwrap();
        let said = refused(&target, fixture);
        assert!(said.contains("in use by a"), "{said}");
        logic.close().await;
        let report = said_of_dry_run(&target, fixture);
        assert!(report.contains("databases that the import makes first: 1 ("), "{report}");
        let business = gim_business::open_offline(target.business()).await.unwrap();
        business.import_users(&[somebody()]).await.unwrap();
        business.close().await;
        let said = refused(&target, fixture);
        assert!(said.contains("the databases are in use"), "{said}");
    }
    let newer = Target::sqlite();
    let logic = gim_logic::open_offline(newer.logic()).await.unwrap();
    let migration = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     VALUES (99999, 'of another version', 1, x'00', 0)";
    sqlx::query(migration).execute(&logic.store.database.writer).await.unwrap();
    logic.close().await;
    let said = refused(&newer, fixture);
    assert!(said.contains("are of a newer version: they have the migration 99999"), "{said}");
}

fn said_of_dry_run(target: &Target, fixture: &Fixture) -> String {
    said(target.command(fixture).arg("--dry-run").output().unwrap())
}

fn somebody() -> gim_business::ImportedUser {
    gim_business::ImportedUser {
        user_id: 1,
        phone_number: "+1".into(),
        nickname: String::new(),
        sex: 0,
        avatar_url: String::new(),
        extra: String::new(),
        created_at_ms: 0,
        updated_at_ms: 0,
    }
}

#[tokio::test]
async fn an_import_into_sqlite_may_be_killed_at_any_moment() {
    survives_kills(Target::sqlite(), SEED).await;
}

#[tokio::test]
async fn an_import_into_mariadb_may_be_killed_at_any_moment() {
    survives_kills(Target::mariadb(), SEED + 1).await;
}

async fn survives_kills(target: Target, seed: u64) {
    let fixture = fixture::shared().await;
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..KILLS {
        let mut command = target.command(fixture);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(random.random_range(0..KILL_WITHIN_MS))).await;
        let ended = child.try_wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        if let Some(status) = ended {
            assert!(status.success(), "seed {seed}: {status}");
            break;
        }
    }
    target.import(fixture);
    outcome::is_whole(&target.logic(), &target.business(), fixture).await;
    // A dry run, too, sees that it may go on.
    said_of_dry_run(&target, fixture);
    // Once more: nothing is new, and nothing is other than before.
    let report = target.import(fixture);
    for kind in ["users", "devices", "tokens", "friends and requests", "groups", "messages", "places in inboxes"] {
        assert_eq!(counts(&report, kind)[1], 0, "{kind}\n{report}");
    }
    outcome::is_whole(&target.logic(), &target.business(), fixture).await;
    outcome::users_go_on(target.logic(), target.business(), fixture).await;
    // What clients did since would meet what gim did since.
    let refused = target.command(fixture).output().unwrap();
    let problem = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && problem.contains("the databases are in use"), "{problem}");
}

#[tokio::test]
async fn an_address_of_something_else_is_refused_at_once() {
    let fixture = fixture::shared().await;
    let folder = tempfile::tempdir().unwrap();
    for (option, url, problem) in [
        ("--mysql", "postgres://127.0.0.1/gim", "--mysql"),
        ("--redis", "http://127.0.0.1:6379", "--redis"),
        ("--redis", &fixture.mysql, "--redis"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gim-ctl"));
        command.args(["import", "gim", "--time-zone", "+08:00"]).arg("--data").arg(folder.path());
        let both = [("--mysql", fixture.mysql.as_str()), ("--redis", fixture.redis.as_str())];
        for (name, right) in both {
            command.args([name, if name == option { url } else { right }]);
        }
        let refused = command.output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(problem) && said.lines().count() == 1, "{url}: {said}");
    }
}

#[tokio::test]
async fn databases_that_somebody_uses_are_left_alone() {
    let fixture = fixture::shared().await;
    let target = Target::sqlite();
    let business = gim_business::open_offline(target.business()).await.unwrap();
    let refused = target.command(fixture).output().unwrap();
    let problem = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(problem.contains("in use by another gim-business"), "{problem}");
    business.import_users(&[somebody()]).await.unwrap();
    business.close().await;
    let refused = target.command(fixture).output().unwrap();
    let problem = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && problem.contains("the databases are in use"), "{problem}");
}
