//! Databases: how far they are, a backup while the services run, and what of it is put back.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use gim_logic::LogicSettings;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::{AnyConnection, Connection as _, Executor as _};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::server::{Done, Server, ctl, done, refusal};

/// What a restore passes over.
const RAISED_BY: u64 = 100_000_000;

fn run(arguments: &[&str]) -> Done {
    done(ctl(arguments).output().unwrap())
}

/// A user with a message, and a backup of it that was made while all ran.
fn backed_up() -> (Server, gim_proto::business::SignInReply, TempDir, String) {
    let server = Server::start();
    let user = server.sign_up("+1");
    let list = server.folder.path().join("users");
    fs::write(&list, user.user_id.to_string()).unwrap();
    let pushed = server.ctl(&["push", "--users", list.to_str().unwrap(), "--command", "2001", "--content", "kept"]);
    assert_eq!(pushed.code, 0, "{}", pushed.err);
    let folder = TempDir::new().unwrap();
    let to = folder.path().join("monday").to_str().unwrap().to_owned();
    let made = run(&["backup", "--to", &to, "--data", server.folder.path().to_str().unwrap()]);
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    (server, user, folder, to)
}

fn files_of(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_none_or(|ending| ending != "lock"));
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn what_was_backed_up_while_all_ran_comes_back_with_higher_seqs() {
    let (server, user, _backup, from) = backed_up();
    let folder = server.stop();
    let data = folder.path().to_str().unwrap();
    let restored = run(&["restore", "--from", &from, "--data", data]);
    assert_eq!((restored.code, restored.err.as_str()), (0, ""));
    assert_eq!(restored.out.matches("what was there is now").count(), 2, "{}", restored.out);
    let server = Server::start_in(folder);
    let newest = server.connect(&user).heartbeat().unwrap();
    assert_eq!(newest, 1 + RAISED_BY);
    assert!(server.sign_up("+2").user_id > user.user_id + 999_999);
}

#[test]
fn a_stopped_server_is_restored_as_it_was() {
    let (server, user, _backup, from) = backed_up();
    drop(server);
    let folder = TempDir::new().unwrap();
    let restored =
        run(&["restore", "--from", &from, "--data", folder.path().to_str().unwrap(), "--nothing-came-after"]);
    assert_eq!((restored.code, restored.err.as_str()), (0, ""));
    let server = Server::start_in(folder);
    assert_eq!(server.connect(&user).heartbeat().unwrap(), 1);
}

#[test]
fn a_backup_that_is_cut_newer_or_none_is_refused_and_touches_nothing() {
    let (server, _, backup, from) = backed_up();
    let data = server.folder.path().to_str().unwrap().to_owned();
    let restore = |from: &str| refusal(&run(&["restore", "--from", from, "--data", &data]));
    assert!(restore(&from).contains("is in use by another gim-logic"));
    let folder = server.stop();
    let before = files_of(folder.path());
    let nothing = backup.path().to_str().unwrap();
    assert_eq!(restore(nothing), format!("{nothing} is no whole backup: there is no backup.json in it"));
    let from = Path::new(&from);
    let whole = fs::read(from.join("logic.db")).unwrap();
    fs::write(from.join("logic.db"), &whole[..whole.len() / 2]).unwrap();
    let cut = restore(from.to_str().unwrap());
    assert!(
        cut.contains("logic.db is cut: it has ") && cut.ends_with(&format!("{} were backed up", whole.len())),
        "{cut}"
    );
    fs::write(from.join("logic.db"), &whole).unwrap();
    make_newer(from);
    let newer = restore(from.to_str().unwrap());
    assert!(
        newer.contains("logic.db is of a newer version: its tables are at 9999, and this gim-ctl knows them up to "),
        "{newer}"
    );
    assert_eq!(files_of(folder.path()), before);
}

