//! The host against a scripted phone: what a good one gets, and what a hostile or dying one gets.

use std::path::Path;
use std::sync::{Arc, Mutex};

use cap_std::fs::Dir;
use tokio::io::{AsyncWriteExt, DuplexStream};

use super::*;
use crate::mobilebackup2::codes::BLOCK_REMOTE_ERROR;
use crate::mobilebackup2::ledger::Entry;
use crate::mobilebackup2::message::Response;
use crate::mobilebackup2::stream::{Piece, Reader, Writer};
use crate::progress::Silent;
use crate::usbmux::Udid;

const UDID: &str = "00008101-000000000000001E";

#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<Entry>>>);

impl Ledger for Kept {
    fn keep(&mut self, batch: &[Entry]) -> std::io::Result<()> {
        self.0.lock().unwrap().extend_from_slice(batch);
        Ok(())
    }
}

/// The phone's end of the wire.
struct Phone(DuplexStream);

impl Phone {
    async fn say(&mut self, message: DeviceMessage) {
        frame::write(&mut self.0, &message.to_value(), Encoding::Binary).await.unwrap();
    }

    async fn hear(&mut self) -> HostMessage {
        HostMessage::from_value(frame::read(&mut self.0, &Limits::DEVICELINK).await.unwrap()).unwrap()
    }

    async fn ask(&mut self, message: DeviceMessage) -> Status {
        self.say(message).await;
        match self.hear().await {
            HostMessage::Status(status) => status,
            other => panic!("{other:?} is no status"),
        }
    }

    async fn greeted(mut self) -> Self {
        self.say(DeviceMessage::VersionExchange { major: 400, minor: 0 }).await;
        assert_eq!(self.hear().await, HostMessage::VersionOk { major: 400 });
        self.say(DeviceMessage::Ready).await;
        assert_eq!(self.hear().await, HostMessage::Hello { versions: vec![2.0, 2.1] });
        let protocol_version = Some(2.1);
        self.say(DeviceMessage::Response(Response { protocol_version, ..Response::default() })).await;
        let HostMessage::Request(Request::Backup { target, .. }) = self.hear().await else { panic!() };
        assert_eq!(target, UDID);
        self
    }

    /// Uploads files: path below the root, content, final code.
    async fn upload(&mut self, files: &[(&str, &[u8], u8)]) -> Status {
        self.say(DeviceMessage::UploadFiles { progress: 50.0, total_bytes: 1 }).await;
        let mut writer = Writer::new(&mut self.0);
        for (path, content, code) in files {
            writer.name(b"/private/var/x").await.unwrap();
            writer.name(path.as_bytes()).await.unwrap();
            writer.data(content).await.unwrap();
            writer.end(*code, "").await.unwrap();
        }
        writer.finish().await.unwrap();
        let HostMessage::Status(status) = self.hear().await else { panic!() };
        status
    }

    async fn done(&mut self, code: i64) {
        self.say(DeviceMessage::Response(Response { code, ..Response::default() })).await;
    }
}

struct Bench {
    temp: tempfile::TempDir,
    kept: Kept,
}

impl Bench {
    fn new() -> Self {
        Self { temp: tempfile::tempdir().unwrap(), kept: Kept::default() }
    }

    fn own(&self) -> std::path::PathBuf {
        self.temp.path().join(UDID)
    }

    /// Runs one backup against the script.
    async fn run<F: Future<Output = ()> + Send + 'static>(
        &self,
        patience: Patience,
        script: impl FnOnce(Phone) -> F + Send + 'static,
    ) -> Report {
        self.run_with(patience, Box::new(self.kept.clone()), script).await
    }

    async fn run_with<F: Future<Output = ()> + Send + 'static>(
        &self,
        patience: Patience,
        ledger: Box<dyn Ledger>,
        script: impl FnOnce(Phone) -> F + Send + 'static,
    ) -> Report {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let phone = tokio::spawn(async move { script(Phone(there).greeted().await).await });
        let cancel = CancellationToken::new();
        let host = Host::greet(Box::new(here), patience, &cancel).await.unwrap();
        let root = Dir::open_ambient_dir(self.temp.path(), cap_std::ambient_authority()).unwrap();
        let folder = Folder::open(root, Udid::parse(UDID).unwrap(), 0).unwrap();
        let report = host.backup(true, folder, ledger, &Silent, &cancel).await;
        phone.await.unwrap();
        report
    }
}

fn status_plist(state: &str) -> Vec<u8> {
    let mut status = plist::Dictionary::new();
    status.insert("SnapshotState".into(), state.into());
    frame::to_binary(&plist::Value::Dictionary(status))
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().try_into().unwrap()
}

