//! Every remedy: which findings it treats, whether it has to ask, whether the agent does it itself, and which fact must
//! change for us to know that it helped.

use crate::diagnosis::FindingId as F;

use super::RemedyId as R;

/// Whether a rung can tell from the facts that it is needed, or has to ask the owner to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// What it treats was read.
    Never,
    /// USB cannot read what it is about.
    Always,
    /// These findings only hint at it: when nothing else calls for it, the owner has to look.
    For(&'static [F]),
}

/// One remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedy {
    /// Which.
    pub id: R,
    /// The findings that call for it.
    pub treats: &'static [F],
    /// Whether the owner has to look first.
    pub asks: Asks,
    /// The agent does it itself when it is asked to.
    pub automatic: bool,
    /// The facts, by their dotted names, of which one must change for the better when they are collected again. Empty
    /// for what explains and changes nothing.
    pub helped: &'static [&'static str],
}

const fn remedy(id: R, treats: &'static [F], helped: &'static [&'static str]) -> Remedy {
    Remedy { id, treats, asks: Asks::Never, automatic: false, helped }
}

impl Remedy {
    const fn asking(self, asks: Asks) -> Self {
        Self { asks, ..self }
    }

    const fn automatic(self) -> Self {
        Self { automatic: true, ..self }
    }
}

/// Every remedy, in the ladder's order.
pub const REMEDIES: &[Remedy] = &[
    // -- none: to reach the phone --
    remedy(
        R::UnlockAndTrust,
        &[
            F::NotTrusted,
            F::TrustPending,
            F::TrustDenied,
            F::DeviceLocked,
            F::NotUnlockedSinceBoot,
            F::UsbRestricted,
        ],
        &["reach"],
    ),
    remedy(R::PairAgain, &[F::StalePairing], &["reach"]).automatic(),
    remedy(R::FreeTheUsbDevice, &[F::NoUsbmux, F::UsbNoPermission, F::DeviceHeldByOtherProgram], &["reach"]),
    remedy(
        R::FinishSetup,
        &[F::NotActivated, F::SetupUnfinished],
        &["settings.activation_state", "settings.setup_done"],
    ),
    // -- none: to protect --
    remedy(
        R::CopyPhotos,
        &[F::PhotosNotCopied, F::IcloudLibraryDeletionScheduled, F::IcloudLibraryWiped],
        &["photo_copy.files_not_copied"],
    )
    .automatic(),
    remedy(R::BackUp, &[F::LocalBackupMissing, F::LocalBackupStale], &["local_backup.verified_at"])
        .automatic(),
    // -- none: the rest --
    remedy(
        R::SetBackupPassword,
        &[F::LocalBackupNotEncrypted],
        &["local_backup.will_encrypt", "local_backup.encrypted"],
    )
    .automatic(),
    remedy(
        R::KeepIcloudLibrary,
        &[F::IcloudLibraryDeletionScheduled],
        &["icloud_photos.engine.exit_delete_time"],
    ),
    remedy(R::ResumeIcloudPhotos, &[F::IcloudPhotosPaused], &["icloud_photos.paused_by_owner"]),
    remedy(
        R::ConnectPower,
        &[F::BatteryLow, F::NotCharging, F::BatteryBudgetSpent, F::IcloudPhotosWaitingOnSystem],
        &[
            "battery.charging",
            "battery.level_percent",
            "icloud_photos.engine.low_battery",
            "icloud_photos.engine.has_battery_budget",
        ],
    ),
    remedy(
        R::CoolDown,
        &[F::DeviceHot],
        &[
            "battery.temperature_c",
            "icloud_photos.engine.thermal_pressure",
            "icloud_photos.engine.moderate_thermal_pressure",
        ],
    ),
    remedy(R::TurnOffLowPowerMode, &[F::LowPowerMode], &["icloud_photos.engine.low_power_mode"]),
    remedy(
        R::ConnectWifi,
        &[
            F::Offline,
            F::CellularRestricted,
            F::CellularBudgetSpent,
            F::PoorNetwork,
            F::UploadsStuck,
            F::FirstSyncUnfinished,
            F::IcloudBackupStale,
            F::IcloudBackupNever,
        ],
        &[
            "icloud_photos.engine.connected_to_network",
            "icloud_photos.engine.cellular_is_restricted",
            "icloud_photos.engine.has_cellular_budget",
            "icloud_photos.engine.poor_network",
            "icloud_photos.last_sync",
            "icloud_backup.last_backup",
        ],
    )
    .asking(Asks::For(&[
        F::UploadsStuck,
        F::FirstSyncUnfinished,
        F::IcloudBackupStale,
        F::IcloudBackupNever,
    ])),
    remedy(R::TurnOffAirplaneMode, &[F::AirplaneMode], &["icloud_photos.engine.in_airplane_mode"]),
    remedy(R::TurnOffLowDataMode, &[F::LowDataMode], &["icloud_photos.engine.constrained_network"]),
    remedy(R::SetClock, &[F::ClockWrong], &["settings.clock_offset_seconds"]),
    remedy(R::SignIn, &[F::IcloudSignedOut], &["icloud_photos.engine.not_authenticated"]),
    remedy(R::TurnOnIcloudBackup, &[F::IcloudBackupOff], &["icloud_backup.enabled"]).automatic(),
    remedy(
        R::TurnOnIcloudPhotos,
        &[F::IcloudPhotosSwitchedOff, F::IcloudPhotosOff],
        &["icloud_photos.enabled"],
    ),
    remedy(
        R::ChooseWhatIcloudBacksUp,
        &[F::IcloudStorageFull, F::IcloudBackupFailed, F::IcloudPhotosOff, F::IcloudPhotosSwitchedOff],
        &["icloud_photos.engine.is_exceeding_quota", "icloud_backup.last_backup"],
    )
    .asking(Asks::Always),
    remedy(
        R::FreeIcloudStorage,
        &[F::IcloudStorageFull, F::SharedLibraryStorageFull],
        &[
            "icloud_photos.engine.is_exceeding_quota",
            "icloud_photos.engine.is_exceeding_shared_library_quota",
        ],
    ),
    remedy(
        R::FreeDeviceStorage,
        &[F::DeviceStorageFull, F::DeviceStorageLow],
        &["storage.free_bytes", "icloud_photos.engine.low_disk_space"],
    ),
    remedy(
        R::DownloadOriginals,
        &[F::OriginalsOnlyInIcloud, F::OptimisedStorage, F::DeviceBehind],
        &["library.originals_only_in_icloud", "icloud_photos.to_download"],
    ),
    remedy(R::AdoptPhotos, &[F::OriginalsOnlyInIcloud, F::OriginalsMissing], &["photo_copy.verified_at"]),
    remedy(R::ExportFailedItems, &[F::UploadsFailed], &["library.failed"]),
    remedy(
        R::OpenPhotosAgain,
        &[
            F::UploadsStuck,
            F::UploadsFailed,
            F::IcloudPhotosWaitingOnSystem,
            F::DeviceBehind,
            F::SyncStatusUnreadable,
        ],
        &["library.waiting", "library.failed", "icloud_photos.last_sync"],
    ),
    remedy(
        R::WaitAndMeasureAgain,
        &[
            F::UploadsStuck,
            F::FirstSyncUnfinished,
            F::UploadsWaiting,
            F::ServerBehind,
            F::DeviceBehind,
            F::BackupSnapshotRunning,
            F::IcloudPhotosWaitingOnSystem,
            F::BatteryBudgetSpent,
            F::CellularBudgetSpent,
        ],
        &["library.uploaded", "library.waiting", "icloud_photos.server_assets", "icloud_photos.to_download"],
    ),
    remedy(R::LookInRecentlyDeleted, &[F::RecentlyDeleted], &["library.recently_deleted"]),
    remedy(R::LookInHidden, &[F::HiddenPhotos], &["library.hidden"]),
    remedy(R::LookInSharedAlbums, &[F::SharedAlbumOnly], &["library.shared_album_only"]),
    remedy(
        R::CheckSystemStatus,
        &[F::UploadsStuck, F::ServerBehind, F::IcloudBackupFailed, F::IcloudBackupStale],
        &[],
    )
    .asking(Asks::Always),
    remedy(R::AskAdministrator, &[F::PairingForbidden, F::ManagedDevice], &["reach", "settings.profiles"]),
    remedy(R::PrepareAtHome, &[F::StolenDeviceProtection], &[]).asking(Asks::Always),
    remedy(R::ExtractFromBackup, &[F::OriginalsMissing, F::LibraryUnreadable], &[]),
    remedy(
        R::ContactSupport,
        &[
            F::RecoveryMode,
            F::DfuMode,
            F::OriginalsMissing,
            F::IcloudLibraryWiped,
            F::SharedLibraryExitStuck,
            F::UploadsStuck,
            F::RestartingByItself,
            F::LibraryUnreadable,
            F::BatteryWorn,
        ],
        &[],
    ),
    // -- disruptive --
    remedy(
        R::RestartDevice,
        &[
            F::RecoveryMode,
            F::DfuMode,
            F::UploadsStuck,
            F::BatteryBudgetSpent,
            F::IcloudPhotosWaitingOnSystem,
            F::SharedLibraryExitStuck,
            F::IcloudBackupFailed,
            F::LibraryUnreadable,
            F::SyncStatusUnreadable,
            F::RestartingByItself,
        ],
        &["reach", "library.waiting", "icloud_photos.last_sync", "icloud_photos.engine.has_battery_budget"],
    )
    .automatic(),
    remedy(
        R::UpdateIos,
        &[F::IosTooOld, F::UploadsStuck, F::SharedLibraryExitStuck, F::RestartingByItself],
        &["icloud_photos.engine.client_too_old", "library.waiting"],
    )
    .asking(Asks::For(&[F::UploadsStuck, F::SharedLibraryExitStuck, F::RestartingByItself])),
    remedy(
        R::ResetAllSettings,
        &[F::BackupPasswordUnknown, F::UploadsStuck, F::IcloudBackupFailed],
        &["local_backup.will_encrypt", "library.waiting", "icloud_backup.last_backup"],
    ),
    // -- data --
    remedy(R::DeleteIcloudAppData, &[F::IcloudStorageFull], &["icloud_photos.engine.is_exceeding_quota"]),
    remedy(
        R::DeletePhotosToFreeSpace,
        &[F::DeviceStorageFull, F::DeviceStorageLow, F::IcloudStorageFull],
        &["storage.free_bytes", "icloud_photos.engine.is_exceeding_quota"],
    ),
    remedy(
        R::ToggleIcloudPhotos,
        &[F::UploadsStuck, F::ServerBehind, F::SharedLibraryExitStuck],
        &["library.waiting", "icloud_photos.server_assets"],
    ),
    remedy(
        R::SignOutAndIn,
        &[F::UploadsStuck, F::IcloudBackupFailed],
        &["library.waiting", "icloud_backup.last_backup"],
    ),
    // -- destroys --
    remedy(
        R::StartIcloudBackupAnew,
        &[F::IcloudBackupFailed, F::IcloudBackupStale, F::IcloudBackupNever],
        &["icloud_backup.last_backup"],
    ),
    remedy(
        R::DeleteIcloudLibrary,
        &[F::UploadsStuck, F::ServerBehind],
        &["library.waiting", "icloud_photos.server_assets"],
    ),
    remedy(
        R::EraseAndRestore,
        &[F::UploadsStuck, F::LibraryUnreadable, F::RestartingByItself],
        &["library.waiting", "settings.recent_panics"],
    ),
];

/// The remedy of that id.
#[must_use]
pub fn of(id: R) -> &'static Remedy {
    REMEDIES.iter().find(|remedy| remedy.id == id).expect("a test holds the table to every id")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::facts::{Engine, Facts};
    use crate::remedy::Risk;

    #[test]
    fn every_id_stands_once_in_the_contracts_order_and_by_risk() {
        let ids: Vec<R> = REMEDIES.iter().map(|remedy| remedy.id).collect();
        assert_eq!(ids, R::ALL);
        assert!(ids.iter().map(|id| id.risk()).is_sorted());
        assert_eq!(ids.iter().filter(|id| id.is_gated()).count(), 7);
        assert_eq!(ids.iter().filter(|id| id.risk() == Risk::Disruptive).count(), 3);
    }

    #[test]
    fn every_remedy_treats_something_and_asks_only_for_what_it_treats() {
        for remedy in REMEDIES {
            assert!(!remedy.treats.is_empty(), "{}", remedy.id);
            if let Asks::For(findings) = remedy.asks {
                assert!(findings.iter().all(|id| remedy.treats.contains(id)), "{}", remedy.id);
            }
        }
    }

    /// What there is no remedy for because nothing is wrong with it.
    const ONLY_EXPLAINED: [F; 4] =
        [F::AdvancedDataProtection, F::FindMyOn, F::PhotoStreamEnded, F::PhotosNotInIcloudBackup];

    #[test]
    fn every_finding_has_a_remedy_or_only_explains() {
        let treated: BTreeSet<F> =
            REMEDIES.iter().flat_map(|remedy| remedy.treats).copied().chain(ONLY_EXPLAINED).collect();
        let missing: Vec<&F> = F::ALL.iter().filter(|id| !treated.contains(id)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    /// What the wire allows is done on request; what a person has to do on the phone, or in iCloud, is not claimed.
    #[test]
    fn what_the_wire_allows_is_automatic_and_nothing_else() {
        let automatic: Vec<R> =
            REMEDIES.iter().filter(|remedy| remedy.automatic).map(|remedy| remedy.id).collect();
        let wanted = [
            R::PairAgain,
            R::CopyPhotos,
            R::BackUp,
            R::SetBackupPassword,
            R::TurnOnIcloudBackup,
            R::RestartDevice,
        ];
        assert_eq!(automatic, wanted);
    }

    #[test]
    fn what_must_change_is_the_name_of_a_fact() {
        let mut facts = Facts::default();
        facts.icloud_photos.engine = Some(Engine::default());
        let json = serde_json::to_value(&facts).unwrap();
        for remedy in REMEDIES {
            for name in remedy.helped.iter().filter(|name| **name != "reach") {
                let pointer = format!("/{}", name.replace('.', "/"));
                assert!(json.pointer(&pointer).is_some(), "{}: no fact {name}", remedy.id);
            }
        }
    }
}
