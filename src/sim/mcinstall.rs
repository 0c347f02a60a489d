//! `com.apple.mobile.MCInstall`: configuration profiles and management. Requests as in pymobiledevice3
//! mobile_config.py and go-ios mcinstall.
//!
//! What `profiles.plist` says is the beginning; what hosts install, remove and set is laid over it in `state/`. A
//! profile that a host sends is taken as installed: the person at the phone agrees.

use std::io;
use std::sync::Arc;

use plist::{Dictionary, Value};

use super::device::Device;
use super::embedded::embedded_plist;
use super::healthy::dictionary;
use super::plists::{reply, request};
use crate::frame::{self, DictExt, Limits};
use crate::usbmux::Stream;

/// The file of `state/`: answers by request, as in `profiles.plist`.
const FILE: &str = "profiles.plist";
/// Profiles that a phone keeps.
const PROFILES_MAX: usize = 256;
/// Error codes of `MCInstallationErrorDomain` and its relatives; 14002 is known to clients, the others are ours.
const UNSUPPORTED: u64 = 12_000;
const BAD_PROFILE: u64 = 1_000;
const NOT_INSTALLED: u64 = 4_001;
const NOT_A_SUPERVISOR: u64 = 12_007;
const CLOUD_CONFIGURATION_PRESENT: u64 = 14_002;

