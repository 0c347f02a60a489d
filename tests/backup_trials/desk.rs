//! A simulated phone, a proven backup of it, and changes since: what every trial begins with.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::Dir;
use idevice_fix::backup::make::{self, Error, Made, Options};
use idevice_fix::backup::manifest::Row;
use idevice_fix::backup::read::Backup;
use idevice_fix::backup::vault::Vault;
use idevice_fix::backup::verify::{self, Depth, Proven};
use idevice_fix::lockdown::{Phone, Session, pairing};
use idevice_fix::mobilebackup2::Secret;
use idevice_fix::mobilebackup2::host::Patience;
use idevice_fix::progress::{CancellationToken, Silent};
use idevice_fix::sim::{Bus, Device};
use idevice_fix::usbmux::{Muxer, Udid};

pub(crate) const PHOTOS: usize = 12;
const PHOTO_BYTES: usize = 24_000;
const SETTINGS: &str = "[lock]\npasscode_for_backup = false\n[person]\ntrusts_after_ms = 1\n";

pub(crate) type Content = BTreeMap<String, Vec<u8>>;

/// See the module. The host's folder for the phone is one below DEST, named like the phone.
pub(crate) struct Desk {
    pub(crate) phone: tempfile::TempDir,
    pub(crate) dest: tempfile::TempDir,
    settings: String,
    udid: Udid,
}

/// A small JPEG: start, one segment, end.
fn jpeg(seed: usize) -> Vec<u8> {
    let mut bytes = vec![0xFF, 0xD8, 0xFF, 0xDA, 0, 2];
    bytes.extend((0..PHOTO_BYTES).map(|at| (at.wrapping_mul(seed + 1) >> 3) as u8 | 1));
    bytes.extend([0xFF, 0xD9]);
    bytes
}

fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Copies a folder with everything in it as it is: times, permissions, and links between its files.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(copied.success());
}

impl Desk {
    /// A phone that was never backed up.
    pub(crate) fn new(settings: &str) -> Self {
        let phone = tempfile::tempdir().unwrap();
        for n in 0..PHOTOS {
            put(phone.path(), &format!("media/DCIM/100APPLE/IMG_{n:04}.JPG"), &jpeg(n));
        }
        put(phone.path(), "media/PhotoData/Photos.sqlite", &[7; 8192]);
        put(phone.path(), "files/HomeDomain/Library/SMS/sms.db", b"messages");
        put(phone.path(), "files/HomeDomain/Library/empty", b"");
        let lockdown = "<plist version=\"1.0\"><dict><key></key><dict><key>UniqueDeviceID</key>\
            <string>00008101-000000000000001E</string></dict></dict></plist>";
        put(phone.path(), "lockdown.plist", lockdown.as_bytes());
        let desk = Self {
            phone,
            dest: tempfile::tempdir().unwrap(),
            settings: format!("{settings}{SETTINGS}"),
            udid: Udid::parse("00008101-000000000000001E").unwrap(),
        };
        desk.fault("");
        std::fs::create_dir(desk.host()).unwrap();
        desk
    }

    /// A phone with a proven backup that has changed since: half of its photos, one more, one less.
    pub(crate) async fn changed() -> Self {
        let desk = Self::new("");
        desk.back_up(false).await.unwrap();
        desk.change(100);
        desk
    }

    pub(crate) fn change(&self, seed: usize) {
        for n in (0..PHOTOS).step_by(2) {
            put(self.phone.path(), &format!("media/DCIM/100APPLE/IMG_{n:04}.JPG"), &jpeg(seed + n));
        }
        put(self.phone.path(), &format!("media/DCIM/100APPLE/NEW_{seed}.JPG"), &jpeg(seed));
        let before = self.phone.path().join(format!("media/DCIM/100APPLE/NEW_{}.JPG", seed.wrapping_sub(1)));
        let _ = std::fs::remove_file(before);
    }

