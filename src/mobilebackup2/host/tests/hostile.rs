//! Phones that ask for what must not be done.

use super::*;

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
