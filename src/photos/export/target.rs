//! A place in the folder of exported pictures: written beside, synced, then named; what is there already is never
//! replaced.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::RenameFlags;

use super::Failed;
use crate::durable::{PARTIAL_SUFFIX, sync_dir};
use crate::photos::folder::Folders;
use crate::photos::stage::set_mtime;

/// How much of a JPEG is looked at for a comment: all that stands before the pixels.
const HEAD_BYTES: u64 = 1 << 20;

/// What was found at the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    /// Nothing: it was written.
    New,
    /// The same bytes.
    Equal,
}

/// See the module.
pub(super) struct Target<'p> {
    folder: Arc<Dir>,
    name: &'p str,
}

impl<'p> Target<'p> {
    /// The place at `path`; folders on the way are made.
    pub(super) fn at(folders: &mut Folders, path: &'p str) -> io::Result<Self> {
        let (folder, name) = folders.holder(path, true)?;
        Ok(Self { folder, name })
    }

    fn open(&self) -> Result<Option<File>, Failed> {
        match self.folder.open_with(self.name, OpenOptions::new().read(true).follow(FollowSymlinks::No)) {
            Ok(file) if file.metadata()?.is_file() => Ok(Some(file.into_std())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => Err(taken()),
        }
    }

    /// A whole JPEG with this comment is there.
    pub(super) fn is_jpeg_with(&self, comment: &str) -> Result<bool, Failed> {
        let Some(mut file) = self.open()? else { return Ok(false) };
        let mut head = Vec::new();
        (&mut file).take(HEAD_BYTES).read_to_end(&mut head)?;
        let says = segments(&head).any(|(marker, body)| marker == 0xfe && body == comment.as_bytes());
        let mut end = [0; 2];
        Ok(says
            && file.seek(SeekFrom::End(-2)).is_ok()
            && file.read_exact(&mut end).is_ok()
            && end == [0xff, 0xd9])
    }

    /// Writes these bytes, unless the same are there.
    pub(super) fn put(&self, bytes: &[u8], mtime_ns: i64) -> Result<There, Failed> {
        if let Some(file) = self.open()? {
            return equal(file, bytes);
        }
        self.write(mtime_ns, |mut file| file.write_all(bytes))
    }

    /// Writes what `original` has, sharing its blocks where the file system can, unless the same is there.
    pub(super) fn put_copy(&self, original: &mut File, mtime_ns: i64) -> Result<There, Failed> {
        if let Some(file) = self.open()? {
            return equal(file, original);
        }
        self.write(mtime_ns, |mut file| {
            // Not a link: whoever edits the picture must not change the copy that is proven.
            if rustix::fs::ioctl_ficlone(file, &*original).is_ok() {
                return Ok(());
            }
            io::copy(original, &mut file).map(drop)
        })
    }

    fn write(&self, mtime_ns: i64, fill: impl FnOnce(&File) -> io::Result<()>) -> Result<There, Failed> {
        let beside = format!("{}{PARTIAL_SUFFIX}", self.name);
        // Left over from a run that was killed.
        let _ = self.folder.remove_file(&beside);
        let written = (|| {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o644);
            let file = self.folder.open_with(&beside, &options)?.into_std();
            fill(&file)?;
            set_mtime(&file, mtime_ns)?;
            file.sync_all()?;
            self.name_it(&beside)?;
            sync_dir(&self.folder)
        })();
        if written.is_err() {
            let _ = self.folder.remove_file(&beside);
        }
        match written {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(taken()),
            other => Ok(other.map(|()| There::New)?),
        }
    }

    fn name_it(&self, beside: &str) -> io::Result<()> {
        let (dir, name) = (self.folder.as_ref(), self.name);
        match rustix::fs::renameat_with(dir, beside, dir, name, RenameFlags::NOREPLACE) {
            // A file system that cannot promise it: nobody else is expected to write here just now.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !dir.exists(name) => {
                dir.rename(beside, dir, name)
            }
            other => Ok(other?),
        }
    }
}

fn taken() -> Failed {
    Failed::Other("something else of its name is in that folder and is not replaced".to_owned())
}

/// The rest of both is the same.
fn equal(mut file: File, mut wanted: impl Read) -> Result<There, Failed> {
    let (mut ours, mut theirs) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let read = wanted.read(&mut ours)?;
        if read == 0 {
            return if file.read(&mut theirs)? == 0 { Ok(There::Equal) } else { Err(taken()) };
        }
        match file.read_exact(&mut theirs[..read]) {
            Ok(()) if ours[..read] == theirs[..read] => {}
            _ => return Err(taken()),
        }
    }
}

/// The segments of a JPEG before its pixels: marker and body.
fn segments(jpeg: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = jpeg.strip_prefix(&[0xff, 0xd8]).unwrap_or_default();
    std::iter::from_fn(move || {
        let [0xff, marker, high, low, ..] = *rest else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let body = rest.get(4..2 + length).filter(|_| marker != 0xda)?;
        rest = &rest[2 + length..];
        Some((marker, body))
    })
}

/// Where a JPEG's tables begin, behind everything that describes it.
pub(super) fn tables_at(jpeg: &[u8]) -> Option<usize> {
    let before: usize = segments(jpeg)
        .take_while(|(marker, _)| matches!(marker, 0xe0..=0xef | 0xfe))
        .map(|(_, body)| body.len() + 4)
        .sum();
    (jpeg.len() > 2 + before).then_some(2 + before)
}
