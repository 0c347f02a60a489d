//! The ids of findings: stable names that scripts, tests and the ladder use. One list, in the groups of the contract.

/// Makes an enum of ids with their kebab-case names, the list of all, and a parser.
macro_rules! ids {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every id, in the contract's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The id of that name.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|id| id.as_str() == name)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}
pub(crate) use ids;

ids! {
    /// What is the case on a phone, by its stable name.
    #[expect(missing_docs, reason = "an id is its own name; the rule that finds it says when")]
    FindingId {
        NoUsbmux = "no-usbmux",
        UsbNoPermission = "usb-no-permission",
        DeviceHeldByOtherProgram = "device-held-by-other-program",
        RecoveryMode = "recovery-mode",
        DfuMode = "dfu-mode",
        UsbRestricted = "usb-restricted",
        NotTrusted = "not-trusted",
        TrustPending = "trust-pending",
        TrustDenied = "trust-denied",
        StalePairing = "stale-pairing",
        DeviceLocked = "device-locked",
        NotUnlockedSinceBoot = "not-unlocked-since-boot",
        PairingForbidden = "pairing-forbidden",
        NotActivated = "not-activated",
        SetupUnfinished = "setup-unfinished",
        RestartingByItself = "restarting-by-itself",

        BatteryLow = "battery-low",
        NotCharging = "not-charging",
        LowPowerMode = "low-power-mode",
        BatteryWorn = "battery-worn",
        DeviceHot = "device-hot",

        DeviceStorageFull = "device-storage-full",
        DeviceStorageLow = "device-storage-low",

        Offline = "offline",
        AirplaneMode = "airplane-mode",
        LowDataMode = "low-data-mode",
        CellularRestricted = "cellular-restricted",
        PoorNetwork = "poor-network",

        ClockWrong = "clock-wrong",
        ManagedDevice = "managed-device",
        IosTooOld = "ios-too-old",

        IcloudSignedOut = "icloud-signed-out",
        IcloudStorageFull = "icloud-storage-full",
        SharedLibraryStorageFull = "shared-library-storage-full",
        AdvancedDataProtection = "advanced-data-protection",
        FindMyOn = "find-my-on",
        StolenDeviceProtection = "stolen-device-protection",

        IcloudPhotosOff = "icloud-photos-off",
        IcloudPhotosSwitchedOff = "icloud-photos-switched-off",
        IcloudPhotosPaused = "icloud-photos-paused",
        IcloudPhotosWaitingOnSystem = "icloud-photos-waiting-on-system",
        BatteryBudgetSpent = "battery-budget-spent",
        CellularBudgetSpent = "cellular-budget-spent",
        BackupSnapshotRunning = "backup-snapshot-running",
        FirstSyncUnfinished = "first-sync-unfinished",
        IcloudLibraryWiped = "icloud-library-wiped",
        IcloudLibraryDeletionScheduled = "icloud-library-deletion-scheduled",
        UploadsWaiting = "uploads-waiting",
        UploadsStuck = "uploads-stuck",
        UploadsFailed = "uploads-failed",
        ServerBehind = "server-behind",
        DeviceBehind = "device-behind",
        OptimisedStorage = "optimised-storage",
        OriginalsOnlyInIcloud = "originals-only-in-icloud",
        OriginalsMissing = "originals-missing",
        SharedLibraryExitStuck = "shared-library-exit-stuck",
        PhotoStreamEnded = "photo-stream-ended",
        SyncStatusUnreadable = "sync-status-unreadable",
        LibraryUnreadable = "library-unreadable",

        RecentlyDeleted = "recently-deleted",
        HiddenPhotos = "hidden-photos",
        SharedAlbumOnly = "shared-album-only",
        PhotosNotInIcloudBackup = "photos-not-in-icloud-backup",

        IcloudBackupOff = "icloud-backup-off",
        IcloudBackupNever = "icloud-backup-never",
        IcloudBackupStale = "icloud-backup-stale",
        IcloudBackupFailed = "icloud-backup-failed",

        LocalBackupMissing = "local-backup-missing",
        LocalBackupStale = "local-backup-stale",
        LocalBackupNotEncrypted = "local-backup-not-encrypted",
        BackupPasswordUnknown = "backup-password-unknown",
        PhotosNotCopied = "photos-not-copied",
    }
}