#[test]
fn a_database_that_a_link_leads_to_is_locked_and_restored_where_it_is() {
    let (server, _, _backup, from) = backed_up();
    let (folder, elsewhere) = (server.stop(), TempDir::new().unwrap());
    let (file, link) = (folder.path().join("logic.db"), elsewhere.path().join("x.db"));
    symlink(&file, &link).unwrap();
    let mut settings = LogicSettings::default();
    elsewhere.path().clone_into(&mut settings.data_dir);
    settings.database.url = format!("sqlite:{}", link.display());
    let url = settings.database.url.clone();
    let runtime = Runtime::new().unwrap();
    let service = runtime.block_on(gim_logic::open_offline(settings)).unwrap();
    let restore = || {
        let mut command = ctl(&["restore", "--from", &from, "--only", "logic", "--data"]);
        command.arg(folder.path());
        command
    };
    let refused = refusal(&done(restore().output().unwrap()));
    assert!(refused.contains("is in use by another gim-logic"), "{refused}");
    runtime.block_on(service.close());
    let restored = done(restore().env("GIM_LOGIC_DATABASE__URL", url).output().unwrap());
    let expected = format!(
        "{} is as it was backed up, with its seqs raised by {RAISED_BY}; what was there is now {0}.before-restore-",
        file.display()
    );
    assert!(restored.code == 0 && restored.out.contains(&expected), "{}{}", restored.out, restored.err);
    assert_eq!(fs::read_link(&link).unwrap(), file);
}

#[test]
fn a_restore_that_ends_between_two_databases_says_which_was_replaced() {
    let (server, _, _backup, from) = backed_up();
    let folder = server.stop();
    let business = folder.path().join("business.db");
    fs::remove_file(&business).unwrap();
    fs::create_dir(&business).unwrap();
    let refused = refusal(&run(&["restore", "--from", &from, "--data", folder.path().to_str().unwrap()]));
    let expected = format!("cannot put {} in place: ", business.display());
    let done =
        format!("; {} is as it was backed up already; run it again before", folder.path().join("logic.db").display());
    assert!(refused.starts_with(&expected) && refused.contains(&done), "{refused}");
    fs::remove_dir(&business).unwrap();
    let again = run(&["restore", "--from", &from, "--data", folder.path().to_str().unwrap()]);
    assert_eq!((again.code, again.err.as_str()), (0, ""));
}

#[test]
fn a_backup_begins_anew_what_was_killed_and_spares_what_is_being_made() {
    let (server, _, folder, _) = backed_up();
    let to = folder.path().join("tuesday");
    let part = folder.path().join("tuesday.part");
    fs::create_dir(&part).unwrap();
    fs::write(part.join("logic.db"), "half of it").unwrap();
    let backup = || run(&["backup", "--to", to.to_str().unwrap(), "--data", server.folder.path().to_str().unwrap()]);
    let other = File::open(&part).unwrap();
    other.try_lock().unwrap();
    assert_eq!(refusal(&backup()), format!("another gim-ctl makes {} just now", to.display()));
    assert_eq!(fs::read_to_string(part.join("logic.db")).unwrap(), "half of it");
    other.unlock().unwrap();
    let files = server.folder.path().join("files");
    fs::create_dir(&files).unwrap();
    let made = backup();
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    let told = format!("files of users are not in it: copy {} after it", files.display());
    assert!(made.out.contains(&told), "{}", made.out);
    assert!(to.join("backup.json").exists() && !part.exists());
}

/// As a version that comes later would have left it.
fn make_newer(from: &Path) {
    let path = from.join("logic.db");
    Runtime::new().unwrap().block_on(async {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
        let note = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                    VALUES (9999, 'later', TRUE, x'00', 0)";
        connection.execute(note).await.unwrap();
        connection.close().await.unwrap();
    });
    let file = fs::read(&path).unwrap();
    let digest: String = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut manifest: Value = serde_json::from_slice(&fs::read(from.join("backup.json")).unwrap()).unwrap();
    let logic = &mut manifest["files"]["logic"];
    (logic["sha256"], logic["bytes"]) = (digest.into(), file.len().into());
    fs::write(from.join("backup.json"), manifest.to_string()).unwrap();
}

