//! Backups that were interrupted: a kind phone goes on, a harsh one starts over.

use std::time::Duration;

use super::*;

const FILES: usize = 600;

/// A phone with many small files, so that a backup has several batches.
fn bench(settings: &str) -> Bench {
    let bench = Bench::new(settings);
    std::fs::write(bench.phone.path().join("media/DCIM/100APPLE/IMG_0001.JPG"), b"small now").unwrap();
    for n in 0..FILES {
        let path = bench.phone.path().join(format!("media/DCIM/100APPLE/F{n:04}.JPG"));
        std::fs::write(path, format!("{n:0100}")).unwrap();
    }
    bench
}

impl Bench {
    /// A backup that stalls in its second batch, and is given up.
    /// A fault that has struck strikes again only if it is another one: hence `after_bytes`.
    async fn interrupted(&self, settings: &str, after_bytes: u32) {
        let fault =
            format!("[[fault]]\nat = \"backup-upload\"\nafter_bytes = {after_bytes}\nkind = \"stall\"\n");
        self.change("device.toml", format!("{settings}{fault}").as_bytes());
        tokio::time::sleep(Duration::from_millis(30)).await;
        let short = Patience { stream: Duration::from_millis(400), ..Patience::default() };
        let report = self.back_up_patiently(false, short).await;
        assert!(matches!(report.outcome, Outcome::Broken(_)), "{:?}", report.outcome);
        assert!(report.stored.files > 256, "{}", report.stored.files);
        self.change("device.toml", settings.as_bytes());
        tokio::time::sleep(Duration::from_millis(30)).await;
    }

    async fn back_up_patiently(&self, force_full: bool, patience: Patience) -> Report {
        let (here, there) = tokio::io::duplex(1 << 16);
        let phone = tokio::spawn(serve(Box::new(there), self.device.clone()));
        let cancel = CancellationToken::new();
        let host = Host::greet(Box::new(here), patience, &cancel).await.unwrap();
        let root = Dir::open_ambient_dir(self.dest.path(), cap_std::ambient_authority()).unwrap();
        let folder = Folder::open(root, self.device.udid().clone(), 0).unwrap();
        let report = host.backup(force_full, folder, Box::new(Vec::new()), &Silent, &cancel).await;
        phone.abort();
        report
    }

    async fn backed_up(&self, force_full: bool) -> Report {
        let report = self.back_up_patiently(force_full, Patience::default()).await;
        assert!(matches!(report.outcome, Outcome::Finished), "{:?}", report.outcome);
        report
    }
}

/// All files, and the four records.
const WHOLE: u64 = FILES as u64 + 5 + 4;

#[tokio::test]
async fn a_kind_phone_goes_on_with_what_the_host_has_and_sends_what_changed() {
    let bench = bench(QUIET);
    bench.interrupted(QUIET, 45_000).await;
    bench.change("media/DCIM/100APPLE/F0000.JPG", b"changed meanwhile");
    let report = bench.backed_up(false).await;
    assert!(report.stored.files <= WHOLE - 250, "{} of {WHOLE}", report.stored.files);
    let content = bench.content();
    assert_eq!(content.len(), FILES + 5);
    for n in 1..FILES {
        let want = format!("{n:0100}");
        let got = &content[&format!("CameraRollDomain::Media/DCIM/100APPLE/F{n:04}.JPG")];
        assert_eq!(got.as_deref(), Some(want.as_bytes()));
    }
    let changed = &content["CameraRollDomain::Media/DCIM/100APPLE/F0000.JPG"];
    assert_eq!(changed.as_deref(), Some(&b"changed meanwhile"[..]));
    assert!(!bench.own().join("Snapshot").exists());
    assert_eq!(bench.backed_up(false).await.stored.files, 4, "nothing is remembered of the interruption");
}

#[tokio::test]
async fn what_is_damaged_or_gone_on_the_host_is_sent_again() {
    let bench = bench(QUIET);
    bench.interrupted(QUIET, 45_000).await;
    let mut there = Vec::new();
    for folder in std::fs::read_dir(bench.own().join("Snapshot")).unwrap() {
        let folder = folder.unwrap().path();
        if folder.is_dir() {
            there.extend(std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    std::fs::remove_file(&there[0]).unwrap();
    std::fs::write(&there[1], b"cut").unwrap();
    let report = bench.backed_up(false).await;
    assert_eq!(report.stored.files, WHOLE - (there.len() as u64 - 2));
    assert!(bench.content().values().all(|content| content.as_deref() != Some(b"cut")));

    // Another host, or one that has thrown it away, gets everything.
    std::fs::remove_dir_all(bench.own()).unwrap();
    bench.interrupted(QUIET, 45_001).await;
    std::fs::remove_dir_all(bench.own()).unwrap();
    assert_eq!(bench.backed_up(false).await.stored.files, WHOLE);
}

#[tokio::test]
async fn a_harsh_phone_and_a_full_backup_start_over() {
    let bench = bench(QUIET);
    bench.interrupted(QUIET, 45_000).await;
    assert_eq!(bench.backed_up(true).await.stored.files, WHOLE);
    let harsh = "temper = \"harsh\"\n[lock]\npasscode_for_backup = false\n[person]\nunlocks_after_ms = 10\n";
    std::fs::remove_dir_all(bench.own()).unwrap();
    bench.interrupted(harsh, 45_001).await;
    // One row more that a harsh phone refuses.
    assert_eq!(bench.backed_up(false).await.stored.files, WHOLE + 1);
}

#[tokio::test]
async fn an_encrypted_backup_goes_on_with_the_keys_that_it_had() {
    let settings = format!("{QUIET}[backup]\npassword = \"secret\"\ndpic = 10\niter = 10\n");
    let bench = bench(&settings);
    bench.interrupted(&settings, 45_000).await;
    let report = bench.backed_up(false).await;
    assert!(report.stored.files <= WHOLE - 250, "{} of {WHOLE}", report.stored.files);
    let open = || Dir::open_ambient_dir(bench.own(), cap_std::ambient_authority()).unwrap();
    let password = crate::mobilebackup2::Secret::new("secret");
    let backup = crate::backup::read::Backup::open(open(), Some(&password), &open()).unwrap();
    for n in 0..FILES {
        let mut content = String::new();
        let path = format!("Media/DCIM/100APPLE/F{n:04}.JPG");
        let mut file = backup.open_file("CameraRollDomain", &path).unwrap();
        io::Read::read_to_string(&mut file, &mut content).unwrap();
        assert_eq!(content, format!("{n:0100}"));
    }
}
