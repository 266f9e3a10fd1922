//! A folder on a disk that is full, and has room again: a clear answer, nothing half stored, and uploads go on.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use super::{resumed, *};

const MIB: usize = 1 << 20;

/// A disk of 4 MiB in a mount namespace of a process that waits for its end; others reach it by that process. It takes root, or
/// namespaces for everybody.
struct SmallDisk {
    holder: Child,
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl SmallDisk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=4m tmpfs \"$0\" && echo ready && read -r end";
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n", "a disk of its own takes root, or namespaces for everybody");
        let path = PathBuf::from(format!("/proc/{}/root{}", holder.id(), folder.path().display()));
        Self { holder, _folder: folder, path }
    }

    fn files(&self) -> (usize, usize) {
        (files_below(&self.path.join("uploads")), files_below(&self.path.join("contents")))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_clearly_and_uploads_go_on_when_there_is_room() {
    let disk = SmallDisk::mount();
    let (server, address) = start_with(|files| {
        files.folder = disk.path.clone();
        files.folder_free_bytes_min = 0;
    })
    .await;
    let phone = server.sign_in("1").await;
    let stored = uploaded(address, &phone, "first", &vec![1; 2 * MIB]);
    assert!(upload(address, &phone, "second", &vec![2; 3 * MIB]).refusal(507).contains("no room for the file"));
    assert_eq!(disk.files(), (0, 1), "nothing is half stored");

    let bytes: Vec<u8> = (0..3 * MIB).map(|index| (index / 7) as u8).collect();
    let url = resumed::begin(address, &phone, bytes.len());
    let sent = resumed::patch(&url, &phone, 0).body(bytes.clone()).send(address);
    assert!(sent.refusal(507).contains("no room for the file"));
    let came = resumed::offset(address, &url, &phone);
    assert!(came > MIB && came <= 2 * MIB, "{came}");
    resumed::patch(&url, &phone, came).body(&bytes[came..]).send(address).refusal(507);
    assert_eq!(read(address, stored["url"].as_str().unwrap()).body.len(), 2 * MIB, "what is stored is read");
    server.sign_in("2").await;

    // Somebody makes room.
    fs::remove_dir_all(disk.path.join("contents")).unwrap();
    let came = resumed::offset(address, &url, &phone);
    assert_eq!(resumed::patch(&url, &phone, came).body(&bytes[came..]).send(address).status, 204);
    assert!(resumed::file(address, &url, &phone) == bytes);
    assert_eq!(disk.files(), (0, 1));
}
