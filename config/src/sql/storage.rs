//! Whether what is written is kept: the file of a SQLite and its log are still those that were opened, and the last write was not
//! turned away. Every writing connection asks here before a success is told. Any thread.
//!
//! Always holds: nothing is told to be stored that went into a file which a restart would not find.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use super::{errors, session::Access};

/// What is beside the file of a database as long as it is open, and holds its newest changes.
const LOG_SUFFIX: &str = "-wal";

/// What a log begins with, whichever way round its checksums are.
const LOG_MAGIC: [[u8; 4]; 2] = [[0x37, 0x7f, 0x06, 0x82], [0x37, 0x7f, 0x06, 0x83]];

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
    identity: FileIdentity,
    log: OpenedLog,
}

/// What holds the newest changes. It stays one file as long as any connection is open, and never becomes shorter: SQLite begins again
/// at its front once everything is in the database.
#[derive(Debug)]
struct OpenedLog {
    /// Beside the file itself.
    path: PathBuf,
    file: File,
    identity: FileIdentity,
    /// How long it was after our last write.
    bytes: AtomicU64,
}

/// Device and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileIdentity(u64, u64);

impl FileIdentity {
    fn of(file: &Metadata) -> Self {
        Self(file.dev(), file.ino())
    }
}

impl OpenedLog {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = File::open(&path)?;
        let found = file.metadata()?;
        Ok(Self { path, file, identity: FileIdentity::of(&found), bytes: AtomicU64::new(found.len()) })
    }

    fn lost(&self) -> Option<String> {
        // Before the length is read: another write may make both longer.
        let least = self.bytes.load(Acquire);
        let shown = self.path.display();
        let found = match fs::metadata(&self.path) {
            Ok(found) => found,
            Err(error) => return Some(format!("{shown}: {error}")),
        };
        if FileIdentity::of(&found) != self.identity {
            return Some(format!("{shown} is another file than the one that was opened: start again"));
        }
        let is_cut = found.len() < least || (found.len() > 0 && !self.has_beginning());
        is_cut.then(|| format!("{shown} was cut while it was in use: start again"))
    }

    /// Where a log was cut to nothing, the next write leaves a hole before it.
    fn has_beginning(&self) -> bool {
        let mut magic = [0; 4];
        self.file.read_exact_at(&mut magic, 0).is_ok() && LOG_MAGIC.contains(&magic)
    }

    fn note_written(&self) {
        let bytes = self.file.metadata().map_or(0, |file| file.len());
        self.bytes.fetch_max(bytes, Release);
    }
}