    /// The same phone and host again, in folders of their own.
    pub(crate) fn copy(&self) -> Self {
        let (phone, dest) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        copy_tree(self.phone.path(), phone.path());
        copy_tree(self.dest.path(), dest.path());
        Self { phone, dest, settings: self.settings.clone(), udid: self.udid.clone() }
    }

    pub(crate) fn host(&self) -> PathBuf {
        self.dest.path().join(self.udid.as_str())
    }

    /// The folder of the proven backup.
    pub(crate) fn own(&self) -> PathBuf {
        self.host().join("backup").join(self.udid.as_str())
    }

    /// What the phone holds in its camera roll, by name.
    pub(crate) fn photos(&self) -> Content {
        let folder = self.phone.path().join("media/DCIM/100APPLE");
        let read = |entry: std::io::Result<std::fs::DirEntry>| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())
        };
        std::fs::read_dir(folder).unwrap().map(read).collect()
    }

    /// The phone has this fault from now on; none for an empty text.
    pub(crate) fn fault(&self, fault: &str) {
        put(self.phone.path(), "device.toml", format!("{}{fault}", self.settings).as_bytes());
    }

    /// A session with the phone, which was just plugged in.
    pub(crate) async fn session(&self) -> Session {
        let device = Device::open(self.phone.path(), true).unwrap();
        let muxer: Arc<dyn Muxer> = Arc::new(Bus::new(vec![device]));
        let attached = muxer.devices().await.unwrap().pop().unwrap();
        let phone = Phone { muxer, attached };
        let cancel = CancellationToken::new();
        pairing::establish(&phone, Duration::from_secs(20), &Silent, &cancel).await.unwrap()
    }

    fn folder(&self) -> Dir {
        Dir::open_ambient_dir(self.host(), cap_std::ambient_authority()).unwrap()
    }

    pub(crate) async fn back_up(&self, force_full: bool) -> Result<Made, Error> {
        self.back_up_with(force_full, Patience::default()).await
    }

    pub(crate) async fn back_up_with(&self, force_full: bool, patience: Patience) -> Result<Made, Error> {
        let session = self.session().await;
        let vault = Vault::open(self.folder(), self.udid.clone())?;
        let options = Options { force_full, patience, reserve_bytes: 0, ..Options::default() };
        make::make(&session, &vault, options, &Silent, &CancellationToken::new()).await
    }

    pub(crate) async fn prove(&self, depth: Depth, password: Option<&Secret>) -> Proven {
        let vault = Vault::look(self.folder(), self.udid.clone());
        verify::prove(&vault, password, depth, &Silent, &CancellationToken::new()).await.unwrap()
    }

    /// The camera roll in the proven backup, by name, read as other tools would.
    pub(crate) fn kept(&self) -> Content {
        let own = self.folder().open_dir("backup").unwrap().open_dir(self.udid.as_str()).unwrap();
        let backup = Backup::open(own, None, &self.folder()).unwrap();
        let mut rows: Vec<Row> = Vec::new();
        backup
            .rows(|row| {
                rows.push(row);
                true
            })
            .unwrap();
        let mut content = Content::new();
        for row in rows.iter().filter(|row| row.is_file()) {
            let Some(name) = row.path.strip_prefix("Media/DCIM/100APPLE/") else { continue };
            let mut bytes = Vec::new();
            backup.open_file(&row.domain, &row.path).unwrap().read_to_end(&mut bytes).unwrap();
            content.insert(name.to_owned(), bytes);
        }
        content
    }

    /// The proven backup is proven again, every byte of it, and holds these photos.
    pub(crate) async fn stands(&self, photos: &Content, trial: &str) {
        let proven = self.prove(Depth::Full, None).await;
        assert!(proven.proof.is_some(), "{trial}: {:?}", proven.damage);
        assert!(self.kept() == *photos, "{trial}: the last backup holds other photos");
    }

    /// The next run needs nobody.
    pub(crate) async fn finishes(&self, trial: &str) {
        self.fault("");
        if let Err(error) = self.back_up(false).await {
            panic!("{trial}: the next run: {error}");
        }
        assert!(self.kept() == self.photos(), "{trial}: the next backup holds other photos");
    }
}
