//! Who manages the phone: configuration profiles and supervision, from `com.apple.mobile.MCInstall`.
//!
//! Requests and replies as in pymobiledevice3's `mobile_config.py`. Which restrictions are in force is not told over
//! USB; the names of the profiles are.

use std::time::Duration;

use plist::{Dictionary, Value};
use tokio::time::timeout;

use super::{quick::not_started, words};
use crate::facts::text::plain;
use crate::facts::{Fact, Facts, Source};
use crate::frame::{self, DictExt, Encoding, Limits};
use crate::lockdown::Session;

const SERVICE: &str = "com.apple.mobile.MCInstall";
/// How long both questions may take together.
const WAIT: Duration = Duration::from_secs(8);
/// Profiles that are listed.
const PROFILES_MAX: usize = 200;

/// The two replies.
pub(super) struct Answers {
    profiles: Result<Dictionary, String>,
    configuration: Result<Dictionary, String>,
}

/// Asks both.
pub(super) async fn ask(session: &Session) -> Answers {
    let asked = timeout(WAIT, async {
        let mut stream =
            session.start_service(SERVICE).await.map_err(|error| not_started(SERVICE, &error))?;
        let profiles = request(&mut stream, "GetProfileList").await;
        let configuration = request(&mut stream, "GetCloudConfiguration").await;
        Ok::<_, String>(Answers { profiles, configuration })
    });
    let failed = |reason: String| Answers { profiles: Err(reason.clone()), configuration: Err(reason) };
    match asked.await {
        Ok(Ok(answers)) => answers,
        Ok(Err(reason)) => failed(reason),
        Err(_) => failed(format!("{SERVICE} did not answer in time")),
    }
}

async fn request(stream: &mut crate::usbmux::Stream, kind: &str) -> Result<Dictionary, String> {
    let mut ask = Dictionary::new();
    ask.insert("RequestType".to_owned(), kind.into());
    let told = |error: frame::Error| format!("{kind}: {}", words(&error));
    frame::write(stream, &Value::Dictionary(ask), Encoding::Xml).await.map_err(told)?;
    let reply = frame::read(stream, &Limits::LOCKDOWN).await.map_err(told)?;
    let reply = reply.into_dictionary().ok_or_else(|| format!("{kind}: the answer is no dictionary"))?;
    match reply.string("Status") {
        Some("Acknowledged") => Ok(reply),
        status => Err(format!("{kind}: the phone answered {}", plain(status.unwrap_or("without a status")))),
    }
}

impl Answers {
    /// What they say.
    pub(super) fn tell(&self, facts: &mut Facts) {
        match self.profiles.as_ref().map_err(Clone::clone).and_then(names) {
            Ok(names) => {
                let source = Source::new("mcinstall:GetProfileList", "ProfileMetadata");
                facts.settings.profiles = Some(Fact::new(names, source));
            }
            Err(reason) => facts.gap("settings.profiles", reason),
        }
        match &self.configuration {
            Ok(reply) => {
                let configuration = reply.dict("CloudConfiguration");
                let supervised =
                    configuration.map(|c| c.boolean("IsSupervised").ok_or(c.contains_key("IsSupervised")));
                let source = Source::new("mcinstall:GetCloudConfiguration", "IsSupervised");
                match supervised {
                    Some(Ok(supervised)) => facts.settings.supervised = Some(Fact::new(supervised, source)),
                    Some(Err(true)) => {
                        facts.gap("settings.supervised", "IsSupervised holds what cannot be understood");
                    }
                    // A phone that was never enrolled has nothing to say.
                    Some(Err(false)) | None => {}
                }
            }
            Err(reason) => facts.gap("settings.supervised", reason.clone()),
        }
    }
}

/// The profiles' display names, in the phone's order; a profile without one by its identifier.
fn names(reply: &Dictionary) -> Result<Vec<String>, String> {
    let ids = reply.array("OrderedIdentifiers").ok_or("GetProfileList: no list of identifiers")?;
    let metadata = reply.dict("ProfileMetadata");
    let name = |id: &str| {
        let shown = metadata.and_then(|all| all.dict(id)).and_then(|one| one.string("PayloadDisplayName"));
        plain(shown.unwrap_or(id))
    };
    Ok(ids.iter().filter_map(Value::as_string).take(PROFILES_MAX).map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::value;

    fn dictionary(entries: &[(&str, Value)]) -> Dictionary {
        entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }

    fn told(profiles: Result<Dictionary, String>, configuration: Result<Dictionary, String>) -> Facts {
        let mut facts = Facts::default();
        Answers { profiles, configuration }.tell(&mut facts);
        facts
    }

    #[test]
    fn a_managed_phone_names_its_profiles() {
        let named = dictionary(&[("PayloadDisplayName", "ACME \u{1b}[31mMDM".into())]);
        let metadata = dictionary(&[("com.acme.mdm", Value::Dictionary(named))]);
        let ids = Value::Array(vec!["com.acme.mdm".into(), "com.acme.wifi".into(), 7.into()]);
        let profiles =
            dictionary(&[("OrderedIdentifiers", ids), ("ProfileMetadata", Value::Dictionary(metadata))]);
        let cloud = dictionary(&[("IsSupervised", true.into())]);
        let facts = told(Ok(profiles), Ok(dictionary(&[("CloudConfiguration", Value::Dictionary(cloud))])));
        assert_eq!(value(&facts.settings.profiles).unwrap(), ["ACME \u{FFFD}[31mMDM", "com.acme.wifi"]);
        assert_eq!(value(&facts.settings.supervised), Some(true));
    }

    #[test]
    fn a_private_phone_has_none() {
        let profiles = dictionary(&[("OrderedIdentifiers", Value::Array(Vec::new()))]);
        let empty = dictionary(&[("CloudConfiguration", Value::Dictionary(Dictionary::new()))]);
        let facts = told(Ok(profiles), Ok(empty));
        assert_eq!(value(&facts.settings.profiles), Some(Vec::new()));
        assert!(facts.settings.supervised.is_none() && facts.gaps.is_empty());
    }

    #[test]
    fn what_cannot_be_understood_is_a_gap() {
        let cloud = dictionary(&[("IsSupervised", "maybe".into())]);
        let facts =
            told(Ok(Dictionary::new()), Ok(dictionary(&[("CloudConfiguration", Value::Dictionary(cloud))])));
        assert!(facts.gap_of("settings.profiles").is_some() && facts.gap_of("settings.supervised").is_some());
        let facts = told(Err("refused".into()), Err("refused".into()));
        assert_eq!(facts.gap_of("settings.supervised").unwrap().reason, "refused");
    }
}
