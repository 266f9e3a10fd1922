//! The threads on which files come and go: they give way to what people wait for ([`gim_config::threads`]).

use std::{io, num::NonZeroUsize};

pub use gim_config::threads::{RunningThreads, Threads};

/// Threads that never wait for the disk, however many others do.
const THREADS_FREE: usize = 2;

/// Starts them; called on a thread of everybody else.
pub fn start() -> io::Result<(Threads, RunningThreads)> {
    Threads::start("files", waiting_max() + THREADS_FREE)
}

/// How many of those that serve connections may wait for the disk at the same time.
pub fn waiting_max() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}
