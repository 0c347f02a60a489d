//! What a manifest said when it was read last, for whoever opens the same one again soon: a visit does so three times.
//!
//! It counts only for a file that has the same content byte for byte; nobody needs to hold a lock meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::manifest::Entries;
use crate::usbmux::Udid;

/// See the module. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Known(Arc<Mutex<Option<Kept>>>);

/// What one manifest says, and which that is.
#[derive(Debug)]
struct Kept {
    udid: Udid,
    sha256: [u8; 32],
    said: Said,
}

/// What stands in a manifest.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    /// Bytes of whole lines.
    pub(super) length: u64,
    pub(super) entries: Entries,
    /// What was refused, with the reason.
    pub(super) refused: HashMap<String, String>,
    pub(super) unreadable_lines: u64,
}

impl Known {
    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }

    /// What a manifest of `udid` with this digest says.
    pub(super) fn said(&self, udid: &Udid, sha256: &[u8; 32]) -> Option<Said> {
        let kept = self.kept();
        kept.as_ref()
            .filter(|kept| (&kept.udid, &kept.sha256) == (udid, sha256))
            .map(|kept| kept.said.clone())
    }

    /// Keeps what one says.
    pub(super) fn keep(&self, udid: &Udid, sha256: [u8; 32], said: &Said) {
        *self.kept() = Some(Kept { udid: udid.clone(), sha256, said: said.clone() });
    }
}
