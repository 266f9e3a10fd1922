//! `restore`: puts a backup in the place of the databases of logic and business, which do not run meanwhile, and raises what must not be
//! given out twice. Of a MySQL the commands for it are printed.
//!
//! Always holds: the whole backup was looked at, and the copies are ready on the same disk, before anything of what is there is moved; and
//! what was there is kept beside it. Wherever it is stopped, a service then starts on the one or on the other, or is refused.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use gim_config::{
    SettingsError,
    data_folder::{DataFolder, DataFolderError},
    sql::{DatabaseError, DatabaseSettings, at_rest},
};
use gim_logic::settings::{Credentials, RedisTarget, RedisWay};
use serde_json::json;

use crate::{
    answer::Answer,
    databases::{DatabaseArguments, OwnDatabase, OwnSettings, Owner, files_of_users},
    manifest::{Manifest, ManifestError},
};

/// Folder for what is made ready, in the data folder.
const READY: &str = "restore.part";

/// A SQLite, and what may be beside it, in the order in which they are moved.
const FILE_ENDINGS: [&str; 3] = ["", "-shm", "-wal"];

/// As many ids of users are passed over, of those that may have been given out after the backup.
const SKIP_USER_IDS: &str = "UPDATE sqlite_sequence SET seq = seq + 1000000 WHERE name = 'user'";

/// Where from.
#[derive(Debug, clap::Args)]
pub struct RestoreArguments {
    /// The folder of a backup
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// How many numbers of each inbox, group and room are passed over: more than any had messages since the backup
    #[arg(long, value_name = "N", default_value_t = 100_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    raise_seqs_by: u64,
    /// Passes over none: right only where the services were stopped before the backup, and have not run since
    #[arg(long)]
    nothing_came_after: bool,
    #[command(flatten)]
    databases: DatabaseArguments,
}

