//! What a backup's database says about one file: a keyed archive of class `MBFile`, read and written.
//!
//! The archive is a binary property list of `NSKeyedArchiver`; other readers of backups (pyiosbackup,
//! iphone_backup_decrypt, mvt) agree on its keys. Read, it is untrusted: bounded in bytes, depth and references.

use plist::{Dictionary, Uid, Value};

use crate::frame::{self, DictExt, Limits};

/// Longest archive that is read; real ones have some hundred bytes, those with extended attributes some thousand.
const ARCHIVE: Limits = Limits { bytes: 1 << 20, depth: 16, nodes: 20_000 };

/// One file, folder or link as the backup's database describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MbFile {
    /// Path below its domain.
    pub relative_path: String,
    /// Bytes, as the phone counted them when it made the row; live databases may have other sizes by the time they are
    /// sent.
    pub size: u64,
    /// Type and permissions, as in `stat`.
    pub mode: u32,
    /// Owner.
    pub user_id: u32,
    /// Group.
    pub group_id: u32,
    /// Inode on the phone.
    pub inode: u64,
    /// Seconds since 1970.
    pub last_modified: i64,
    /// Seconds since 1970.
    pub last_status_change: i64,
    /// Seconds since 1970.
    pub birth: i64,
    /// Which class key protects it.
    pub protection_class: u32,
    /// Flags of the archive; 0 on all that were seen.
    pub flags: u32,
    /// What a link points to.
    pub target: Option<String>,
    /// In an encrypted backup: the class (little endian, 4 bytes) and the wrapped key of the file.
    pub encryption_key: Option<Vec<u8>>,
}

impl MbFile {
    /// Reads an archive.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let archive = frame::parse(bytes, &ARCHIVE).map_err(|error| error.to_string())?;
        let archive = archive.as_dictionary().ok_or("the archive is no dictionary")?;
        let objects = archive.array("$objects").ok_or("the archive has no objects")?;
        let top = archive.dict("$top").ok_or("the archive has no top")?;
        let root = follow(objects, top.get("root")).and_then(Value::as_dictionary);
        let root = root.ok_or("the archive has no root object")?;
        let path = follow(objects, root.get("RelativePath")).and_then(Value::as_string);
        let narrow = |key: &str| root.uint(key).and_then(|number| u32::try_from(number).ok());
        Ok(Self {
            relative_path: path.unwrap_or_default().to_owned(),
            size: root.uint("Size").ok_or("the archive has no Size")?,
            mode: narrow("Mode").unwrap_or(0),
            user_id: narrow("UserID").unwrap_or(0),
            group_id: narrow("GroupID").unwrap_or(0),
            inode: root.uint("InodeNumber").unwrap_or(0),
            last_modified: root.int("LastModified").unwrap_or(0),
            last_status_change: root.int("LastStatusChange").unwrap_or(0),
            birth: root.int("Birth").unwrap_or(0),
            protection_class: narrow("ProtectionClass").unwrap_or(0),
            flags: narrow("Flags").unwrap_or(0),
            target: follow(objects, root.get("Target")).and_then(Value::as_string).map(str::to_owned),
            encryption_key: data(objects, root.get("EncryptionKey")),
        })
    }

    /// Writes an archive, with every key that the known readers want.
    #[must_use]
    pub fn to_archive(&self) -> Vec<u8> {
        let mut objects = vec![Value::from("$null"), Value::Boolean(false)];
        let mut root = Dictionary::new();
        for (key, number) in [
            ("LastModified", self.last_modified),
            ("LastStatusChange", self.last_status_change),
            ("Birth", self.birth),
        ] {
            root.insert(key.into(), number.into());
        }
        for (key, number) in [
            ("Size", self.size),
            ("Mode", self.mode.into()),
            ("UserID", self.user_id.into()),
            ("GroupID", self.group_id.into()),
            ("InodeNumber", self.inode),
            ("ProtectionClass", self.protection_class.into()),
            ("Flags", self.flags.into()),
        ] {
            root.insert(key.into(), number.into());
        }
        let mut add = |root: &mut Dictionary, key: &str, value: Value| {
            root.insert(key.into(), Value::Uid(Uid::new(objects.len() as u64)));
            objects.push(value);
        };
        add(&mut root, "RelativePath", self.relative_path.as_str().into());
        if let Some(target) = &self.target {
            add(&mut root, "Target", target.as_str().into());
        }
        add(&mut root, "$class", class("MBFile", &["MBFile", "NSObject"]));
        if let Some(key) = &self.encryption_key {
            let mut holder = Dictionary::new();
            holder.insert("NS.data".into(), Value::Data(key.clone()));
            holder.insert("$class".into(), Value::Uid(Uid::new(objects.len() as u64)));
            objects.push(class("NSMutableData", &["NSMutableData", "NSData", "NSObject"]));
            root.insert("EncryptionKey".into(), Value::Uid(Uid::new(objects.len() as u64)));
            objects.push(Value::Dictionary(holder));
        }
        objects[1] = Value::Dictionary(root);
        let mut top = Dictionary::new();
        top.insert("root".into(), Value::Uid(Uid::new(1)));
        let mut archive = Dictionary::new();
        archive.insert("$version".into(), 100_000.into());
        archive.insert("$archiver".into(), "NSKeyedArchiver".into());
        archive.insert("$top".into(), Value::Dictionary(top));
        archive.insert("$objects".into(), Value::Array(objects));
        frame::to_binary(&Value::Dictionary(archive))
    }
}

