//! Doors for `fuzz/` to parsers that nobody else calls from outside. Nothing in the program uses them.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Reads a USB/IP host's words, as long as they are well formed: first what it asks, then its commands.
pub fn usbip(bytes: &[u8]) {
    crate::sim::usb::usbip::read_all(bytes);
}

/// Whether these bytes are a whole picture or clip of that name.
#[must_use]
pub fn is_whole(bytes: &[u8], name: &str) -> bool {
    thread_local! {
        static FILE: File = tempfile::tempfile().expect("a temporary file");
    }
    FILE.with(|file| {
        let filled = file.set_len(0).and_then(|()| file.write_all_at(bytes, 0));
        filled.and_then(|()| crate::photos::whole::is_whole(file, name)).unwrap_or(false)
    })
}

/// Reads the orientation of an Exif block and sets it upright.
pub fn upright(bytes: &[u8]) {
    crate::photos::upright(bytes);
}