#[test]
fn a_backup_never_takes_the_place_of_something() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().to_str().unwrap();
    assert_eq!(
        refusal(&run(&["backup", "--to", data, "--data", data])),
        format!("{data} is there already: name a folder that is not")
    );
    let to = format!("{data}/backup");
    let nothing = refusal(&run(&["backup", "--to", &to, "--data", data]));
    assert_eq!(nothing, format!("there is no {data}/logic.db: leave it out by --only"));
    fs::write(
        folder.path().join("logic.db"),
        "this is no database, and longer than a header of one would be: it is a text",
    )
    .unwrap();
    let broken = refusal(&run(&["backup", "--to", &to, "--data", data, "--only", "logic"]));
    assert!(broken.starts_with(&format!("{data}/logic.db was not copied: ")), "{broken}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left lying about");
}

#[test]
fn databases_tell_how_far_they_are_and_are_brought_up_to_date() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().to_str().unwrap();
    let status = run(&["db", "status", "--data", data]);
    assert_eq!((status.code, status.out.matches("not there yet").count()), (1, 2), "{}", status.out);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "it is only looked");
    let migrated = run(&["db", "migrate", "--data", data]);
    assert_eq!((migrated.code, migrated.out.matches("up to date").count()), (0, 2), "{}", migrated.out);
    let server = Server::start_in(folder);
    let data = server.folder.path().to_str().unwrap();
    assert_eq!(run(&["db", "status", "--data", data, "--only", "business"]).code, 0);
    assert!(refusal(&run(&["db", "migrate", "--data", data])).contains("is in use by another gim-logic"));
}

#[test]
fn of_a_mysql_the_commands_are_printed_without_its_password() {
    let with_urls = |arguments: &[&str]| {
        let mut command = ctl(arguments);
        command.env("GIM_LOGIC_DATABASE__URL", "mysql://g%27im:s3cret@127.0.0.1:9/gim_logic");
        command.env("GIM_BUSINESS_DATABASE__URL", "mysql://gim:s3cret@127.0.0.1:9/gim_business?ssl-mode=DISABLED");
        command.env("GIM_LOGIC_SHARED_STATE__URL", "redis://gim:s3cret@127.0.0.1:9/3");
        done(command.output().unwrap())
    };
    let backup = with_urls(&["backup", "--to", "/backup/monday"]);
    let dump = r"mariadb-dump --host='127.0.0.1' --port='9' --user='g'\''im' --password --skip-add-locks --single-transaction --quick --hex-blob --databases 'gim_logic' 'gim_business' >'/backup/monday.sql'";
    assert!(backup.code == 1 && backup.out.contains(dump) && !backup.out.contains("s3cret"), "{}", backup.out);
    assert!(backup.out.starts_with("not copied: gim_logic and gim_business. "), "{}", backup.out);
    let restore = with_urls(&["restore", "--from", "/backup/monday"]);
    for line in [
        "DROP DATABASE `gim_logic`",
        r"mariadb --host='127.0.0.1' --port='9' --user='g'\''im' --password <'/backup/monday.sql'",
        "mariadb --host='127.0.0.1' --port='9' --user='gim' --password 'gim_business' --execute",
        "gim-logic raise-seqs --by 100000000",
        "redis-cli -h '127.0.0.1' -p 9 -n 3 --user 'gim' --askpass flushdb",
    ] {
        assert!(restore.code == 0 && restore.out.contains(line), "{line}\n{}{}", restore.out, restore.err);
    }
    assert!(!restore.out.contains("s3cret"), "{}", restore.out);
    let status = refusal(&with_urls(&["db", "status"]));
    assert!(
        status.starts_with("cannot open the database mysql://g%27im:***@127.0.0.1:9/gim_logic")
            && !status.contains("s3cret"),
        "{status}"
    );
}
