//! The small services, against the simulated phone, as `collect` and `visit` use them.

use std::sync::Arc;
use std::time::Duration;

use idevice_fix::frame::DictExt;
use idevice_fix::lockdown::{Phone, Refusal, Session, pairing};
use idevice_fix::progress::{CancellationToken, Silent};
use idevice_fix::services::diagnostics::{self, Entry};
use idevice_fix::services::{installation_proxy, notification_proxy, springboard};
use idevice_fix::sim::{Bus, Device};
use idevice_fix::usbmux::{self, Muxer};

const PATIENCE: Duration = Duration::from_secs(20);

async fn session_with(settings: &str) -> (tempfile::TempDir, Arc<Device>, Session) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("device.toml"), settings).unwrap();
    let device = Device::open(folder.path(), false).unwrap();
    let muxer: Arc<dyn Muxer> = Arc::new(Bus::new(vec![device.clone()]));
    let attached = muxer.devices().await.unwrap().remove(0);
    let phone = Phone { muxer, attached };
    let session = pairing::establish(&phone, PATIENCE, &Silent, &CancellationToken::new()).await.unwrap();
    (folder, device, session)
}

#[tokio::test]
async fn every_small_service_answers_with_and_without_tls() {
    for tls in ["all", "none"] {
        let settings = format!("[tls]\nservices = \"{tls}\"");
        let (_folder, _device, session) = session_with(&settings).await;
        for entry in [Entry::Name("AppleSmartBattery"), Entry::Class("IOPMPowerSource")] {
            let battery = diagnostics::ioregistry(&session, entry).await.unwrap().unwrap();
            assert!(battery.uint("CycleCount").is_some(), "{entry:?}, TLS {tls}");
        }
        assert_eq!(diagnostics::ioregistry(&session, Entry::Name("NoSuchThing")).await.unwrap(), None);
        let apps = installation_proxy::browse(&session, "Any", &["CFBundleIdentifier"]).await.unwrap();
        assert!(!apps.is_empty());
        let id = apps[0].string("CFBundleIdentifier").unwrap();
        assert!(springboard::icon(&session, id).await.unwrap().starts_with(b"\x89PNG"));
    }
}

#[tokio::test]
async fn a_new_phone_gives_no_mobile_gestalt() {
    let (_folder, _device, session) = session_with("").await;
    assert_eq!(diagnostics::mobile_gestalt(&session, &["ProductType"]).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_posted_is_heard_by_who_observes_it_and_nothing_else_is() {
    let (_folder, device, session) = session_with("").await;
    let mut heard = notification_proxy::observe(&session, &["com.example.wanted"]).await.unwrap();
    // Registering has no answer: the phone may still be reading it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    device.post_notification("com.example.unwanted");
    notification_proxy::post(&session, &["com.example.other", "com.example.wanted"]).await.unwrap();
    let name = tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap();
    assert_eq!(name.as_deref(), Some("com.example.wanted"));
}

#[tokio::test]
async fn a_service_that_the_phone_forbids_is_a_refusal_by_name() {
    let settings = "[refuse]\nservices = [\"com.apple.mobile.diagnostics_relay\"]";
    let (_folder, _device, session) = session_with(settings).await;
    let error = diagnostics::ioregistry(&session, Entry::Name("AppleSmartBattery")).await.unwrap_err();
    assert_eq!(error.refusal(), Some(&Refusal::ServiceProhibited));
}

#[tokio::test]
async fn a_restarted_phone_leaves_the_bus() {
    let (_folder, _device, session) = session_with("").await;
    let phone = session.phone().clone();
    let mut events = phone.muxer.listen().await.unwrap();
    assert!(matches!(events.recv().await, Some(usbmux::Event::Attached(_))));
    diagnostics::restart(&session).await.unwrap();
    let left = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap();
    assert_eq!(left, Some(usbmux::Event::Detached(phone.attached.id)));
    assert!(session.value(None, None).await.is_err());
}
