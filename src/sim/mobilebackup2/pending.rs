//! What was restored and waits for the phone's restart.
//!
//! A restore never touches what is in use: its files gather in an incomplete folder of the phone, which is moved into place
//! when all have come; the next start of the phone puts them where they belong. So an interrupted restore changes nothing,
//! and a second one before the restart fails with 102 (libimobiledevice #726, #787). Putting in place can be begun again
//! after every step: what has been moved is not moved twice.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cap_fs_ext::{DirExt, SystemTimeSpec};
use cap_std::fs::Dir;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Stop;
use super::catalog::{self, CAMERA_ROLL, Kind, SYNC_LOCK};
use super::policy::{self, Policy};
use super::source::Held;
use crate::mobilebackup2::wish::RestoreOptions;
use crate::sim::device::Device;
use crate::sim::times::Times;
use crate::sim::tree::Tree;

/// The folder of a restore that is under way, and that of one which waits, below `state/`.
const INCOMPLETE: &str = "restore.incomplete";
const WAITING: &str = "restore.waiting";
/// One that can never be put in place is kept under this name, or this with a number.
const SET_ASIDE: &str = "restore.failed";
/// So many are kept at most.
const SET_ASIDE_MAX: usize = 1000;
/// What goes where, one JSON object a line.
const PLAN: &str = "plan.jsonl";
/// The list of apps that a host writes beside a restore (libimobiledevice #343, #668), and its folder.
const APPS_FOLDER: &str = "iTunesRestore";
const APPS_FILE: &str = "iTunesRestore/RestoreApplications.plist";
const APPS_BYTES_MAX: u64 = 256 << 20;

const NOT_RESTARTED: i64 = 102;
/// Later dates, in seconds since 1970, are this one: the last that every file system holds.
const DATE_MAX: u64 = u32::MAX as u64;

/// The first line of a plan.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    system_files: bool,
    preserve_settings: bool,
    remove: bool,
    /// The backup was encrypted, and so could hold everything.
    encrypted: bool,
    apps: BTreeSet<String>,
}

/// Any other line.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    id: String,
    domain: String,
    path: String,
    /// 1 file, 2 folder, 4 link.
    kind: u8,
    /// Seconds since 1970.
    mtime: i64,
    birth: i64,
    target: Option<String>,
}

/// A fresh folder for a restore.
pub(super) fn begin(device: &Device) -> io::Result<Dir> {
    let state = device.state();
    remove_all(state, Path::new(INCOMPLETE))?;
    state.writable(Path::new(INCOMPLETE))?.create_dir(INCOMPLETE)?;
    state.writable(Path::new(INCOMPLETE))?.open_dir(INCOMPLETE)
}

/// Nothing came of it.
pub(super) fn abandon(device: &Device) -> io::Result<()> {
    remove_all(device.state(), Path::new(INCOMPLETE))
}

/// All files have come: they wait for the restart.
pub(super) fn complete(
    device: &Device,
    policy: &Policy,
    encrypted: bool,
    held: &[&Held],
) -> Result<(), Stop> {
    let state = device.state();
    let folder = state.writable(Path::new(INCOMPLETE))?.open_dir(INCOMPLETE)?;
    let mut plan = BufWriter::new(folder.create(PLAN)?.into_std());
    let header = Header {
        system_files: policy.options.system_files,
        preserve_settings: policy.options.preserve_settings,
        remove: policy.options.remove_items_not_restored,
        encrypted,
        apps: policy.apps.clone(),
    };
    write_line(&mut plan, &header)?;
    for held in held {
        write_line(&mut plan, &Line::of(held))?;
    }
    plan.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    if state.symlink_metadata(Path::new(WAITING)).is_ok() {
        let what = "Failed to move the incomplete restore directory into place at path \"/var/.backup.i\"";
        return Err(Stop::refuse(NOT_RESTARTED, what));
    }
    Ok(state.rename(Path::new(INCOMPLETE), Path::new(WAITING))?)
}

