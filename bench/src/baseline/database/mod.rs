//! A bare use of a database of the kind that the server uses, with the server's own tables: bulk inserts ([`insert`]),
//! page reads ([`read`]) and lists of conversations ([`list`]), without a messaging server around them. Runs as tasks on a runtime of its own, only while it is
//! told to.

mod insert;
mod list;
mod read;

use std::{
    path::Path,
    str::FromStr as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use gim_config::sql;
use include_dir::{Dir, include_dir};
use sqlx::{
    ConnectOptions as _, Executor as _, MySqlConnection, SqliteConnection,
    mysql::MySqlConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::watch, task::JoinHandle};

use crate::{
    paired_run::Slice,
    progress::Progress,
    stats::ratio,
    swarm::{Behaviour, Swarm},
};

static SQLITE_TABLES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../logic/migrations/sqlite");
static MYSQL_TABLES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../logic/migrations/mysql");

/// Connections that write at the same time: SQLite has one writer, and MySQL shares commits between two.
const SQLITE_WRITERS: u32 = 1;
const MYSQL_WRITERS: u32 = 2;

/// Connections that read at the same time, per core.
const READERS_PER_CORE: usize = 2;

/// Bytes of pages that a connection to SQLite keeps, in KiB, as the server's have.
const SQLITE_CACHE: &str = "-16384";

/// Which database to compare with.
#[derive(Debug, Clone, clap::Args)]
pub struct DatabaseArguments {
    /// The database server to compare with, as the server's: mysql://user@host:port; a database of its own is made there
    /// and dropped [default: an SQLite file]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// The folder of that SQLite file, on the disk of the server's [default: the folder for temporary files]
    #[arg(long, value_name = "DIR", conflicts_with = "database")]
    baseline_folder: Option<std::path::PathBuf>,
}

impl DatabaseArguments {
    /// Which one, for the report.
    pub fn kind(&self) -> &'static str {
        if self.database.is_some() { "mysql" } else { "sqlite" }
    }
}

/// What the rows look like: a message is in as many inboxes as a group has members.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Messages per transaction.
    pub batch: u32,
    /// Groups that they go to, by turns.
    pub groups: u32,
    /// Members of each; nobody is in two groups.
    pub members: u32,
    /// Bytes of a message.
    pub size: u32,
    /// Whether messages have a key of their sender.
    pub is_keyed: bool,
}

/// A database of this run's own.
pub struct Database {
    place: Location,
    shape: Shape,
    is_running: watch::Sender<bool>,
    /// Rows of inboxes written or read so far.
    rows: Arc<AtomicU64>,
    measured_rows: u64,
    measured: Duration,
    tasks: Vec<JoinHandle<sqlx::Result<()>>>,
    runtime: Runtime,
}

enum Location {
    Sqlite { options: SqliteConnectOptions, _folder: TempDir },
    MySql { options: MySqlConnectOptions, name: String },
}

impl Database {
    /// Makes one with the server's tables.
    pub fn create(arguments: &DatabaseArguments, shape: Shape) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let place = match &arguments.database {
            None => runtime.block_on(create_sqlite(arguments.baseline_folder.as_deref())),
            Some(url) => runtime.block_on(create_mysql(url)),
        };
        let place = place.context("cannot make a database to compare with")?;
        Ok(Self {
            place,
            shape,
            is_running: watch::Sender::new(false),
            rows: Arc::default(),
            measured_rows: 0,
            measured: Duration::ZERO,
            tasks: Vec::new(),
            runtime,
        })
    }

    /// Inserts from now on, while it is told to run.
    pub fn insert(&mut self) -> anyhow::Result<()> {
        let writers = match self.place {
            Location::Sqlite { .. } => SQLITE_WRITERS,
            Location::MySql { .. } => MYSQL_WRITERS,
        };
        for writer in 0..writers {
            let connection = self.runtime.block_on(self.place.connect())?;
            let work = insert::run(connection, self.shape, writer, self.is_running.subscribe(), self.rows.clone());
            self.tasks.push(self.runtime.spawn(work));
        }
        Ok(())
    }

    /// Fills each inbox with `backlog` messages.
    pub fn fill(&self, backlog: u32) -> anyhow::Result<()> {
        let messages = u64::from(backlog) * u64::from(self.shape.groups);
        let mut progress = Progress::new("filling a bare database", messages);
        let tell = |done: u64| progress.show(done, || format!("{} of {messages} messages", done.min(messages)));
        let fill = async { insert::fill(&mut self.place.connect().await?, self.shape, messages, tell).await };
        self.runtime.block_on(fill).context("cannot fill the database to compare with")
    }

    /// Reads pages of all inboxes from now on, over and over, while it is told to run.
    pub fn read(&mut self) -> anyhow::Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let users = u64::from(self.shape.groups) * u64::from(self.shape.members);
        for reader in 0..READERS_PER_CORE * cores {
            let first = reader as u64 % users;
            let connection = self.runtime.block_on(self.place.connect())?;
            let work = read::run(connection, first, users, self.is_running.subscribe(), self.rows.clone());
            self.tasks.push(self.runtime.spawn(work));
        }
        Ok(())
    }

    /// Runs for a slice, while the clients of the server live on.
    pub fn measure(&mut self, swarm: &mut Swarm, behaviour: &mut impl Behaviour, slice: Slice) -> anyhow::Result<()> {
        self.run(true)?;
        swarm.run_until(behaviour, slice.measure_from)?;
        let (from, before) = (Instant::now(), self.rows());
        swarm.run_until(behaviour, slice.end)?;
        self.run(false)?;
        self.measured_rows += self.rows() - before;
        self.measured += from.elapsed();
        Ok(())
    }

    /// Rows per second, while it was measured.
    pub fn per_second(&self) -> Option<f64> {
        ratio(self.measured_rows as f64, self.measured.as_secs_f64())
    }

    /// Goes on, or pauses after what is under way; the error is that of a task that failed.
    fn run(&mut self, is_running: bool) -> anyhow::Result<()> {
        if let Some(index) = self.tasks.iter().position(JoinHandle::is_finished) {
            let ended = self.runtime.block_on(self.tasks.swap_remove(index));
            return ended
                .context("a bare use of the database has ended")?
                .context("the database to compare with failed");
        }
        self.is_running.send_replace(is_running);
        Ok(())
    }

    /// Rows of inboxes inserted or read so far.
    fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }
}

