//! How long a disk takes to keep one page, which is what each commit waits for at least.
//!
//! Told beside what the server does: a rate that was limited by commits says something of another machine only together with this.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::stats::Latencies;

/// Of a database.
const PAGE: [u8; 4096] = [0x5a; 4096];

/// As a log that is written over again and again.
const PAGES: u64 = 64;

/// So often, unless the disk takes longer than [`LASTS_MAX`] for it.
const SYNCS: u64 = 200;
const LASTS_MAX: Duration = Duration::from_secs(2);

/// The file that is written, which goes with this.
struct Probe {
    path: PathBuf,
    file: File,
}

impl Probe {
    fn in_folder(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!(".gim-bench-{}.probe", std::process::id()));
        let file = File::options().write(true).create_new(true).open(&path)?;
        Ok(Self { path, file })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // Where it cannot be removed, the folder is gone or is read-only by now.
        let _ = fs::remove_file(&self.path);
    }
}

/// How long an fdatasync of one page takes, for each of many.
pub fn fdatasync_times(folder: &Path) -> io::Result<Latencies> {
    let probe = Probe::in_folder(folder)?;
    for number in 0..PAGES {
        probe.file.write_all_at(&PAGE, number * PAGE.len() as u64)?;
    }
    probe.file.sync_all()?;
    let (mut times, began) = (Latencies::default(), Instant::now());
    for number in 0..SYNCS {
        probe.file.write_all_at(&PAGE, number % PAGES * PAGE.len() as u64)?;
        let written = Instant::now();
        probe.file.sync_data()?;
        times.record(written.elapsed());
        if began.elapsed() > LASTS_MAX {
            break;
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_asked_often_and_nothing_is_left_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let times = fdatasync_times(folder.path()).unwrap();
        assert!((1..=SYNCS).contains(&times.count()));
        assert!(times.us(0.99) >= times.us(0.5) && times.us(0.99) > 0.0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(fdatasync_times(&folder.path().join("missing")).is_err());
    }
}
