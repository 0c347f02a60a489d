//! Taking files out of a backup, without a phone: the room for it, a folder of its own, and what each trouble means.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::kept::{disk_full, folder_stop};
use super::reading::Open;
use super::stop::{Stop, Trouble};
use super::{space, words};
use crate::backup::choice::Choice;
use crate::backup::extract::photos::{self, Photos};
use crate::backup::extract::{self, AsInBackup, Extracted, Missed, Placing, Subject};
use crate::backup::mbfile::MbFile;
use crate::backup::read::Backup;
use crate::durable;
use crate::facts::text::plain;
use crate::library;
use crate::progress::{CancellationToken, Observer};

/// What is wanted out of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Files as they lie there, under their domains.
    Files(Choice),
    /// Photos and videos, under the names, dates and albums that the library inside gives them.
    Photos,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Extraction {
    /// Where it is.
    pub folder: PathBuf,
    /// The files.
    #[serde(flatten)]
    pub files: Extracted,
    /// Why the photos have not the names of the library: it could not be read.
    pub library: Option<String>,
    /// Every file was held against what was received from the phone; else the backup is not ours, and only what an
    /// encrypted file shows of damage could be noticed.
    pub compared: bool,
}

impl Extraction {
    /// The stop that files are which could not be given.
    #[must_use]
    pub fn stop(&self) -> Option<Stop> {
        let first = self.files.missed.first()?;
        let named = |one: &Missed| plain(&format!("{}/{}: {}", one.domain, one.path, one.why));
        if self.files.damaged_files > 0 {
            let first = self.files.missed.iter().find(|one| one.damaged).unwrap_or(first);
            let count = words::counted(self.files.damaged_files, "file is", "files are");
            return Some(Stop::new(
                Trouble::VerificationFailed,
                format!("In the backup {count} damaged or missing: {}.", named(first)),
                "All others are extracted. An older backup may have them: idevice-fix backup list.",
            ));
        }
        let count = words::counted(self.files.missed_files, "file", "files");
        let cause = format!("{count} could not be extracted: {}.", named(first));
        Some(Stop::new(Trouble::Skipped, cause, "All others are extracted."))
    }
}

