//! `com.apple.misagent`: provisioning profiles, kept as they were sent. Requests as in libimobiledevice misagent.c and
//! pymobiledevice3 misagent.py.
//!
//! A profile is a signed message with an XML property list inside; the signature is not looked at.

use std::io;
use std::sync::Arc;

use plist::{Dictionary, Value};

use super::device::Device;
use super::embedded::embedded_plist;
use super::healthy::dictionary;
use super::plists::{reply, request};
use crate::frame::{self, DictExt, Limits};
use crate::usbmux::Stream;

/// The file of `state/`: an array of profiles.
const FILE: &str = "provisioning.plist";
/// Profiles that a phone keeps.
const PROFILES_MAX: usize = 256;
/// `kAMDInvalidArgumentError`-like: the request or the profile makes no sense.
const INVALID: u64 = 0xe800_0007;
/// There is no such profile, or the request is not known.
const NOT_FOUND: u64 = 0xe800_8005;

/// Serves one connection.
pub(super) async fn serve(mut stream: Stream, device: Arc<Device>) -> io::Result<()> {
    while let Some(asked) = request(&mut stream).await? {
        reply(&mut stream, answer(&device, &asked)?).await?;
    }
    Ok(())
}

fn answer(device: &Device, asked: &Dictionary) -> io::Result<Dictionary> {
    if asked.string("ProfileType") != Some("Provisioning") {
        return Ok(status(INVALID));
    }
    let _alone = device.remembering();
    let mut profiles = kept(device)?;
    match asked.string("MessageType") {
        Some("Copy" | "CopyAll") => {
            let payload = Value::Array(profiles.into_iter().map(Value::Data).collect());
            Ok(dictionary! {"Status": 0_u64, "Payload": payload})
        }
        Some("Install") => {
            let Some((profile, id)) = asked.data("Profile").and_then(|bytes| Some((bytes, uuid(bytes)?)))
            else {
                return Ok(status(INVALID));
            };
            profiles.retain(|other| uuid(other).as_deref() != Some(&id));
            if profiles.len() >= PROFILES_MAX {
                return Ok(status(INVALID));
            }
            profiles.push(profile.to_vec());
            keep(device, profiles)?;
            Ok(status(0))
        }
        Some("Remove") => {
            let before = profiles.len();
            let id = asked.string("ProfileID").unwrap_or_default();
            profiles.retain(|profile| uuid(profile).as_deref() != Some(id));
            if profiles.len() == before {
                return Ok(status(NOT_FOUND));
            }
            keep(device, profiles)?;
            Ok(status(0))
        }
        _ => Ok(status(NOT_FOUND)),
    }
}

fn status(code: u64) -> Dictionary {
    dictionary! {"Status": code}
}

/// The id by which a profile is removed.
fn uuid(profile: &[u8]) -> Option<String> {
    embedded_plist(profile)?.string("UUID").map(str::to_owned)
}

fn kept(device: &Device) -> io::Result<Vec<Vec<u8>>> {
    let kept = device.read_state(FILE)?.and_then(|bytes| frame::parse(&bytes, &Limits::FILE).ok());
    let kept = kept.and_then(Value::into_array).unwrap_or_default();
    Ok(kept.into_iter().filter_map(Value::into_data).take(PROFILES_MAX).collect())
}

fn keep(device: &Device, profiles: Vec<Vec<u8>>) -> io::Result<()> {
    let all = Value::Array(profiles.into_iter().map(Value::Data).collect());
    device.write_state(FILE, &frame::to_binary(&all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(id: &str) -> Vec<u8> {
        let plist = dictionary! {"UUID": id, "Name": "A developer's"};
        [b"\x30\x80signed", &frame::to_xml(&Value::Dictionary(plist))[..], b"\x00signature"].concat()
    }

    fn ask(device: &Device, kind: &str, more: Dictionary) -> Dictionary {
        let mut asked = dictionary! {"MessageType": kind, "ProfileType": "Provisioning"};
        asked.extend(more);
        answer(device, &asked).unwrap()
    }

    #[test]
    fn a_profile_is_kept_as_it_came_and_goes_by_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::open(folder.path(), false).unwrap();
        let all = || ask(&device, "CopyAll", Dictionary::new()).array("Payload").unwrap().to_vec();
        assert!(all().is_empty());
        for id in ["A", "B", "A"] {
            let told = ask(&device, "Install", dictionary! {"Profile": Value::Data(profile(id))});
            assert_eq!(told.uint("Status"), Some(0));
        }
        assert_eq!(all(), [Value::Data(profile("B")), Value::Data(profile("A"))]);
        assert_eq!(ask(&device, "Remove", dictionary! {"ProfileID": "C"}).uint("Status"), Some(NOT_FOUND));
        assert_eq!(ask(&device, "Remove", dictionary! {"ProfileID": "B"}).uint("Status"), Some(0));
        assert_eq!(all(), [Value::Data(profile("A"))]);
    }

    #[test]
    fn what_is_no_profile_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::open(folder.path(), false).unwrap();
        for wrong in [&b"nothing"[..], b"<?xml <plist></plist>", b""] {
            let told = ask(&device, "Install", dictionary! {"Profile": Value::Data(wrong.to_vec())});
            assert_eq!(told.uint("Status"), Some(INVALID));
        }
        assert_eq!(answer(&device, &Dictionary::new()).unwrap().uint("Status"), Some(INVALID));
        assert_eq!(ask(&device, "Dance", Dictionary::new()).uint("Status"), Some(NOT_FOUND));
    }
}
