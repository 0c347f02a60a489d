//! Reading a backup without the phone: its rows, and any file of it, decrypted where it must be.

use std::fs;
use std::io::{self, Read};

use cap_std::fs::Dir;
use jiff::Timestamp;

use super::Secret;
use super::cipher::{Decrypting, Padding};
use super::keybag::Keys;
use super::manifest::{self, Database, Error, Manifest, Row, open_plain};
use super::mbfile::MbFile;
use crate::frame::DictExt;

/// A backup that is open for reading.
#[derive(Debug)]
pub struct Backup {
    dir: Dir,
    manifest: Manifest,
    keys: Option<Keys>,
    database: Database,
}

/// The content of one file, in the clear.
#[derive(Debug)]
pub enum Content {
    /// As it stands.
    Plain(fs::File),
    /// Decrypted while it is read; an error at the end means that it is damaged.
    Decrypted(Box<Decrypting<fs::File>>),
}

impl Read for Content {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(out),
            Self::Decrypted(file) => file.read(out),
        }
    }
}

/// A file without a key in an encrypted backup: only an empty one has none.
struct Keyless<R>(R);

impl<R: Read> Read for Keyless<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.read(out)? {
            0 => Ok(0),
            _ if out.is_empty() => Ok(0),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it has no key")),
        }
    }
}

impl Backup {
    /// Opens the backup in `dir` (the folder that holds `Manifest.db`). For an encrypted one the password is needed; the
    /// decrypted database stands in an unlinked file in `scratch`.
    ///
    /// # Errors
    /// [`Error`]: also without a password where one is needed.
    pub fn open(dir: Dir, password: Option<&Secret>, scratch: &Dir) -> Result<Self, Error> {
        let manifest = Manifest::read(&dir)?;
        let keys = match (manifest.encrypted, password) {
            (false, _) => None,
            (true, None) => return Err(Error::WrongPassword),
            (true, Some(password)) => manifest.unlock(password)?,
        };
        let database = manifest.database(&dir, keys.as_ref(), scratch)?;
        database.quick_check()?;
        Ok(Self { dir, manifest, keys, database })
    }

    /// The folder that holds its records.
    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The content of a file whose stored bytes come out of `stored`.
    pub(super) fn content_of<'a>(
        &self,
        stored: impl Read + 'a,
        file: &MbFile,
    ) -> io::Result<Box<dyn Read + 'a>> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
        let Some(keys) = &self.keys else { return Ok(Box::new(stored)) };
        match &file.encryption_key {
            Some(wrapped) => {
                let key = keys.unwrap(wrapped).map_err(invalid)?;
                Ok(Box::new(Decrypting::new(stored, &key, Padding::Required)?))
            }
            None => Ok(Box::new(Keyless(stored))),
        }
    }

    /// What `Manifest.plist` says.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// When the host began to make it, as its `Info.plist` says: hosts write that before they ask the phone. What the phone
    /// did while it was made is not in it. `None`: it does not say.
    #[must_use]
    pub fn begun_at(&self) -> Option<Timestamp> {
        let info = manifest::read_plist(&self.dir, "Info.plist").ok()?;
        info.date("Last Backup Date")
    }

    /// Hands over every row, until `take` returns `false`.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn rows(&self, take: impl FnMut(Row) -> bool) -> Result<(), Error> {
        self.database.rows(take)
    }

    /// The row of a file and its description; `None`: the backup has no such file.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn find(&self, domain: &str, path: &str) -> Result<Option<(Row, MbFile)>, Error> {
        let Some(row) = self.database.row(domain, path)?.filter(Row::is_file) else { return Ok(None) };
        let file = MbFile::parse(&row.archive);
        let file =
            file.map_err(|what| Error::Damaged { file: "Manifest.db", what: format!("{path}: {what}") })?;
        Ok(Some((row, file)))
    }

    /// Opens a file by domain and path, for example `CameraRollDomain` and `Media/DCIM/100APPLE/IMG_0001.HEIC`. Nothing is
    /// cut to the stored `Size`.
    ///
    /// # Errors
    /// `NotFound` if the backup has no such file; damage is `InvalidData`.
    pub fn open_file(&self, domain: &str, path: &str) -> io::Result<Content> {
        let found =
            self.find(domain, path).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let (row, file) = found.ok_or(io::ErrorKind::NotFound)?;
        self.open_row(&row, &file)
    }

    /// Opens the file of a row.
    ///
    /// # Errors
    /// As [`Backup::open_file`].
    pub fn open_row(&self, row: &Row, file: &MbFile) -> io::Result<Content> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
        let stored = row.stored().ok_or_else(|| invalid("its row is damaged"))?;
        let opened = open_plain(&self.dir, &stored)?;
        decrypted(opened, self.keys.as_ref(), file)
    }
}

/// The content of an opened file. Empty files have no key, in encrypted backups too.
pub(super) fn decrypted(opened: fs::File, keys: Option<&Keys>, file: &MbFile) -> io::Result<Content> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let Some(keys) = keys else { return Ok(Content::Plain(opened)) };
    match &file.encryption_key {
        Some(wrapped) => {
            let key = keys.unwrap(wrapped).map_err(invalid)?;
            Ok(Content::Decrypted(Box::new(Decrypting::new(opened, &key, Padding::Required)?)))
        }
        None if opened.metadata()?.len() == 0 => Ok(Content::Plain(opened)),
        None => Err(invalid("it has no key")),
    }
}
