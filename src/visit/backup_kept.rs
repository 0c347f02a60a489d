//! The backups that are kept: listed, proven again, looked at in part, and held against the copy of the photos.

use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use jiff::Timestamp;
use serde::Serialize;

use super::backup::{vault_stop, wrong_password};
use super::kept::{Kept, existing, folder_stop};
use super::stop::{Stop, Trouble};
use crate::backup::Secret;
use crate::backup::proof_file::ProofFile;
use crate::backup::vault::Vault;
use crate::backup::verify::{self, BackupProof, Depth, Sampled};
use crate::facts::text::plain;
use crate::facts::{Facts, MediaFile};
use crate::photos::verify::PhotosProof;
use crate::progress::{CancellationToken, Observer};
use crate::usbmux::Udid;

/// Proves the newest backup in a phone's folder again.
pub(super) async fn prove_again(
    folder: Dir,
    udid: &Udid,
    depth: Depth,
    password: Option<&Secret>,
    kept: &mut Kept,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<(), Stop> {
    let vault = Vault::look(folder, udid.clone());
    let proven = verify::prove(&vault, password, depth, observer, cancel).await.map_err(verify_stop)?;
    kept.backup = proven.proof;
    kept.notes.extend(proven.notes.iter().map(|note| plain(note)));
    kept.damage.extend(proven.damage.iter().map(|one| format!("{}: {}", plain(&one.path), plain(&one.what))));
    Ok(())
}

fn verify_stop(error: verify::Error) -> Stop {
    match error {
        verify::Error::Cancelled => Stop::interrupted(),
        verify::Error::WrongPassword => wrong_password(),
        verify::Error::Vault(error) => vault_stop(Path::new("the backup"), error),
        verify::Error::Io(error) => folder_stop(Path::new("the backup"), &error),
    }
}

/// Looks at a part of the newest backup in a phone's folder: `share` of a million of its files. It proves nothing.
///
/// # Errors
/// There is no backup, the password is wrong, or the disk gives no answer. Damage is no error but a result.
pub async fn sample_without_phone(
    path: &Path,
    udid: &Udid,
    share: u32,
    password: Option<&Secret>,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Sampled, Stop> {
    let sampled = match existing(path)? {
        Some(folder) => {
            let vault = Vault::look(folder, udid.clone());
            verify::sample(&vault, password, share, observer, cancel).await.map_err(verify_stop)?
        }
        None => None,
    };
    sampled.ok_or_else(|| {
        let none = format!("No backup of the phone {udid} is kept here.");
        Stop::new(Trouble::Failed, none, "Make one first: idevice-fix backup.")
    })
}

/// A backup that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptBackup {
    /// Whose.
    pub udid: String,
    /// Where.
    pub folder: PathBuf,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it was proven last.
    pub verified_at: Timestamp,
    /// It is encrypted.
    pub encrypted: bool,
    /// Its content was proven too, not only its outside.
    pub proven_inside: bool,
    /// So many of its files were adopted from another program's backup.
    pub adopted_files: u64,
}

/// The folder of a phone's newest backup, and of those before it.
const BACKUP: &str = "backup";
const HISTORY: &str = "backup.history";

/// The proven backups of a phone below `dest`, newest first, by what their proofs say.
#[must_use]
pub fn kept_backups(dest: &Path, udid: &Udid) -> Vec<KeptBackup> {
    let own = dest.join(udid.as_str());
    let earlier =
        std::fs::read_dir(own.join(HISTORY)).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = std::iter::once(own.join(BACKUP)).chain(earlier);
    let mut kept: Vec<KeptBackup> = folders.filter_map(kept_backup).collect();
    kept.sort_by_key(|backup| std::cmp::Reverse(backup.made_at));
    kept
}

fn kept_backup(folder: PathBuf) -> Option<KeptBackup> {
    let dir = existing(&folder).ok()??;
    let header = ProofFile::header(&dir)?;
    Some(KeptBackup {
        udid: header.udid,
        made_at: header.made_at,
        verified_at: header.proven_at,
        encrypted: header.encrypted,
        proven_inside: !header.encrypted || header.password_known,
        adopted_files: header.adopted_files,
        folder,
    })
}

/// What the copy of the photos and the backup say of each other.
pub(super) struct Compared {
    /// Files that both hold, with the same bytes.
    pub(super) same: u64,
    /// Files that both hold whole, of the same size and time, with other bytes: an alarm each.
    pub(super) differ: Vec<String>,
}

/// Holds the backup's camera roll against the copy.
pub(super) fn compared(photos: &PhotosProof, backup: &BackupProof) -> Compared {
    let mut compared = Compared { same: 0, differ: Vec::new() };
    for path in photos.paths() {
        let (Some(copied), Some(proven)) = (photos.file(path), backup.media(path)) else { continue };
        let Some(sha256) = proven.sha256 else { continue };
        let alike = copied.size == proven.size && copied.mtime_ns.div_euclid(1_000_000_000) == proven.mtime_s;
        if copied.sha256 == sha256 {
            compared.same += 1;
        } else if alike && copied.whole && proven.whole {
            compared.differ.push(other_bytes(path));
        }
    }
    compared.differ.sort();
    compared
}

fn other_bytes(path: &str) -> String {
    format!("{}: the phone gave other bytes for the copy than for the backup", plain(path))
}

/// Files that the copy and the backup both hold as the phone shows them, with different bytes: an alarm. A file that one
/// of them does not hold is none.
pub(super) fn disagreements(facts: &Facts, kept: &Kept) -> Vec<String> {
    let (Some(photos), Some(backup), Some(listing)) = (&kept.photos, &kept.backup, &facts.media) else {
        return Vec::new();
    };
    let differ = |file: &&MediaFile| {
        photos.covers(file)
            && backup.covers(file)
            && photos.file(&file.path).map(|kept| Some(kept.sha256))
                != backup.media(&file.path).map(|kept| kept.sha256)
    };
    listing.files.iter().filter(differ).map(|file| other_bytes(&file.path)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::backup::verify::ProvenMedia;
    use crate::photos::verify::ProvenFile;

    #[test]
    fn other_bytes_are_an_alarm_and_absence_is_none() {
        const UDID: &str = "00008101-000000000000001E";
        let copied =
            |byte: u8| ProvenFile { size: 9, mtime_ns: 5_900_000_000, sha256: [byte; 32], whole: true };
        let backed_up = |byte: u8| ProvenMedia { size: 9, mtime_s: 5, sha256: Some([byte; 32]), whole: true };
        let named = |path: &str| format!("DCIM/100APPLE/{path}");
        let photos = HashMap::from([
            (named("same"), copied(1)),
            (named("other"), copied(1)),
            (named("edited since"), ProvenFile { mtime_ns: 7_000_000_000, ..copied(1) }),
            (named("half"), ProvenFile { whole: false, ..copied(1) }),
            (named("sealed"), copied(1)),
            (named("only copied"), copied(1)),
        ]);
        let media = HashMap::from([
            (named("same"), backed_up(1)),
            (named("other"), backed_up(2)),
            (named("edited since"), backed_up(2)),
            (named("half"), backed_up(2)),
            (named("sealed"), ProvenMedia { sha256: None, ..backed_up(2) }),
            (named("only in the backup"), backed_up(2)),
        ]);
        let now = Timestamp::UNIX_EPOCH;
        let photos = PhotosProof::for_test(UDID, now, photos, HashSet::new());
        let backup = BackupProof::for_test(UDID, now, now, false, false, media, Vec::new());
        let Compared { same, differ } = compared(&photos, &backup);
        assert_eq!(same, 1);
        assert!(differ.len() == 1 && differ[0].starts_with("DCIM/100APPLE/other: "), "{differ:?}");
    }
}
