//! The files of this process: how many it may have open, and who may read those that it makes.

use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    stat::{Mode, umask},
};

/// Takes as many files as this process can get, and says how many those are.
pub fn raise_limit() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return usize::MAX };
    let raised = soft >= hard || setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    usize::try_from(if raised { hard } else { soft }).unwrap_or(usize::MAX)
}

/// From now on only the user of this process can read what it makes: folders are 0700 and files 0600, also those that SQLite puts
/// beside a database.
pub fn keep_private() {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
}
