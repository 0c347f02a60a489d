//! How iOS versions differ on the wire.
//!
//! Sources: the traces in libimobiledevice #153, #694, #941, #998, #1379, #1540, go-ios #392, and pymobiledevice3's
//! diagnostics.py. What they contradict each other on is a setting in `device.toml`.

/// An iOS version, such as 18.4.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IosVersion {
    /// 18
    pub major: u32,
    /// 4
    pub minor: u32,
    /// 1
    pub patch: u32,
}

impl IosVersion {
    /// Reads `18`, `18.4` or `18.4.1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse::<u32>().ok());
        let major = parts.next()??;
        let mut next = || parts.next().unwrap_or(Some(0));
        let (minor, patch) = (next()?, next()?);
        parts.next().is_none().then_some(Self { major, minor, patch })
    }

    /// True from `major.minor` on.
    #[must_use]
    pub fn at_least(self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }

    /// The DeviceLink version that mobilebackup2 offers.
    #[must_use]
    pub fn devicelink(self) -> u64 {
        if self.at_least(14, 0) { 400 } else { 300 }
    }

    /// A backup asks for the passcode on the phone.
    #[must_use]
    pub fn asks_passcode_for_backup(self) -> bool {
        self.at_least(16, 1)
    }

    /// Changing the password of backups asks for the passcode on the phone (libimobiledevice #835).
    #[must_use]
    pub fn asks_passcode_for_password(self) -> bool {
        self.at_least(13, 0)
    }

    /// `diagnostics_relay` no longer answers MobileGestalt.
    #[must_use]
    pub fn mobile_gestalt_deprecated(self) -> bool {
        self.at_least(17, 4)
    }

    /// mobilebackup2 and notification_proxy speak TLS over USB.
    #[must_use]
    pub fn encrypts_sync_services(self) -> bool {
        self.at_least(12, 0)
    }
}

impl std::fmt::Display for IosVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch == 0 { Ok(()) } else { write!(f, ".{}", self.patch) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        let version = IosVersion::parse("16.1").unwrap();
        assert!(version.asks_passcode_for_backup() && !version.mobile_gestalt_deprecated());
        assert_eq!(IosVersion::parse("18.4.1").unwrap().to_string(), "18.4.1");
        assert_eq!(IosVersion::parse("26").unwrap().to_string(), "26.0");
        for wrong in ["", "x", "18.x", "1.2.3.4", "18."] {
            assert_eq!(IosVersion::parse(wrong), None, "{wrong:?}");
        }
    }
}