#[tokio::test]
async fn a_phone_that_does_everything_right_gets_a_finished_backup() {
    let bench = Bench::new();
    let big = vec![9u8; 3 * PIECE_BYTES + 17];
    let sent = big.clone();
    let report = bench
        .run(Patience::default(), move |mut phone| async move {
            let missing =
                DeviceMessage::DownloadFiles { paths: vec![format!("{UDID}/Status.plist")], progress: 0.0 };
            phone.say(missing).await;
            let mut reader = Reader::new(&mut phone.0);
            assert!(reader.name().await.unwrap().is_some());
            let Piece::End(end) = reader.piece(&mut Vec::new(), 10).await.unwrap() else { panic!() };
            assert_eq!(end.code, codes::BLOCK_LOCAL_ERROR);
            assert!(reader.name().await.unwrap().is_none());
            let HostMessage::Status(status) = phone.hear().await else { panic!() };
            assert_eq!(status.code, codes::MULTIPLE);

            let free = phone.ask(DeviceMessage::FreeDiskSpace).await;
            assert!(matches!(free.value, StatusValue::Bytes(bytes) if bytes > 0));
            assert_eq!(phone.ask(DeviceMessage::PurgeDiskSpace { bytes: 5 }).await.code, codes::GENERIC);
            let make = DeviceMessage::CreateDirectory { path: format!("{UDID}/Snapshot/ab") };
            assert_eq!(phone.ask(make).await.code, 0);
            let name = format!("{UDID}/Snapshot/ab/abcd");
            assert_eq!(phone.upload(&[(&name, &sent, 0)]).await.code, 0);
            let items = vec![(format!("{UDID}/Snapshot/ab"), format!("{UDID}/ab"))];
            assert_eq!(phone.ask(DeviceMessage::MoveItems { items, progress: 90.0 }).await.code, 0);
            let finished = status_plist("finished");
            let name = format!("{UDID}/Status.plist");
            assert_eq!(phone.upload(&[(&name, &finished, 0)]).await.code, 0);
            let paths = vec![format!("{UDID}/Snapshot")];
            assert_eq!(phone.ask(DeviceMessage::RemoveItems { paths, progress: 100.0 }).await.code, 0);

            let paths = vec![format!("{UDID}/ab/abcd")];
            phone.say(DeviceMessage::DownloadFiles { paths, progress: 100.0 }).await;
            let mut back = Vec::new();
            let mut reader = Reader::new(&mut phone.0);
            reader.name().await.unwrap();
            while let Piece::Data(_) = reader.piece(&mut back, 1 << 20).await.unwrap() {}
            assert!(reader.name().await.unwrap().is_none());
            assert_eq!(hash(&back), hash(&sent));
            assert_eq!(
                phone.hear().await,
                HostMessage::Status(Status::with(StatusValue::Listing(plist::Dictionary::new())))
            );
            phone.done(0).await;
            assert_eq!(phone.hear().await, HostMessage::Disconnect);
        })
        .await;
    assert!(matches!(report.outcome, Outcome::Finished), "{:?}", report.outcome);
    assert_eq!(report.purge_wanted_bytes, Some(5));
    assert_eq!(report.stored.files, 2);
    assert_eq!(std::fs::read(bench.own().join("ab/abcd")).unwrap(), big);
    let kept = bench.kept.0.lock().unwrap();
    let Entry::Received(first) = &kept[0] else { panic!() };
    assert_eq!(
        (first.path.as_str(), first.bytes, first.sha256),
        ("Snapshot/ab/abcd", big.len() as u64, hash(&big))
    );
    assert_eq!(kept[1], Entry::Moved { from: "Snapshot/ab".into(), to: "ab".into() });
    assert_eq!(std::fs::read_dir(bench.temp.path().join("incoming")).unwrap().count(), 0);
}

#[tokio::test]
async fn done_without_a_finished_status_is_not_finished() {
    for (state, told) in [(None, "missing"), (Some("uploading"), "uploading")] {
        let bench = Bench::new();
        let report = bench
            .run(Patience::default(), move |mut phone| async move {
                if let Some(state) = state {
                    phone.upload(&[(&format!("{UDID}/Status.plist"), &status_plist(state), 0)]).await;
                }
                phone.done(0).await;
            })
            .await;
        assert!(matches!(report.outcome, Outcome::NotFinished { state } if state == told));
    }
}

