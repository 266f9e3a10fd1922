//! Which core a reactor's thread runs on, where the settings say so.

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// The calling thread, for the system.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// A core that a thread was to be pinned to.
#[derive(Debug, thiserror::Error)]
#[error("reactor_cores: this process may not run on core {core}")]
pub struct NoSuchCore {
    core: usize,
}

/// Judges a list of cores before any thread is pinned.
pub fn check(cores: &[usize]) -> Result<(), NoSuchCore> {
    let allowed = sched_getaffinity(THIS_THREAD).unwrap_or_default();
    let refused = cores.iter().find(|&&core| !allowed.is_set(core).unwrap_or(false));
    refused.map_or(Ok(()), |&core| Err(NoSuchCore { core }))
}

/// Pins the calling thread, the reactor with this number, to its core; around the list, where there are more reactors.
pub fn pin(reactor: usize, cores: &[usize]) -> nix::Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut only = CpuSet::new();
    only.set(cores[reactor % cores.len()])?;
    sched_setaffinity(THIS_THREAD, &only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_is_not_there_is_named() {
        let error = check(&[100_000]).unwrap_err().to_string();
        assert_eq!(error, "reactor_cores: this process may not run on core 100000");
    }

    #[test]
    fn reactors_are_pinned_around_the_list() {
        let all = sched_getaffinity(THIS_THREAD).unwrap();
        let cores: Vec<usize> = (0..CpuSet::count()).filter(|&core| all.is_set(core).unwrap()).collect();
        check(&cores).unwrap();
        for reactor in 0..2 * cores.len() {
            let (cores, expected) = (cores.clone(), cores[reactor % cores.len()]);
            let pinned = std::thread::spawn(move || {
                pin(reactor, &cores).unwrap();
                sched_getaffinity(THIS_THREAD).unwrap()
            });
            let pinned = pinned.join().unwrap();
            let found = (0..CpuSet::count()).filter(|&core| pinned.is_set(core).unwrap());
            assert_eq!(found.collect::<Vec<_>>(), [expected]);
        }
    }

    #[test]
    fn without_a_list_the_system_decides() {
        let before = sched_getaffinity(THIS_THREAD).unwrap();
        pin(0, &[]).unwrap();
        assert_eq!(sched_getaffinity(THIS_THREAD).unwrap(), before);
    }
}
