//! The open files of this process.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Takes as many files as this process can get, and says how many those are.
pub fn raise_limit() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return usize::MAX };
    let raised = soft >= hard || setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    usize::try_from(if raised { hard } else { soft }).unwrap_or(usize::MAX)
}
