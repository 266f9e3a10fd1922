//! What a URL of SQLite says, and which file that is: the one place where either is found out. Any thread.
//!
//! Always holds: whatever a name holds, the file that is opened is the one that is named, or there is a sentence that says why not.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    path::{self, Path, PathBuf},
};

use percent_encoding::percent_decode_str;

use super::DatabaseError;

/// As many symbolic links are followed, as by Linux.
const LINKS_MAX: usize = 40;

/// The file that a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SqliteFile {
    /// As it is written: a relative one begins at the folder that the process was started in.
    pub(super) path: PathBuf,
    /// Whether it is made where it is not there.
    pub(super) may_be_made: bool,
}

impl SqliteFile {
    /// The path from the root, links in it and all.
    pub(super) fn absolute(&self) -> PathBuf {
        path::absolute(&self.path).unwrap_or_else(|_| self.path.clone())
    }

    /// The file itself, where its name is a symbolic link: SQLite keeps its log beside that. It need not be there.
    pub(super) fn itself(&self) -> PathBuf {
        let mut path = self.absolute();
        for _ in 0..LINKS_MAX {
            // What is no link, or not there, ends the way; opening it says what is wrong with it.
            let Ok(target) = fs::read_link(&path) else { break };
            path = folder_of(&path).join(target);
        }
        path
    }

    /// [`Self::itself`], unless it is not there and must not be made, or is no file that one service alone can have.
    pub(super) fn existing_or_made(&self) -> Result<PathBuf, DatabaseError> {
        let path = self.itself();
        match fs::metadata(&path) {
            Err(_) if !self.may_be_made => Err(DatabaseError::NoFile { path }),
            Ok(found) => match unfit(&found) {
                Some(problem) => Err(DatabaseError::Unfit { path, problem }),
                None => Ok(path),
            },
            // Opening it says what else is wrong with it.
            Err(_) => Ok(path),
        }
    }
}

/// Why what stands there is no database, or not this one's alone: what is written goes into a log beside one of its names, and whoever
/// opens another one finds a damaged database.
fn unfit(found: &Metadata) -> Option<String> {
    if found.is_dir() {
        return Some("is a folder: name a file in it, as in sqlite:/var/lib/gim/chat.db".into());
    }
    if !found.is_file() {
        return Some("is no file".into());
    }
    let names = found.nlink();
    (names > 1).then(|| {
        format!("has {names} names (hard links), each of which could be opened by another service: leave it this one")
    })
}

/// The folder of a file, from the root.
pub(super) fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("/"))
}

/// Reads `sqlite:PATH`, `sqlite://PATH` and either with `?mode=rwc` (as without) or `?mode=rw` (which makes no file).
pub(super) fn read(url: &str) -> Result<SqliteFile, String> {
    let refuse = |problem: String| Err(format!("database.url: {problem}"));
    let rest = url.strip_prefix("sqlite:").unwrap_or(url);
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut may_be_made = true;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter {
            "mode=rwc" => may_be_made = true,
            "mode=rw" => may_be_made = false,
            "mode=memory" => return refuse(IN_MEMORY.into()),
            other => {
                return refuse(format!("`{other}` says nothing here: a file of SQLite has `mode=rwc` or `mode=rw`"));
            }
        }
    }
    if path.starts_with(":memory:") {
        return refuse(IN_MEMORY.into());
    }
    if let Some(escape) = bad_escape(path) {
        return refuse(format!("`{escape}` is no escape: a % in the name of a file is written %25"));
    }
    let Ok(path) = percent_decode_str(path).decode_utf8() else {
        return refuse("the escapes in the name of the file are not UTF-8".into());
    };
    if path.contains('\0') {
        return refuse("%00 is in the name of no file".into());
    }
    if matches!(path.rsplit('/').next(), None | Some("" | "." | "..")) {
        return refuse("names no file, as in sqlite:/var/lib/gim/chat.db".into());
    }
    Ok(SqliteFile { path: path.as_ref().into(), may_be_made })
}

const IN_MEMORY: &str = "a database in memory would be lost with the process: name a file";

