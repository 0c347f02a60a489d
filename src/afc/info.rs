//! What a device answers to "what is this": `key NUL value NUL …` to types and back, and the names in a folder.

use crate::durable::is_single_component;

/// The longest name that is taken from a folder, in bytes: what the phone's own file system allows.
pub const NAME_BYTES_MAX: usize = 255;

/// The most names that are taken from one folder: a list of short ones takes many times its own size in memory.
pub const NAMES_MAX: usize = 1_000_000;

/// What kind of thing a path names, as `lstat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link.
    Link,
    /// A device node, a pipe or a socket.
    Special,
}

/// What `lstat` says of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// What it is.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Blocks of 512 bytes.
    pub blocks: u64,
    /// Hard links.
    pub links: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Birth time, nanoseconds since 1970; the modification time where a device does not say.
    pub birthtime_ns: i64,
    /// Where a link points: text from the phone.
    pub link_target: Option<String>,
}

impl FileInfo {
    /// Understands a reply. `None`: it has no kind, size or modification time that we can read.
    #[must_use]
    pub fn parse(reply: &[u8]) -> Option<Self> {
        let pairs = pairs(reply)?;
        let of = |key: &str| pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let mtime_ns = of("st_mtime")?.parse().ok()?;
        Some(Self {
            kind: match of("st_ifmt")? {
                "S_IFREG" => Kind::File,
                "S_IFDIR" => Kind::Directory,
                "S_IFLNK" => Kind::Link,
                _ => Kind::Special,
            },
            size: of("st_size")?.parse().ok()?,
            blocks: of("st_blocks").and_then(|text| text.parse().ok()).unwrap_or(0),
            links: of("st_nlink").and_then(|text| text.parse().ok()).unwrap_or(1),
            mtime_ns,
            birthtime_ns: of("st_birthtime").and_then(|text| text.parse().ok()).unwrap_or(mtime_ns),
            link_target: of("LinkTarget").map(str::to_owned),
        })
    }

    /// The reply's bytes. Clients need all six keys.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let kind = match self.kind {
            Kind::File => "S_IFREG",
            Kind::Directory => "S_IFDIR",
            Kind::Link => "S_IFLNK",
            Kind::Special => "S_IFIFO",
        };
        let mut out = format!(
            "st_size\0{}\0st_blocks\0{}\0st_nlink\0{}\0st_ifmt\0{kind}\0st_mtime\0{}\0st_birthtime\0{}\0",
            self.size, self.blocks, self.links, self.mtime_ns, self.birthtime_ns
        )
        .into_bytes();
        if let Some(target) = &self.link_target {
            out.extend_from_slice(b"LinkTarget\0");
            out.extend_from_slice(target.as_bytes());
            out.push(0);
        }
        out
    }
}

/// Model and space, as AFC tells them. Everything may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Apple's model identifier: text from the phone.
    pub model: Option<String>,
    /// Bytes of the file system.
    pub total_bytes: Option<u64>,
    /// Free bytes.
    pub free_bytes: Option<u64>,
    /// Bytes of a block.
    pub block_bytes: Option<u64>,
}

impl DeviceInfo {
    /// Understands a reply; `None` when it is not made of pairs.
    #[must_use]
    pub fn parse(reply: &[u8]) -> Option<Self> {
        let mut info = Self::default();
        for (key, value) in pairs(reply)? {
            match key.as_str() {
                "Model" => info.model = Some(value),
                "FSTotalBytes" => info.total_bytes = value.parse().ok(),
                "FSFreeBytes" => info.free_bytes = value.parse().ok(),
                "FSBlockSize" => info.block_bytes = value.parse().ok(),
                _ => {}
            }
        }
        Some(info)
    }

    /// The reply's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let number = |value: Option<u64>| value.unwrap_or(0).to_string();
        let fields = [
            ("Model", self.model.clone().unwrap_or_default()),
            ("FSTotalBytes", number(self.total_bytes)),
            ("FSFreeBytes", number(self.free_bytes)),
            ("FSBlockSize", number(self.block_bytes)),
        ];
        fields.iter().flat_map(|(key, value)| format!("{key}\0{value}\0").into_bytes()).collect()
    }
}

