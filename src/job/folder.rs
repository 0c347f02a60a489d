//! The folders of DEST that a visit makes: `<udid>/jobs/<job>/` and the links for people under `by-name/`.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use jiff::Timestamp;

use crate::durable;
use crate::facts::text;
use crate::usbmux::Udid;

/// The folder of the links for people.
const BY_NAME: &str = "by-name";
/// The longest name of such a link, in characters; file systems take 255 bytes.
const LINK_CHARS_MAX: usize = 60;
/// How many visits of one phone may begin within one second.
const JOBS_PER_SECOND_MAX: u32 = 1000;

/// A folder or file below DEST could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{} could not be {doing}: {source}", path.display())]
pub struct FolderError {
    path: PathBuf,
    doing: &'static str,
    source: io::Error,
}

impl FolderError {
    /// The disk is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Maps an I/O error, naming the path and what was tried.
fn failed(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError { path, doing, source }
}

/// Makes `path` with mode 0700, with its parents, if it is not there.
pub(super) fn make_private(path: &Path) -> Result<Dir, FolderError> {
    durable::open_or_create_private(path).map_err(failed(path, "made"))
}

/// Makes an empty file with mode 0600 if it is not there, so that SQLite never makes a readable one.
pub(super) fn make_private_file(path: &Path) -> Result<(), FolderError> {
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(failed(path, "made"))
}

/// Where a visit's folder is.
pub(super) fn job_path(dest: &Path, udid: &Udid, id: &str) -> PathBuf {
    dest.join(udid.as_str()).join("jobs").join(id)
}

/// Makes the folder of a new visit. Its id is the time it began, e.g. `20261122T022510Z`, with a number if there is
/// one of that second already: one of this phone, or one that is `taken` by another.
pub(super) fn make_job(
    dest: &Path,
    udid: &Udid,
    began_at: Timestamp,
    taken: impl Fn(&str) -> bool,
) -> Result<(String, Dir), FolderError> {
    let jobs = dest.join(udid.as_str()).join("jobs");
    let parent = make_private(&jobs)?;
    let second = began_at.strftime("%Y%m%dT%H%M%SZ").to_string();
    for number in 1..JOBS_PER_SECOND_MAX {
        let id = if number == 1 { second.clone() } else { format!("{second}-{number}") };
        if taken(&id) {
            continue;
        }
        match create_private_dir(&parent, &id) {
            Ok(()) => {
                let folder = parent.open_dir(&id).map_err(failed(&jobs.join(&id), "opened"))?;
                return Ok((id, folder));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&jobs.join(&id), "made")(error)),
        }
    }
    Err(failed(&jobs, "given another visit in this second")(io::ErrorKind::AlreadyExists.into()))
}

/// The folder of a visit that was begun earlier. `udid` and `job` come out of the record, so they are checked once more.
pub(super) fn open_job(dest: &Path, udid: &str, job: &str) -> Result<Dir, FolderError> {
    let path = dest.join(udid).join("jobs").join(job);
    if ![udid, job].into_iter().all(durable::is_single_component) {
        return Err(failed(&path, "opened")(io::ErrorKind::InvalidInput.into()));
    }
    make_private(&path)
}

fn create_private_dir(parent: &Dir, name: &str) -> io::Result<()> {
    use cap_std::fs::{DirBuilder, DirBuilderExt};
    parent.create_dir_with(name, DirBuilder::new().mode(0o700))
}

/// Replaces a file of a visit.
pub(super) fn keep(folder: &Dir, name: &str, content: &[u8]) -> Result<(), FolderError> {
    durable::replace_bytes(folder, name, 0o600, content).map_err(failed(Path::new(name), "written"))
}

/// Adds a line to a visit's log.
pub(super) fn log(folder: &Dir, at: Timestamp, line: &str) -> Result<(), FolderError> {
    use cap_std::fs::{OpenOptions, OpenOptionsExt};
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let line = format!("{at:.3} {}\n", text::plain(line));
    folder
        .open_with("log", &options)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .map_err(failed(Path::new("log"), "written"))
}