/// What came of a request: what to add to `Acknowledged`, or a code and why.
type Answer = Result<Dictionary, (u64, &'static str)>;

/// Serves one connection.
pub(super) async fn serve(mut stream: Stream, device: Arc<Device>) -> io::Result<()> {
    let mut escalated = false;
    while let Some(asked) = request(&mut stream).await? {
        let answer = answer(&device, &asked, &mut escalated)?;
        reply(&mut stream, answer.map_or_else(refused, acknowledged)).await?;
    }
    Ok(())
}

/// The answers by request, as they are now.
pub(super) fn told(device: &Device) -> Dictionary {
    let kept = device.read_state(FILE).ok().flatten();
    let kept = kept.and_then(|bytes| frame::parse(&bytes, &Limits::FILE).ok()?.into_dictionary());
    kept.unwrap_or_else(|| device.profiles().clone())
}

fn keep(device: &Device, told: Dictionary) -> io::Result<Answer> {
    device.write_state(FILE, &frame::to_binary(&Value::Dictionary(told)))?;
    device.post_notification("com.apple.ManagedConfiguration.profileListChanged");
    Ok(Ok(Dictionary::new()))
}

fn answer(device: &Device, asked: &Dictionary, escalated: &mut bool) -> io::Result<Answer> {
    let _alone = device.remembering();
    Ok(match asked.string("RequestType") {
        Some("HelloHostIdentifier" | "Flush" | "SetWiFiPowerState") => Ok(Dictionary::new()),
        Some("InstallProfile") => return install(device, asked),
        Some("InstallProfileSilent") if *escalated => return install(device, asked),
        Some("InstallProfileSilent") => Err((NOT_A_SUPERVISOR, "The host has not shown that it supervises.")),
        Some("RemoveProfile") => return remove(device, asked),
        Some("SetCloudConfiguration") => return set_cloud_configuration(device, asked),
        Some("StoreProfile") => return store(device, asked),
        Some("GetStoredProfile") => Ok(stored(device, asked)),
        Some("Escalate") => {
            let certificate = asked.data("SupervisorCertificate").unwrap_or_default();
            let challenge = device.challenges(certificate);
            let challenge = challenge.ok_or((NOT_A_SUPERVISOR, "The host does not supervise this phone."));
            challenge.map(|challenge| dictionary! {"Challenge": Value::Data(challenge)})
        }
        Some("EscalateResponse") => {
            *escalated = device.is_answered(asked.data("SignedRequest").unwrap_or_default());
            let wrong = (NOT_A_SUPERVISOR, "The challenge was not signed by a supervisor.");
            escalated.then(Dictionary::new).ok_or(wrong)
        }
        Some("ProceedWithKeybagMigration") if *escalated => Ok(Dictionary::new()),
        Some(kind) => told(device).dict(kind).cloned().ok_or((UNSUPPORTED, "The request is not supported.")),
        None => Err((UNSUPPORTED, "The request has no type.")),
    })
}

fn install(device: &Device, asked: &Dictionary) -> io::Result<Answer> {
    let profile = asked.data("Payload").and_then(embedded_plist).unwrap_or_default();
    let Some(id) = profile.string("PayloadIdentifier").filter(|id| !id.is_empty()) else {
        return Ok(Err((BAD_PROFILE, "The profile is invalid.")));
    };
    let mut told = told(device);
    let list = list(&mut told);
    if count(list) >= PROFILES_MAX {
        return Ok(Err((BAD_PROFILE, "There are too many profiles.")));
    }
    let known = ["Description", "DisplayName", "Organization", "RemovalDisallowed", "UUID", "Version"];
    let metadata: Dictionary = known
        .iter()
        .map(|key| format!("Payload{key}"))
        .filter_map(|key| profile.get(&key).map(|value| (key, value.clone())))
        .collect();
    let description = profile.string("PayloadDescription").unwrap_or_default();
    let manifest = dictionary! {"Description": description, "IsActive": true};
    entry(list, "ProfileMetadata").insert(id.to_owned(), Value::Dictionary(metadata));
    entry(list, "ProfileManifest").insert(id.to_owned(), Value::Dictionary(manifest));
    let mut ids = identifiers(list, id);
    ids.push(id.into());
    list.insert("OrderedIdentifiers".to_owned(), Value::Array(ids));
    keep(device, told)
}

fn remove(device: &Device, asked: &Dictionary) -> io::Result<Answer> {
    let named = asked.data("ProfileIdentifier").and_then(embedded_plist).unwrap_or_default();
    let id = named.string("PayloadIdentifier").unwrap_or_default();
    let mut told = told(device);
    let list = list(&mut told);
    let metadata = entry(list, "ProfileMetadata");
    let Some(profile) = metadata.dict(id) else {
        return Ok(Err((NOT_INSTALLED, "The profile is not installed.")));
    };
    if profile.boolean("PayloadRemovalDisallowed") == Some(true) {
        return Ok(Err((NOT_INSTALLED, "The profile may not be removed.")));
    }
    metadata.remove(id);
    entry(list, "ProfileManifest").remove(id);
    let ids = identifiers(list, id);
    list.insert("OrderedIdentifiers".to_owned(), Value::Array(ids));
    keep(device, told)
}

/// A phone that has one says so; only erasing it makes room for another.
fn set_cloud_configuration(device: &Device, asked: &Dictionary) -> io::Result<Answer> {
    let Some(configuration) = asked.dict("CloudConfiguration") else {
        return Ok(Err((UNSUPPORTED, "The request has no configuration.")));
    };
    let mut told = told(device);
    let answer = entry(&mut told, "GetCloudConfiguration");
    let present = entry(answer, "CloudConfiguration");
    let supervised = present.boolean("IsSupervised") == Some(true);
    if supervised || present.boolean("ConfigurationWasApplied") == Some(true) {
        return Ok(Err((CLOUD_CONFIGURATION_PRESENT, "A cloud configuration is already present.")));
    }
    *present = configuration.clone();
    keep(device, told)
}

fn store(device: &Device, asked: &Dictionary) -> io::Result<Answer> {
    let (Some(purpose), Some(profile)) = (asked.string("Purpose"), asked.data("ProfileData")) else {
        return Ok(Err((BAD_PROFILE, "The profile is invalid.")));
    };
    let mut told = told(device);
    let all = entry(&mut told, "GetStoredProfile");
    if all.len() >= PROFILES_MAX {
        return Ok(Err((BAD_PROFILE, "There are too many profiles.")));
    }
    all.insert(purpose.to_owned(), Value::Data(profile.to_vec()));
    keep(device, told)
}

fn stored(device: &Device, asked: &Dictionary) -> Dictionary {
    let told = told(device);
    let purpose = asked.string("Purpose").unwrap_or_default();
    let profile = told.dict("GetStoredProfile").and_then(|all| all.get(purpose));
    profile.map_or_else(Dictionary::new, |profile| dictionary! {"ProfileData": profile.clone()})
}

fn list(told: &mut Dictionary) -> &mut Dictionary {
    entry(told, "GetProfileList")
}

fn count(list: &Dictionary) -> usize {
    list.dict("ProfileMetadata").map_or(0, Dictionary::len)
}

/// The identifiers in their order, without this one.
fn identifiers(list: &Dictionary, without: &str) -> Vec<Value> {
    let all = list.array("OrderedIdentifiers").unwrap_or_default().iter();
    all.filter(|id| id.as_string() != Some(without)).cloned().collect()
}

/// The dictionary at `key`, made if there is none.
fn entry<'d>(dictionary: &'d mut Dictionary, key: &str) -> &'d mut Dictionary {
    if dictionary.dict(key).is_none() {
        dictionary.insert(key.to_owned(), Value::Dictionary(Dictionary::new()));
    }
    dictionary.get_mut(key).and_then(Value::as_dictionary_mut).expect("it was there or was just put there")
}

fn acknowledged(mut told: Dictionary) -> Dictionary {
    if !told.contains_key("Status") {
        told.insert("Status".to_owned(), "Acknowledged".into());
    }
    told
}

