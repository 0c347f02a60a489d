//! The kernel's word that something about a USB device has changed, and udev's that it has seen to it. Described by the
//! kernel's `lib/kobject_uevent.c` and by udev's `device-monitor.c`.
//!
//! Who has come or gone is not read from it: whoever hears a word looks for themselves. Only the kernel and root can
//! send one. Some are lost, and where there is a namespace in between none may come: the clock is looked at, too.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::transfers::registered;

/// What the kernel says, and what udev says when its rules have been applied.
const GROUPS: u32 = 1 | 2;
/// The kernel's own bound is 2 KiB; udev adds what its rules did. What is longer is cut.
const WORD_BYTES_MAX: usize = 8 << 10;
/// Words that are heard at once at most: in a storm of them there is always one more.
const WORDS_MAX: usize = 1024;
/// Stands in every word about a USB device or one of its interfaces.
const OF_USB: &[u8] = b"\0SUBSYSTEM=usb\0";

/// A place among those who are told.
#[derive(Debug)]
pub(super) struct Uevents(AsyncFd<OwnedFd>);

impl Uevents {
    /// Within a runtime.
    ///
    /// # Errors
    /// When this program may not listen.
    pub(super) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(KOBJECT_UEVENT))?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        registered(socket, Interest::READABLE).map(Self)
    }

    /// Until something about a USB device has changed, or so much of anything that it was not all heard. All that was
    /// said until then is heard with it.
    ///
    /// # Errors
    /// When nothing more will be heard.
    pub(super) async fn next(&self) -> io::Result<()> {
        let mut word = [0; WORD_BYTES_MAX];
        loop {
            let mut ready = self.0.readable().await?;
            let mut changed = false;
            for _ in 0..WORDS_MAX {
                let heard = ready.try_io(|socket| {
                    let (bytes, _) = recv(socket, &mut word[..], RecvFlags::empty())?;
                    Ok(bytes)
                });
                match heard {
                    Ok(Ok(bytes)) => changed |= is_of_usb(&word[..bytes]),
                    Ok(Err(error)) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                        changed = true;
                    }
                    Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(Err(error)) => return Err(error),
                    Err(_nothing_more) => break,
                }
            }
            if changed {
                return Ok(());
            }
        }
    }
}

fn is_of_usb(word: &[u8]) -> bool {
    word.windows(OF_USB.len()).any(|part| part == OF_USB)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_words_about_usb_count() {
        let word = b"add@/devices/pci0000:00/usb1/1-2\0ACTION=add\0SUBSYSTEM=usb\0MAJOR=189\0";
        assert!(is_of_usb(word));
        for cut in 0..word.len() - b"MAJOR=189\0".len() {
            assert!(!is_of_usb(&word[..cut]), "{cut}");
        }
        for other in
            [&b"add@/devices/usb1\0SUBSYSTEM=usbmon\0"[..], b"change@/devices/a\0SUBSYSTEM=block\0", b""]
        {
            assert!(!is_of_usb(other));
        }
    }

    #[tokio::test]
    async fn whoever_listens_waits() {
        // Where this may not be listened to there is nothing to be seen.
        if let Ok(uevents) = Uevents::open() {
            let waited = tokio::time::timeout(Duration::from_millis(20), uevents.next()).await;
            assert!(waited.is_err() || waited.is_ok_and(|heard| heard.is_ok()));
        }
    }
}
