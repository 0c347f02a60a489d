//! The host against a scripted phone: what a good one gets, and what a hostile or dying one gets.

mod full_disk;
mod hostile;

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
