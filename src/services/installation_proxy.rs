//! `com.apple.mobile.installation_proxy`: which apps there are.
//!
//! Spoken over [`frame`] and not with the crate: that takes a page without a list for the end and gives what it has by then
//! as if it were everything.

use std::time::Duration;

use plist::{Dictionary, Value};
use tokio::time::{Instant, timeout_at};

use super::Error;
use crate::frame::{self, DictExt, Encoding, Limits};
use crate::lockdown::{Refusal, Session};
use crate::usbmux::Stream;

const SERVICE: &str = "com.apple.mobile.installation_proxy";
/// The longest wait for the whole list: a phone full of apps takes some seconds.
const LIST_WAIT: Duration = Duration::from_secs(60);
/// More apps than any phone holds.
const APPS_MAX: usize = 10_000;
/// Pages that may come with no app on them.
const EMPTY_PAGES_MAX: usize = 100;

/// The installed apps of `application_type` (`User`, `System` or `Any`), with these attributes of each where it has
/// them (`CFBundleIdentifier` for example).
///
/// # Errors
/// See [`Error`]. A list that breaks off is an error, never a shorter list.
pub async fn browse(
    session: &Session,
    application_type: &str,
    attributes: &[&str],
) -> Result<Vec<Dictionary>, Error> {
    let mut stream = session.start_service(SERVICE).await?;
    let mut options = Dictionary::new();
    options.insert("ApplicationType".into(), application_type.into());
    let attributes = attributes.iter().map(|&attribute| attribute.into()).collect();
    options.insert("ReturnAttributes".into(), Value::Array(attributes));
    timeout_at(Instant::now() + LIST_WAIT, list(&mut stream, options))
        .await
        .unwrap_or(Err(Error::Timeout(SERVICE)))
}

async fn list(stream: &mut Stream, options: Dictionary) -> Result<Vec<Dictionary>, Error> {
    let wire = |source| Error::Wire { service: SERVICE, source };
    let mut command = Dictionary::new();
    command.insert("Command".into(), "Browse".into());
    command.insert("ClientOptions".into(), Value::Dictionary(options));
    frame::write(stream, &Value::Dictionary(command), Encoding::Xml).await.map_err(wire)?;
    let (mut apps, mut empty_pages) = (Vec::new(), 0);
    loop {
        let page = frame::read(stream, &Limits::LOCKDOWN).await.map_err(wire)?;
        let mut page = page.into_dictionary().ok_or_else(|| odd("no dictionary"))?;
        if let Some(name) = page.string("Error") {
            return Err(Error::Refused { service: SERVICE, refusal: Refusal::from_name(name) });
        }
        let before = apps.len();
        let entries = page.remove("CurrentList").and_then(Value::into_array).unwrap_or_default();
        apps.extend(entries.into_iter().filter_map(Value::into_dictionary));
        if page.string("Status") == Some("Complete") {
            return Ok(apps);
        }
        empty_pages += usize::from(apps.len() == before);
        if apps.len() > APPS_MAX || empty_pages > EMPTY_PAGES_MAX {
            return Err(odd("a list without end"));
        }
    }
}

fn odd(what: &str) -> Error {
    Error::Protocol { service: SERVICE, what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(status: &str, apps: Option<&[&str]>) -> Vec<u8> {
        let mut page = Dictionary::new();
        page.insert("Status".into(), status.into());
        if let Some(apps) = apps {
            let entry = |id: &&str| {
                let mut app = Dictionary::new();
                app.insert("CFBundleIdentifier".into(), (*id).into());
                Value::Dictionary(app)
            };
            page.insert("CurrentList".into(), Value::Array(apps.iter().map(entry).collect()));
        }
        frame::encode(&Value::Dictionary(page), Encoding::Xml)
    }

    async fn listed(answer: Vec<u8>) -> Result<Vec<String>, Error> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        tokio::io::AsyncWriteExt::write_all(&mut theirs, &answer).await.unwrap();
        let answered = tokio::spawn(async move {
            let _ = frame::read(&mut theirs, &Limits::LOCKDOWN).await;
        });
        let mut stream: Stream = Box::new(ours);
        let apps = list(&mut stream, Dictionary::new()).await;
        answered.await.unwrap();
        Ok(apps?.iter().map(|app| app.string("CFBundleIdentifier").unwrap().to_owned()).collect())
    }

    #[tokio::test]
    async fn all_pages_are_taken_also_after_one_without_a_list() {
        let pages = [
            page("BrowsingApplications", Some(&["a", "b"])),
            page("BrowsingApplications", None),
            page("BrowsingApplications", Some(&["c"])),
            page("Complete", None),
        ];
        assert_eq!(listed(pages.concat()).await.unwrap(), ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_list_that_breaks_off_is_an_error() {
        let pages = [page("BrowsingApplications", Some(&["a", "b"]))];
        assert!(matches!(listed(pages.concat()).await, Err(Error::Wire { .. })));
        let endless = page("BrowsingApplications", None).repeat(EMPTY_PAGES_MAX + 1);
        assert!(matches!(listed(endless).await, Err(Error::Protocol { .. })));
    }

    #[tokio::test]
    async fn a_refusal_is_told_by_its_name() {
        let mut page = Dictionary::new();
        page.insert("Error".into(), "APIInternalError".into());
        let answer = frame::encode(&Value::Dictionary(page), Encoding::Xml);
        let error = listed(answer).await.unwrap_err();
        assert_eq!(error.refusal(), Some(&Refusal::Other("APIInternalError".into())));
    }
}
