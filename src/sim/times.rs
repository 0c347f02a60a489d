//! `media.times`: the dates of files in `media/`, since a checkout keeps none. One JSON object a line.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::FolderError;

/// The file's name in a simulated device's folder.
pub const FILE: &str = "media.times";

/// When a file was changed and made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Last change.
    pub mtime: Timestamp,
    /// Made.
    pub birthtime: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    path: String,
    mtime: Timestamp,
    birthtime: Option<Timestamp>,
}

pub(super) fn read(folder: &Path) -> Result<BTreeMap<String, Times>, FolderError> {
    let path = folder.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other.map_err(|error| FolderError::damaged(&path, error.to_string()))?,
    };
    let mut times = BTreeMap::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line: Line = serde_json::from_str(line)
            .map_err(|error| FolderError::damaged(&path, format!("line {}: {error}", i + 1)))?;
        let birthtime = line.birthtime.unwrap_or(line.mtime);
        times.insert(line.path.trim_matches('/').to_owned(), Times { mtime: line.mtime, birthtime });
    }
    Ok(times)
}

/// Writes the dates that are in force, in place of the file that was there.
pub(super) fn write(folder: &Path, times: &BTreeMap<String, Times>) -> std::io::Result<()> {
    let mut text = Vec::new();
    for (path, times) in times {
        let line = Line { path: path.clone(), mtime: times.mtime, birthtime: Some(times.birthtime) };
        serde_json::to_writer(&mut text, &line)?;
        text.push(b'\n');
    }
    let dir = cap_std::fs::Dir::open_ambient_dir(folder, cap_std::ambient_authority())?;
    crate::durable::replace_bytes(&dir, FILE, 0o644, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let good = r#"{"path": "DCIM/100APPLE/IMG_0001.HEIC", "mtime": "2024-05-01T10:00:00.5Z", "birthtime": "2024-05-01T10:00:00Z"}"#;
        std::fs::write(folder.path().join(FILE), good).unwrap();
        let times = read(folder.path()).unwrap();
        assert_eq!(times["DCIM/100APPLE/IMG_0001.HEIC"].mtime.subsec_nanosecond(), 500_000_000);
        write(folder.path(), &times).unwrap();
        assert_eq!(read(folder.path()).unwrap(), times);
        std::fs::write(folder.path().join(FILE), format!("{good}\n{{\"path\": 1}}\n")).unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("line 2"));
    }
}