#[tokio::test]
async fn a_refused_file_never_replaces_one_that_stands() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.own()).unwrap();
    std::fs::write(bench.own().join("Manifest.db"), b"good and old").unwrap();
    let report = bench
        .run(Patience::default(), |mut phone| async move {
            let (manifest, other) = (format!("{UDID}/Manifest.db"), format!("{UDID}/partly"));
            let status = phone.upload(&[(&manifest, b"", BLOCK_REMOTE_ERROR), (&other, b"part", 0x0B)]).await;
            assert_eq!(status.code, 0);
            // Other hosts have an empty file there, so that a phone may move it.
            let items = vec![(manifest, format!("{UDID}/elsewhere"))];
            assert_eq!(phone.ask(DeviceMessage::MoveItems { items, progress: 1.0 }).await.code, 0);
            // One that never stood anywhere gets an empty file; one that did stays.
            let (new, old) = (format!("{UDID}/new"), format!("{UDID}/partly"));
            phone
                .upload(&[(&new, b"", BLOCK_REMOTE_ERROR), (&format!("{new}2"), b"", BLOCK_REMOTE_ERROR)])
                .await;
            let items = vec![(new.clone(), format!("{new}-moved")), (format!("{new}2"), old)];
            assert_eq!(phone.ask(DeviceMessage::MoveItems { items, progress: 1.0 }).await.code, 0);
            phone.done(104).await;
        })
        .await;
    assert!(matches!(report.outcome, Outcome::DeviceError { code: 104, .. }));
    assert_eq!(std::fs::read(bench.own().join("new-moved")).unwrap(), b"");
    assert_eq!(std::fs::read(bench.own().join("elsewhere")).unwrap(), b"good and old");
    assert_eq!(std::fs::read(bench.own().join("partly")).unwrap(), b"part");
    let kept = bench.kept.0.lock().unwrap();
    let codes: Vec<u8> =
        kept.iter().filter_map(|e| if let Entry::Received(r) = e { Some(r.code) } else { None }).collect();
    assert_eq!(codes, [0x0B; 4]);
}

#[tokio::test]
async fn a_move_that_this_disk_cannot_make_is_no_success_whatever_the_phone_says() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.own()).unwrap();
    let report = bench
        .run(Patience::default(), |mut phone| async move {
            let (from, status) = (format!("{UDID}/new"), format!("{UDID}/Status.plist"));
            phone.upload(&[(&from, b"new", 0), (&status, &status_plist("finished"), 0)]).await;
            // Longer than a file system's names may be.
            let items = vec![(from, format!("{UDID}/{}", "n".repeat(300)))];
            assert!(phone.ask(DeviceMessage::MoveItems { items, progress: 1.0 }).await.code < 0);
            phone.done(0).await;
        })
        .await;
    assert!(matches!(report.outcome, Outcome::HostError(_)), "{:?}", report.outcome);
}

#[tokio::test]
async fn hostile_paths_are_refused_in_every_message_and_nothing_happens_outside() {
    let bench = Bench::new();
    let other = bench.temp.path().join("00008101-00000000000000FF");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("Manifest.db"), b"another phone's").unwrap();
    std::os::unix::fs::symlink(&other, bench.temp.path().join("link")).unwrap();
    let report = bench
        .run(Patience::default(), |mut phone| async move {
            let hostile: Vec<String> = ["", "/", "..", ".", "../x", "/etc/passwd", "incoming/0", UDID]
                .into_iter()
                .map(str::to_owned)
                .chain([
                    "00008101-00000000000000FF/Manifest.db".to_owned(),
                    format!("{UDID}/../00008101-00000000000000FF/Manifest.db"),
                    format!("{UDID}/a/../../x"),
                    format!("{UDID}/./x"),
                    format!("{UDID}//x"),
                    format!("{UDID}/a\0b"),
                ])
                .collect();
            let good = format!("{UDID}/good");
            for path in hostile {
                let own = path == UDID;
                let path = || path.clone();
                let mut asks = vec![
                    DeviceMessage::RemoveItems { paths: vec![path()], progress: 0.0 },
                    DeviceMessage::MoveItems { items: vec![(path(), good.clone())], progress: 0.0 },
                    DeviceMessage::MoveItems { items: vec![(good.clone(), path())], progress: 0.0 },
                    DeviceMessage::CopyItem { from: path(), to: good.clone() },
                    DeviceMessage::CopyItem { from: good.clone(), to: path() },
                ];
                if !own {
                    asks.push(DeviceMessage::CreateDirectory { path: path() });
                    asks.push(DeviceMessage::ContentsOfDirectory { path: path() });
                }
                for ask in asks {
                    let shown = format!("{ask:?}");
                    assert!(phone.ask(ask).await.code < 0, "{shown}");
                }
                if !path().is_empty() {
                    let status = phone.upload(&[(&path(), b"evil", 0), (&good, b"good", 0)]).await;
                    assert_eq!(status.code, codes::MULTIPLE, "{:?}", path());
                }
                phone.say(DeviceMessage::DownloadFiles { paths: vec![path()], progress: 0.0 }).await;
                let mut got = Vec::new();
                let mut reader = Reader::new(&mut phone.0);
                while reader.name().await.unwrap().is_some() {
                    while let Piece::Data(_) = reader.piece(&mut got, 100).await.unwrap() {}
                }
                assert!(got.is_empty(), "{:?} gave a file away", path());
                let HostMessage::Status(status) = phone.hear().await else { panic!() };
                assert!(status.code < 0);
            }
            phone.done(1).await;
        })
        .await;
    assert!(matches!(report.outcome, Outcome::DeviceError { code: 1, .. }), "{:?}", report.outcome);
    assert!(report.notes.len() > 20, "every refusal is noted");
    assert_eq!(std::fs::read(other.join("Manifest.db")).unwrap(), b"another phone's");
    assert_eq!(std::fs::read(bench.own().join("good")).unwrap(), b"good");
    let mut names: Vec<_> = std::fs::read_dir(bench.temp.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["00008101-000000000000001E", "00008101-00000000000000FF", "incoming", "link"]);
}

