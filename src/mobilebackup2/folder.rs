//! One device's folder on this computer, and the only way in which a device's wishes reach the disk.
//!
//! The root holds the folder named like the device's UDID, which is all that the device can name, and a folder for files
//! that are still coming in, which it cannot name. A path is refused unless it begins with the UDID and has only plain
//! components; no link is ever followed; nothing that stands is opened for writing: a new file is written elsewhere and
//! renamed into its place, so that an older backup which shares files with this one is never changed.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::sync::Arc;

use cap_fs_ext::DirExt;
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use plist::{Dictionary, Value};

use crate::durable::make_private;
use crate::progress::CancellationToken;
use crate::usbmux::Udid;
use entries::{describe, open_file, remove_any};
use place::DEPTH_MAX;

mod entries;
mod place;
#[cfg(test)]
mod tests;

pub use place::{Denied, Place};

/// Where files wait until they are whole.
pub const INCOMING: &str = "incoming";
/// Folders that are kept open: a move has two, and files mostly come in one folder after the other.
const OPEN_FOLDERS: usize = 8;
/// Most entries of one listing: each takes about a kilobyte until it is sent. Real folders hold some thousand; the largest
/// backups that were heard of have 1.3 million files in 256 folders.
const LISTING_MAX: usize = 65_536;
/// Bytes that are copied at once.
const COPY_PIECE_BYTES: usize = 1 << 20;

/// A file that is still coming in.
#[derive(Debug)]
pub struct Incoming {
    /// To be written from its beginning.
    pub file: File,
    name: String,
}

/// Forces what was written to the disk.
#[derive(Debug)]
pub struct SyncHandle(File);

impl SyncHandle {
    /// Returns when everything written so far is durable. One call for the whole file system costs far less than one for
    /// each of many small files.
    ///
    /// # Errors
    /// Any I/O error, also of an earlier write.
    pub fn sync(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&self.0)?;
        #[cfg(not(target_os = "linux"))]
        rustix::fs::sync();
        Ok(())
    }
}

/// Has the kernel begin to store a file that came in, if it is worth it: the sync of the batch finds most of it done. On
/// file systems whose folders are locked while they are stored, every change to them would wait for all data before.
#[cfg(target_os = "linux")]
fn begin_to_store(file: &File) {
    // Of larger ones much is stored already, and that would be taken out of the cache before it is proven.
    const WORTH_IT_BYTES: std::ops::Range<u64> = 1 << 20..32 << 20;
    if file.metadata().is_ok_and(|metadata| WORTH_IT_BYTES.contains(&metadata.len())) {
        // What is not stored yet stays in the cache. It is a hint: nothing depends on it.
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    }
}

#[cfg(not(target_os = "linux"))]
fn begin_to_store(_: &File) {}

/// The folder.
#[derive(Debug)]
pub struct Folder {
    root: Dir,
    udid: Udid,
    reserve_bytes: u64,
    /// `None`: nothing here may change.
    incoming: Option<Dir>,
    next_incoming: u64,
    /// Ends a long copy.
    stop: CancellationToken,
    /// Folders that were opened last, the newest at the end.
    open: RefCell<Vec<(Vec<String>, Arc<Dir>)>>,
}

