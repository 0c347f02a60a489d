//! What a request does to the phone's media, and what the phone says to it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use cap_std::fs::{DirBuilder, Metadata, MetadataExt, OpenOptions};
use plist::Value;
use rustix::fs::{FlockOperation, Timespec, Timestamps};

use crate::afc::{DeviceInfo, Directory, FileInfo, Kind, Lock, OpenMode, Request, Status, Whence};
use crate::sim::config::Config;
use crate::sim::device::Device;
use crate::sim::house_arrest;
use crate::sim::tree::{self, Tree};

/// Top folders that a harsh phone may refuse to list: nothing of the owner's photos is there.
const UNIMPORTANT: [&str; 5] = ["MediaAnalysis", "Purchases", "Downloads", "Recordings", "Books"];

/// The phone's answer; bytes of a file are still in the file.
#[derive(Debug)]
pub(super) enum Answer {
    Status(Status),
    Data(Vec<u8>),
    Handle(u64),
    Position(u64),
    Read { handle: u64, offset: u64, length: u64 },
}

struct Open {
    file: std::fs::File,
    path: PathBuf,
    position: u64,
    append: bool,
}

/// The files of one application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sim) struct Container {
    /// Its folder below `files/`.
    pub(in crate::sim) folder: PathBuf,
    /// Nothing but its documents is open.
    pub(in crate::sim) documents_only: bool,
}

/// The folder that a connection sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Root {
    /// The media.
    Media,
    /// The crash reports.
    Crashes,
    /// The files of an application.
    Container(Container),
}

impl Root {
    fn of<'d>(&self, device: &'d Device) -> &'d Tree {
        match self {
            Self::Media => device.media(),
            Self::Crashes => device.crashes(),
            Self::Container(_) => device.files(),
        }
    }

    /// The service that it is the root of.
    pub(super) fn service(&self) -> &'static str {
        match self {
            Self::Media => "com.apple.afc",
            Self::Crashes => "com.apple.crashreportcopymobile",
            Self::Container(_) => "com.apple.mobile.house_arrest",
        }
    }
}

/// One connection: its open files, and what a harsh phone keeps from it.
pub(super) struct Session {
    device: Arc<Device>,
    root: Root,
    open: HashMap<u64, Open>,
    next_handle: u64,
    handles_max: usize,
    reply_bytes_max: u64,
}

/// What a harsh phone keeps to itself: the same for all its connections, and as long as it runs.
#[derive(Debug, Default)]
pub(crate) struct Withheld(OnceLock<(Option<PathBuf>, Option<PathBuf>)>);

impl Withheld {
    fn on(&self, device: &Device) -> &(Option<PathBuf>, Option<PathBuf>) {
        self.0.get_or_init(|| {
            let (traits, media) = (device.traits(), device.media());
            let original = traits.refuses_hard_linked_original.then(|| linked_original(media)).flatten();
            let folder = traits.refuses_top_folder.then(|| unimportant_folder(media)).flatten();
            (original, folder)
        })
    }
}

impl Session {
    pub(super) fn new(device: Arc<Device>, root: Root) -> Self {
        let traits = device.traits();
        Self {
            root,
            open: HashMap::new(),
            next_handle: 1,
            handles_max: traits.afc_handles_max,
            reply_bytes_max: traits.afc_reply_bytes_max as u64,
            device,
        }
    }

    /// An original that does not open although it is there.
    fn withheld_original(&self) -> Option<&Path> {
        self.device.withheld().on(&self.device).0.as_deref()
    }

    /// The open file of a handle.
    pub(super) fn file(&self, handle: u64) -> Option<&std::fs::File> {
        self.open.get(&handle).map(|open| &open.file)
    }

    pub(super) fn answer(&mut self, request: &Request) -> Answer {
        self.perform(request).unwrap_or_else(Answer::Status)
    }

