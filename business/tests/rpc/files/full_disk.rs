//! A folder on a disk that is full, and has room again: a clear answer, nothing half stored, and uploads go on.

use std::{
    io::{BufRead as _, BufReader, Cursor},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use image::{ImageFormat, RgbImage};

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

async fn start_on(disk: &SmallDisk) -> (Server, SocketAddr) {
    start_with(|files| {
        files.folder = disk.path.clone();
        files.folder_free_bytes_min = 0;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_clearly_and_uploads_go_on_when_there_is_room() {
    let disk = SmallDisk::mount();
    let (server, address) = start_on(&disk).await;
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

/// A picture of which no byte can be saved, and so has about as many as this.
fn noise(bytes: u32) -> Vec<u8> {
    let (height, mut state) = (bytes.isqrt() / 3, 1_u32);
    let pixels = (0..bytes).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let width = bytes / height / 3;
    let picture = RgbImage::from_raw(width, height, pixels.take((width * height * 3) as usize).collect()).unwrap();
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png).unwrap();
    png.into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_whose_copy_or_thumbnail_has_no_room_leaves_nothing() {
    let disk = SmallDisk::mount();
    let (server, address) = start_on(&disk).await;
    let phone = server.sign_in("1").await;
    let refused = |picture: &[u8]| {
        let sentence = upload(address, &phone, "a.png", picture).refusal(507);
        assert!(sentence.contains("no room for the file"), "{sentence}");
        assert_eq!(disk.files(), (0, 0), "nothing is half stored");
    };
    refused(&noise(3 << 20));
    // There is room for the picture and its copy, but not for a thumbnail, which has more than one page.
    let (picture, page) = (noise(1 << 20), 4_096);
    let pages = picture.len().div_ceil(page);
    let filler = disk.path.join("filler");
    fs::write(&filler, vec![1; 4 * MIB - (2 * pages + 1) * page]).unwrap();
    refused(&picture);
    fs::remove_file(&filler).unwrap();
    let about = uploaded(address, &phone, "a.png", &picture);
    assert!(about["thumbnail_url"].is_string());
    assert_eq!(disk.files(), (0, 2));
}
