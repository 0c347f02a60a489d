//! Where a usbmuxd listens: the forms of `USBMUXD_SOCKET_ADDRESS` that the tools of this field know.
//!
//! libimobiledevice writes `UNIX:/path` or `host:port`, go-ios `unix:///path`, pymobiledevice3 a bare path.

use std::path::PathBuf;

use super::Error;

/// The environment variable that names another usbmuxd than the system's.
pub const ENVIRONMENT_VARIABLE: &str = "USBMUXD_SOCKET_ADDRESS";

/// Where the system's usbmuxd listens.
pub const SYSTEM_SOCKET: &str = "/var/run/usbmuxd";

/// The address of a usbmuxd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// `host:port`; an IPv6 host stands in brackets.
    Tcp(String),
}

impl Address {
    /// Reads `UNIX:/path`, `unix:///path` (in any case of letters), `/path` or `host:port`.
    ///
    /// # Errors
    /// [`Error::BadAddress`] with the text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = || Error::BadAddress(text.to_owned());
        if let Some(path) = unix_path(text) {
            return if path.starts_with('/') { Ok(Self::Unix(PathBuf::from(path))) } else { Err(bad()) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let host_is_plain = !host.is_empty() && (bracketed || !host.contains(':')) && !host.contains('/');
        match port.parse::<u16>() {
            Ok(1..) if host_is_plain => Ok(Self::Tcp(text.to_owned())),
            _ => Err(bad()),
        }
    }

    /// Whether `USBMUXD_SOCKET_ADDRESS` says anything.
    #[must_use]
    pub fn is_in_env() -> bool {
        std::env::var_os(ENVIRONMENT_VARIABLE).is_some_and(|text| !text.is_empty())
    }

    /// What `USBMUXD_SOCKET_ADDRESS` says; without it the system's socket.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    pub fn from_env() -> Result<Self, Error> {
        match std::env::var_os(ENVIRONMENT_VARIABLE) {
            None => Ok(Self::Unix(PathBuf::from(SYSTEM_SOCKET))),
            Some(text) if text.is_empty() => Ok(Self::Unix(PathBuf::from(SYSTEM_SOCKET))),
            Some(text) => {
                Self::parse(text.to_str().ok_or_else(|| Error::BadAddress(text.to_string_lossy().into()))?)
            }
        }
    }
}

/// The path if `text` speaks of a Unix socket.
fn unix_path(text: &str) -> Option<&str> {
    if text.starts_with('/') {
        return Some(text);
    }
    let (scheme, rest) = text.split_at_checked("unix:".len())?;
    if !scheme.eq_ignore_ascii_case("unix:") {
        return None;
    }
    Some(rest.strip_prefix("//").unwrap_or(rest))
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_tools_write_is_read() {
        for form in ["UNIX:/tmp/mux", "unix:///tmp/mux", "UNIX:///tmp/mux", "Unix:/tmp/mux", "/tmp/mux"] {
            assert_eq!(Address::parse(form).unwrap(), Address::Unix("/tmp/mux".into()), "{form}");
        }
        for form in ["localhost:27015", "127.0.0.1:27015", "[::1]:27015"] {
            assert_eq!(Address::parse(form).unwrap(), Address::Tcp(form.into()));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_text() {
        for form in [
            "",
            "usbmuxd",
            "UNIX:",
            "UNIX:relative",
            ":27015",
            "host:",
            "host:0",
            "host:99999",
            "::1:2",
            "a/b:2",
        ] {
            assert!(matches!(Address::parse(form), Err(Error::BadAddress(text)) if text == form), "{form}");
        }
    }
}