/// `key NUL value NUL …`; `None` for an odd number of strings. Text that is no UTF-8 is made readable.
fn pairs(reply: &[u8]) -> Option<Vec<(String, String)>> {
    let reply = reply.strip_suffix(&[0]).unwrap_or(reply);
    if reply.is_empty() {
        return Some(Vec::new());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut strings = reply.split(|b| *b == 0);
    let mut pairs = Vec::new();
    while let Some(key) = strings.next() {
        pairs.push((text(key), text(strings.next()?)));
    }
    Some(pairs)
}

/// The names in a folder, without `.` and `..`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    /// Names that are one clean path component each; control characters may still be in them.
    pub names: Vec<String>,
    /// Names that no file can have, as readable text with the reason: nothing is ever asked about them.
    pub unusable: Vec<(String, &'static str)>,
}

impl Directory {
    /// Understands a reply.
    #[must_use]
    pub fn parse(reply: &[u8]) -> Self {
        let mut directory = Self::default();
        let reply = reply.strip_suffix(&[0]).unwrap_or(reply);
        if reply.is_empty() {
            return directory;
        }
        for (at, name) in reply.split(|b| *b == 0).enumerate() {
            // Devices send these two first. Anywhere else `..` is an attack, and is listed as one.
            if name == b"." || (name == b".." && at < 2) {
                continue;
            }
            if directory.names.len() + directory.unusable.len() >= NAMES_MAX {
                directory.unusable.push((String::new(), "there are more names than are looked at"));
                break;
            }
            match usable(name) {
                Ok(name) => directory.names.push(name),
                Err(why) => {
                    let shown = String::from_utf8_lossy(&name[..name.len().min(NAME_BYTES_MAX)]).into_owned();
                    directory.unusable.push((shown, why));
                }
            }
        }
        directory
    }

    /// The reply's bytes for these names, `.` and `..` first as devices do.
    #[must_use]
    pub fn encode<N: AsRef<[u8]>>(names: impl IntoIterator<Item = N>) -> Vec<u8> {
        let mut out = b".\0..\0".to_vec();
        for name in names {
            out.extend_from_slice(name.as_ref());
            out.push(0);
        }
        out
    }
}

fn usable(name: &[u8]) -> Result<String, &'static str> {
    if name.len() > NAME_BYTES_MAX {
        return Err("its name is longer than 255 bytes");
    }
    let name = std::str::from_utf8(name).map_err(|_| "its name is no UTF-8")?;
    if is_single_component(name) { Ok(name.to_owned()) } else { Err("its name is no name of a file") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A reply as an iPhone sends it.
    const HEIC: &[u8] = b"st_size\x001903612\0st_blocks\x003720\0st_nlink\x001\0st_ifmt\0S_IFREG\0st_mtime\x001700000000123456789\0st_birthtime\x001700000000000000000\0";

    #[test]
    fn a_files_info_is_read_and_written_alike() {
        let info = FileInfo::parse(HEIC).unwrap();
        assert_eq!((info.kind, info.size, info.links), (Kind::File, 1_903_612, 1));
        assert_eq!(info.mtime_ns, 1_700_000_000_123_456_789);
        assert_eq!(info.encode(), HEIC);
    }

    #[test]
    fn a_link_names_its_target() {
        let info =
            FileInfo { kind: Kind::Link, link_target: Some("../x".into()), ..FileInfo::parse(HEIC).unwrap() };
        assert_eq!(FileInfo::parse(&info.encode()), Some(info));
    }

    #[test]
    fn without_size_kind_or_time_it_is_no_info() {
        for key in ["st_size", "st_ifmt", "st_mtime"] {
            let text = String::from_utf8(HEIC.to_vec()).unwrap().replace(key, "other");
            assert_eq!(FileInfo::parse(text.as_bytes()), None, "{key}");
        }
        assert_eq!(FileInfo::parse(b"st_size\0-1\0st_ifmt\0S_IFREG\0st_mtime\x000\0"), None);
        assert_eq!(FileInfo::parse(b"st_size\x001\0st_ifmt"), None);
    }

    #[test]
    fn device_info_goes_both_ways() {
        let info = DeviceInfo {
            model: Some("iPhone13,2".into()),
            total_bytes: Some(127_989_493_760),
            free_bytes: Some(30_701_121_536),
            block_bytes: Some(4096),
        };
        assert_eq!(DeviceInfo::parse(&info.encode()), Some(info));
    }

    #[test]
    fn hostile_names_are_listed_and_never_used() {
        let long = "x".repeat(256);
        let reply = Directory::encode(["IMG_0001.HEIC", "..", "a/b", "/etc/passwd", "", &long, "ok"]);
        let directory = Directory::parse(&reply);
        assert_eq!(directory.names, ["IMG_0001.HEIC", "ok"]);
        assert_eq!(directory.unusable.len(), 5);
        assert_eq!(Directory::parse(b".\0..\0\xff\xfe\0").unusable.len(), 1);
    }

    #[test]
    fn more_names_than_any_folder_has_are_cut_off_and_that_is_said() {
        let directory = Directory::parse(&b"a\0".repeat(NAMES_MAX + 10));
        assert_eq!((directory.names.len(), directory.unusable.len()), (NAMES_MAX, 1));
        let directory = Directory::parse(&b"a\0".repeat(NAMES_MAX));
        assert_eq!((directory.names.len(), directory.unusable.len()), (NAMES_MAX, 0));
    }

    #[test]
    fn an_empty_folder_has_no_names() {
        assert_eq!(Directory::parse(b".\0..\0"), Directory::default());
        assert_eq!(Directory::parse(b""), Directory::default());
    }

    proptest! {
        #[test]
        fn random_replies_never_panic(reply in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (FileInfo::parse(&reply), DeviceInfo::parse(&reply));
            for name in Directory::parse(&reply).names {
                prop_assert!(is_single_component(&name));
            }
        }
    }
}