    fn perform(&mut self, request: &Request) -> Result<Answer, Status> {
        let device = Arc::clone(&self.device);
        let media = self.root.of(&device);
        match request {
            Request::ReadDir { path } => self.read_dir(&self.path(path)?).map(Answer::Data),
            Request::FileInfo { path } => self.file_info(&self.path(path)?).map(Answer::Data),
            Request::DeviceInfo => Ok(Answer::Data(self.device_info().encode())),
            Request::FileOpen { path, mode } => self.open(&self.path(path)?, *mode).map(Answer::Handle),
            Request::FileRead { handle, count } => self.read(*handle, *count),
            Request::FileTell { handle } => Ok(Answer::Position(self.held(*handle)?.position)),
            Request::FileClose { handle } => {
                done(self.open.remove(handle).map(drop).ok_or(Status::InvalidArgument))
            }
            Request::FileSeek { handle, whence, offset } => done(self.seek(*handle, *whence, *offset)),
            Request::FileSetSize { handle, size } => {
                done(self.held(*handle)?.file.set_len(*size).map_err(status))
            }
            Request::FileLock { handle, lock } => done(self.lock(*handle, *lock)),
            Request::Truncate { path, size } => {
                let path = self.path(path)?;
                let file = self.reopened(&path)?;
                done(file.set_len(*size).map_err(status))
            }
            Request::MakeDir { path } => done(make_dir(media, &self.path(path)?)),
            Request::RemovePath { path } => {
                let path = self.path(path)?;
                self.touch(&path);
                done(media.remove(&path).map_err(status))
            }
            Request::RemovePathAndContents { path } => done(remove_all(media, &self.path(path)?)),
            Request::RenamePath { from, to } => {
                let (from, to) = (self.path(from)?, self.path(to)?);
                self.touch(&from);
                self.touch(&to);
                done(media.rename(&from, &to).map_err(status))
            }
            Request::MakeLink { symbolic, target, link } => done(self.make_link(*symbolic, target, link)),
            Request::SetModTime { path, mtime_ns } => {
                let path = self.path(path)?;
                let file = self.reopened(&path)?;
                done(set_mtime(&file, *mtime_ns).map_err(status))
            }
            // Taken apart before: its bytes are still in the stream.
            Request::FileWrite { .. } => Err(Status::Internal),
        }
    }

    /// A path below the media root, if this phone lets the host near it.
    fn path(&self, path: &str) -> Result<PathBuf, Status> {
        let clean = tree::clean(path).ok_or(Status::PermissionDenied)?;
        let refuses = match &self.root {
            Root::Media => refused(&self.device.config(), &clean),
            Root::Crashes => false,
            Root::Container(container) => {
                container.documents_only && !clean.starts_with(house_arrest::DOCUMENTS)
            }
        };
        if refuses {
            return Err(Status::PermissionDenied);
        }
        Ok(match &self.root {
            Root::Container(container) if clean == Path::new(".") => container.folder.clone(),
            Root::Container(container) => container.folder.join(clean),
            _ => clean,
        })
    }

