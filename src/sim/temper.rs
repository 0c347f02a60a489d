//! What a harsh phone does that a kind one does not, as values.
//!
//! Every trait was seen on real phones; the public reports are named beside each. Harsh changes no fact of the phone,
//! it makes the work as hard as real phones make it.

use std::time::Duration;

use super::config::Temper;

/// The traits of a temper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// AFC requests that wait while one is answered; a further one is not read until then. `None`: no bound but the
    /// stream's own. (pymobiledevice3 #733)
    pub afc_waiting_max: Option<usize>,
    /// File handles open at a time on one AFC connection; one more gets status 3. (libimobiledevice #284)
    pub afc_handles_max: usize,
    /// The largest AFC reply, in bytes of its data.
    pub afc_reply_bytes_max: usize,
    /// AFC replies arrive in several pieces.
    pub afc_replies_in_pieces: bool,
    /// One hard-linked original refuses to open with status 10; it is in the backup. (ifuse #54)
    pub refuses_hard_linked_original: bool,
    /// Reading one unimportant top folder gives status 10. (UFADE #31)
    pub refuses_top_folder: bool,
    /// Silence before the first byte of a backup; real phones take up to 120 s.
    pub backup_silence: Duration,
    /// One SQLite file in so many has another `Size` in the manifest than its bytes. (iOSbackup PR 26)
    pub backup_size_differs_one_in: Option<u32>,
    /// One row of the harmless kind is refused with 0x0B. (pymobiledevice3 #755)
    pub backup_refuses_harmless_row: bool,
    /// The screen locks once in the middle of a backup, which goes on after an unlock. (pymobiledevice3 #820)
    pub backup_locks_in_the_middle: bool,
    /// After an interruption a backup starts over. (libimobiledevice #1412)
    pub backup_starts_over: bool,
    /// `PasswordProtected` for so long after plug-in.
    pub protected_after_plug_in: Duration,
    /// One lockdown reply of each connection arrives in pieces.
    pub lockdown_reply_in_pieces: bool,
}

impl Traits {
    /// The traits of `temper`.
    #[must_use]
    pub fn of(temper: Temper) -> Self {
        match temper {
            Temper::Kind => KIND,
            Temper::Harsh => HARSH,
        }
    }
}

const KIND: Traits = Traits {
    afc_waiting_max: None,
    afc_handles_max: 4096,
    afc_reply_bytes_max: 64 << 20,
    afc_replies_in_pieces: false,
    refuses_hard_linked_original: false,
    refuses_top_folder: false,
    backup_silence: Duration::ZERO,
    backup_size_differs_one_in: None,
    backup_refuses_harmless_row: false,
    backup_locks_in_the_middle: false,
    backup_starts_over: false,
    protected_after_plug_in: Duration::ZERO,
    lockdown_reply_in_pieces: false,
};

const HARSH: Traits = Traits {
    afc_waiting_max: Some(4),
    afc_handles_max: 16,
    afc_reply_bytes_max: 4 << 20,
    afc_replies_in_pieces: true,
    refuses_hard_linked_original: true,
    refuses_top_folder: true,
    backup_silence: Duration::from_millis(1500),
    backup_size_differs_one_in: Some(10),
    backup_refuses_harmless_row: true,
    backup_locks_in_the_middle: true,
    backup_starts_over: true,
    protected_after_plug_in: Duration::from_millis(400),
    lockdown_reply_in_pieces: true,
};
