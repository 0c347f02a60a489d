//! The labelled cases of `tests/cases`, or of the folder that `IDEVICE_FIX_CASES` names, judged by the same call as
//! `sim judge` makes: all right, nothing said to be safe that is not, and between them every finding, every reason that
//! keeps a gate shut, and every generation of iOS.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use idevice_fix::diagnosis::FindingId;
use idevice_fix::progress::CancellationToken;
use idevice_fix::remedy::ReasonId;
use idevice_fix::sim::cases::{Judged, judge};
use idevice_fix::sim::new::{NewOptions, Temper, create};

async fn judged(folder: &Path) -> Vec<Judged> {
    judge(folder, 4, &CancellationToken::new(), |_| {}).await.unwrap()
}

fn complaints(judged: &[Judged]) -> Vec<String> {
    let wrong = judged.iter().filter(|one| !one.is_right());
    wrong.map(|one| format!("{}: {:?} {:?}", one.name, one.wrong, one.falsely_safe)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_case_is_judged_as_its_label_says() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let given = std::env::var_os("IDEVICE_FIX_CASES").map(PathBuf::from);
    let judged = judged(given.as_deref().unwrap_or(&own)).await;
    assert!(!judged.is_empty(), "there is no case");
    let wrong = complaints(&judged);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(judged.iter().map(|one| one.falsely_safe.len()).sum::<usize>(), 0);
    if given.is_none() {
        assert_everything_is_met(&judged);
    }
}

fn assert_everything_is_met(judged: &[Judged]) {
    assert!(judged.len() >= 60, "only {} cases", judged.len());
    let found: BTreeSet<&str> = judged.iter().flat_map(|one| &one.findings).map(String::as_str).collect();
    let missing: Vec<_> = FindingId::ALL.iter().filter(|id| !found.contains(id.as_str())).collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
    let reasons: BTreeSet<&str> = judged.iter().flat_map(|one| &one.reasons).map(String::as_str).collect();
    let own = [
        ReasonId::OriginalsOnlyHere,
        ReasonId::PlaceUnknown,
        ReasonId::CountsDisagree,
        ReasonId::UnknownStateValue,
        ReasonId::BackupNotVerified,
        ReasonId::BackupTooOld,
        ReasonId::FindMyUnknown,
        ReasonId::BatteryTooLowToErase,
        FindingId::LibraryUnreadable.into(),
        FindingId::SyncStatusUnreadable.into(),
        FindingId::PhotosNotCopied.into(),
        FindingId::OriginalsOnlyInIcloud.into(),
        FindingId::OriginalsMissing.into(),
        FindingId::DeviceBehind.into(),
        FindingId::LocalBackupMissing.into(),
        FindingId::LocalBackupNotEncrypted.into(),
        FindingId::BackupPasswordUnknown.into(),
        FindingId::FindMyOn.into(),
    ];
    let missing: Vec<_> = own.iter().filter(|id| !reasons.contains(id.as_str())).collect();
    assert!(missing.is_empty(), "no case is kept shut by {missing:?}");
    let versions: BTreeSet<&str> =
        judged.iter().filter_map(|one| one.ios_version.as_deref()?.split('.').next()).collect();
    for major in ["13", "14", "15", "16", "17", "18", "26", "27"] {
        assert!(versions.contains(major), "no case has iOS {major}");
    }
}

fn put(folder: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(name), text).unwrap();
}

/// A judge that finds nothing wrong with wrong labels would be none.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn wrong_labels_are_told_and_dumps_need_nothing_but_a_label() {
    let folder = tempfile::tempdir().unwrap();
    let case = |name: &str| folder.path().join(name);
    let wrong = "about = 'x'\nfirst = 'icloud-storage-full'\nmust = ['hidden-photos']\nmust_not = ['find-my-on']\n\
                 gaps = ['library']\n[counts]\nassets = 7\nnonsense = 1\n[verdict]\nerase = 'safe'\n\
                 [reasons]\nerase = ['backup-too-old']\n[ladder]\ncopy-photos = 'done'\n";
    put(&case("a-wrong-label"), "recipe.toml", "photos = 6\n");
    put(&case("a-wrong-label"), "expect.toml", wrong);
    put(&case("b-no-such-finding"), "expect.toml", "about = 'x'\nfirst = 'no-such-thing'\n");
    put(&case("c-no-such-key"), "expect.toml", "about = 'x'\nfrist = 'icloud-storage-full'\n");
    put(&case("d-no-phone"), "recipe.toml", "scenario = 'no-such-scenario'\n");
    put(&case("d-no-phone"), "expect.toml", "about = 'x'\n");
    let options = NewOptions {
        photos: Some(6),
        temper: Temper::Kind,
        media_bytes: Some(60_000),
        ..NewOptions::default()
    };
    create(&case("group/e-a-dump"), &options).unwrap();
    let right =
        "about = 'x'\nfirst = 'photos-not-copied'\n[counts]\nassets = 6\n[verdict]\nphotos = 'safe'\n";
    put(&case("group/e-a-dump"), "expect.toml", right);
    let judged = judged(folder.path()).await;
    let names: Vec<&str> = judged.iter().map(|one| one.name.as_str()).collect();
    let wanted = ["a-wrong-label", "b-no-such-finding", "c-no-such-key", "d-no-phone", "group/e-a-dump"];
    assert_eq!(names, wanted);
    // First, must, must not, gap, two counts, verdict, reason, rung.
    assert_eq!(judged[0].wrong.len(), 9, "{:#?}", judged[0].wrong);
    assert_eq!(judged[0].falsely_safe, ["photos"], "what is safe has to be stated");
    for one in &judged[1..4] {
        assert_eq!(one.wrong.len(), 1, "{:?}", one.wrong);
    }
    assert!(judged[4].is_right(), "{:?}", complaints(&judged));
}
