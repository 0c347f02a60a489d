//! One line of the manifest: what it notes, and how it is written.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Unusable;
use crate::facts::ResourceKind;
use crate::facts::path::is_clean_relative;
use crate::photos::digest_of_hex;
use crate::photos::names::local_path;
use crate::photos::store::PHOTOS;
use crate::usbmux::Udid;

/// What the first line says.
pub(in crate::photos) const SCHEMA: &str = "idevice-fix/photos-manifest/1";

/// Where a file of the copy came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The phone, over AFC.
    Afc,
    /// A local backup of the phone.
    Backup,
    /// The owner's own download.
    Adopted,
}

/// A file of the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Bytes.
    pub size: u64,
    /// SHA-256 of what was received.
    pub sha256: [u8; 32],
    /// The phone's modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// The phone's birth time, nanoseconds since 1970.
    pub birthtime_ns: i64,
    /// Where it came from.
    pub source: Source,
    /// Its container is structurally whole (`true` also for kinds without a check).
    pub whole: bool,
    /// The library's name of its asset, where it was known.
    pub asset: Option<String>,
    /// Which of the asset's originals it is: said of what was adopted, since its path does not tell.
    pub part: Option<ResourceKind>,
    /// A later look at the copy found it damaged: how. Such a file counts as not copied.
    pub damaged: Option<String>,
    /// In Recently Deleted, and since when where that is noted.
    pub trashed: Option<Option<Timestamp>>,
    /// Where it is below `photos/`, when this computer cannot hold it under its own name.
    pub stored_as: Option<String>,
}

impl Entry {
    /// Where the file of the phone's `path` is, in the device's folder.
    #[must_use]
    pub fn local(&self, path: &str) -> String {
        match &self.stored_as {
            Some(stored_as) => format!("{PHOTOS}/{stored_as}"),
            None => format!("{PHOTOS}/{}", local_path(path)),
        }
    }
}

/// One line. What stands in it says what it is.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    udid: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime_ns: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    birthtime_ns: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
    #[serde(skip_serializing_if = "Option::is_none")]
    whole: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asset: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<ResourceKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_as: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recently_deleted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_as: Option<String>,
}

impl Line {
    /// The first of a manifest.
    pub(super) fn first(udid: &Udid) -> Self {
        Self { schema: Some(SCHEMA.into()), udid: Some(udid.to_string()), ..Self::default() }
    }
}

/// Something to note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::photos) enum Note {
    /// The copy holds this file.
    Copied(String, Entry),
    /// This could not be copied, and why.
    Refused(String, String),
    /// This was found damaged, and how.
    Damaged(String, String),
    /// An older file of this path was kept under another name.
    Kept(String, String),
    /// The owner deleted it, or took it back: whether and since when it is in Recently Deleted.
    Trashed(String, Option<Option<Timestamp>>),
}

impl Note {
    pub(super) fn line(&self) -> Line {
        match self {
            Note::Copied(path, entry) => Line {
                path: path.clone(),
                size: Some(entry.size),
                sha256: Some(hex::encode(entry.sha256)),
                mtime_ns: Some(entry.mtime_ns),
                birthtime_ns: Some(entry.birthtime_ns),
                source: Some(entry.source),
                whole: Some(entry.whole),
                asset: entry.asset.clone(),
                part: entry.part,
                recently_deleted: entry.trashed.map(|_| true),
                deleted_at: entry.trashed.flatten(),
                stored_as: entry.stored_as.clone(),
                ..Line::default()
            },
            Note::Refused(path, why) => {
                Line { path: path.clone(), refused: Some(why.clone()), ..Line::default() }
            }
            Note::Damaged(path, how) => {
                Line { path: path.clone(), damaged: Some(how.clone()), ..Line::default() }
            }
            Note::Kept(path, name) => {
                Line { path: path.clone(), kept_as: Some(name.clone()), ..Line::default() }
            }
            Note::Trashed(path, trashed) => Line {
                path: path.clone(),
                recently_deleted: Some(trashed.is_some()),
                deleted_at: trashed.flatten(),
                ..Line::default()
            },
        }
    }
}

/// Whether the first line is that of a manifest of `udid`.
pub(super) fn is_ours(first: &[u8], udid: &Udid) -> Result<(), Unusable> {
    let first: Line = serde_json::from_slice(first).unwrap_or_default();
    match first.schema.as_deref() {
        Some(SCHEMA) => {}
        Some(other) => {
            let other = crate::facts::text::plain(other);
            return Err(Unusable::Foreign(format!("the manifest has the schema {other:?}, not {SCHEMA:?}")));
        }
        None => return Err(Unusable::Foreign("the manifest does not begin with its schema".to_owned())),
    }
    if first.udid.as_deref() != Some(udid.as_str()) {
        return Err(Unusable::Foreign("the manifest is that of another device".to_owned()));
    }
    Ok(())
}

/// What a line notes; `None` for one that notes nothing we know.
pub(super) fn understand(line: Line) -> Option<Note> {
    if !is_clean_relative(&line.path) {
        return line.refused.map(|why| Note::Refused(line.path, why));
    }
    if let Some(why) = line.refused {
        return Some(Note::Refused(line.path, why));
    }
    if let Some(how) = line.damaged {
        return Some(Note::Damaged(line.path, how));
    }
    if let Some(name) = line.kept_as {
        return Some(Note::Kept(line.path, name));
    }
    let trashed = line.recently_deleted.filter(|is| *is).map(|_| line.deleted_at);
    if line.sha256.is_none() && line.recently_deleted.is_some() {
        return Some(Note::Trashed(line.path, trashed));
    }
    if line.stored_as.as_deref().is_some_and(|stored_as| !is_clean_relative(stored_as)) {
        return None;
    }
    let sha256 = digest_of_hex(&line.sha256?)?;
    let entry = Entry {
        size: line.size?,
        sha256,
        mtime_ns: line.mtime_ns?,
        birthtime_ns: line.birthtime_ns?,
        source: line.source?,
        whole: line.whole?,
        asset: line.asset,
        part: line.part,
        damaged: None,
        trashed,
        stored_as: line.stored_as,
    };
    Some(Note::Copied(line.path, entry))
}