fn refused((code, why): (u64, &'static str)) -> Dictionary {
    let error = dictionary! {
        "ErrorCode": code, "ErrorDomain": "MCInstallationErrorDomain",
        "LocalizedDescription": why, "USEnglishDescription": why,
    };
    dictionary! {"Status": "Error", "ErrorChain": Value::Array(vec![Value::Dictionary(error)])}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::supervision::testing::Supervisor;

    fn phone() -> (tempfile::TempDir, Arc<Device>) {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::open(folder.path(), false).unwrap();
        (folder, device)
    }

    fn ask(device: &Device, kind: &str, mut more: Dictionary) -> Answer {
        more.insert("RequestType".to_owned(), kind.into());
        answer(device, &more, &mut false).unwrap()
    }

    fn profile(id: &str, stays: bool) -> Value {
        let profile = dictionary! {
            "PayloadIdentifier": id, "PayloadUUID": "U", "PayloadVersion": 1,
            "PayloadDisplayName": "School", "PayloadRemovalDisallowed": stays,
        };
        Value::Data(frame::to_xml(&Value::Dictionary(profile)))
    }

    fn ids(device: &Device) -> Vec<Value> {
        let list = ask(device, "GetProfileList", Dictionary::new()).unwrap();
        assert_eq!(list.dict("ProfileMetadata").unwrap().len(), count(&list));
        list.array("OrderedIdentifiers").unwrap().to_vec()
    }

    #[test]
    fn profiles_come_and_go_and_one_that_must_stay_stays() {
        let (_folder, device) = phone();
        assert!(ids(&device).is_empty());
        for (id, stays) in [("a", false), ("b", true), ("a", false)] {
            ask(&device, "InstallProfile", dictionary! {"Payload": profile(id, stays)}).unwrap();
        }
        assert_eq!(ids(&device), ["b".into(), "a".into()]);
        let remove =
            |id| ask(&device, "RemoveProfile", dictionary! {"ProfileIdentifier": profile(id, false)});
        assert!(remove("a").is_ok());
        assert_eq!(remove("a").unwrap_err().0, NOT_INSTALLED);
        assert!(remove("b").is_err());
        assert_eq!(ids(&device), ["b".into()]);
        let nonsense = ask(&device, "InstallProfile", dictionary! {"Payload": Value::Data(b"x".to_vec())});
        assert_eq!(nonsense.unwrap_err().0, BAD_PROFILE);
        assert_eq!(ask(&device, "EraseDevice", Dictionary::new()).unwrap_err().0, UNSUPPORTED);
    }

    #[test]
    fn a_phone_is_supervised_once_and_knows_its_supervisor_then() {
        let (_folder, device) = phone();
        let (ours, other) = (Supervisor::new(), Supervisor::new());
        let certificates = Value::Array(vec![Value::Data(ours.certificate.clone())]);
        let cloud = dictionary! {"IsSupervised": true, "SupervisorHostCertificates": certificates};
        let set = dictionary! {"CloudConfiguration": Value::Dictionary(cloud)};
        ask(&device, "SetCloudConfiguration", set.clone()).unwrap();
        assert_eq!(ask(&device, "SetCloudConfiguration", set).unwrap_err().0, CLOUD_CONFIGURATION_PRESENT);
        let escalate = |who: &Supervisor| {
            let certificate = Value::Data(who.certificate.clone());
            ask(&device, "Escalate", dictionary! {"SupervisorCertificate": certificate})
        };
        assert_eq!(escalate(&other).unwrap_err().0, NOT_A_SUPERVISOR);
        let mut escalated = false;
        for (who, right) in [(&other, false), (&ours, true)] {
            let challenge = escalate(&ours).unwrap().data("Challenge").unwrap().to_vec();
            let signed = Value::Data(who.signed(&challenge, true));
            let response = dictionary! {"RequestType": "EscalateResponse", "SignedRequest": signed};
            assert_eq!(answer(&device, &response, &mut escalated).unwrap().is_ok(), right);
            let silent = dictionary! {"RequestType": "InstallProfileSilent", "Payload": profile("s", false)};
            assert_eq!(answer(&device, &silent, &mut escalated).unwrap().is_ok(), right);
        }
    }

    #[test]
    fn a_profile_is_stored_for_its_purpose() {
        let (_folder, device) = phone();
        let purpose = dictionary! {"Purpose": "PostSetupInstallation"};
        assert!(ask(&device, "GetStoredProfile", purpose.clone()).unwrap().is_empty());
        let mut stored = purpose.clone();
        stored.insert("ProfileData".to_owned(), Value::Data(vec![7]));
        ask(&device, "StoreProfile", stored).unwrap();
        let told = ask(&device, "GetStoredProfile", purpose).unwrap();
        assert_eq!(told.data("ProfileData"), Some(&[7][..]));
    }
}
