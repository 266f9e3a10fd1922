//! The settings file, and files that settings name, which others renew as cert-manager, ACME clients and Kubernetes do: looked at now and
//! then. On the task of [`crate::service`].
//!
//! Always holds: a change is told only when two looks in a row found the same, so that files that are being written, or a certificate
//! whose key comes a moment later, are left alone; and once, unless the files were of no use: then every look tells it, because what
//! was wrong need not have been a file's.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Interval, MissedTickBehavior, interval};

/// What is to be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedFiles {
    /// The files; a link is followed.
    pub files: Vec<PathBuf>,
    /// How often they are looked at.
    pub interval: Duration,
}

/// The watch.
#[derive(Debug)]
pub(crate) struct FileWatch {
    files: Vec<PathBuf>,
    looks: Option<Interval>,
    /// As they were when they were read.
    held: Vec<Option<Stamp>>,
    /// As the last look found them.
    last: Vec<Option<Stamp>>,
    /// Whether they were of use when they were read.
    are_good: bool,
}

/// By which a file is told from the one that was there before: when its text changed, when its owner, its mode or its name did, its
/// length, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp([i64; 4], [u64; 3]);

impl FileWatch {
    /// Of files that were read just now; without any, nothing is ever told.
    pub(crate) fn new(watched: Option<WatchedFiles>) -> Self {
        let watched = watched.filter(|watched| !watched.files.is_empty());
        let looks = watched.as_ref().map(|watched| {
            let mut looks = interval(watched.interval);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            looks
        });
        let files = watched.map(|watched| watched.files).unwrap_or_default();
        let held = stamps(&files);
        Self { looks, last: held.clone(), held, files, are_good: true }
    }

    /// Looks at these from now on, which were read already. What is new among them is told once, as it may have changed since.
    pub(crate) fn look_at(&mut self, files: Vec<PathBuf>) {
        if self.looks.is_none() || files == self.files {
            return;
        }
        let known = |stamps: &[Option<Stamp>], file: &PathBuf| {
            let at = self.files.iter().position(|known| known == file);
            at.and_then(|at| stamps[at].clone())
        };
        let held = files.iter().map(|file| known(&self.held, file)).collect();
        let last = files.iter().map(|file| known(&self.last, file)).collect();
        (self.held, self.last, self.files) = (held, last, files);
    }

    /// Waits until some are others than those that were read, or those are to be tried again, which it tells by false. May be dropped at
    /// any moment.
    pub(crate) async fn changed(&mut self) -> bool {
        let Some(looks) = &mut self.looks else { return std::future::pending().await };
        loop {
            looks.tick().await;
            let now = stamps(&self.files);
            let is_settled = now == self.last;
            self.last = now;
            let are_others = self.last != self.held;
            if is_settled && (are_others || !self.are_good) {
                return are_others;
            }
        }
    }

    /// They are read next.
    pub(crate) fn note(&mut self) {
        self.held = stamps(&self.files);
    }

    /// They were read, and were of use or were not.
    pub(crate) fn note_use(&mut self, are_good: bool) {
        self.are_good = are_good;
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| stamp(file)).collect()
}

/// None of a file that cannot be looked at: whoever reads it says why.
fn stamp(file: &Path) -> Option<Stamp> {
    let found = fs::metadata(file).ok()?;
    let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
    Some(Stamp(times, [found.len(), found.ino(), found.dev()]))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::*;

    const LOOK: Duration = Duration::from_millis(2);
    const DEADLINE: Duration = Duration::from_secs(30);

    fn watch(files: &[PathBuf]) -> FileWatch {
        FileWatch::new(Some(WatchedFiles { files: files.to_vec(), interval: LOOK }))
    }

    /// Whether it tells nothing for some looks.
    async fn is_quiet(watch: &mut FileWatch) -> bool {
        timeout(LOOK * 10, watch.changed()).await.is_err()
    }

    #[tokio::test]
    async fn a_folder_that_is_exchanged_behind_a_link_is_told_once() {
        let folder = TempDir::new().unwrap();
        let (current, file) = (folder.path().join("..data"), folder.path().join("..data/tls.crt"));
        for version in ["one", "two"] {
            fs::create_dir(folder.path().join(version)).unwrap();
            fs::write(folder.path().join(version).join("tls.crt"), "of the same length").unwrap();
        }
        symlink("one", &current).unwrap();
        let mut watch = watch(&[file]);
        assert!(is_quiet(&mut watch).await);

        symlink("two", folder.path().join("new")).unwrap();
        fs::rename(folder.path().join("new"), &current).unwrap();
        timeout(DEADLINE, watch.changed()).await.unwrap();
        watch.note();
        assert!(is_quiet(&mut watch).await);
    }

    #[tokio::test]
    async fn what_is_gone_and_what_comes_back_are_told() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("tls.key");
        fs::write(&file, "key").unwrap();
        let mut watch = watch(std::slice::from_ref(&file));
        fs::remove_file(&file).unwrap();
        timeout(DEADLINE, watch.changed()).await.unwrap();
        watch.note();
        fs::write(&file, "another key").unwrap();
        timeout(DEADLINE, watch.changed()).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_whose_mode_is_set_after_it_was_written_is_told() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("tls.key");
        fs::write(&file, "key").unwrap();
        let mut watch = watch(std::slice::from_ref(&file));
        assert!(is_quiet(&mut watch).await);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        timeout(DEADLINE, watch.changed()).await.unwrap();
        watch.note();
        assert!(is_quiet(&mut watch).await);
    }

    #[tokio::test]
    async fn files_of_no_use_are_told_at_every_look_until_they_are_of_use() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("tls.key");
        fs::write(&file, "key").unwrap();
        let mut watch = watch(std::slice::from_ref(&file));
        watch.note_use(false);
        for _ in 0..3 {
            assert!(!timeout(DEADLINE, watch.changed()).await.unwrap(), "it is the same that is tried again");
            watch.note();
        }
        watch.note_use(true);
        assert!(is_quiet(&mut watch).await);
    }

    #[tokio::test]
    async fn a_file_that_is_named_later_is_looked_at_too() {
        let folder = TempDir::new().unwrap();
        let files = ["a", "b"].map(|name| folder.path().join(name));
        files.iter().for_each(|file| fs::write(file, "key").unwrap());
        let mut watch = watch(&files[..1]);
        watch.look_at(files.to_vec());
        timeout(DEADLINE, watch.changed()).await.unwrap();
        watch.note();
        assert!(is_quiet(&mut watch).await);
        fs::write(&files[1], "another key").unwrap();
        timeout(DEADLINE, watch.changed()).await.unwrap();
    }

    #[tokio::test]
    async fn without_files_nothing_is_ever_told() {
        assert!(is_quiet(&mut FileWatch::new(None)).await);
        assert!(is_quiet(&mut watch(&[])).await);
    }
}
