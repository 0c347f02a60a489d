//! A look at a part of a backup. It proves nothing and writes nothing down but that something is damaged.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cap_fs_ext::DirExt;
use cap_std::fs::Dir;
use jiff::Timestamp;

use super::super::Secret;
use super::super::check::{self, Found, Sample, Subject, Watch};
use super::super::proof_file::ProofFile;
use super::super::record::Record;
use super::super::vault::Vault;
use super::{Damage, Error, made_at, note_damage, stopped, unrecorded, watched};
use crate::progress::{CancellationToken, Observer};
use crate::usbmux::Udid;

/// What a look at a part of a backup came to. It is no proof, and none can be made of it.
#[derive(Debug)]
pub struct Sampled {
    /// When the backup was made.
    pub made_at: Timestamp,
    /// Files of the backup.
    pub files: u64,
    /// Files that were read; of the others only presence and size were seen.
    pub files_read: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// The content was looked at too, not only the outside.
    pub inside: bool,
    /// What is damaged, by file.
    pub damage: Vec<Damage>,
    /// What a person may want to know and is no damage.
    pub notes: Vec<String>,
}

/// Looks at the last backup of a vault, reading its records and `share` of a million of its files, drawn anew each time;
/// `None`: there is no backup. Nothing is proven by that; damage is written down, so that nothing counts as proven.
///
/// # Errors
/// [`Error`]; damage is no error but a result.
pub async fn sample(
    vault: &Vault,
    password: Option<&Secret>,
    share: u32,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Option<Sampled>, Error> {
    let Some(root) = vault.current()? else { return Ok(None) };
    let (udid, password) = (vault.udid().clone(), password.cloned());
    let work = move |watch: &Arc<Watch>| sample_blocking(root, &udid, password.as_ref(), share, watch);
    watched(work, observer, cancel).await.map(Some)
}

fn sample_blocking(
    root: Dir,
    udid: &Udid,
    password: Option<&Secret>,
    share: u32,
    watch: &Arc<Watch>,
) -> Result<Sampled, Error> {
    let own = root.open_dir_nofollow(udid.as_str())?;
    let made_at = ProofFile::header(&root).map(|header| header.made_at).or_else(|| made_at(&own));
    let mut found = Found::default();
    let files = match Record::load(&root) {
        Err(error) => {
            found.damage = unrecorded(&error).damage;
            0
        }
        Ok(record) => {
            let files = record.files_count();
            let subject = Subject { root, own, record, before: None, sample: Some(Sample::new(share)) };
            let opened = check::open(&subject, password, &mut found).map_err(stopped)?;
            check::read_all(&subject, opened, &mut found, watch, None).map_err(stopped)?;
            if !found.damage.is_empty() {
                note_damage(&subject.root, &mut found.notes);
            }
            files
        }
    };
    let Found { damage, notes, encrypted, inside, .. } = found;
    Ok(Sampled {
        made_at: made_at.unwrap_or(Timestamp::UNIX_EPOCH),
        files,
        files_read: watch.items.load(Ordering::Relaxed),
        bytes_read: watch.bytes.load(Ordering::Relaxed),
        inside: !encrypted || inside,
        damage,
        notes,
    })
}