/// The first % that two digits of sixteen do not follow, with what does.
fn bad_escape(path: &str) -> Option<&str> {
    let is_bad = |at: usize| {
        let digits = path.as_bytes().get(at + 1..at + 3);
        digits.is_none_or(|digits| !digits.iter().all(u8::is_ascii_hexdigit))
    };
    let at = path.match_indices('%').map(|(at, _)| at).find(|at| is_bad(*at))?;
    Some(&path[at..path.floor_char_boundary(at + 3)])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_the_one_that_is_named() {
        let made = |path: &str| Ok(SqliteFile { path: path.into(), may_be_made: true });
        for (url, path) in [
            ("sqlite:/a/b.db", "/a/b.db"),
            ("sqlite:///a/b.db?mode=rwc", "/a/b.db"),
            ("sqlite://data/b.db", "data/b.db"),
            ("sqlite:b.db", "b.db"),
            ("sqlite:../..b./...", "../..b./..."),
            ("sqlite:/50%25%20off%3f.db", "/50% off?.db"),
            ("sqlite:/Übung.db", "/Übung.db"),
        ] {
            assert_eq!(read(url), made(path), "{url}");
        }
        assert!(!read("sqlite:/a/b.db?mode=rw").unwrap().may_be_made);
    }

    #[test]
    fn a_file_is_found_behind_its_links_whether_it_is_there_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("disk/deep")).unwrap();
        symlink(at("disk/deep"), at("linked")).unwrap();
        symlink("linked/../x.db", at("first")).unwrap();
        symlink("first", at("second")).unwrap();
        symlink("ring", at("ring")).unwrap();
        let itself = |name: &str| SqliteFile { path: at(name), may_be_made: true }.itself();
        assert_eq!(itself("second"), at("linked/../x.db"));
        fs::write(at("disk/x.db"), b"x").unwrap();
        assert_eq!(fs::read(itself("second")).unwrap(), b"x");
        assert_eq!(itself("plain.db"), at("plain.db"));
        assert!(fs::read(itself("ring")).is_err());
    }

    #[test]
    fn what_is_no_file_of_one_name_is_refused_in_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let found = |name: &str| {
            let file = SqliteFile { path: at(name), may_be_made: true };
            file.existing_or_made().map_err(|refused| refused.to_string())
        };
        fs::create_dir(at("folder")).unwrap();
        symlink("folder", at("linked")).unwrap();
        for name in ["folder", "linked"] {
            let refused = found(name).unwrap_err();
            assert!(refused.starts_with("database.url: /") && refused.contains("/folder is a folder"), "{refused}");
        }
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert!(found("socket").unwrap_err().ends_with("/socket is no file"));
        fs::write(at("x.db"), b"x").unwrap();
        assert_eq!(found("x.db"), Ok(at("x.db")));
        fs::hard_link(at("x.db"), at("y.db")).unwrap();
        for name in ["x.db", "y.db"] {
            let refused = found(name).unwrap_err();
            assert!(refused.contains(&format!("/{name} has 2 names (hard links)")), "{refused}");
        }
        fs::remove_file(at("y.db")).unwrap();
        assert_eq!((found("x.db"), found("new.db")), (Ok(at("x.db")), Ok(at("new.db"))));
    }

    #[test]
    fn what_names_no_file_is_refused_in_a_sentence() {
        for (url, problem) in [
            ("sqlite:", "names no file"),
            ("sqlite:/a/", "names no file"),
            ("sqlite:/a/.", "names no file"),
            ("sqlite:/a/..", "names no file"),
            ("sqlite:..", "names no file"),
            ("sqlite:/a%2f%2e%2E?mode=rw", "names no file"),
            ("sqlite:/a%00.db", "%00 is in the name of no file"),
            ("sqlite::memory:", "in memory"),
            ("sqlite:x?mode=memory", "in memory"),
            ("sqlite:x?mode=ro", "`mode=ro` says nothing here"),
            ("sqlite:x?cache=shared", "`cache=shared` says nothing here"),
            ("sqlite:/50% off.db", "`% o` is no escape"),
            ("sqlite:/a%zz.db", "`%zz` is no escape"),
            ("sqlite:/a%e", "`%e` is no escape"),
            ("sqlite:/a%ü", "`%ü` is no escape"),
            ("sqlite:/a%ff.db", "are not UTF-8"),
        ] {
            let refused = read(url).unwrap_err();
            assert!(refused.starts_with("database.url: ") && refused.contains(problem), "{url}: {refused}");
        }
    }
}
