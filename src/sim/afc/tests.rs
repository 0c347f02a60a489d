//! The device's side against our own client, and against bytes as other clients send them.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::serve;
use crate::afc::packet::{Header, data_header};
use crate::afc::{Afc, Error, Kind, Lock, OpenMode, Status, Whence};
use crate::sim::Device;

struct Phone {
    folder: tempfile::TempDir,
    device: std::sync::Arc<Device>,
}

impl Phone {
    /// A phone with these lines in its `device.toml` and a few files.
    fn with(toml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let media = folder.path().join("media");
        std::fs::create_dir_all(media.join("DCIM/100APPLE")).unwrap();
        std::fs::create_dir_all(media.join("Downloads")).unwrap();
        for n in 1..=5 {
            let content = vec![n as u8; 100_000 * n];
            std::fs::write(media.join(format!("DCIM/100APPLE/IMG_000{n}.JPG")), content).unwrap();
        }
        std::fs::write(folder.path().join("device.toml"), toml).unwrap();
        let times = r#"{"path": "DCIM/100APPLE/IMG_0001.JPG", "mtime": "2024-05-06T07:08:09.5Z"}"#;
        std::fs::write(folder.path().join("media.times"), times).unwrap();
        let device = Device::open(folder.path(), false).unwrap();
        Self { folder, device }
    }

    fn raw(&self) -> DuplexStream {
        let (here, there) = tokio::io::duplex(1 << 18);
        tokio::spawn(serve(Box::new(there), self.device.clone()));
        here
    }

    fn connect(&self) -> Afc {
        Afc::over(Box::new(self.raw()))
    }
}

fn status<T: std::fmt::Debug>(result: Result<T, Error>) -> Status {
    let error = result.unwrap_err();
    error.status().unwrap_or_else(|| panic!("the device did not say no: {error}"))
}

const FIRST: &str = "/DCIM/100APPLE/IMG_0001.JPG";