/// Reads a file of a visit. `udid` and `job` come out of the record, so they are checked once more.
pub(super) fn read(dest: &Path, udid: &str, job: &str, name: &str) -> Result<Vec<u8>, FolderError> {
    let path = dest.join(udid).join("jobs").join(job).join(name);
    if ![udid, job, name].into_iter().all(durable::is_single_component) {
        return Err(failed(&path, "read")(io::ErrorKind::InvalidInput.into()));
    }
    std::fs::read(&path).map_err(failed(&path, "read"))
}

/// The link's name for a phone: its owner's name for it, made harmless, and the last four of its id.
#[must_use]
pub fn by_name(udid: &Udid, device_name: Option<&str>) -> String {
    let clean: String = text::plain(device_name.unwrap_or("iPhone"))
        .chars()
        .map(|c| if c == '/' || c == '\u{FFFD}' { '_' } else { c })
        .take(LINK_CHARS_MAX)
        .collect();
    let clean = clean.trim().trim_start_matches('.');
    let tail = &udid.as_str()[udid.as_str().len() - 4..];
    format!("{} ({})", if clean.is_empty() { "iPhone" } else { clean }, tail.to_uppercase())
}

/// Puts the link for people in place; a link of the same phone under an older name goes. One that does not tell its name
/// keeps the link that it has.
pub(super) fn link_by_name(dest: &Path, udid: &Udid, device_name: Option<&str>) -> Result<(), FolderError> {
    let path = dest.join(BY_NAME);
    let dir = make_private(&path)?;
    let name = by_name(udid, device_name);
    let target = format!("../{udid}");
    let links = dir.entries().map_err(failed(&path, "read"))?;
    for entry in links.flatten() {
        let points_here = std::fs::read_link(path.join(entry.file_name()))
            .is_ok_and(|points| points.as_os_str() == target.as_str());
        if points_here && device_name.is_none() {
            return Ok(());
        }
        if points_here && entry.file_name() != name.as_str() {
            dir.remove_file(entry.file_name()).map_err(failed(&path, "tidied"))?;
        }
    }
    match dir.symlink(&target, &name) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(failed(&path.join(&name), "linked")(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udid() -> Udid {
        Udid::parse("00008101-00000000000000A1").unwrap()
    }

    #[test]
    fn a_hostile_name_stays_one_harmless_component() {
        for bad in ["../../etc", "", "...", "a/b", "\u{1b}[31m\n", &"x".repeat(4000), "/", "🙂"] {
            let link = by_name(&udid(), Some(bad));
            assert!(durable::is_single_component(&link), "{link:?}");
            assert!(link.len() < 255 && link.ends_with("(00A1)") && !link.starts_with('.'), "{link:?}");
        }
        assert_eq!(by_name(&udid(), Some("Anna's iPhone")), "Anna's iPhone (00A1)");
    }

    #[test]
    fn a_renamed_phone_has_one_link() {
        let dest = tempfile::tempdir().unwrap();
        for name in [None, Some("Old"), Some("New"), Some("New"), None] {
            link_by_name(dest.path(), &udid(), name).unwrap();
        }
        let links: Vec<_> =
            std::fs::read_dir(dest.path().join(BY_NAME)).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(links, ["New (00A1)"]);
    }

    #[test]
    fn two_visits_in_one_second_have_their_own_folders() {
        let dest = tempfile::tempdir().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let (first, _) = make_job(dest.path(), &udid(), now, |_| false).unwrap();
        let (second, _) = make_job(dest.path(), &udid(), now, |_| false).unwrap();
        assert_eq!((first.as_str(), second.as_str()), ("19700101T000000Z", "19700101T000000Z-2"));
        let (fourth, _) = make_job(dest.path(), &udid(), now, |id| id.ends_with("-3")).unwrap();
        assert_eq!(fourth, "19700101T000000Z-4", "another phone's visit has that id");
    }

    #[test]
    fn the_record_cannot_name_a_file_elsewhere() {
        let dest = tempfile::tempdir().unwrap();
        assert!(read(dest.path(), "..", "x", "report.json").is_err());
        assert!(read(dest.path(), "a", "../..", "report.json").is_err());
        assert!(open_job(dest.path(), "..", "x").is_err() && open_job(dest.path(), "a", "..").is_err());
    }
}
