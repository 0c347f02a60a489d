//! The advice of the how-to articles, row by row, as far as it is about remedies and their words: what is done, what is
//! only explained, and what is never said.

use std::fmt::Write;

use crate::diagnosis::FindingId as F;
use crate::facts::Device;
use crate::remedy::RemedyId as R;
use crate::remedy::Risk;
use crate::remedy::catalogue::{Asks, of};
use crate::remedy::texts::{explanations, words};

const VERSIONS: [&str; 6] = ["13.7", "14.8", "17.6", "18.4.1", "26.1", "27.0"];
const MODELS: [&str; 4] = ["iPhone13,2", "iPhone12,8", "iPad14,1", "iPad12,1"];

fn devices() -> impl Iterator<Item = Device> {
    VERSIONS.into_iter().flat_map(|version| {
        MODELS.into_iter().map(move |model| Device {
            product_type: Some(model.to_owned()),
            ios_version: Some(version.to_owned()),
            ..Device::default()
        })
    })
}

/// Everything that a remedy tells people to do, on every phone.
fn advice(remedy: R) -> String {
    let mut all = String::new();
    for device in devices() {
        let words = words(remedy, Some(&device));
        writeln!(all, "{}\n{}", words.title, words.steps.join("\n")).expect("a string takes all");
    }
    all
}

/// What a remedy says besides: why, what it costs, and how one sees that it helped.
fn talk(remedy: R) -> String {
    let words = words(remedy, None);
    format!("{}\n{}", words.why.join("\n"), words.helped)
}

fn explained(id: &str) -> &'static str {
    let found = explanations().iter().find(|explanation| explanation.id == id);
    found.map_or_else(|| panic!("{id} is not explained"), |explanation| explanation.truth.as_str())
}