impl Folder {
    /// Opens the folder of `udid` below `root`; both it and the folder for incoming files are made if they are not there,
    /// and what an interrupted run left incoming is removed. `reserve_bytes` of free space are never offered to the phone.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn open(root: Dir, udid: Udid, reserve_bytes: u64) -> io::Result<Self> {
        make_private(&root, udid.as_str())?;
        root.open_dir_nofollow(udid.as_str())?;
        match root.remove_dir_all(INCOMING) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        make_private(&root, INCOMING)?;
        let incoming = Some(root.open_dir_nofollow(INCOMING)?);
        let (stop, open) = (CancellationToken::new(), RefCell::default());
        Ok(Self { root, udid, reserve_bytes, incoming, next_incoming: 0, stop, open })
    }

    /// Opens the folder of `udid` below `root` for a phone that may read in it and change nothing: a backup that is
    /// restored. What is in `root` stays as it is.
    ///
    /// # Errors
    /// Any I/O error; also a folder that is not there.
    pub fn open_read_only(root: Dir, udid: Udid) -> io::Result<Self> {
        root.open_dir_nofollow(udid.as_str())?;
        let (stop, open) = (CancellationToken::new(), RefCell::default());
        Ok(Self { root, udid, reserve_bytes: 0, incoming: None, next_incoming: 0, stop, open })
    }

    /// From now on a long copy ends when this is cancelled.
    pub fn stop_with(&mut self, stop: CancellationToken) {
        self.stop = stop;
    }

    /// Whose folder it is.
    #[must_use]
    pub fn udid(&self) -> &Udid {
        &self.udid
    }

    /// The folder that holds the device's.
    #[must_use]
    pub fn root(&self) -> &Dir {
        &self.root
    }

    /// Checks a path that the phone named.
    ///
    /// # Errors
    /// [`Denied::Path`].
    pub fn place(&self, path: &str) -> Result<Place, Denied> {
        Place::parse(&self.udid, path)
    }

    /// [`Folder::place`] for what may not be the device's folder itself.
    ///
    /// # Errors
    /// [`Denied::Path`].
    pub fn place_inside(&self, path: &str) -> Result<Place, Denied> {
        let place = self.place(path)?;
        if place.is_root() {
            return Err(Denied::Path { path: path.to_owned(), why: "is the phone's whole folder" });
        }
        Ok(place)
    }

    /// [`Folder::place_inside`] for what the phone wants to change.
    ///
    /// # Errors
    /// [`Denied::Path`]: also for every path of a folder that may only be read.
    pub fn place_to_change(&self, path: &str) -> Result<Place, Denied> {
        self.may_change(path)?;
        self.place_inside(path)
    }

    /// Nothing in it can be changed.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.incoming.is_none()
    }

    fn may_change(&self, path: &str) -> Result<(), Denied> {
        let why = "must stay as it is while the backup is restored";
        let denied = || Denied::Path { path: path.chars().take(256).collect(), why };
        self.incoming.is_some().then_some(()).ok_or_else(denied)
    }

    fn incoming(&self) -> io::Result<&Dir> {
        self.incoming.as_ref().ok_or_else(|| io::ErrorKind::PermissionDenied.into())
    }

    /// Bytes that the phone may use: free to this user, less the reserve.
    ///
    /// # Errors
    /// Any I/O error; free space is never guessed.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(self.incoming.as_ref().unwrap_or(&self.root))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize).saturating_sub(self.reserve_bytes))
    }

    /// Makes a folder with its parents; one that is there is fine.
    ///
    /// # Errors
    /// [`Denied`]; a file or a link in the way is one.
    pub fn create_directory(&self, path: &str) -> Result<(), Denied> {
        self.may_change(path)?;
        let place = self.place(path)?;
        let mut dir = self.root.open_dir_nofollow(self.udid.as_str())?;
        for part in &place.components {
            make_private(&dir, part)?;
            dir = dir.open_dir_nofollow(part)?;
        }
        Ok(())
    }

    /// What is in a folder, in the words of DeviceLink; one that is not there is empty.
    ///
    /// # Errors
    /// [`Denied`]; an entry that cannot be read is one, since a listing with holes would mislead the phone.
    pub fn list(&self, path: &str) -> Result<Dictionary, Denied> {
        let place = self.place(path)?;
        let dir = match self.dir(&place.components) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Dictionary::new()),
            other => other?,
        };
        let mut listing = Dictionary::new();
        for entry in dir.entries()? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if listing.len() >= LISTING_MAX {
                return Err(io::Error::other("too many entries in one folder").into());
            }
            listing.insert(name, Value::Dictionary(describe(&entry.metadata()?)));
        }
        Ok(listing)
    }

    /// Moves a file or a folder; a target that exists is replaced.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn rename(&self, from: &Place, to: &Place) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        let moved_is_dir = from_dir.symlink_metadata(from_name)?.is_dir();
        if to.components.starts_with(&from.components) {
            return if from == to { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) };
        }
        if from.components.starts_with(&to.components) {
            // The folder that it is in would be removed to make room for it, and it with the folder.
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if !moved_is_dir {
            // A file takes another's place in one step; only a folder has to be out of its way first.
            match from_dir.rename(from_name, &to_dir, to_name) {
                Err(error) if error.kind() == io::ErrorKind::IsADirectory => {}
                done => return done,
            }
        }
        self.forget_open();
        if to_dir.symlink_metadata(to_name).is_ok() {
            remove_any(&to_dir, to_name)?;
        }
        from_dir.rename(from_name, &to_dir, to_name)
    }

    /// Removes a file, or a folder with everything in it; a link is removed itself. What is not there is fine.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn remove(&self, place: &Place) -> io::Result<()> {
        self.forget_open();
        let removed = self.parent(place).and_then(|(dir, name)| remove_any(&dir, name));
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Copies a file or a whole folder. Links are left out.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn copy(&mut self, from: &Place, to: &Place) -> io::Result<()> {
        self.forget_open();
        if to.components.starts_with(&from.components) || to.components.len() > DEPTH_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (dir, name) = self.parent(from)?;
        let metadata = dir.symlink_metadata(name)?;
        if metadata.is_file() {
            let mut source = open_file(&dir, name)?;
            let mut incoming = self.begin()?;
            if let Err(error) = self.copy_content(&mut source, &mut incoming.file) {
                self.drop_file(incoming);
                return Err(error);
            }
            return self.place_file(incoming, to);
        }
        let source = dir.open_dir_nofollow(name)?;
        let (to_dir, to_name) = self.parent(to)?;
        make_private(&to_dir, to_name)?;
        for entry in source.entries()? {
            let entry = entry?;
            let name = entry.file_name().into_string();
            let name = name.map_err(|_| io::Error::other("a name that is no text"))?;
            if !entry.file_type()?.is_symlink() {
                self.copy(&from.child(&name), &to.child(&name))?;
            }
        }
        Ok(())
    }

    fn copy_content(&self, source: &mut File, target: &mut File) -> io::Result<()> {
        let mut piece = vec![0; COPY_PIECE_BYTES];
        loop {
            if self.stop.is_cancelled() {
                return Err(io::Error::other("stopped on request"));
            }
            let read = source.read(&mut piece)?;
            if read == 0 {
                return Ok(());
            }
            target.write_all(&piece[..read])?;
        }
    }

    /// Opens a file to be sent to the phone.
    ///
    /// # Errors
    /// [`Denied`]; a link or a folder is one.
    pub fn open_file(&self, path: &str) -> Result<File, Denied> {
        let place = self.place_inside(path)?;
        let (dir, name) = self.parent(&place)?;
        Ok(open_file(&dir, name)?)
    }

    /// Reads a small file of the device's folder; `None` if it is not there or larger than `most` bytes.
    #[must_use]
    pub fn read_small(&self, name: &str, most: u64) -> Option<Vec<u8>> {
        let dir = self.dir(&[]).ok()?;
        let mut bytes = Vec::new();
        open_file(&dir, name).ok()?.take(most + 1).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 <= most).then_some(bytes)
    }

    /// Begins a file that the phone sends.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn begin(&mut self) -> io::Result<Incoming> {
        let name = self.next_incoming.to_string();
        self.next_incoming += 1;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        Ok(Incoming { file: self.incoming()?.open_with(&name, &options)?, name })
    }

    /// Puts a file that came in into its place, in one step.
    ///
    /// # Errors
    /// Any I/O error (a folder in its place is one); what came in is removed then.
    pub fn place_file(&self, incoming: Incoming, to: &Place) -> io::Result<()> {
        begin_to_store(&incoming.file);
        drop(incoming.file);
        let from = self.incoming()?;
        let placed = self.parent(to).and_then(|(dir, name)| from.rename(&incoming.name, &dir, name));
        if placed.is_err() {
            let _ = from.remove_file(&incoming.name);
        }
        placed
    }

    /// Something is at this place.
    #[must_use]
    pub fn stands(&self, place: &Place) -> bool {
        self.parent(place).is_ok_and(|(dir, name)| dir.symlink_metadata(name).is_ok())
    }

    /// Removes a file that came in and is not wanted.
    pub fn drop_file(&self, incoming: Incoming) {
        drop(incoming.file);
        let _ = self.incoming().and_then(|from| from.remove_file(&incoming.name));
    }

    /// A handle by which everything written so far can be forced to the disk, while more is being written.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn sync_handle(&self) -> io::Result<SyncHandle> {
        Ok(SyncHandle(self.incoming.as_ref().unwrap_or(&self.root).open(".")?))
    }

    fn parent<'p>(&self, place: &'p Place) -> io::Result<(Arc<Dir>, &'p str)> {
        let (parents, name) = place.split().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.dir(parents)?, name))
    }

    /// Opens a folder below the device's, component by component, never through a link.
    fn dir(&self, components: &[String]) -> io::Result<Arc<Dir>> {
        let mut open = self.open.borrow_mut();
        if let Some((_, dir)) = open.iter().rev().find(|(there, _)| there == components) {
            return Ok(Arc::clone(dir));
        }
        let mut dir = self.root.open_dir_nofollow(self.udid.as_str())?;
        for part in components {
            dir = dir.open_dir_nofollow(part)?;
        }
        let dir = Arc::new(dir);
        if open.len() == OPEN_FOLDERS {
            open.remove(0);
        }
        open.push((components.to_vec(), Arc::clone(&dir)));
        Ok(dir)
    }

    /// A folder may have another place now, or none.
    fn forget_open(&self) {
        self.open.borrow_mut().clear();
    }
}
