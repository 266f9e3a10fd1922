//! Whether what is written is kept: the file of a SQLite is still where it was opened, and the last write was not turned away.
//! Every writing connection asks here before a success is told. Any thread.
//!
//! Always holds: nothing is told to be stored that went into a file which a restart would not find.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{errors, session::Access};

/// What is beside the file of a database as long as it is open, and holds its newest changes.
const LOG_SUFFIX: &str = "-wal";

/// What is known of a database's storage. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    /// Of SQLite, once it is open.
    file: OnceLock<OpenedFile>,
    /// Whether a log was gone while a connection had it open.
    has_lost_log: AtomicBool,
    /// What was found damaged. It stays so.
    damage: OnceLock<String>,
    /// What the last write was told, where that concerns every write.
    refusal: Mutex<Option<String>>,
    is_refusing: AtomicBool,
    /// When something was written last, by `began`.
    written_ms: AtomicU64,
}

#[derive(Debug)]
struct OpenedFile {
    /// As it is named: a link in it may be made to lead elsewhere.
    path: PathBuf,
    /// Beside the file itself.
    log: PathBuf,
    device: u64,
    number: u64,
}

impl Default for Storage {
    fn default() -> Self {
        let shared = Shared {
            began: Instant::now(),
            file: OnceLock::new(),
            has_lost_log: AtomicBool::new(false),
            damage: OnceLock::new(),
            refusal: Mutex::default(),
            is_refusing: AtomicBool::new(false),
            written_ms: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Storage {
    /// From now on the file with this name has to be the one that it is now. Fails where there is none.
    pub(super) fn opened(&self, path: &Path) -> io::Result<()> {
        let (file, itself) = (fs::metadata(path)?, fs::canonicalize(path)?);
        let log = log_of(&itself);
        let opened = OpenedFile { path: path.to_owned(), log, device: file.dev(), number: file.ino() };
        self.shared.file.get_or_init(|| opened);
        Ok(())
    }

    /// Why a restart would not find what is written from now on.
    pub(super) fn lost(&self) -> Option<String> {
        let OpenedFile { path, log, device, number } = self.shared.file.get()?;
        let shown = path.display();
        match fs::metadata(path) {
            Ok(file) if (file.dev(), file.ino()) != (*device, *number) => {
                return Some(format!("{shown} is another file than the one that was opened: start again"));
            }
            Ok(_) => {}
            Err(error) => return Some(format!("{shown}: {error}")),
        }
        if self.shared.has_lost_log.load(Relaxed) { missing(log) } else { None }
    }

    /// Fails where a restart would not find what is written from now on. A connection that is opened then would make matters worse.
    pub(super) fn check(&self) -> Result<(), sqlx::Error> {
        self.lost().map_or(Ok(()), |problem| Err(sqlx::Error::Io(io::Error::other(problem))))
    }

    /// Fails where a restart would not find what was written just now. As long as a connection is open there is a log; what it
    /// holds goes into the database when the last one is closed, and is lost if the process is killed before.
    pub(super) fn check_written(&self) -> Result<(), sqlx::Error> {
        let has_lost_log = self.shared.file.get().is_some_and(|file| missing(&file.log).is_some());
        if has_lost_log || self.shared.has_lost_log.load(Relaxed) {
            self.shared.has_lost_log.store(has_lost_log, Relaxed);
        }
        self.check()
    }

    /// Why nothing can be stored: a full disk, for example.
    pub(super) fn refusal(&self) -> Option<String> {
        let damage = self.shared.damage.get().map(|damage| format!("it is damaged, restore a backup: {damage}"));
        damage.or_else(|| self.lock().clone())
    }

    /// Something was written.
    pub(super) fn note_success(&self) {
        self.shared.written_ms.store(self.now_ms(), Relaxed);
        if self.shared.is_refusing.swap(false, Relaxed) {
            *self.lock() = None;
        }
    }

    /// Something was not, or not read.
    pub(super) fn note_failure(&self, error: &sqlx::Error, access: Access) {
        if errors::is_damage(error) {
            self.shared.damage.get_or_init(|| error.to_string());
        } else if access == Access::Write && errors::concerns_every_write(error) {
            *self.lock() = Some(error.to_string());
            self.shared.is_refusing.store(true, Relaxed);
        }
    }

    /// Whether it is not known any more that something can be written.
    pub(super) fn is_doubtful(&self, after: Duration) -> bool {
        let idle_ms = self.now_ms().saturating_sub(self.shared.written_ms.load(Relaxed));
        self.shared.is_refusing.load(Relaxed) || u128::from(idle_ms) >= after.as_millis()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.shared.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.shared.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the file of a database is empty or gone, and its log is still there: with how many bytes.
pub(super) fn orphaned_log(path: &Path) -> Option<(PathBuf, u64)> {
    let is_empty = fs::metadata(path).map_or(true, |file| file.len() == 0);
    let log = log_of(path);
    let bytes = fs::metadata(&log).map_or(0, |file| file.len());
    (is_empty && bytes > 0).then_some((log, bytes))
}

fn missing(log: &Path) -> Option<String> {
    fs::metadata(log).err().map(|error| format!("{}: {error}", log.display()))
}

fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(LOG_SUFFIX);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use sqlx::{Executor as _, migrate::Migrator};

    use super::*;
    use crate::sql::{Database, DatabaseError, DatabaseSettings, Dialect, is_transient};

    async fn open(folder: &Path) -> Result<Database, DatabaseError> {
        let migrations = [(Dialect::Sqlite, Migrator::with_migrations(Vec::new()))];
        Database::open(&DatabaseSettings::default(), folder, "x.db", &migrations).await
    }

    async fn table(database: &Database) {
        database.writer.execute("CREATE TABLE one (text TEXT)").await.unwrap();
    }

    async fn write(database: &Database) -> Result<(), sqlx::Error> {
        database.writer.execute("INSERT INTO one VALUES ('x')").await.map(drop)
    }

    #[tokio::test]
    async fn nothing_is_stored_in_a_file_that_is_gone_or_was_replaced() {
        let parent = tempfile::tempdir().unwrap();
        for taken in ["x.db", "x.db-wal"] {
            let folder = parent.path().join(taken);
            let database = open(&folder).await.unwrap();
            table(&database).await;
            write(&database).await.unwrap();
            let (path, aside) = (folder.join(taken), folder.join("aside"));
            fs::rename(&path, &aside).unwrap();
            let gone = write(&database).await.unwrap_err();
            assert!(is_transient(&gone) && gone.to_string().contains(taken), "{gone}");
            let again = write(&database).await.unwrap_err();
            assert!(again.to_string().contains(taken), "{again}");
            assert!(!path.exists(), "nobody made another one");
            if taken == "x.db" {
                fs::copy(&aside, &path).unwrap();
                let replaced = write(&database).await.unwrap_err();
                assert!(replaced.to_string().contains("is another file"), "{replaced}");
            }
            fs::rename(&aside, &path).unwrap();
            write(&database).await.expect("it is back");
            let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM one").fetch_one(&database.reader).await.unwrap();
            // What went into the log that was gone is there now, though it was refused.
            assert_eq!(count, if taken == "x.db" { 2 } else { 3 });
        }
    }

    #[tokio::test]
    async fn a_file_behind_a_link_is_opened_and_kept_an_eye_on() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("disk")).unwrap();
        symlink("disk/y.db", at("x.db")).unwrap();
        for round in 1..3 {
            let database = open(folder.path()).await.unwrap();
            database.writer.execute("CREATE TABLE IF NOT EXISTS one (text TEXT)").await.unwrap();
            write(&database).await.unwrap();
            let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM one").fetch_one(&database.reader).await.unwrap();
            assert!(count == round && at("disk/y.db-wal").exists() && !at("x.db-wal").exists(), "{count}");
            fs::remove_file(at("x.db")).unwrap();
            fs::write(at("other.db"), b"").unwrap();
            symlink("other.db", at("x.db")).unwrap();
            let led_elsewhere = write(&database).await.unwrap_err();
            assert!(led_elsewhere.to_string().contains("x.db is another file"), "{led_elsewhere}");
            fs::remove_file(at("x.db")).unwrap();
            symlink("disk/y.db", at("x.db")).unwrap();
            database.writer.execute("DELETE FROM one WHERE rowid > 1").await.unwrap();
            database.close().await;
        }
        fs::rename(at("disk/y.db"), at("aside")).unwrap();
        fs::write(at("disk/y.db-wal"), b"changes").unwrap();
        let refused = open(folder.path()).await.unwrap_err().to_string();
        assert!(refused.contains("disk/y.db-wal beside it holds 7 bytes"), "{refused}");
    }

    #[tokio::test]
    async fn a_log_without_its_database_ends_the_start_and_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, log) = (folder.path().join("x.db"), folder.path().join("x.db-wal"));
        for database in [None, Some(b"")] {
            database.iter().for_each(|bytes| fs::write(&path, bytes).unwrap());
            fs::write(&log, b"changes").unwrap();
            let refused = open(folder.path()).await.unwrap_err().to_string();
            assert!(refused.contains("x.db-wal") && refused.contains("7 bytes"), "{refused}");
            assert_eq!(fs::read(&log).unwrap(), b"changes");
            assert_eq!(path.exists(), database.is_some());
        }
        fs::remove_file(&log).unwrap();
        open(folder.path()).await.expect("an empty file by itself is a new database");
    }

    #[tokio::test]
    async fn a_damaged_database_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.db"), vec![b'x'; 8_192]).unwrap();
        let refused = open(folder.path()).await.unwrap_err().to_string();
        assert!(refused.contains("x.db") && refused.contains("not a database"), "{refused}");
    }

    #[tokio::test]
    async fn a_database_that_takes_no_writes_is_known_until_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let database = open(folder.path()).await.unwrap();
        table(&database).await;
        for _ in 0..2 {
            database.writer.execute("PRAGMA max_page_count = 1").await.unwrap();
            let full = database.writer.execute("INSERT INTO one VALUES (hex(zeroblob(100000)))").await.unwrap_err();
            assert!(is_transient(&full), "{full}");
            assert!(database.storage.refusal().is_some() && database.storage.is_doubtful(Duration::MAX));
            // The next connection has no such limit.
            write(&database).await.unwrap();
            assert_eq!(database.storage.refusal(), None);
        }
    }
}
