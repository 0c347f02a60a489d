//! A path as a phone names it, checked before it means anything; and why a wish of the phone's is not granted.

use std::io;

use super::super::codes;
use super::super::message::PATH_BYTES_MAX;
use crate::usbmux::Udid;

/// Deepest path that is accepted; real ones have three components.
pub(super) const DEPTH_MAX: usize = 16;

/// Why a wish was not granted.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// The path is none that a device may name.
    #[error("the phone named the path {path:?}, which {why}")]
    Path {
        /// The path: text from the phone.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The disk refused.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Denied {
    /// The status code for the phone.
    #[must_use]
    pub fn code(&self) -> i64 {
        match self {
            Self::Path { .. } => codes::GENERIC,
            Self::Io(error) => codes::of_io(error),
        }
    }
}

/// A path below the device's folder, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub(super) components: Vec<String>,
}

impl Place {
    /// Checks a path as a device names it: the UDID, then plain components. One leading slash is what some systems send.
    ///
    /// # Errors
    /// [`Denied::Path`] for everything else.
    pub fn parse(udid: &Udid, path: &str) -> Result<Self, Denied> {
        let deny = |why| Err(Denied::Path { path: path.chars().take(256).collect(), why });
        if path.len() > PATH_BYTES_MAX {
            return deny("is too long");
        }
        if path.contains('\0') {
            return deny("holds a NUL");
        }
        let mut components = path.strip_prefix('/').unwrap_or(path).split('/');
        if components.next() != Some(udid.as_str()) {
            return deny("does not begin with the phone's own folder");
        }
        let components: Vec<String> = components.map(str::to_owned).collect();
        if components.len() > DEPTH_MAX {
            return deny("is too deep");
        }
        if components.iter().any(|part| part.is_empty() || part == "." || part == "..") {
            return deny("holds an empty component, `.` or `..`");
        }
        Ok(Self { components })
    }

    /// The path below the device's folder; empty for the folder itself.
    #[must_use]
    pub fn relative(&self) -> String {
        self.components.join("/")
    }

    pub(super) fn is_root(&self) -> bool {
        self.components.is_empty()
    }

    pub(super) fn split(&self) -> Option<(&[String], &str)> {
        self.components.split_last().map(|(name, parents)| (parents, name.as_str()))
    }

    pub(super) fn child(&self, name: &str) -> Self {
        let mut components = self.components.clone();
        components.push(name.to_owned());
        Self { components }
    }
}
