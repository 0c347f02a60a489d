//! In which order findings answer "why?": by severity, and within one severity by this list.
//!
//! First what stops everything, then what endangers originals, then the reasons to pause in Apple's own order, then what
//! follows from them, then what only explains.

use super::FindingId;

/// Worst first; every id once.
pub(super) const WORST_FIRST: &[FindingId] = &[
    // Nothing can be read.
    FindingId::NoUsbmux,
    FindingId::UsbNoPermission,
    FindingId::DeviceHeldByOtherProgram,
    FindingId::RecoveryMode,
    FindingId::DfuMode,
    FindingId::UsbRestricted,
    FindingId::PairingForbidden,
    FindingId::StalePairing,
    FindingId::TrustDenied,
    FindingId::TrustPending,
    FindingId::NotTrusted,
    FindingId::NotUnlockedSinceBoot,
    FindingId::DeviceLocked,
    FindingId::NotActivated,
    FindingId::SetupUnfinished,
    // Originals are lost or about to be.
    FindingId::IcloudLibraryDeletionScheduled,
    FindingId::IcloudLibraryWiped,
    FindingId::OriginalsMissing,
    // It is off.
    FindingId::IcloudPhotosSwitchedOff,
    FindingId::IcloudPhotosOff,
    // It is paused.
    FindingId::DeviceHot,
    FindingId::AirplaneMode,
    FindingId::Offline,
    FindingId::CellularRestricted,
    FindingId::IosTooOld,
    FindingId::IcloudSignedOut,
    FindingId::DeviceStorageFull,
    FindingId::DeviceStorageLow,
    FindingId::IcloudStorageFull,
    FindingId::BackupSnapshotRunning,
    FindingId::IcloudPhotosPaused,
    FindingId::LowPowerMode,
    FindingId::LowDataMode,
    FindingId::BatteryBudgetSpent,
    FindingId::CellularBudgetSpent,
    FindingId::BatteryLow,
    FindingId::IcloudPhotosWaitingOnSystem,
    FindingId::PoorNetwork,
    FindingId::SharedLibraryStorageFull,
    // It does not come to an end.
    FindingId::ClockWrong,
    FindingId::UploadsStuck,
    FindingId::FirstSyncUnfinished,
    FindingId::UploadsFailed,
    FindingId::SharedLibraryExitStuck,
    FindingId::OriginalsOnlyInIcloud,
    FindingId::ServerBehind,
    FindingId::DeviceBehind,
    FindingId::UploadsWaiting,
    // Nobody can tell.
    FindingId::LibraryUnreadable,
    FindingId::SyncStatusUnreadable,
    // The backups.
    FindingId::IcloudBackupFailed,
    FindingId::IcloudBackupOff,
    FindingId::IcloudBackupNever,
    FindingId::IcloudBackupStale,
    FindingId::BackupPasswordUnknown,
    FindingId::RestartingByItself,
    FindingId::NotCharging,
    FindingId::LocalBackupMissing,
    FindingId::LocalBackupStale,
    FindingId::PhotosNotCopied,
    // What explains why a photo looks missing.
    FindingId::RecentlyDeleted,
    FindingId::HiddenPhotos,
    FindingId::SharedAlbumOnly,
    FindingId::OptimisedStorage,
    FindingId::PhotosNotInIcloudBackup,
    // What is worth knowing.
    FindingId::LocalBackupNotEncrypted,
    FindingId::ManagedDevice,
    FindingId::FindMyOn,
    FindingId::AdvancedDataProtection,
    FindingId::BatteryWorn,
    FindingId::PhotoStreamEnded,
    // Always last: USB cannot read it.
    FindingId::StolenDeviceProtection,
];

/// The place of a finding in the list.
pub(super) fn rank(id: FindingId) -> usize {
    WORST_FIRST.iter().position(|other| *other == id).expect("a test holds the list to every id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_stands_once() {
        let mut listed = WORST_FIRST.to_vec();
        listed.sort_unstable();
        assert_eq!(listed, FindingId::ALL);
    }

    #[test]
    fn reasons_to_pause_stand_in_apples_order() {
        let mut seen = Vec::new();
        for id in super::super::pause::reasons() {
            if !seen.contains(&rank(id)) {
                seen.push(rank(id));
            }
        }
        assert!(seen.is_sorted(), "{seen:?}");
    }
}
