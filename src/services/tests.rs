//! The crate behind our guard, against answers that it would not survive alone.

use idevice::services::diagnostics_relay::DiagnosticsRelayClient;
use plist::{Dictionary, Value};
use tokio::io::AsyncWriteExt;

use super::*;
use crate::frame::Encoding;

const SERVICE: &str = "com.apple.test";

async fn ask(answer: Vec<u8>) -> Result<Option<Dictionary>, Error> {
    let (ours, mut theirs) = tokio::io::duplex(1 << 20);
    theirs.write_all(&answer).await.unwrap();
    let idevice = guarded(Box::new(ours), Limits::LOCKDOWN);
    let answered = in_own_task(SERVICE, Duration::from_millis(200), async move {
        DiagnosticsRelayClient::new(idevice).ioregistry(None, Some("AppleSmartBattery"), None).await
    })
    .await;
    drop(theirs);
    answered
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

fn reply(key: &str, value: Value) -> Vec<u8> {
    let mut dict = Dictionary::new();
    dict.insert(key.into(), value);
    frame::encode(&Value::Dictionary(dict), Encoding::Xml)
}

#[tokio::test]
async fn a_good_answer_comes_through() {
    let mut entry = Dictionary::new();
    entry.insert("CycleCount".into(), 412.into());
    let mut diagnostics = Dictionary::new();
    diagnostics.insert("IORegistry".into(), Value::Dictionary(entry.clone()));
    let mut answer = Dictionary::new();
    answer.insert("Status".into(), "Success".into());
    answer.insert("Diagnostics".into(), Value::Dictionary(diagnostics));
    let answer = frame::encode(&Value::Dictionary(answer), Encoding::Xml);
    assert_eq!(ask(answer).await.unwrap(), Some(entry));
}

#[tokio::test]
async fn nesting_that_would_end_the_process_is_an_error() {
    let deep = format!("<plist>{}{}</plist>", "<array>".repeat(50_000), "</array>".repeat(50_000));
    assert!(matches!(ask(framed(deep.as_bytes())).await, Err(Error::Wire { .. })));
}

#[tokio::test]
async fn an_announced_gigabyte_is_an_error() {
    assert!(matches!(ask(vec![0x40, 0, 0, 0]).await, Err(Error::Wire { .. })));
}

#[tokio::test]
async fn a_refusal_keeps_its_name_and_silence_has_an_end() {
    let error = ask(reply("Error", "PasswordProtected".into())).await.unwrap_err();
    assert_eq!(error.refusal(), Some(&Refusal::PasswordProtected));
    assert!(matches!(ask(reply("Status", "Failure".into())).await, Err(Error::Protocol { .. })));
    assert!(matches!(ask(Vec::new()).await, Err(Error::Timeout(SERVICE))));
}

#[tokio::test]
async fn a_panic_in_the_crate_is_an_error() {
    let wait = Duration::from_secs(5);
    let outcome: Result<(), Error> =
        in_own_task(SERVICE, wait, async { panic!("as the crate does it") }).await;
    assert!(matches!(outcome, Err(Error::Protocol { .. })));
}
