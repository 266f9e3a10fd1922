//! `backup`: copies the databases of logic and business while the services run. Of a MySQL the server's own program makes the copy, and
//! the command for it is printed, and the exit code tells that it was not copied.
//!
//! Always holds: the folder of a backup is there when everything in it is whole and on the disk, and not before; until then it has a name
//! of its own, which holds a lock, so that another run neither goes on with what was left nor takes away what is being made.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use gim_config::{
    SettingsError,
    sql::{DatabaseError, at_rest},
};
use serde_json::json;

use crate::{
    answer::Answer,
    databases::{DatabaseArguments, OwnDatabase, files_of_users},
    manifest::{Copied, Manifest},
};

/// Where to.
#[derive(Debug, clap::Args)]
pub struct BackupArguments {
    /// The folder of the backup, which is made: it must not be there
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    databases: DatabaseArguments,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The settings of a service.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Something is there already.
    #[error("{} is there already: name a folder that is not", .0.display())]
    Exists(PathBuf),
    /// Another run makes the same backup.
    #[error("another gim-ctl makes {} just now", .0.display())]
    Busy(PathBuf),
    /// There is nothing to copy.
    #[error("there is no {0}: leave it out by --only")]
    NoDatabase(String),
    /// A database cannot be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A copy was not made.
    #[error("{database} was not copied: {source}")]
    Copy {
        /// Of which database.
        database: String,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// The folder cannot be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Makes one.
pub async fn run(arguments: &BackupArguments) -> Result<Answer, BackupError> {
    let to = &arguments.to;
    if to.exists() {
        return Err(BackupError::Exists(to.clone()));
    }
    let (embedded, served): (Vec<_>, Vec<_>) =
        arguments.databases.databases()?.into_iter().partition(|database| database.location.file.is_some());
    if let Some(missing) =
        embedded.iter().find(|database| database.location.file.as_ref().is_some_and(|path| !path.exists()))
    {
        return Err(BackupError::NoDatabase(missing.location.name()));
    }
    let (mut lines, mut files) = (Vec::new(), BTreeMap::new());
    if !embedded.is_empty() {
        files = make(&embedded, to).await?;
        lines.push(format!("{} holds {}", to.display(), files.keys().cloned().collect::<Vec<_>>().join(" and ")));
    }
    let commands = dump_command(&served, to);
    lines.extend(commands.iter().map(|command| {
        let names: Vec<_> = served.iter().map(|database| database.location.database()).collect();
        format!(
            "not copied: {}. A MariaDB or MySQL is backed up by its own program, both databases at one moment, in a folder that is \
             there (where nobody can be asked for the password, name a file that holds it by --defaults-extra-file, as the first option):\n  {command}",
            names.join(" and ")
        )
    }));
    let of_users = files_of_users(&embedded.iter().chain(&served).collect::<Vec<_>>());
    lines.extend(of_users.iter().map(|place| format!("files of users are not in it: copy {place} after it")));
    let json = json!({"folder": to, "files": files, "commands": commands, "files_of_users": of_users});
    Ok(Answer { text: lines.join("\n"), json, is_good: served.is_empty() })
}

async fn make(databases: &[OwnDatabase], to: &Path) -> Result<BTreeMap<String, Copied>, BackupError> {
    let part = beside(to);
    let fail = |source| BackupError::Write { path: part.clone(), source };
    fs::create_dir_all(&part).map_err(fail)?;
    // With the process goes the lock, and what it left is begun anew.
    let folder = File::open(&part).map_err(fail)?;
    folder.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => BackupError::Busy(to.to_owned()),
        TryLockError::Error(source) => fail(source),
    })?;
    empty(&part).map_err(fail)?;
    let copied = copy(databases, &part).await;
    if copied.is_err() {
        // What is cut must not lie about as if it were something.
        drop(fs::remove_dir_all(&part));
    }
    let files = copied?;
    let fail = |source| BackupError::Write { path: to.to_owned(), source };
    fs::rename(&part, to).map_err(fail)?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(fail)?;
    Ok(files)
}

fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}

async fn copy(databases: &[OwnDatabase], folder: &Path) -> Result<BTreeMap<String, Copied>, BackupError> {
    let fail = |source| BackupError::Write { path: folder.to_owned(), source };
    let begun_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut files = BTreeMap::new();
    for database in databases {
        let Some(path) = &database.location.file else { continue };
        let file = database.owner.file_name();
        let copy = folder.join(file);
        let failed = |source| BackupError::Copy { database: database.location.name(), source };
        at_rest::copy_sqlite(path, &copy).await.map_err(failed)?;
        let progress = at_rest::Location::of_file(copy).progress(&database.migrations).await?;
        let migration = progress.map_or(0, |progress| progress.applied);
        files.insert(database.owner.name().to_owned(), Copied::of(folder, file, migration).map_err(fail)?);
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Manifest { begun_s, version, files: files.clone() }.write(folder).map_err(fail)?;
    Ok(files)
}

/// Where it is made, on the same file system.
fn beside(to: &Path) -> PathBuf {
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    part.into()
}

fn dump_command(databases: &[OwnDatabase], to: &Path) -> Option<String> {
    let names: Vec<_> = databases.iter().map(|database| format!("'{}'", database.location.database())).collect();
    let to = to.with_extension("sql");
    databases.first().map(|first| {
        format!(
            "mariadb-dump {} --skip-add-locks --single-transaction --quick --hex-blob --databases {} >'{}'",
            first.location.client_options(),
            names.join(" "),
            to.display()
        )
    })
}