/// What the program does about a row.
enum Does {
    /// It has this remedy for that finding, automatic or not, gated or not.
    Remedy(R, F),
    /// It does it itself on request.
    Itself(R),
    /// It is shut until a copy is proven.
    Gated(R),
    /// The owner is asked to look.
    Asks(R),
    /// The steps, or what is said with them, have these words.
    Says(R, &'static str),
    /// It explains what is true, in these words.
    Explains(&'static str, &'static str),
    /// It finds this, with its evidence.
    Finds(F),
    /// It never tells anybody to do this.
    Never(&'static str),
}

use Does::{Asks as Looks, Explains, Finds, Gated, Itself, Never, Remedy, Says};

/// Every row of what the articles advise, in their order, with what the program does about it.
const ROWS: &[(&str, &[Does])] = &[
    ("1", &[Remedy(R::RestartDevice, F::UploadsStuck), Itself(R::RestartDevice)]),
    ("2", &[Gated(R::ToggleIcloudPhotos), Explains("toggle-first", "Apple says not to")]),
    ("3", &[Gated(R::DeleteIcloudLibrary), Says(R::DeleteIcloudLibrary, "destroys every original")]),
    ("4", &[Gated(R::EraseAndRestore), Says(R::EraseAndRestore, "idevice-fix never erases")]),
    ("5", &[Itself(R::BackUp), Says(R::BackUp, "reads the whole backup again")]),
    ("6", &[Says(R::WaitAndMeasureAgain, "15 minutes"), Explains("restart-often", "Measure twice")]),
    ("4a", &[Explains("backup-then-erase", "very thing in trouble")]),
    (
        "4b",
        &[
            Remedy(R::DownloadOriginals, F::OriginalsOnlyInIcloud),
            Remedy(R::AdoptPhotos, F::OriginalsOnlyInIcloud),
            Says(R::AdoptPhotos, "privacy.apple.com"),
        ],
    ),
    ("7", &[Explains("icloud-backup-before-erase", "Not when iCloud is the trouble")]),
    ("8", &[Finds(F::OriginalsOnlyInIcloud), Finds(F::OptimisedStorage)]),
    ("9", &[Never("optimise"), Never("optimize"), Explains("optimise-storage", "uploads nothing")]),
    ("10", &[Finds(F::IcloudPhotosOff), Finds(F::IcloudPhotosSwitchedOff)]),
    ("11", &[Remedy(R::FreeIcloudStorage, F::IcloudStorageFull), Never("$"), Never("per month")]),
    ("12", &[Never(".thumbnails"), Finds(F::HiddenPhotos), Explains("hidden-folder", "No such folder")]),
    ("13", &[Finds(F::RecentlyDeleted), Says(R::LookInRecentlyDeleted, "how many are left for each")]),
    ("14", &[Never("jpeg"), Never("convert"), Explains("heic", "uploaded like all others")]),
    (
        "15",
        &[
            Gated(R::StartIcloudBackupAnew),
            Remedy(R::StartIcloudBackupAnew, F::IcloudBackupFailed),
            Remedy(R::StartIcloudBackupAnew, F::IcloudBackupStale),
            Says(R::StartIcloudBackupAnew, "may still be the last copy"),
        ],
    ),
    ("15a", &[Explains("recovered-photos", "back in the library")]),
    ("15b", &[Says(R::OpenPhotosAgain, "harmless")]),
    (
        "16",
        &[Finds(F::FirstSyncUnfinished), Finds(F::IcloudPhotosPaused), Says(R::WaitAndMeasureAgain, "days")],
    ),
    ("17", &[Remedy(R::LookInHidden, F::HiddenPhotos), Remedy(R::LookInRecentlyDeleted, F::RecentlyDeleted)]),
    ("18", &[Never("reset sync data"), Explains("reset-sync-data", "No version")]),
    ("19", &[Says(R::ContactSupport, "hand the report over")]),
    ("20", &[Finds(F::IcloudBackupOff), Itself(R::TurnOnIcloudBackup)]),
    ("21", &[Finds(F::Offline), Remedy(R::ConnectWifi, F::PoorNetwork)]),
    ("22", &[Remedy(R::ConnectPower, F::NotCharging), Says(R::ConnectPower, "another cable or port")]),
    ("23", &[Says(R::FreeIcloudStorage, "First remove iCloud Backups of devices that you no longer own")]),
    ("24", &[Looks(R::CheckSystemStatus), Says(R::CheckSystemStatus, "apple.com/support/systemstatus")]),
    (
        "25",
        &[
            Gated(R::SignOutAndIn),
            Says(R::SignOutAndIn, "Leave it overnight"),
            Says(R::SignOutAndIn, "turns Find My off"),
            Says(R::SignOutAndIn, "Stolen Device Protection"),
        ],
    ),
    (
        "26",
        &[Itself(R::RestartDevice), Says(R::RestartDevice, "Volume Up"), Says(R::RestartDevice, "slider")],
    ),
    (
        "27",
        &[
            Remedy(R::ResetAllSettings, F::BackupPasswordUnknown),
            Says(R::ResetAllSettings, "removes the backup password"),
            Says(R::ResetAllSettings, "whether a backup password is still set"),
        ],
    ),
    ("28", &[Remedy(R::UpdateIos, F::IosTooOld), Says(R::UpdateIos, "Make the local backup first")]),
    ("28a", &[Gated(R::DeleteIcloudAppData)]),
    ("29", &[Says(R::TurnOnIcloudBackup, "on Wi-Fi and power, with the screen locked")]),
    ("30", &[Finds(F::BatteryWorn), Finds(F::DeviceStorageLow)]),
    ("31", &[Never("photo stream"), Finds(F::PhotoStreamEnded), Explains("photo-stream", "26 July 2023")]),
    ("32", &[Explains("icloud-photos", "deleted everywhere")]),
    ("33", &[Says(R::TurnOnIcloudBackup, "Back Up Now")]),
    ("33a", &[Looks(R::ChooseWhatIcloudBacksUp), Says(R::ChooseWhatIcloudBacksUp, "cheapest cure")]),
    (
        "33b",
        &[Never("third-party"), Explains("programs-that-sign-in", "Never type the Apple Account password")],
    ),
    ("34", &[Explains("photos-from-icloud-backup", "only as a whole, on an erased phone")]),
    ("35", &[Says(R::ExtractFromBackup, "idevice-fix backup extract")]),
    (
        "36",
        &[
            Says(R::ResetAllSettings, "Transfer or Reset"),
            Says(R::ResetAllSettings, "General \u{203a} Reset \u{203a}"),
        ],
    ),
];

fn is_true(does: &Does) -> bool {
    match does {
        Remedy(remedy, finding) => of(*remedy).treats.contains(finding),
        Itself(remedy) => of(*remedy).automatic,
        Gated(remedy) => remedy.is_gated(),
        Looks(remedy) => of(*remedy).asks == Asks::Always,
        Says(remedy, words) => format!("{}{}", advice(*remedy), talk(*remedy)).contains(words),
        Explains(id, words) => explained(id).contains(words),
        Finds(finding) => F::parse(finding.as_str()) == Some(*finding),
        Never(words) => R::ALL.iter().all(|remedy| !advice(*remedy).to_lowercase().contains(words)),
    }
}

#[test]
fn every_row_of_the_articles_is_true_of_the_program() {
    for (row, all) in ROWS {
        for (at, does) in all.iter().enumerate() {
            assert!(is_true(does), "row {row}: its point {} is not true", at + 1);
        }
    }
    let rows: Vec<&str> = ROWS.iter().map(|(row, _)| *row).collect();
    let numbers: Vec<u32> = rows.iter().filter_map(|row| row.parse().ok()).collect();
    assert!((1..=36).all(|number| numbers.contains(&number)), "{rows:?}");
    assert!(["4a", "4b", "15a", "15b", "28a", "33a", "33b"].iter().all(|row| rows.contains(row)));
}

#[test]
fn what_is_wrong_today_is_never_advised() {
    // Rows 9, 12, 14, 18, 31, 33b and 11: Optimise, a folder that is not there, JPEG, a button that is not there, Photo
    // Stream, programs that sign in, and prices.
    let never = [
        "optimise",
        "optimize",
        "jpeg",
        "most compatible",
        "convert",
        "reset sync data",
        "photo stream",
        ".thumbnails",
        ".system",
        "third-party",
        "sign in to icloud with",
        "$",
        "€",
        "per month",
    ];
    for remedy in R::ALL {
        let advice = advice(*remedy).to_lowercase();
        for word in never {
            assert!(!advice.contains(word), "{remedy} advises {word:?}");
        }
    }
}

#[test]
fn what_is_wrong_today_is_explained() {
    for (row, id, word) in [
        ("2", "toggle-first", "Apple says not to"),
        ("4a", "backup-then-erase", "local backup"),
        ("6", "restart-often", "15 minutes"),
        ("7", "icloud-backup-before-erase", "holds no photos"),
        ("9", "optimise-storage", "uploads nothing"),
        ("12", "hidden-folder", "No such folder"),
        ("14", "heic", "uploaded like all others"),
        ("15a", "recovered-photos", "back in the library"),
        ("18", "reset-sync-data", "No version"),
        ("31", "photo-stream", "26 July 2023"),
        ("32", "icloud-photos", "deleted everywhere"),
        ("33b", "programs-that-sign-in", "no program such access"),
        ("34", "photos-from-icloud-backup", "erased phone"),
        ("scope", "out-of-scope", "over the cable"),
    ] {
        assert!(explained(id).contains(word), "row {row}: {id} does not say {word:?}");
    }
}

#[test]
fn what_is_advised_has_its_remedy_and_its_risk() {
    let rows: &[(&str, R, Risk, F)] = &[
        ("1, 26", R::RestartDevice, Risk::Disruptive, F::UploadsStuck),
        ("2", R::ToggleIcloudPhotos, Risk::Data, F::UploadsStuck),
        ("3", R::DeleteIcloudLibrary, Risk::Destroys, F::UploadsStuck),
        ("4", R::EraseAndRestore, Risk::Destroys, F::UploadsStuck),
        ("5", R::BackUp, Risk::None, F::LocalBackupMissing),
        ("6", R::WaitAndMeasureAgain, Risk::None, F::UploadsStuck),
        ("4b", R::DownloadOriginals, Risk::None, F::OriginalsOnlyInIcloud),
        ("4b", R::AdoptPhotos, Risk::None, F::OriginalsOnlyInIcloud),
        ("10", R::TurnOnIcloudPhotos, Risk::None, F::IcloudPhotosSwitchedOff),
        ("11, 23", R::FreeIcloudStorage, Risk::None, F::IcloudStorageFull),
        ("12, 17", R::LookInHidden, Risk::None, F::HiddenPhotos),
        ("13, 17", R::LookInRecentlyDeleted, Risk::None, F::RecentlyDeleted),
        ("15", R::StartIcloudBackupAnew, Risk::Destroys, F::IcloudBackupFailed),
        ("15", R::StartIcloudBackupAnew, Risk::Destroys, F::IcloudBackupStale),
        ("15b", R::OpenPhotosAgain, Risk::None, F::UploadsStuck),
        ("19", R::ContactSupport, Risk::None, F::UploadsStuck),
        ("20", R::TurnOnIcloudBackup, Risk::None, F::IcloudBackupOff),
        ("21", R::ConnectWifi, Risk::None, F::Offline),
        ("22", R::ConnectPower, Risk::None, F::NotCharging),
        ("24", R::CheckSystemStatus, Risk::None, F::UploadsStuck),
        ("25", R::SignOutAndIn, Risk::Data, F::UploadsStuck),
        ("27", R::ResetAllSettings, Risk::Disruptive, F::BackupPasswordUnknown),
        ("28", R::UpdateIos, Risk::Disruptive, F::IosTooOld),
        ("28a", R::DeleteIcloudAppData, Risk::Data, F::IcloudStorageFull),
        ("33a", R::ChooseWhatIcloudBacksUp, Risk::None, F::IcloudStorageFull),
        ("35", R::ExtractFromBackup, Risk::None, F::OriginalsMissing),
    ];
    for (row, remedy, risk, finding) in rows {
        assert_eq!(remedy.risk(), *risk, "row {row}: {remedy}");
        assert!(of(*remedy).treats.contains(finding), "row {row}: {remedy} does not treat {finding}");
    }
}

#[test]
fn what_usb_cannot_read_is_asked() {
    assert_eq!(of(R::CheckSystemStatus).asks, Asks::Always);
    assert_eq!(of(R::PrepareAtHome).asks, Asks::Always);
    assert_eq!(of(R::ChooseWhatIcloudBacksUp).asks, Asks::Always);
    assert!(matches!(of(R::ConnectWifi).asks, Asks::For(hints) if !hints.contains(&F::Offline)));
    assert!(matches!(of(R::UpdateIos).asks, Asks::For(hints) if !hints.contains(&F::IosTooOld)));
    assert!(advice(R::CheckSystemStatus).contains("https://www.apple.com/support/systemstatus/"), "row 24");
}

#[test]
fn what_a_remedy_costs_is_said_with_it() {
    for (row, remedy, word) in [
        ("2", R::ToggleIcloudPhotos, "Apple's own advice is not to turn iCloud Photos off"),
        ("3", R::DeleteIcloudLibrary, "destroys every original that is only in iCloud"),
        ("4", R::EraseAndRestore, "idevice-fix never erases"),
        ("4a", R::EraseAndRestore, "Backup Then Erase"),
        ("7", R::BackUp, "holds no photos while iCloud Photos is on"),
        ("9", R::DownloadOriginals, "makes the {device} less complete"),
        ("15", R::StartIcloudBackupAnew, "the last copy"),
        ("15a", R::LookInRecentlyDeleted, "in every later backup"),
        ("16", R::WaitAndMeasureAgain, "A first upload takes days"),
        ("25", R::SignOutAndIn, "it turns Find My off"),
        ("25", R::SignOutAndIn, "all the same demands"),
        ("27", R::ResetAllSettings, "loses Wi-Fi passwords"),
        ("27", R::ResetAllSettings, "removes the backup password"),
        ("32", R::TurnOnIcloudPhotos, "deleted on all of them"),
        ("34", R::ExtractFromBackup, "only by erasing"),
        ("§3", R::SetBackupPassword, "never sets one by itself"),
        ("§3", R::UnlockAndTrust, "a USB keyboard or mouse"),
    ] {
        let word = word.replace("{device}", "iPhone");
        assert!(talk(remedy).contains(&word), "row {row}: {remedy} does not say {word:?}");
    }
}

#[test]
fn steps_follow_the_articles_where_they_are_right() {
    for (row, remedy, word) in [
        ("22", R::ConnectPower, "another cable or port"),
        ("23", R::FreeIcloudStorage, "First remove iCloud Backups of devices that you no longer own"),
        ("25", R::SignOutAndIn, "Leave it overnight"),
        ("27", R::ResetAllSettings, "reads whether a backup password is still set"),
        ("29", R::TurnOnIcloudBackup, "on Wi-Fi and power, with the screen locked"),
        ("33", R::TurnOnIcloudBackup, "Back Up Now"),
        ("4", R::EraseAndRestore, "Turn Find My off"),
    ] {
        assert!(advice(remedy).contains(word), "row {row}: {remedy} does not say {word:?}");
    }
}

#[test]
fn nothing_that_frees_storage_deletes_photos() {
    for remedy in [R::FreeIcloudStorage, R::FreeDeviceStorage, R::ChooseWhatIcloudBacksUp] {
        let advice = advice(remedy).to_lowercase();
        assert!(!advice.contains("delete photos") && !advice.contains("delete videos"), "{remedy}");
    }
}

#[test]
fn steps_differ_where_menus_and_buttons_do() {
    let steps = |remedy, model: &str, version: &str| {
        let device = Device {
            product_type: Some(model.to_owned()),
            ios_version: Some(version.to_owned()),
            ..Device::default()
        };
        words(remedy, Some(&device)).steps.join(" ")
    };
    assert_ne!(
        steps(R::RestartDevice, "iPhone13,2", "18.1"),
        steps(R::RestartDevice, "iPhone9,1", "15.1"),
        "row 26"
    );
    assert!(steps(R::ResetAllSettings, "iPad14,1", "18.1").contains("Transfer or Reset iPad"), "row 36");
    assert!(steps(R::ResetAllSettings, "iPhone9,1", "14.1").contains("General \u{203a} Reset \u{203a}"));
    let recently = ["14.1", "17.1", "18.1", "26.1"].map(|v| steps(R::LookInRecentlyDeleted, "iPhone13,2", v));
    assert!(recently.windows(2).all(|pair| pair[0] != pair[1]), "row 36");
}
