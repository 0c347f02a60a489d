//! The ids of remedies in the ladder's order, what each risks, and the ids of the reasons that keep one shut.

use serde::Serialize;

use crate::diagnosis::{FindingId, ids};

ids! {
    /// What one does about a finding, by its stable name; the order is the ladder's.
    #[expect(missing_docs, reason = "an id is its own name; the catalogue and its texts say what it is")]
    RemedyId {
        UnlockAndTrust = "unlock-and-trust",
        PairAgain = "pair-again",
        FreeTheUsbDevice = "free-the-usb-device",
        FinishSetup = "finish-setup",
        CopyPhotos = "copy-photos",
        BackUp = "back-up",
        SetBackupPassword = "set-backup-password",
        KeepIcloudLibrary = "keep-icloud-library",
        ResumeIcloudPhotos = "resume-icloud-photos",
        ConnectPower = "connect-power",
        CoolDown = "cool-down",
        TurnOffLowPowerMode = "turn-off-low-power-mode",
        ConnectWifi = "connect-wifi",
        TurnOffAirplaneMode = "turn-off-airplane-mode",
        TurnOffLowDataMode = "turn-off-low-data-mode",
        SetClock = "set-clock",
        SignIn = "sign-in",
        TurnOnIcloudBackup = "turn-on-icloud-backup",
        TurnOnIcloudPhotos = "turn-on-icloud-photos",
        ChooseWhatIcloudBacksUp = "choose-what-icloud-backs-up",
        FreeIcloudStorage = "free-icloud-storage",
        FreeDeviceStorage = "free-device-storage",
        DownloadOriginals = "download-originals",
        AdoptPhotos = "adopt-photos",
        ExportFailedItems = "export-failed-items",
        OpenPhotosAgain = "open-photos-again",
        WaitAndMeasureAgain = "wait-and-measure-again",
        LookInRecentlyDeleted = "look-in-recently-deleted",
        LookInHidden = "look-in-hidden",
        LookInSharedAlbums = "look-in-shared-albums",
        CheckSystemStatus = "check-system-status",
        AskAdministrator = "ask-administrator",
        PrepareAtHome = "prepare-at-home",
        ExtractFromBackup = "extract-from-backup",
        ContactSupport = "contact-support",

        RestartDevice = "restart-device",
        UpdateIos = "update-ios",
        ResetAllSettings = "reset-all-settings",

        DeleteIcloudAppData = "delete-icloud-app-data",
        DeletePhotosToFreeSpace = "delete-photos-to-free-space",
        ToggleIcloudPhotos = "toggle-icloud-photos",
        SignOutAndIn = "sign-out-and-in",

        StartIcloudBackupAnew = "start-icloud-backup-anew",
        DeleteIcloudLibrary = "delete-icloud-library",
        EraseAndRestore = "erase-and-restore",
    }
}

/// What a remedy can cost; the order is the ladder's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// Nothing.
    None,
    /// Settings or time, no data.
    Disruptive,
    /// It can remove photos or other data from a device.
    Data,
    /// It destroys what is there.
    Destroys,
}

impl RemedyId {
    /// What it can cost.
    #[must_use]
    pub const fn risk(self) -> Risk {
        match self {
            Self::RestartDevice | Self::UpdateIos | Self::ResetAllSettings => Risk::Disruptive,
            Self::DeleteIcloudAppData
            | Self::DeletePhotosToFreeSpace
            | Self::ToggleIcloudPhotos
            | Self::SignOutAndIn => Risk::Data,
            Self::StartIcloudBackupAnew | Self::DeleteIcloudLibrary | Self::EraseAndRestore => Risk::Destroys,
            _ => Risk::None,
        }
    }

    /// It can lose data, so that only the gate may open it.
    #[must_use]
    pub fn is_gated(self) -> bool {
        self.risk() >= Risk::Data
    }
}

/// Why something is not safe or is blocked: a finding's id where one says it, else one of a short list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReasonId {
    /// A finding says it.
    Finding(FindingId),
    /// Originals that exist on this phone and nowhere else.
    OriginalsOnlyHere,
    /// The library does not say where an original is.
    PlaceUnknown,
    /// Two numbers that must agree do not.
    CountsDisagree,
    /// The library holds a state that this program does not know.
    UnknownStateValue,
    /// There is a local backup, and no proof that it is whole.
    BackupNotVerified,
    /// The verified backup is older than an erase allows.
    BackupTooOld,
    /// Nothing tells whether Find My is on.
    FindMyUnknown,
    /// Too little charge to erase and restore.
    BatteryTooLowToErase,
    /// A backup has to be made first.
    BackUpFirst,
}

impl ReasonId {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finding(id) => id.as_str(),
            Self::OriginalsOnlyHere => "originals-only-here",
            Self::PlaceUnknown => "place-unknown",
            Self::CountsDisagree => "counts-disagree",
            Self::UnknownStateValue => "unknown-state-value",
            Self::BackupNotVerified => "backup-not-verified",
            Self::BackupTooOld => "backup-too-old",
            Self::FindMyUnknown => "find-my-unknown",
            Self::BatteryTooLowToErase => "battery-too-low-to-erase",
            Self::BackUpFirst => "back-up-first",
        }
    }
}

impl std::fmt::Display for ReasonId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ReasonId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl From<FindingId> for ReasonId {
    fn from(id: FindingId) -> Self {
        Self::Finding(id)
    }
}