/// The object that a reference points to. References are followed once, so none can go in circles.
fn follow<'a>(objects: &'a [Value], value: Option<&'a Value>) -> Option<&'a Value> {
    match value? {
        Value::Uid(uid) => objects.get(usize::try_from(uid.get()).ok()?),
        other => Some(other),
    }
}

/// Bytes, plain or inside an `NSData` object.
fn data(objects: &[Value], value: Option<&Value>) -> Option<Vec<u8>> {
    match follow(objects, value)? {
        Value::Data(bytes) => Some(bytes.clone()),
        Value::Dictionary(holder) => {
            follow(objects, holder.get("NS.data")).and_then(Value::as_data).map(<[u8]>::to_vec)
        }
        _ => None,
    }
}

fn class(name: &str, classes: &[&str]) -> Value {
    let mut class = Dictionary::new();
    class.insert("$classname".into(), name.into());
    class.insert("$classes".into(), Value::Array(classes.iter().map(|class| Value::from(*class)).collect()));
    Value::Dictionary(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<MbFile> {
        let file = MbFile {
            relative_path: "Media/DCIM/100APPLE/IMG_0001.HEIC".into(),
            size: 5 << 32,
            mode: 0o100_644,
            user_id: 501,
            group_id: 501,
            inode: 1 << 40,
            last_modified: -5,
            last_status_change: 1_700_000_000,
            birth: 1_600_000_000,
            protection_class: 3,
            ..MbFile::default()
        };
        vec![
            MbFile { encryption_key: Some(vec![7; 44]), ..file.clone() },
            MbFile { target: Some("../x".into()), mode: 0o120_777, ..file.clone() },
            file,
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for file in samples() {
            assert_eq!(MbFile::parse(&file.to_archive()).unwrap(), file);
        }
    }

    #[test]
    fn cut_or_changed_bytes_never_panic() {
        let whole = samples()[0].to_archive();
        for length in 0..whole.len() {
            assert!(MbFile::parse(&whole[..length]).is_err(), "cut at {length}");
            let mut changed = whole.clone();
            changed[length] ^= 0x5A;
            let _ = MbFile::parse(&changed);
        }
    }

    #[test]
    fn references_that_lead_nowhere_or_in_circles_are_harmless() {
        let mut root = Dictionary::new();
        root.insert("Size".into(), 1.into());
        root.insert("RelativePath".into(), Value::Uid(Uid::new(u64::MAX)));
        root.insert("EncryptionKey".into(), Value::Uid(Uid::new(0)));
        let mut top = Dictionary::new();
        top.insert("root".into(), Value::Uid(Uid::new(0)));
        let mut archive = Dictionary::new();
        archive.insert("$top".into(), Value::Dictionary(top));
        archive.insert("$objects".into(), Value::Array(vec![Value::Dictionary(root)]));
        let read = MbFile::parse(&frame::to_binary(&Value::Dictionary(archive))).unwrap();
        assert_eq!((read.size, read.encryption_key), (1, None));
    }
}
