//! A password or a key in memory: overwritten when dropped, and never in a log.

use plist::Value;

/// Bytes that nobody sees.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for the one who needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// As text, which a password must be to go over the wire; `None`: it is none.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Overwrites bytes that held a secret.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    // Keeps the write above from being optimised away.
    std::hint::black_box(bytes);
}

/// Overwrites every text in a message that held a secret.
pub(crate) fn wipe_texts(value: Value) {
    match value {
        Value::String(text) => wipe(&mut text.into_bytes()),
        Value::Array(elements) => elements.into_iter().for_each(wipe_texts),
        Value::Dictionary(entries) => entries.into_iter().for_each(|(_, value)| wipe_texts(value)),
        _ => {}
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        assert!(!format!("{:?}", Secret::new("hunter2")).contains("hunter2"));
    }

    #[test]
    fn a_password_is_text_or_none() {
        assert_eq!(Secret::new("päss").text(), Some("päss"));
        assert_eq!(Secret::new([0xFF]).text(), None);
    }
}
