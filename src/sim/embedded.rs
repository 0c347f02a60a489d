//! The XML property list inside a signed message, as configuration and provisioning profiles carry it in plain sight
//! (RFC 5652 SignedData with its content inside). The signature around it is not looked at.

use plist::{Dictionary, Value};

use crate::frame::{self, Limits};

/// Larger than any profile that a host sends.
const LIMITS: Limits = Limits { bytes: 1 << 20, depth: 32, nodes: 20_000 };

/// The property list in `bytes`: all of it, or the XML one inside.
pub(super) fn embedded_plist(bytes: &[u8]) -> Option<Dictionary> {
    let begin = find(bytes, b"<?xml").unwrap_or(0);
    let inside = &bytes[begin..];
    let end = find(inside, b"</plist>").map_or(inside.len(), |end| end + b"</plist>".len());
    frame::parse(&inside[..end], &LIMITS).ok().and_then(Value::into_dictionary)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::DictExt;

    #[test]
    fn a_list_is_found_alone_and_inside_a_message() {
        let xml = b"<?xml version=\"1.0\"?><plist version=\"1.0\"><dict><key>a</key><string>b</string></dict></plist>";
        for bytes in [xml.to_vec(), [b"\x30\x82\x00\x00", &xml[..], b"\xff\xff"].concat()] {
            assert_eq!(embedded_plist(&bytes).unwrap().string("a"), Some("b"));
        }
        for length in 0..xml.len() {
            let _ = embedded_plist(&xml[..length]);
        }
        assert!(embedded_plist(b"").is_none() && embedded_plist(b"</plist><?xml").is_none());
    }
}