impl Default for Storage {
    fn default() -> Self {
        let shared = Shared {
            began: Instant::now(),
            file: OnceLock::new(),
            damage: OnceLock::new(),
            refusal: Mutex::default(),
            is_refusing: AtomicBool::new(false),
            written_ms: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Storage {
    /// From now on the file with this name, and its log, have to be those that they are now. Fails where there are none. From now on
    /// some connection has to be open at all times.
    pub(super) fn opened(&self, path: &Path) -> io::Result<()> {
        let (file, itself) = (fs::metadata(path)?, fs::canonicalize(path)?);
        let log = OpenedLog::open(log_of(&itself))?;
        let opened = OpenedFile { path: path.to_owned(), identity: FileIdentity::of(&file), log };
        self.shared.file.get_or_init(|| opened);
        Ok(())
    }

    /// Why a restart would not find what is written from now on.
    pub(super) fn lost(&self) -> Option<String> {
        let OpenedFile { path, identity, log } = self.shared.file.get()?;
        let shown = path.display();
        match fs::metadata(path) {
            Ok(file) if FileIdentity::of(&file) != *identity => {
                Some(format!("{shown} is another file than the one that was opened: start again"))
            }
            Ok(_) => log.lost(),
            Err(error) => Some(format!("{shown}: {error}")),
        }
    }

    /// Fails where a restart would not find what is written from now on, or is not sure to. A connection that is opened then would make
    /// matters worse.
    pub(super) fn check(&self) -> Result<(), sqlx::Error> {
        self.lost().or_else(|| self.damage()).map_or(Ok(()), |problem| Err(sqlx::Error::Io(io::Error::other(problem))))
    }

    /// Fails where a restart would not find what was written just now.
    pub(super) fn check_written(&self) -> Result<(), sqlx::Error> {
        self.check()?;
        if let Some(file) = self.shared.file.get() {
            file.log.note_written();
        }
        Ok(())
    }

    /// Why nothing can be stored: a full disk, for example.
    pub(super) fn refusal(&self) -> Option<String> {
        self.damage().or_else(|| self.lock().clone())
    }

    fn damage(&self) -> Option<String> {
        self.shared.damage.get().map(|damage| format!("it is damaged, restore a backup: {damage}"))
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

    /// When something was written last; it is the same as long as nothing is.
    pub(super) fn written_ms(&self) -> u64 {
        self.shared.written_ms.load(Relaxed)
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
            assert_eq!(count, 2, "what was refused is not there");
        }
    }

    #[tokio::test]
    async fn nothing_is_stored_beside_a_log_that_was_replaced_or_cut() {
        type Harm = fn(&Path);
        let replace: Harm = |log| {
            let copy = log.with_extension("copy");
            fs::copy(log, &copy).unwrap();
            fs::rename(&copy, log).unwrap();
        };
        let shorten: Harm = |log| File::options().write(true).open(log).unwrap().set_len(4_152).unwrap();
        let empty: Harm = |log| drop(File::create(log).unwrap());
        // As it looks when a write that was under way goes on.
        let hollow: Harm = |log| {
            let bytes = fs::metadata(log).unwrap().len();
            File::create(log).unwrap().set_len(bytes).unwrap();
        };
        for (harm, said) in
            [(replace, "is another file"), (shorten, "was cut"), (empty, "was cut"), (hollow, "was cut")]
        {
            let folder = tempfile::tempdir().unwrap();
            let database = open(folder.path()).await.unwrap();
            table(&database).await;
            write(&database).await.unwrap();
            harm(&folder.path().join("x.db-wal"));
            for _ in 0..2 {
                let lost = write(&database).await.unwrap_err();
                let text = lost.to_string();
                assert!(is_transient(&lost) && text.contains("x.db-wal") && text.contains(said), "{text}");
            }
            assert!(database.storage.lost().is_some(), "it is known before anybody writes");
        }
    }

    #[tokio::test]
    async fn the_log_stays_the_same_whichever_connections_are_closed() {
        let folder = tempfile::tempdir().unwrap();
        let database = open(folder.path()).await.unwrap();
        table(&database).await;
        for _ in 0..3 {
            // What fails closes its connection.
            database.reader.execute("SELECT nothing").await.unwrap_err();
            database.writer.execute("SELECT nothing").await.unwrap_err();
            write(&database).await.unwrap();
            database.writer.execute("PRAGMA wal_checkpoint(RESTART)").await.unwrap();
            write(&database).await.unwrap();
        }
        database.close().await;
        assert!(!folder.path().join("x.db-wal").exists(), "everything is in the database");
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
    async fn nothing_is_stored_in_a_database_that_is_known_to_be_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let database = open(folder.path()).await.unwrap();
        table(&database).await;
        database.writer.execute("CREATE TABLE two (text TEXT)").await.unwrap();
        database.writer.execute("INSERT INTO two VALUES (hex(zeroblob(100000)))").await.unwrap();
        database.writer.execute("PRAGMA wal_checkpoint(RESTART)").await.unwrap();
        // The log begins again, so that pages are read from the file.
        write(&database).await.unwrap();
        let bytes = fs::metadata(folder.path().join("x.db")).unwrap().len();
        let file = File::options().write(true).open(folder.path().join("x.db")).unwrap();
        file.write_all_at(&vec![b'x'; usize::try_from(bytes).unwrap() - 8_192], 8_192).unwrap();
        let damaged = database.reader.execute("SELECT text FROM two").await.unwrap_err();
        assert!(errors::is_damage(&damaged), "{damaged}");
        let refused = write(&database).await.unwrap_err();
        assert!(is_transient(&refused) && refused.to_string().contains("it is damaged"), "{refused}");
        assert!(database.storage.refusal().is_some_and(|problem| refused.to_string().contains(&problem)));
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