    fn held(&mut self, handle: u64) -> Result<&mut Open, Status> {
        self.open.get_mut(&handle).ok_or(Status::InvalidArgument)
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<u8>, Status> {
        if self.device.withheld().on(&self.device).1.as_deref() == Some(path) {
            return Err(Status::PermissionDenied);
        }
        self.root.of(&self.device).names(path).map(Directory::encode).map_err(status)
    }

    fn file_info(&self, path: &Path) -> Result<Vec<u8>, Status> {
        let media = self.root.of(&self.device);
        let (holder, metadata) = media.find(path).map_err(status)?;
        let mut info = info(&metadata);
        if info.kind == Kind::Link {
            let target = holder.read_link_contents(path).map_err(status)?;
            info.link_target = Some(target.to_string_lossy().into_owned());
        }
        if let Some(times) = path.to_str().and_then(|path| self.device.times(path)) {
            info.mtime_ns = nanoseconds(times.mtime);
            info.birthtime_ns = nanoseconds(times.birthtime);
        }
        if self.withheld_original() == Some(path) {
            info.links = info.links.max(2);
        }
        Ok(info.encode())
    }

    fn device_info(&self) -> DeviceInfo {
        let disk = |key| {
            self.device.value("com.apple.disk_usage", key).as_ref().and_then(Value::as_unsigned_integer)
        };
        DeviceInfo {
            model: self.device.string("ProductType"),
            total_bytes: disk("TotalDataCapacity"),
            free_bytes: disk("AmountDataAvailable"),
            block_bytes: Some(4096),
        }
    }

    fn open(&mut self, path: &Path, mode: OpenMode) -> Result<u64, Status> {
        if self.open.len() >= self.handles_max {
            return Err(Status::NoResources);
        }
        let media = self.root.of(&self.device);
        let file = if mode == OpenMode::Read {
            if self.withheld_original() == Some(path) {
                return Err(Status::PermissionDenied);
            }
            media.open(path).map_err(status)?
        } else {
            if media.symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
                return Err(Status::IsDirectory);
            }
            let dir = media.writable(path).map_err(status)?;
            self.touch(path);
            dir.open_with(path, &options(mode)).map_err(status)?
        };
        let file = file.into_std();
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Status::IsDirectory);
        }
        let append = matches!(mode, OpenMode::Append | OpenMode::AppendRead);
        let handle = self.next_handle;
        self.next_handle += 1;
        self.open.insert(handle, Open { file, path: path.to_owned(), position: 0, append });
        Ok(handle)
    }

    fn read(&mut self, handle: u64, count: u64) -> Result<Answer, Status> {
        let most = self.reply_bytes_max;
        let open = self.held(handle)?;
        let size = open.file.metadata().map_err(status)?.len();
        // A handle that may not be read says so before any length is promised.
        open.file.read_at(&mut [0], open.position).map_err(|_| Status::PermissionDenied)?;
        let length = count.min(most).min(size.saturating_sub(open.position));
        let offset = open.position;
        open.position += length;
        Ok(Answer::Read { handle, offset, length })
    }

    /// Writes a piece at the handle's position.
    pub(super) fn write(&mut self, handle: u64, piece: &[u8]) -> Status {
        let written = self.held(handle).and_then(|open| {
            open.file.write_all_at(piece, open.position).map_err(status)?;
            open.position += piece.len() as u64;
            if open.append {
                open.position = open.file.metadata().map_err(status)?.len();
            }
            Ok(open.path.clone())
        });
        match written {
            Ok(path) => {
                self.touch(&path);
                Status::Success
            }
            Err(status) => status,
        }
    }

    fn seek(&mut self, handle: u64, whence: Whence, offset: i64) -> Result<(), Status> {
        let open = self.held(handle)?;
        let base = match whence {
            Whence::Start => 0,
            Whence::Current => open.position,
            Whence::End => open.file.metadata().map_err(status)?.len(),
        };
        let position = base.checked_add_signed(offset).filter(|position| *position <= i64::MAX as u64);
        open.position = position.ok_or(Status::InvalidArgument)?;
        Ok(())
    }

    /// A lock is the file's own on this computer: it counts between connections, and ends with them.
    fn lock(&mut self, handle: u64, lock: Lock) -> Result<(), Status> {
        let operation = match lock {
            Lock::Shared => FlockOperation::NonBlockingLockShared,
            Lock::Exclusive => FlockOperation::NonBlockingLockExclusive,
            Lock::Unlock => FlockOperation::NonBlockingUnlock,
        };
        rustix::fs::flock(&self.held(handle)?.file, operation).map_err(|errno| status(errno.into()))
    }

    /// A file that is there, opened for changing it by its path.
    fn reopened(&self, path: &Path) -> Result<std::fs::File, Status> {
        let media = self.root.of(&self.device);
        media.symlink_metadata(path).map_err(status)?;
        let dir = media.writable(path).map_err(status)?;
        let file = match dir.open_with(path, OpenOptions::new().write(true)) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => dir.open(path),
            other => other,
        };
        self.touch(path);
        Ok(file.map_err(status)?.into_std())
    }

    fn make_link(&self, symbolic: bool, target: &str, link: &str) -> Result<(), Status> {
        let media = self.root.of(&self.device);
        let link = self.path(link)?;
        if symbolic {
            // Where it points is looked at when it is followed: then it may not lead out.
            return media.writable(&link).and_then(|dir| dir.symlink_contents(target, &link)).map_err(status);
        }
        let target = self.path(target)?;
        media.symlink_metadata(&target).map_err(status)?;
        media.writable(&target).map_err(status)?;
        media.writable(&link).and_then(|dir| dir.hard_link(&target, dir, &link)).map_err(status)
    }

    /// From now on the file's own dates count, not those of `media.times`.
    fn touch(&self, path: &Path) {
        if let Some(path) = path.to_str() {
            self.device.touched(path);
        }
    }
}

fn done(result: Result<(), Status>) -> Result<Answer, Status> {
    result.map(|()| Answer::Status(Status::Success))
}

fn refused(config: &Config, path: &Path) -> bool {
    config.refuse.afc_paths.iter().any(|refused| path.starts_with(refused.trim_matches('/')))
}