#[tokio::test]
async fn a_phone_unplugged_in_a_file_keeps_what_was_whole() {
    let bench = Bench::new();
    let report = bench
        .run(Patience::default(), |mut phone| async move {
            phone.upload(&[(&format!("{UDID}/whole"), b"whole", 0)]).await;
            phone.say(DeviceMessage::UploadFiles { progress: 1.0, total_bytes: 1 }).await;
            let mut writer = Writer::new(&mut phone.0);
            writer.name(b"/x").await.unwrap();
            writer.name(format!("{UDID}/half").as_bytes()).await.unwrap();
            writer.data(b"half").await.unwrap();
            phone.0.shutdown().await.unwrap();
        })
        .await;
    assert!(matches!(report.outcome, Outcome::Broken(Error::Stream { .. })), "{:?}", report.outcome);
    assert!(bench.own().join("whole").exists());
    assert!(!bench.own().join("half").exists());
    assert_eq!(std::fs::read_dir(bench.temp.path().join("incoming")).unwrap().count(), 0);
    assert_eq!(bench.kept.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_phone_that_moves_something_onto_the_folder_that_it_is_in_destroys_nothing() {
    let bench = Bench::new();
    let report = bench
        .run(Patience::default(), |mut phone| async move {
            let make = DeviceMessage::CreateDirectory { path: format!("{UDID}/a/b/c") };
            assert_eq!(phone.ask(make).await.code, 0);
            let name = format!("{UDID}/a/b/c/kept");
            assert_eq!(
                phone.upload(&[(&name, b"kept", 0), (&format!("{UDID}/a/beside"), b"x", 0)]).await.code,
                0
            );
            for (from, to) in
                [("a/b/c/kept", "/a"), ("a/b/c", "/a"), ("a/b/c", "/a/b"), ("a", "/a/b/c"), ("a", "")]
            {
                let items = vec![(format!("{UDID}/{from}"), format!("{UDID}{to}"))];
                let status = phone.ask(DeviceMessage::MoveItems { items, progress: 1.0 }).await;
                assert_ne!(status.code, 0, "{from} onto {to}");
            }
            phone.done(104).await;
        })
        .await;
    assert!(!matches!(report.outcome, Outcome::Finished));
    assert_eq!(std::fs::read(bench.own().join("a/b/c/kept")).unwrap(), b"kept");
    assert_eq!(std::fs::read(bench.own().join("a/beside")).unwrap(), b"x");
}

#[tokio::test]
async fn a_phone_that_falls_silent_is_named_with_what_was_awaited() {
    let short = Duration::from_millis(200);
    let patience = Patience {
        greeting: short,
        first_message: short,
        message: short,
        stream: short,
        ..Patience::default()
    };
    let report = Bench::new()
        .run(patience, |phone| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(phone);
        })
        .await;
    let Outcome::Broken(error) = report.outcome else { panic!() };
    assert!(error.to_string().contains("its next message"), "{error}");
    let report = Bench::new()
        .run(patience, |mut phone| async move {
            phone.say(DeviceMessage::UploadFiles { progress: 1.0, total_bytes: 1 }).await;
            let mut writer = Writer::new(&mut phone.0);
            writer.name(b"/x").await.unwrap();
            writer.name(format!("{UDID}/half").as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        })
        .await;
    let Outcome::Broken(error) = report.outcome else { panic!() };
    assert!(error.to_string().contains("half"), "{error}");
}

#[tokio::test]
async fn an_unknown_version_is_refused() {
    let (here, there) = tokio::io::duplex(4096);
    let phone = tokio::spawn(async move {
        Phone(there).say(DeviceMessage::VersionExchange { major: 500, minor: 0 }).await;
    });
    let greeted = Host::greet(Box::new(here), Patience::default(), &CancellationToken::new()).await;
    assert!(matches!(greeted, Err(Error::Version(500))));
    phone.await.unwrap();
}

/// A small file system of its own, if this user may mount one.
fn tiny_disk(at: &Path) -> bool {
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(at)
        .stderr(std::process::Stdio::null())
        .status();
    mount.is_ok_and(|status| status.success())
}

#[tokio::test]
async fn a_full_disk_is_told_to_the_phone_and_to_the_person() {
    let bench = Bench::new();
    if !tiny_disk(bench.temp.path()) {
        return;
    }
    let report = bench
        .run(Patience::default(), |mut phone| async move {
            let status = phone
                .upload(&[
                    (&format!("{UDID}/big"), &vec![1; 4 << 20], 0),
                    (&format!("{UDID}/small"), b"s", 0),
                ])
                .await;
            assert_eq!(status.code, codes::NO_SPACE);
            phone.done(104).await;
        })
        .await;
    let unmounted = std::process::Command::new("umount").arg(bench.temp.path()).status().unwrap();
    assert!(unmounted.success());
    let Outcome::HostError(error) = report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

/// A ledger whose disk is full after so many batches.
#[derive(Debug)]
struct FullAfter(usize);

impl Ledger for FullAfter {
    fn keep(&mut self, _: &[Entry]) -> std::io::Result<()> {
        self.0 = self.0.checked_sub(1).ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(())
    }
}

#[tokio::test]
async fn a_disk_that_is_full_when_files_are_put_in_their_places_has_its_own_name() {
    let report = Bench::new()
        .run_with(Patience::default(), Box::new(FullAfter(0)), |mut phone| async move {
            let make = DeviceMessage::CreateDirectory { path: format!("{UDID}/Snapshot") };
            assert_eq!(phone.ask(make).await.code, 0);
            for n in 0..3 {
                assert_eq!(phone.upload(&[(&format!("{UDID}/Snapshot/{n}"), b"new", 0)]).await.code, 0);
            }
            let items =
                (0..3).map(|n| (format!("{UDID}/Snapshot/{n}"), format!("{UDID}/{n}"))).collect::<Vec<_>>();
            let status = phone.ask(DeviceMessage::MoveItems { items, progress: 1.0 }).await;
            assert_eq!(status.code, codes::NO_SPACE, "{:?}", status.text);
            phone.done(104).await;
        })
        .await;
    let Outcome::HostError(error) = report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
}

/// A ledger that knows how much text it was handed at once.
#[derive(Debug, Clone, Default)]
struct Longest(Arc<Mutex<(usize, usize)>>);

impl Ledger for Longest {
    fn keep(&mut self, batch: &[Entry]) -> std::io::Result<()> {
        let bytes = |entry: &Entry| match entry {
            Entry::Removed { path } => path.len(),
            other => panic!("{other:?} was not asked for"),
        };
        let bytes = batch.iter().map(bytes).sum();
        let mut longest = self.0.lock().unwrap();
        *longest = (longest.0.max(bytes), longest.1 + batch.len());
        Ok(())
    }
}

#[tokio::test]
async fn many_long_names_in_one_message_are_kept_in_batches_of_bounded_length() {
    const COUNT: usize = 4000;
    let longest = Longest::default();
    Bench::new()
        .run_with(Patience::default(), Box::new(longest.clone()), |mut phone| async move {
            let long = vec!["x".repeat(250); 15].join("/");
            let paths = (0..COUNT).map(|n| format!("{UDID}/{long}/{n}")).collect();
            assert_eq!(phone.ask(DeviceMessage::RemoveItems { paths, progress: 1.0 }).await.code, 0);
            phone.done(104).await;
        })
        .await;
    let (bytes, entries) = *longest.0.lock().unwrap();
    // The first one is announced by itself as well.
    assert_eq!(entries, COUNT + 1);
    assert!(bytes < (4 << 20) + 4096, "{bytes} bytes at once");
}