/// Puts a restore that waits in its place. One that can never get there is set aside, so that the phone starts all the
/// same; what of it is in place stays.
///
/// # Errors
/// A full disk: the next start begins again. What setting aside gave.
pub(super) fn finish(device: &Device) -> io::Result<()> {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    match put_in_place(device) {
        Err(error) if matches!(error.kind(), StorageFull | QuotaExceeded) => Err(error),
        Err(error) => {
            let name = set_aside(device)?;
            tracing::error!(
                "a restore that waited for the start of the phone cannot be put in place: {error}; the phone starts \
                 without it, and what came is kept as state/{name}"
            );
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Gives the name under which it is kept.
fn set_aside(device: &Device) -> io::Result<String> {
    let state = device.state();
    let names =
        (1..=SET_ASIDE_MAX).map(|n| if n == 1 { SET_ASIDE.into() } else { format!("{SET_ASIDE}.{n}") });
    let free = names.into_iter().find(|name| state.symlink_metadata(Path::new(name)).is_err());
    let name = free.ok_or_else(|| io::Error::other("too many restores were set aside before"))?;
    state.put_away(Path::new(WAITING), Path::new(&name))?;
    Ok(name)
}

fn put_in_place(device: &Device) -> io::Result<()> {
    let state = device.state();
    if state.symlink_metadata(Path::new(WAITING)).is_err() {
        return Ok(());
    }
    let folder = state.writable(Path::new(WAITING))?.open_dir(WAITING)?;
    let mut lines = BufReader::new(folder.open(PLAN)?.into_std()).lines();
    let header: Header = parse(&lines.next().ok_or(io::ErrorKind::UnexpectedEof)??)?;
    let lines: Vec<Line> = lines.map(|line| parse(&line?)).collect::<io::Result<_>>()?;
    if header.remove {
        remove_others(device, &header, &lines)?;
    }
    for line in lines.iter().filter(|line| line.kind != Kind::Link as u8) {
        line.put(device, &folder)?;
    }
    for line in lines.iter().filter(|line| line.kind == Kind::Link as u8) {
        line.put(device, &folder)?;
    }
    // From the deepest folder up, since every change below a folder changes its own date.
    for line in lines.iter().rev().filter(|line| line.kind == Kind::Folder as u8) {
        line.date(device)?;
    }
    device.restored_times(lines.iter().filter_map(Line::times))?;
    remove_all(device.media(), Path::new(APPS_FILE))?;
    if device.media().names(Path::new(APPS_FOLDER)).is_ok_and(|names| names.is_empty()) {
        device.media().remove(Path::new(APPS_FOLDER))?;
    }
    remove_all(state, Path::new(WAITING))
}

/// Apps that are on the phone, or that the host wants to be installed after the restore.
pub(super) fn apps(device: &Device) -> BTreeSet<String> {
    use crate::frame::{self, DictExt, Limits};
    let installed = device.apps().iter().filter_map(|app| app.string("CFBundleIdentifier"));
    let mut apps: BTreeSet<String> = installed.map(str::to_owned).collect();
    let path = Path::new(APPS_FILE);
    // A link is not followed: what it leads to may be of any size.
    let there = device.media().symlink_metadata(path);
    let small = there.is_ok_and(|file| file.is_file() && file.len() <= APPS_BYTES_MAX);
    let wanted = small.then(|| device.media().read(path).ok().flatten()).flatten();
    let wanted = wanted.and_then(|bytes| frame::parse(&bytes, &Limits::FILE).ok()?.into_dictionary());
    apps.extend(wanted.into_iter().flatten().map(|(app, _)| app));
    apps
}

/// Removes a file, a link or a folder with everything in it; what is not there is fine.
pub(super) fn remove_all(tree: &Tree, path: &Path) -> io::Result<()> {
    let metadata = match tree.symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if metadata.is_dir() {
        for name in tree.names(path)? {
            remove_all(tree, &path.join(name))?;
        }
    }
    tree.remove(path)
}

impl Header {
    fn policy(&self) -> Policy {
        let options = RestoreOptions {
            system_files: self.system_files,
            preserve_settings: self.preserve_settings,
            remove_items_not_restored: self.remove,
            ..RestoreOptions::default()
        };
        Policy { options, apps: self.apps.clone() }
    }
}

impl Line {
    fn of(held: &Held) -> Self {
        Self {
            id: held.id.clone(),
            domain: held.domain.clone(),
            path: held.path().to_owned(),
            kind: held.kind as u8,
            mtime: held.file.last_modified,
            birth: held.file.birth,
            target: held.file.target.clone(),
        }
    }

    /// Puts it where it belongs, whatever is there; dates follow for folders only when all are in place.
    fn put(&self, device: &Device, waiting: &Dir) -> io::Result<()> {
        let (tree, path) = policy::place(device, &self.domain, &self.path);
        if self.kind == Kind::Folder as u8 {
            return make_folder(tree, &path);
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            make_folder(tree, parent)?;
        }
        if tree.symlink_metadata(&path).is_ok_and(|there| there.is_dir()) {
            remove_all(tree, &path)?;
        }
        if self.kind == Kind::Link as u8 {
            remove_all(tree, &path)?;
            let to = self.target.as_deref().unwrap_or_default();
            tree.writable(&path)?.symlink_contents(to, &path)?;
        } else {
            let folder =
                self.id.get(..2).ok_or_else(|| io::Error::other("a plan with a name that is none"))?;
            let came = format!("{folder}/{}", self.id);
            match waiting.rename(&came, tree.writable(&path)?, &path) {
                // It was put in place before the phone stopped in the middle of this.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && tree.symlink_metadata(&path).is_ok() => {}
                other => other?,
            }
        }
        self.date(device)
    }

    fn date(&self, device: &Device) -> io::Result<()> {
        let (tree, path) = policy::place(device, &self.domain, &self.path);
        let at = SystemTimeSpec::from(cap_std::time::SystemTime::from_std(self.modified()));
        if path == Path::new(".") {
            // The phone's own root cannot be opened through itself.
            return Ok(());
        }
        tree.writable(&path)?.set_symlink_times(&path, None, Some(at))
    }

    fn modified(&self) -> SystemTime {
        // Setting an earlier date than 1970 is not provided for.
        let seconds = Duration::from_secs(u64::try_from(self.mtime).unwrap_or(0).min(DATE_MAX));
        SystemTime::UNIX_EPOCH + seconds
    }

    /// The dates that the media's files get back.
    fn times(&self) -> Option<(String, Times)> {
        let rest = self.path.strip_prefix("Media/").filter(|_| self.domain == CAMERA_ROLL)?;
        let mtime = Timestamp::from_second(self.mtime).ok()?;
        let birthtime = Timestamp::from_second(self.birth).ok()?;
        Some((rest.to_owned(), Times { mtime, birthtime }))
    }
}

/// Makes a folder with its parents; a file or a link in the way is replaced.
fn make_folder(tree: &Tree, path: &Path) -> io::Result<()> {
    let mut below = PathBuf::new();
    for part in path {
        below.push(part);
        match tree.symlink_metadata(&below) {
            Ok(there) if there.is_dir() => continue,
            Ok(_) => tree.remove(&below)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        tree.writable(&below)?.create_dir(&below)?;
    }
    Ok(())
}

/// Removes what the phone has and the backup has not, as far as the restore is about it: what no plain backup holds
/// survives the restore of one.
fn remove_others(device: &Device, header: &Header, lines: &[Line]) -> io::Result<()> {
    let policy = header.policy();
    let kept: HashMap<(&str, &str), u8> =
        lines.iter().map(|line| ((line.domain.as_str(), line.path.as_str()), line.kind)).collect();
    let there = catalog::take(device, header.encrypted)?;
    let mut others: Vec<_> = there
        .values()
        .filter(|item| {
            let path = item.file.relative_path.as_str();
            let of_the_host = item.domain == CAMERA_ROLL && is_hosts(path);
            !kept.contains_key(&(item.domain.as_str(), path))
                && policy.takes(&item.domain, path)
                && !of_the_host
        })
        .collect();
    // A folder after what is in it.
    others.sort_by(|a, b| b.file.relative_path.cmp(&a.file.relative_path));
    for item in others {
        let (tree, path) = policy::place(device, &item.domain, &item.file.relative_path);
        match tree.remove(&path) {
            // Something in it stays.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

/// What hosts put there themselves in the course of a restore.
fn is_hosts(path: &str) -> bool {
    path.strip_prefix("Media/").is_some_and(|rest| {
        rest == SYNC_LOCK || rest == APPS_FOLDER || Path::new(rest).starts_with(APPS_FOLDER)
    })
}

fn write_line(plan: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *plan, line)?;
    plan.write_all(b"\n")
}

fn parse<T: for<'a> Deserialize<'a>>(line: &str) -> io::Result<T> {
    serde_json::from_str(line).map_err(io::Error::from)
}

impl Device {
    /// The phone starts: what was restored before is put in place.
    pub(in crate::sim) async fn starts(self: &Arc<Self>) {
        let device = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || finish(&device));
        match done.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("the phone could not finish its restore: {error}"),
            Err(error) => tracing::error!("finishing a restore failed: {error}"),
        }
    }
}
