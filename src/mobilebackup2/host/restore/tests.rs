//! A restore against a scripted phone: what a good one is sent, and that a hostile one changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use tokio::io::DuplexStream;

use super::*;
use crate::frame::{self, Encoding, Limits};
use crate::mobilebackup2::codes;
use crate::mobilebackup2::host::Patience;
use crate::mobilebackup2::message::{DeviceMessage, Response};
use crate::mobilebackup2::request::{HostMessage, Status};
use crate::mobilebackup2::stream::{Piece, Reader, Writer};
use crate::progress::Silent;
use crate::usbmux::Udid;

const SOURCE: &str = "00008101-000000000000001E";
const TARGET: &str = "00008101-00000000000000FF";

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
        let HostMessage::Status(status) = self.hear().await else { panic!() };
        status
    }

    /// Greets, and hears what is wanted.
    async fn asked(mut self) -> (Self, Restore) {
        self.say(DeviceMessage::VersionExchange { major: 400, minor: 0 }).await;
        self.hear().await;
        self.say(DeviceMessage::Ready).await;
        self.hear().await;
        let protocol_version = Some(2.1);
        self.say(DeviceMessage::Response(Response { protocol_version, ..Response::default() })).await;
        let HostMessage::Request(Request::Restore(restore)) = self.hear().await else { panic!() };
        (self, restore)
    }

    /// Takes files; what came of each.
    async fn take(&mut self, paths: &[&str]) -> (Vec<(u8, Vec<u8>)>, Status) {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        self.say(DeviceMessage::DownloadFiles { paths, progress: 50.0 }).await;
        let mut reader = Reader::new(&mut self.0);
        let mut came = Vec::new();
        while reader.name().await.unwrap().is_some() {
            let mut content = Vec::new();
            let end = loop {
                if let Piece::End(end) = reader.piece(&mut content, 1 << 20).await.unwrap() {
                    break end;
                }
            };
            came.push((end.code, content));
        }
        let HostMessage::Status(status) = self.hear().await else { panic!() };
        (came, status)
    }

    async fn done(&mut self, code: i64) {
        self.say(DeviceMessage::Response(Response { code, ..Response::default() })).await;
        assert_eq!(self.hear().await, HostMessage::Disconnect);
    }
}

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join(SOURCE).join("ab")).unwrap();
        std::fs::write(temp.path().join(SOURCE).join("ab/abcd"), vec![7; 100_000]).unwrap();
        std::fs::write(temp.path().join(SOURCE).join("Manifest.db"), b"manifest").unwrap();
        std::fs::write(temp.path().join("secret"), b"another phone's").unwrap();
        Self(temp)
    }

    fn folder(&self) -> Folder {
        let root = Dir::open_ambient_dir(self.0.path(), cap_std::ambient_authority()).unwrap();
        Folder::open_read_only(root, Udid::parse(SOURCE).unwrap()).unwrap()
    }

    /// Every file and folder with its content.
    fn everything(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        fn walk(folder: &Path, into: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                into.insert(path.clone(), std::fs::read(&path).ok());
                if path.is_dir() {
                    walk(&path, into);
                }
            }
        }
        let mut all = BTreeMap::new();
        walk(self.0.path(), &mut all);
        all
    }

    async fn run<F: Future<Output = ()> + Send + 'static>(
        &self,
        phone: impl FnOnce(Phone) -> F + Send + 'static,
    ) -> Report {
        let (here, there) = tokio::io::duplex(1 << 16);
        let phone = tokio::spawn(phone(Phone(there)));
        let cancel = CancellationToken::new();
        let host = Host::greet(Box::new(here), Patience::default(), &cancel).await.unwrap();
        let options = RestoreOptions { reboot: false, ..RestoreOptions::default() };
        let wish = Wish { target: TARGET, options, password: Some(Secret::new("secret")) };
        let report = host.restore(wish, self.folder(), &Silent, &cancel).await;
        phone.await.unwrap();
        report
    }
}

#[tokio::test]
async fn a_phone_gets_the_files_that_it_wants_and_the_options_that_were_meant() {
    let bench = Bench::new();
    let report = bench
        .run(|phone| async move {
            let (mut phone, restore) = phone.asked().await;
            assert_eq!(restore.subject, Subject { target: TARGET.into(), source: SOURCE.into() });
            assert_eq!(restore.password, Some(Secret::new("secret")));
            assert!(!restore.options.reboot && restore.options.preserve_settings);
            assert!(restore.options.dont_copy_backup, "nothing else here is the phone's business");
            let (manifest, file) = (format!("{SOURCE}/Manifest.db"), format!("{SOURCE}/ab/abcd"));
            let (came, status) = phone.take(&[&manifest, &file]).await;
            assert_eq!(status.code, 0);
            assert_eq!(came, [(0, b"manifest".to_vec()), (0, vec![7; 100_000])]);
            // What real phones were seen to send: an empty list (libimobiledevice #112).
            assert_eq!(phone.take(&[]).await, (Vec::new(), status));
            phone.done(0).await;
        })
        .await;
    assert!(matches!(report.outcome, Outcome::Finished), "{:?}", report.outcome);
    assert_eq!((report.sent_back_bytes, report.notes.len()), (100_008, 0));
}