/// A connection to either.
enum DatabaseConnection {
    Sqlite(SqliteConnection),
    MySql(MySqlConnection),
}

impl Location {
    async fn connect(&self) -> sqlx::Result<DatabaseConnection> {
        Ok(match self {
            Self::Sqlite { options, .. } => DatabaseConnection::Sqlite(options.connect().await?),
            Self::MySql { options, .. } => DatabaseConnection::MySql(options.connect().await?),
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        if let Location::MySql { options, name } = &self.place {
            let drop =
                async { options.connect().await?.execute(sqlx::AssertSqlSafe(format!("DROP DATABASE {name}"))).await };
            // A server that is gone, or has forgotten it, leaves nothing to do.
            let _is_gone = self.runtime.block_on(drop).is_err();
        }
    }
}

async fn create_sqlite(folder: Option<&Path>) -> anyhow::Result<Location> {
    let folder = match folder {
        Some(folder) => tempfile::tempdir_in(folder),
        None => tempfile::tempdir(),
    }?;
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("baseline.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("cache_size", SQLITE_CACHE);
    let mut connection: SqliteConnection = options.connect().await?;
    sql::migrator(&SQLITE_TABLES).run(&mut connection).await?;
    Ok(Location::Sqlite { options, _folder: folder })
}

async fn create_mysql(url: &str) -> anyhow::Result<Location> {
    if !url.starts_with("mysql://") {
        bail!("--database {url}: only mysql:// URLs are known");
    }
    let server = MySqlConnectOptions::from_str(url).map_err(|error| anyhow!("--database {url}: {error}"))?;
    let name = format!("gim_bench_{:08x}", rand::random::<u32>());
    let mut connection: MySqlConnection = server.connect().await.with_context(|| format!("--database {url}"))?;
    let durable: i64 = sqlx::query_scalar("SELECT CAST(@@innodb_flush_log_at_trx_commit AS SIGNED)")
        .fetch_one(&mut connection)
        .await?;
    if durable != 1 {
        bail!("the database server does not write commits to the disk (innodb_flush_log_at_trx_commit = {durable})");
    }
    connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
    let options = server.database(&name);
    let place = Location::MySql { options: options.clone(), name };
    let mut connection = options.connect().await?;
    sql::migrator(&MYSQL_TABLES).run(&mut connection).await?;
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { batch: 1500, groups: 30, members: 3, size: 10, is_keyed: true };

    /// A file, and a database of a MariaDB.
    fn databases() -> [Database; 2] {
        let of_another = gim_config::testing::mysql_database();
        let (server, _) = of_another.rsplit_once('/').unwrap();
        [None, Some(server.to_owned())]
            .map(|database| Database::create(&DatabaseArguments { database, baseline_folder: None }, SHAPE).unwrap())
    }

    #[track_caller]
    fn runs(database: &mut Database, rows: u64) {
        let before = database.rows();
        let deadline = Instant::now() + Duration::from_secs(20);
        while database.rows() < before + rows {
            assert!(Instant::now() < deadline, "rows are inserted or read");
            database.run(true).unwrap();
            std::thread::yield_now();
        }
        database.run(false).unwrap();
    }

    #[test]
    fn rows_are_inserted_while_it_runs() {
        for mut database in databases() {
            database.insert().unwrap();
            assert_eq!(database.rows(), 0);
            runs(&mut database, 4 * 3 * 1500);
        }
    }

    #[test]
    fn what_was_filled_in_is_read_over_and_over() {
        for mut database in databases() {
            database.fill(120).unwrap();
            database.read().unwrap();
            runs(&mut database, 2 * 120 * 30 * 3);
        }
    }
}