/// Extracts into a new folder. It gets its name when everything that could be given is on the disk.
///
/// # Errors
/// The folder is there already, there is no room, nothing fits, or we were asked to stop: then nothing is left behind.
pub async fn extract(
    open: Open,
    wanted: Wanted,
    out: &Path,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Extraction, Stop> {
    let choice = match &wanted {
        Wanted::Files(choice) => choice.clone(),
        Wanted::Photos => photos::choice(),
    };
    let Open { backup, record, .. } = open;
    let compared = record.is_some();
    // Both read databases, for seconds perhaps.
    let beside = tokio::task::block_in_place(|| Beside::make(out, &backup, &choice))?;
    let (placing, library): (Box<dyn Placing>, _) = match wanted {
        Wanted::Files(choice) => (Box::new(AsInBackup::new(choice)), None),
        Wanted::Photos => match tokio::task::block_in_place(|| by_library(&backup, &beside.path)) {
            Ok(photos) => (Box::new(photos), None),
            Err(error) => (Box::new(AsInBackup::new(choice)), Some(plain(&error.to_string()))),
        },
    };
    let into = beside.dir.try_clone().map_err(|error| folder_stop(out, &error))?;
    let subject = Subject { backup, record, into };
    let files = extract::extract(subject, placing, observer, cancel).await.map_err(|error| match error {
        extract::Error::Cancelled => {
            Stop { cause: "Stopped; nothing was extracted.".to_owned(), ..Stop::interrupted() }
        }
        extract::Error::Disk(error) if is_full(&error) => disk_full(),
        extract::Error::Disk(error) => folder_stop(out, &error),
        extract::Error::Manifest(error) => Stop::new(
            Trouble::VerificationFailed,
            format!("The backup cannot be read to its end: {}.", plain(&error.to_string())),
            "An older one may be whole: idevice-fix backup list.",
        ),
    })?;
    let extraction = Extraction { folder: out.to_owned(), files, library, compared };
    if extraction.files.files == 0 {
        return Err(extraction.stop().unwrap_or_else(|| {
            let cause = "Nothing in the backup fits what was asked for.";
            Stop::new(Trouble::Failed, cause, "What there is: idevice-fix backup list --files.")
        }));
    }
    beside.keep()?;
    Ok(extraction)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Reads the library inside the backup. Its copy stands where the photos will, for the moment: it is as private as they
/// are, and there is room for it.
fn by_library(backup: &Backup, beside: &Path) -> Result<Photos, library::Unreadable> {
    let io = |source| library::Unreadable::Io { file: library::DATABASE_NAME.to_owned(), source };
    let scratch = tempfile::Builder::new().prefix(".library-").tempdir_in(beside).map_err(io)?;
    let read = library::from_backup(scratch.path(), |path| {
        match backup.open_file("CameraRollDomain", &format!("Media/{path}")) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    })?;
    Ok(Photos::of(&read, &TimeZone::system()))
}

/// The folder beside the one that is wished, until everything is in it. It goes when nothing comes of it.
struct Beside<'a> {
    out: &'a Path,
    path: PathBuf,
    dir: Dir,
    kept: bool,
}

impl<'a> Beside<'a> {
    fn make(out: &'a Path, backup: &Backup, choice: &Choice) -> Result<Self, Stop> {
        let usage = |cause: String, next: &str| Stop::new(Trouble::Usage, cause, next);
        let there = |path: &Path| path.symlink_metadata().is_ok();
        if there(out) {
            let cause = format!("{} is there already; nothing is written over.", out.display());
            return Err(usage(cause, "Name a folder that is not there yet."));
        }
        let name =
            out.file_name().ok_or_else(|| usage(format!("{} is no new folder.", out.display()), ""))?;
        let mut beside = name.to_owned();
        beside.push(durable::PARTIAL_SUFFIX);
        let path = out.with_file_name(beside);
        if there(&path) {
            let cause = format!("{} is there already, from a run that was killed, perhaps.", path.display());
            return Err(usage(cause, "Look into it and remove it."));
        }
        fits(out, needed_bytes(backup, choice))?;
        let dir = durable::open_or_create_private(&path).map_err(|error| folder_stop(&path, &error))?;
        Ok(Self { out, path, dir, kept: false })
    }

    fn keep(mut self) -> Result<(), Stop> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let renamed = match renameat_with(CWD, &self.path, CWD, self.out, RenameFlags::NOREPLACE) {
            // A file system that cannot do both in one step: it was not there when we began.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
                std::fs::rename(&self.path, self.out)
            }
            other => other.map_err(io::Error::from),
        };
        renamed.map_err(|error| folder_stop(self.out, &error))?;
        self.kept = true;
        let above = self.out.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(above)
            .and_then(|above| above.sync_all())
            .map_err(|error| folder_stop(self.out, &error))
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// What the manifest says of the files that are meant; a row that cannot be read counts nothing.
pub(super) fn needed_bytes(backup: &Backup, choice: &Choice) -> u64 {
    let mut bytes: u64 = 0;
    let counted = backup.rows(|row| {
        if row.is_file() && choice.takes(&row.domain, &row.path) {
            let size = MbFile::parse(&row.archive).map_or(0, |file| file.size);
            bytes = bytes.saturating_add(size);
        }
        true
    });
    // A manifest that breaks off is told of when the files are taken out.
    counted.map_or(0, |()| bytes)
}

fn fits(out: &Path, bytes: u64) -> Result<(), Stop> {
    let space = space::at(out).map_err(|error| folder_stop(out, &error))?;
    if bytes.saturating_add(space::RESERVE_BYTES) <= space.free_bytes {
        return Ok(());
    }
    Err(Stop::new(
        Trouble::NoSpace,
        format!("{} are needed, and {} are free there.", words::bytes(bytes), words::bytes(space.free_bytes)),
        "Name a folder on another disk.",
    ))
}