#[tokio::test]
async fn a_missing_file_is_named_and_the_phones_own_error_comes_through() {
    let report = Bench::new()
        .run(|phone| async move {
            let (mut phone, _) = phone.asked().await;
            let (came, status) = phone.take(&[&format!("{SOURCE}/cd/cdef")]).await;
            assert_eq!((came[0].0, status.code), (codes::BLOCK_LOCAL_ERROR, codes::MULTIPLE));
            phone.done(205).await;
        })
        .await;
    assert!(matches!(report.outcome, Outcome::DeviceError { code: 205, .. }), "{:?}", report.outcome);
    assert!(report.notes.iter().any(|note| note.contains("cd/cdef")), "{:?}", report.notes);
}

#[tokio::test]
async fn a_hostile_phone_changes_nothing_and_reads_nothing_else() {
    let bench = Bench::new();
    let before = bench.everything();
    let report = bench
        .run(|phone| async move {
            let (mut phone, _) = phone.asked().await;
            let (file, new) = (format!("{SOURCE}/ab/abcd"), format!("{SOURCE}/new"));
            for ask in [
                DeviceMessage::CreateDirectory { path: new.clone() },
                DeviceMessage::CreateDirectory { path: SOURCE.into() },
                DeviceMessage::MoveItems { items: vec![(file.clone(), new.clone())], progress: 0.0 },
                DeviceMessage::RemoveItems { paths: vec![file.clone()], progress: 0.0 },
                DeviceMessage::RemoveItems { paths: vec!["../x".into(), new.clone()], progress: 0.0 },
                DeviceMessage::CopyItem { from: file.clone(), to: new.clone() },
                DeviceMessage::CopyItem { from: SOURCE.into(), to: format!("{SOURCE}-copy") },
            ] {
                assert!(phone.ask(ask.clone()).await.code < 0, "{ask:?}");
            }
            for path in [&new, &file] {
                phone.say(DeviceMessage::UploadFiles { progress: 1.0, total_bytes: 4 }).await;
                let mut writer = Writer::new(&mut phone.0);
                writer.name(b"/x").await.unwrap();
                writer.name(path.as_bytes()).await.unwrap();
                writer.data(b"evil").await.unwrap();
                writer.end(0, "").await.unwrap();
                writer.finish().await.unwrap();
                let HostMessage::Status(status) = phone.hear().await else { panic!() };
                assert!(status.code < 0);
            }
            for path in ["secret", "../secret", "/etc/hostname", &format!("{SOURCE}/../secret"), TARGET] {
                let (came, status) = phone.take(&[path]).await;
                assert!(
                    status.code < 0 && came.iter().all(|(code, content)| *code != 0 && content.is_empty())
                );
            }
            phone.done(0).await;
        })
        .await;
    assert!(matches!(report.outcome, Outcome::Finished), "{:?}", report.outcome);
    assert!(report.notes.len() >= 12, "{:?}", report.notes);
    assert_eq!(bench.everything(), before);
}

#[tokio::test]
async fn a_password_that_is_no_text_is_refused_before_anything_is_said() {
    let bench = Bench::new();
    let (here, there) = tokio::io::duplex(1 << 16);
    let phone = tokio::spawn(async move {
        let mut phone = Phone(there);
        phone.say(DeviceMessage::VersionExchange { major: 300, minor: 0 }).await;
        phone.hear().await;
        phone.say(DeviceMessage::Ready).await;
        phone.hear().await;
        phone.say(DeviceMessage::Response(Response::default())).await;
        assert!(frame::read(&mut phone.0, &Limits::DEVICELINK).await.is_err(), "no request comes");
    });
    let cancel = CancellationToken::new();
    let host = Host::greet(Box::new(here), Patience::default(), &cancel).await.unwrap();
    let wish =
        Wish { target: TARGET, options: RestoreOptions::default(), password: Some(Secret::new([0xFF])) };
    let report = host.restore(wish, bench.folder(), &Silent, &cancel).await;
    assert!(matches!(report.outcome, Outcome::Broken(Error::PasswordNoText)), "{:?}", report.outcome);
    phone.await.unwrap();
}