#[tokio::test]
async fn files_are_listed_described_and_read() {
    let phone = Phone::with("");
    let afc = phone.connect();
    assert_eq!(afc.read_dir("/").await.unwrap().names, ["DCIM", "Downloads"]);
    assert_eq!(afc.read_dir("./DCIM/100APPLE").await.unwrap().names.len(), 5);
    let info = afc.file_info(FIRST).await.unwrap();
    assert_eq!((info.kind, info.size, info.links), (Kind::File, 100_000, 1));
    assert_eq!(info.mtime_ns, 1_714_979_289_500_000_000);
    assert_eq!(afc.read_file(FIRST, 1 << 20).await.unwrap(), vec![1; 100_000]);
    assert!(afc.device_info().await.unwrap().total_bytes.is_some());
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_has_its_own_status() {
    let phone = Phone::with("[refuse]\nafc_paths = [\"/DCIM/100APPLE/IMG_0002.JPG\"]");
    let media = phone.folder.path().join("media");
    std::os::unix::fs::symlink("/etc", media.join("out")).unwrap();
    let afc = phone.connect();
    assert_eq!(status(afc.file_info("nowhere").await), Status::NotFound);
    assert_eq!(status(afc.file_info("../device.toml").await), Status::PermissionDenied);
    assert_eq!(status(afc.read_dir("/out").await), Status::PermissionDenied);
    assert_eq!(status(afc.open_file("out/passwd", OpenMode::Read).await), Status::PermissionDenied);
    assert_eq!(status(afc.open_file("DCIM", OpenMode::Read).await), Status::IsDirectory);
    assert_eq!(status(afc.file_info("DCIM/100APPLE/IMG_0002.JPG").await), Status::PermissionDenied);
    let link = afc.file_info("out").await.unwrap();
    assert_eq!((link.kind, link.link_target.as_deref()), (Kind::Link, Some("/etc")));
}

#[tokio::test]
async fn writing_changes_the_phone_and_not_its_folder() {
    let phone = Phone::with("");
    let afc = phone.connect();
    afc.make_dir("a/b/c").await.unwrap();
    afc.make_dir("a/b").await.unwrap();
    let mut file = afc.open_file("a/b/c/x", OpenMode::WriteRead).await.unwrap();
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
    file.write(&content).await.unwrap();
    assert_eq!(file.tell().await.unwrap(), 3_000_000);
    file.seek(Whence::End, -2).await.unwrap();
    assert_eq!(file.read(10).await.unwrap(), content[2_999_998..]);
    assert!(file.read(10).await.unwrap().is_empty());
    file.set_size(5).await.unwrap();
    file.close().await.unwrap();
    assert_eq!(afc.read_file("a/b/c/x", 100).await.unwrap(), content[..5]);
    afc.set_mtime("a/b/c/x", 5_000_000_007).await.unwrap();
    assert_eq!(afc.file_info("a/b/c/x").await.unwrap().mtime_ns, 5_000_000_007);
    afc.make_link(true, "c/x", "a/b/link").await.unwrap();
    afc.make_link(false, "a/b/c/x", "a/b/c/y").await.unwrap();
    assert_eq!(afc.file_info("a/b/c/y").await.unwrap().links, 2);
    assert_eq!(status(afc.remove("a/b").await), Status::DirectoryNotEmpty);
    afc.rename("a/b/c/x", "a/z").await.unwrap();
    afc.remove_all("a").await.unwrap();
    assert_eq!(status(afc.read_dir("a").await), Status::NotFound);
    afc.truncate(FIRST, 3).await.unwrap();
    assert_eq!(afc.read_file(FIRST, 10).await.unwrap(), [1, 1, 1]);
    assert_ne!(afc.file_info(FIRST).await.unwrap().mtime_ns, 1_714_979_289_500_000_000);
    let below = phone.folder.path().join("media");
    assert_eq!(std::fs::metadata(below.join(&FIRST[1..])).unwrap().len(), 100_000);
    assert!(!below.join("a").exists());
}

#[tokio::test]
async fn a_lock_counts_between_connections_and_ends_with_its_own() {
    const PATH: &str = "/com.apple.itunes.lock_sync";
    let phone = Phone::with("");
    let (one, two) = (phone.connect(), phone.connect());
    let held = one.open_file(PATH, OpenMode::ReadWrite).await.unwrap();
    held.lock(Lock::Exclusive).await.unwrap();
    let wants = two.open_file(PATH, OpenMode::ReadWrite).await.unwrap();
    assert_eq!(status(wants.lock(Lock::Exclusive).await), Status::WouldBlock);
    drop((held, one));
    for _ in 0..100 {
        if wants.lock(Lock::Exclusive).await.is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the lock outlived its connection");
}

#[tokio::test]
async fn a_harsh_phone_refuses_one_original_and_one_folder_and_serves_the_rest() {
    let phone = Phone::with("temper = \"harsh\"");
    let afc = phone.connect();
    assert_eq!(status(afc.read_dir("/Downloads").await), Status::PermissionDenied);
    let mut refused = Vec::new();
    for n in 1..=5 {
        let path = format!("DCIM/100APPLE/IMG_000{n}.JPG");
        match afc.read_file(&path, 1 << 20).await {
            Ok(content) => assert_eq!(content, vec![n as u8; 100_000 * n]),
            Err(error) => refused.push((path, error.status())),
        }
    }
    assert_eq!(refused, [("DCIM/100APPLE/IMG_0003.JPG".to_owned(), Some(Status::PermissionDenied))]);
    assert_eq!(afc.file_info("DCIM/100APPLE/IMG_0003.JPG").await.unwrap().links, 2);
    // Sixteen handles, then no resources: more than our own client ever opens, so with bytes of another's.
    let mut raw = phone.raw();
    for number in 0..17_u64 {
        let params = [&1_u64.to_le_bytes()[..], FIRST.as_bytes(), b"\0"].concat();
        let header = Header { params: params.len() as u64, payload: 0, number, operation: 0x0D };
        raw.write_all(&[&header.encode()[..], &params].concat()).await.unwrap();
        let mut reply = [0; 48];
        raw.read_exact(&mut reply).await.unwrap();
        let value = u64::from_le_bytes(reply[40..].try_into().unwrap());
        let expected = if number < 16 { (0x0E, number + 1) } else { (1, 3) };
        assert_eq!((u64::from(reply[32]), value), expected);
    }
}

#[tokio::test]
async fn an_unknown_operation_is_not_supported_and_noise_ends_the_connection() {
    let phone = Phone::with("");
    let mut raw = phone.raw();
    let header = Header { params: 0, payload: 3, number: 0, operation: 0x1D };
    raw.write_all(&[&header.encode()[..], b"abc"].concat()).await.unwrap();
    let mut reply = [0; 48];
    raw.read_exact(&mut reply).await.unwrap();
    assert_eq!(reply[40], 15);
    raw.write_all(&[b'x'; 40]).await.unwrap();
    assert_eq!(raw.read(&mut reply).await.unwrap(), 0);
}

#[tokio::test]
async fn a_writes_bytes_may_be_counted_as_parameters() {
    let phone = Phone::with("");
    let afc = phone.connect();
    let mut raw = phone.raw();
    let open = [&3_u64.to_le_bytes()[..], b"new"].concat();
    let header = Header { params: open.len() as u64, payload: 0, number: 0, operation: 0x0D };
    let write = [&1_u64.to_le_bytes()[..], b"hello"].concat();
    let second = Header { params: 13, payload: 0, number: 1, operation: 0x10 };
    raw.write_all(&[&header.encode()[..], &open, &second.encode(), &write].concat()).await.unwrap();
    let mut replies = [0; 96];
    raw.read_exact(&mut replies).await.unwrap();
    assert_eq!((replies[40], replies[88]), (1, 0));
    assert_eq!(afc.read_file("new", 10).await.unwrap(), b"hello");
}

#[tokio::test]
async fn faults_are_acted_out_on_reads() {
    for (kind, after) in
        [("short", 50_000), ("corrupt", 50_000), ("lie-about-length", 50_000), ("refuse", 50_000)]
    {
        let phone =
            Phone::with(&format!("[[fault]]\nat = \"afc-read\"\nafter_bytes = {after}\nkind = \"{kind}\""));
        let afc = phone.connect();
        let read = afc.read_file(FIRST, 1 << 20).await;
        match kind {
            "short" => assert!(matches!(read, Err(Error::ShortRead { got: 50_000, .. }))),
            "corrupt" => assert_eq!(read.unwrap().iter().filter(|b| **b != 1).count(), 1),
            "refuse" => assert_eq!(status(read), Status::ReadError),
            _ => assert!(read.unwrap_err().broken().is_some()),
        }
        // Once only.
        assert_eq!(phone.connect().read_file(FIRST, 1 << 20).await.unwrap().len(), 100_000);
    }
}

#[tokio::test]
async fn end_of_file_is_an_empty_reply_with_equal_lengths() {
    let phone = Phone::with("");
    std::fs::write(phone.folder.path().join("media/empty"), b"").unwrap();
    let mut raw = phone.raw();
    let open = [&1_u64.to_le_bytes()[..], b"empty\0"].concat();
    let header = Header { params: open.len() as u64, payload: 0, number: 7, operation: 0x0D };
    let read = [1_u64.to_le_bytes(), 100_u64.to_le_bytes()].concat();
    let second = Header { params: 16, payload: 0, number: 8, operation: 0x0F };
    raw.write_all(&[&header.encode()[..], &open, &second.encode(), &read].concat()).await.unwrap();
    let mut replies = [0; 88];
    raw.read_exact(&mut replies).await.unwrap();
    assert_eq!(replies[48..], data_header(8, 0));
}