fn options(mode: OpenMode) -> OpenOptions {
    let mut options = OpenOptions::new();
    match mode {
        OpenMode::Read => options.read(true),
        OpenMode::ReadWrite => options.read(true).write(true).create(true),
        OpenMode::Write => options.write(true).create(true).truncate(true),
        OpenMode::WriteRead => options.read(true).write(true).create(true).truncate(true),
        OpenMode::Append => options.append(true).create(true),
        OpenMode::AppendRead => options.read(true).append(true).create(true),
    };
    options
}

fn make_dir(media: &Tree, path: &Path) -> Result<(), Status> {
    let mut made = PathBuf::new();
    for part in path.components() {
        made.push(part);
        match media.symlink_metadata(&made) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(Status::Exists),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let dir = media.writable(&made).map_err(status)?;
                dir.create_dir_with(&made, &DirBuilder::new()).map_err(status)?;
            }
            Err(error) => return Err(status(error)),
        }
    }
    Ok(())
}

fn remove_all(media: &Tree, path: &Path) -> Result<(), Status> {
    if media.symlink_metadata(path).map_err(status)?.is_dir() {
        for name in media.names(path).map_err(status)? {
            remove_all(media, &path.join(name))?;
        }
    }
    media.remove(path).map_err(status)
}

fn set_mtime(file: &std::fs::File, mtime_ns: i64) -> io::Result<()> {
    let mtime = Timespec {
        tv_sec: mtime_ns.div_euclid(1_000_000_000),
        tv_nsec: mtime_ns.rem_euclid(1_000_000_000) as _,
    };
    let keep = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    Ok(rustix::fs::futimens(file, &Timestamps { last_access: keep, last_modification: mtime })?)
}

fn info(metadata: &Metadata) -> FileInfo {
    let kind = match metadata.file_type() {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_dir() => Kind::Directory,
        kind if kind.is_symlink() => Kind::Link,
        _ => Kind::Special,
    };
    let mtime_ns = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
    let birthtime_ns = metadata
        .created()
        .ok()
        .and_then(|time| time.into_std().duration_since(std::time::UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_nanos()).ok());
    FileInfo {
        kind,
        size: metadata.len(),
        blocks: metadata.blocks(),
        links: MetadataExt::nlink(metadata),
        mtime_ns,
        birthtime_ns: birthtime_ns.unwrap_or(mtime_ns),
        link_target: None,
    }
}

fn nanoseconds(time: jiff::Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

/// The original that a harsh phone does not open, always the same: one that has a second hard link if there is one,
/// else the third picture of the first folder.
fn linked_original(media: &Tree) -> Option<PathBuf> {
    let dcim = Path::new("DCIM");
    let mut first = None;
    for folder in media.names(dcim).ok()?.into_iter().filter(|name| name.ends_with("APPLE")) {
        let folder = dcim.join(folder);
        let pictures = media.names(&folder).unwrap_or_default().into_iter().filter(|name| is_picture(name));
        let pictures: Vec<_> = pictures.map(|name| folder.join(name)).collect();
        let linked = |path: &&PathBuf| {
            media.symlink_metadata(path).is_ok_and(|metadata| MetadataExt::nlink(&metadata) > 1)
        };
        if let Some(linked) = pictures.iter().find(linked) {
            return Some(linked.clone());
        }
        first = first.or_else(|| pictures.get(2).or(pictures.last()).cloned());
    }
    first
}

fn is_picture(name: &str) -> bool {
    let extension = Path::new(name).extension().map(OsString::from).unwrap_or_default();
    ["JPG", "JPEG", "HEIC", "PNG"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

fn unimportant_folder(media: &Tree) -> Option<PathBuf> {
    let there =
        |name: &&&str| media.symlink_metadata(Path::new(name)).is_ok_and(|metadata| metadata.is_dir());
    UNIMPORTANT.iter().find(there).map(PathBuf::from)
}

/// What the phone says to what the file system said.
#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`, which hands errors over")]
fn status(error: io::Error) -> Status {
    use io::ErrorKind as K;
    match error.kind() {
        K::NotFound => Status::NotFound,
        K::IsADirectory => Status::IsDirectory,
        // cap-std's word for a path that leads out.
        K::PermissionDenied => Status::PermissionDenied,
        K::NotADirectory => Status::ReadError,
        K::AlreadyExists => Status::Exists,
        K::StorageFull | K::QuotaExceeded => Status::NoSpace,
        K::WouldBlock => Status::WouldBlock,
        K::DirectoryNotEmpty => Status::DirectoryNotEmpty,
        K::InvalidInput | K::InvalidFilename => Status::InvalidArgument,
        _ => Status::Io,
    }
}