/// Why it was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The settings of a service.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The backup.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The backup has no such database.
    #[error("{} holds nothing of {service}: leave it out by --only", .folder.display())]
    NotInIt {
        /// The folder of the backup.
        folder: PathBuf,
        /// Whose database it should be.
        service: &'static str,
    },
    /// This program is older than the backup.
    #[error("{} is of a newer version: its tables are at {migration}, and this gim-ctl knows them up to {newest}; restore it with that version", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The migration that is not known.
        migration: i64,
        /// The newest one that is.
        newest: i64,
    },
    /// A file of the backup is no database.
    #[error("{} is broken: {source}", .path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: sqlx::Error,
    },
    /// A file of the backup cannot be opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A service runs.
    #[error(transparent)]
    InUse(#[from] DataFolderError),
    /// The seqs were not raised.
    #[error("the numbers were not raised, and nothing was replaced: {0}")]
    Raise(#[from] gim_logic::StartError),
    /// The ids of users were not raised.
    #[error("the ids of users were not raised, and nothing was replaced: {0}")]
    SkipIds(sqlx::Error),
    /// One of several was not put in place.
    #[error("cannot put {} in place: {source}{}; run it again before anything starts", .path.display(), earlier(.done))]
    Place {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// Those before it, which were.
        done: Vec<PathBuf>,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}; what is there was not replaced", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn earlier(done: &[PathBuf]) -> String {
    done.iter().map(|path| format!("; {} is as it was backed up already", path.display())).collect()
}

/// A copy that waits for its place.
struct Ready {
    _folder: DataFolder,
    copy: PathBuf,
    target: PathBuf,
    /// What is not as it was backed up, in words.
    raised: String,
}

/// Puts it in place.
pub async fn run(arguments: &RestoreArguments) -> Result<Answer, RestoreError> {
    let (embedded, served): (Vec<_>, Vec<_>) =
        arguments.databases.databases()?.into_iter().partition(|database| database.location.file.is_some());
    let (mut ready, mut lines) = (Vec::new(), Vec::new());
    if !embedded.is_empty() {
        let manifest = Manifest::read(&arguments.from)?;
        for database in &embedded {
            check(arguments, database, &manifest).await?;
        }
        for database in &embedded {
            ready.push(prepare(arguments, database).await?);
        }
    }
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    for (index, Ready { copy, target, raised, .. }) in ready.iter().enumerate() {
        let kept = put_in_place(copy, target, stamp).map_err(|source| {
            let done = ready[..index].iter().map(|ready| ready.target.clone()).collect();
            RestoreError::Place { path: target.clone(), source, done }
        })?;
        let kept = kept.map(|kept| format!("; what was there is now {}", kept.display())).unwrap_or_default();
        lines.push(format!("{} is as it was backed up{}{kept}", target.display(), raised));
    }
    let commands = commands(&served, &arguments.from, arguments);
    if !commands.is_empty() {
        lines.push(format!(
            "a MariaDB or MySQL is restored by its own programs, while no service runs (try it on another server first: a DROP cannot \
             be undone):\n  {}",
            commands.join("\n  ")
        ));
    }
    if let Some(place) = files_of_users(&embedded.iter().chain(&served).collect::<Vec<_>>()) {
        lines.push(format!(
            "files of users are as they were: {place} has to be as new as the databases, or newer, before business starts"
        ));
    }
    lines.push(format!("{}then start business, logic and conn", empty_redis(embedded.iter().chain(&served))));
    let restored: Vec<_> = ready.iter().map(|ready| &ready.target).collect();
    Ok(Answer::good(lines.join("\n"), json!({"restored": restored, "commands": commands})))
}

/// Whether it is whole, and none that only a newer version can read.
async fn check(arguments: &RestoreArguments, database: &OwnDatabase, manifest: &Manifest) -> Result<(), RestoreError> {
    let (folder, service) = (&arguments.from, database.owner.name());
    let not_in_it = || RestoreError::NotInIt { folder: folder.clone(), service };
    let copied = manifest.files.get(service).ok_or_else(not_in_it)?;
    copied.check(folder)?;
    let path = folder.join(&copied.file);
    at_rest::check_sqlite(&path).await.map_err(|source| RestoreError::Broken { path: path.clone(), source })?;
    let progress = at_rest::Location::of_file(path.clone()).progress(&database.migrations).await?;
    match progress.and_then(|progress| Some((progress.unknown?, progress.newest))) {
        Some((migration, newest)) => Err(RestoreError::Newer { path, migration, newest }),
        None => Ok(()),
    }
}

/// Copies it beside its place, and raises there what has to be raised.
async fn prepare(arguments: &RestoreArguments, database: &OwnDatabase) -> Result<Ready, RestoreError> {
    let target = database.location.file.clone().unwrap_or_default();
    let in_folder = target.parent().unwrap_or(Path::new("/"));
    let folder = DataFolder::take(in_folder, database.owner.name())?;
    let beside = in_folder.join(format!("{}.{READY}", database.owner.name()));
    let fail = |source| RestoreError::Write { path: beside.clone(), source };
    if beside.exists() {
        fs::remove_dir_all(&beside).map_err(fail)?;
    }
    fs::create_dir_all(&beside).map_err(fail)?;
    let copy = beside.join(database.owner.file_name());
    fs::copy(arguments.from.join(database.owner.file_name()), &copy).map_err(fail)?;
    let mut raised = String::new();
    if !arguments.nothing_came_after {
        match &database.settings {
            OwnSettings::Logic(settings) => {
                let mut settings = settings.clone();
                (settings.database, settings.data_dir) = (DatabaseSettings::default(), beside.clone());
                gim_logic::raise_seqs(*settings, arguments.raise_seqs_by).await?;
                raised = format!(", with its seqs raised by {}", arguments.raise_seqs_by);
            }
            OwnSettings::Business(_) => {
                at_rest::execute_on_sqlite(&copy, SKIP_USER_IDS).await.map_err(RestoreError::SkipIds)?;
                ", with the next ids of users raised by 1000000".clone_into(&mut raised);
            }
        }
    }
    File::open(&copy).and_then(|copy| copy.sync_all()).map_err(fail)?;
    Ok(Ready { _folder: folder, copy, target, raised })
}

/// A file under another name.
struct Step {
    from: PathBuf,
    to: PathBuf,
    keeps_its_name: bool,
}

impl Step {
    fn take(&self) -> io::Result<()> {
        if self.keeps_its_name { fs::hard_link(&self.from, &self.to) } else { fs::rename(&self.from, &self.to) }
    }
}

/// Keeps what is there under another name, with its log, which would destroy the copy; returns where it is then.
fn put_in_place(copy: &Path, target: &Path, stamp: u64) -> io::Result<Option<PathBuf>> {
    let aside = unused_name(target, stamp)?;
    let steps = steps(copy, target, &aside)?;
    let in_folder = File::open(target.parent().unwrap_or(Path::new(".")))?;
    for step in &steps {
        step.take()?;
        in_folder.sync_all()?;
    }
    if let Some(folder) = copy.parent() {
        fs::remove_dir_all(folder)?;
    }
    Ok(steps.into_iter().rev().nth(1).map(|_| aside))
}

/// From the first step to the last the database has two names, with which no service starts on it; the last puts the copy into its place
/// in one go.
fn steps(copy: &Path, target: &Path, aside: &Path) -> io::Result<Vec<Step>> {
    let mut steps = Vec::new();
    for ending in FILE_ENDINGS {
        let (from, to) = (with_ending(target, ending), with_ending(aside, ending));
        if is_there(&from)? {
            steps.push(Step { from, to, keeps_its_name: ending.is_empty() });
        }
    }
    steps.push(Step { from: copy.to_owned(), to: target.to_owned(), keeps_its_name: false });
    Ok(steps)
}

/// A name beside the file under which an earlier restore kept nothing, not even one in this second.
fn unused_name(target: &Path, stamp: u64) -> io::Result<PathBuf> {
    let mut name = with_ending(target, &format!(".before-restore-{stamp}"));
    let mut attempt = 1;
    while is_any_there(&name)? {
        attempt += 1;
        name = with_ending(target, &format!(".before-restore-{stamp}-{attempt}"));
    }
    Ok(name)
}

fn is_any_there(name: &Path) -> io::Result<bool> {
    for ending in FILE_ENDINGS {
        if is_there(&with_ending(name, ending))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Also where it is a link that leads nowhere.
fn is_there(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// What is to be done about Redis: by its options where logic names one server, without the password.
fn empty_redis<'a>(mut databases: impl Iterator<Item = &'a OwnDatabase>) -> String {
    let logic = databases.find_map(|database| match &database.settings {
        OwnSettings::Logic(settings) => Some(settings),
        OwnSettings::Business(_) => None,
    });
    let Some(logic) = logic else { return "empty Redis, if logic uses one: redis-cli flushdb; ".to_owned() };
    let Ok(target) = RedisTarget::parse(&logic.shared_state.url) else { return String::new() };
    let prefix = &logic.shared_state.key_prefix;
    let keys = format!("or remove the keys that begin with `{prefix}`, if others use it too");
    let ([(host, port)], RedisWay::Single) = (&target.servers[..], &target.way) else {
        return format!("empty Redis, each master of {target}: redis-cli flushdb, {keys}; ");
    };
    let Credentials { user, password } = &target.credentials;
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let mut options = format!("-h {} -p {port} -n {}", quoted(host), target.db);
    if !user.is_empty() {
        options += &format!(" --user {}", quoted(user));
    }
    if !password.is_empty() {
        options += " --askpass";
    }
    if target.tls.is_some() {
        options += " --tls";
    }
    format!("empty Redis: redis-cli {options} flushdb, {keys}; ")
}

fn commands(databases: &[OwnDatabase], from: &Path, arguments: &RestoreArguments) -> Vec<String> {
    let mut commands: Vec<_> = databases
        .iter()
        .map(|OwnDatabase { location, .. }| {
            format!("mariadb {} --execute 'DROP DATABASE `{}`'", location.client_options(), location.database())
        })
        .collect();
    let Some(first) = databases.first() else { return commands };
    let dump = from.with_extension("sql");
    commands.push(format!("mariadb {} <'{}'", first.location.client_options(), dump.display()));
    if databases.iter().any(|database| database.owner == Owner::Logic) && !arguments.nothing_came_after {
        commands.push(format!("gim-logic raise-seqs --by {} --config LOGIC.TOML", arguments.raise_seqs_by));
    }
    if let Some(business) = databases.iter().find(|database| database.owner == Owner::Business) {
        let more_than_any = "ALTER TABLE user AUTO_INCREMENT = N";
        commands.push(format!(
            "mariadb {} '{}' --execute '{more_than_any}'   (N: more than any id that was given out)",
            business.location.client_options(),
            business.location.database()
        ));
    }
    commands
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gim_logic::LogicSettings;
    use tempfile::TempDir;
    use tokio::runtime::Runtime;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// Whether logic would start on what is in the folder, or why not.
    fn opened(folder: &Path) -> Result<(), String> {
        let mut settings = LogicSettings::default();
        folder.clone_into(&mut settings.data_dir);
        Runtime::new().unwrap().block_on(async {
            let opening = tokio::time::timeout(DEADLINE, gim_logic::open_offline(settings)).await.unwrap();
            opening.map_err(|error| error.to_string())?.close().await;
            Ok(())
        })
    }

    #[test]
    fn a_restore_that_is_killed_after_any_step_leaves_no_empty_database() {
        for taken in 0..4 {
            let folder = TempDir::new().unwrap();
            let target = folder.path().join("logic.db");
            opened(folder.path()).unwrap();
            let old = fs::read(&target).unwrap();
            fs::write(with_ending(&target, "-wal"), "log").unwrap();
            fs::write(with_ending(&target, "-shm"), "index").unwrap();
            let copy_of = |number: u32| {
                let ready = folder.path().join(format!("{READY}-{number}"));
                fs::create_dir(&ready).unwrap();
                fs::write(ready.join("logic.db"), &old).unwrap();
                ready.join("logic.db")
            };
            let aside = unused_name(&target, 7).unwrap();
            for step in &steps(&copy_of(1), &target, &aside).unwrap()[..taken] {
                step.take().unwrap();
            }
            if taken > 0 {
                let refused = opened(folder.path()).unwrap_err();
                assert!(refused.contains("has 2 names (hard links)"), "after {taken}: {refused}");
            }
            put_in_place(&copy_of(2), &target, 7).unwrap();
            opened(folder.path()).unwrap();
            let first = if taken > 0 { aside } else { with_ending(&target, ".before-restore-7") };
            assert_eq!(fs::read(first).unwrap(), old);
            let names =
                fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let logs: Vec<_> =
                names.filter(|name| name.starts_with("logic.db.before") && name.ends_with("-wal")).collect();
            assert_eq!(logs.len(), 1, "{logs:?}");
            assert_eq!(fs::read_to_string(folder.path().join(&logs[0])).unwrap(), "log");
        }
    }

    #[test]
    fn what_a_restore_in_the_same_second_kept_is_not_written_over() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("logic.db");
        fs::write(&target, "version 0").unwrap();
        fs::write(with_ending(&target, "-wal"), "log 0").unwrap();
        for version in 1..4 {
            let ready = folder.path().join(READY);
            fs::create_dir(&ready).unwrap();
            fs::write(ready.join("copy"), format!("version {version}")).unwrap();
            let kept = put_in_place(&ready.join("copy"), &target, 7).unwrap().unwrap();
            let expected = ["", "-2", "-3"].map(|attempt| format!("logic.db.before-restore-7{attempt}"));
            assert_eq!(kept.file_name().unwrap().to_str(), Some(expected[version - 1].as_str()));
            for (version, name) in expected.iter().take(version).enumerate() {
                assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), format!("version {version}"));
            }
            assert_eq!(fs::read_to_string(&target).unwrap(), format!("version {version}"));
        }
        let log = folder.path().join("logic.db.before-restore-7-wal");
        assert_eq!(fs::read_to_string(log).unwrap(), "log 0");
    }
}
