//! `devices`: what is on the bus, also what cannot be talked to. Nothing is paired and nobody is asked.

use std::time::Duration;

use serde_json::{Value, json};

use super::phones::Phones;
use super::run::Run;
use super::terminal;
use crate::facts::Reach;
use crate::facts::text::plain;
use crate::lockdown::Phone;
use crate::lockdown::pairing::{self, Attempt};
use crate::muxd::usb::{Mode, OnBus};
use crate::usbmux::Attached;
use crate::visit::{Stop, Trouble, reach};

/// How long one phone may take to say who it is.
const ASK_WAIT: Duration = Duration::from_secs(4);

struct Listed {
    udid: String,
    name: Option<String>,
    product_type: Option<String>,
    ios_version: Option<String>,
    state: Reach,
    answers: bool,
}

/// Lists devices.
pub(super) async fn devices(run: &Run) -> Result<(), Stop> {
    let phones = Phones::open(run).map_err(|stop| run.explain("devices", stop))?;
    let on_bus = phones.on_bus().await;
    let (attached, no_muxer) = match phones.muxer.devices().await {
        Ok(attached) => (attached, None),
        Err(error) => (Vec::new(), Some(reach::no_muxer(&error, &on_bus).stop)),
    };
    let mut listed = Vec::new();
    for device in &attached {
        listed.push(of_muxer(&phones, device).await);
    }
    listed.extend(
        on_bus.iter().filter(|seen| !is_listed(seen, &attached)).map(|seen| of_bus(seen, no_muxer.is_some())),
    );
    show(run, &listed);
    match (listed.is_empty(), no_muxer) {
        (_, Some(stop)) => Err(stop),
        (true, None) => Err(Stop::new(
            Trouble::NoDevice,
            "No iPhone or iPad is connected.",
            "Plug it in with a data cable and unlock it.",
        )),
        (false, None) => Ok(()),
    }
}

fn is_listed(seen: &OnBus, attached: &[Attached]) -> bool {
    seen.udid.as_ref().is_some_and(|udid| attached.iter().any(|device| device.udid == *udid))
}

async fn of_muxer(phones: &Phones, attached: &Attached) -> Listed {
    let phone = Phone { muxer: std::sync::Arc::clone(&phones.muxer), attached: attached.clone() };
    let asked = tokio::time::timeout(ASK_WAIT, who(&phone)).await;
    let (answers, state, [name, product_type, ios_version]) = match asked {
        Ok(Some((state, values))) => (true, state, values),
        Ok(None) | Err(_) => (false, Reach::NotTrusted, [None, None, None]),
    };
    Listed { udid: attached.udid.to_string(), name, product_type, ios_version, state, answers }
}

/// Its state and what it says about itself, as far as it does without being asked to trust.
async fn who(phone: &Phone) -> Option<(Reach, [Option<String>; 3])> {
    const KEYS: [&str; 3] = ["DeviceName", "ProductType", "ProductVersion"];
    let mut values = [None, None, None];
    match pairing::attempt(phone).await.ok()? {
        Attempt::Trusted(session) => {
            for (value, key) in values.iter_mut().zip(KEYS) {
                *value = session.value(None, Some(key)).await.ok().and_then(|v| v.into_string());
            }
            Some((Reach::Trusted, values))
        }
        Attempt::Not(obstacle) => {
            let mut connection = crate::lockdown::connection::Connection::open(phone).await.ok()?;
            for (value, key) in values.iter_mut().zip(KEYS) {
                *value = connection.value(None, Some(key)).await.ok().and_then(|v| v.into_string());
            }
            Some((reach::of_obstacle(&obstacle), values))
        }
    }
}

fn of_bus(seen: &OnBus, no_muxer: bool) -> Listed {
    let state = match seen.mode {
        Mode::Recovery => Reach::RecoveryMode,
        Mode::Dfu => Reach::DfuMode,
        Mode::Normal if no_muxer => Reach::NoUsbmux,
        Mode::Normal if !seen.permitted => Reach::NoPermission,
        Mode::Normal if seen.held_by.is_some() => Reach::HeldByOtherProgram,
        Mode::Normal if seen.has_multiplexer == Some(true) => Reach::NoUsbmux,
        Mode::Normal => Reach::UsbRestricted,
    };
    let udid = seen.udid.as_ref().map(ToString::to_string).unwrap_or_default();
    Listed { udid, name: None, product_type: None, ios_version: None, state, answers: false }
}

fn show(run: &Run, listed: &[Listed]) {
    if run.global.json {
        let devices: Vec<Value> = listed
            .iter()
            .map(|one| {
                json!({"udid": one.udid, "name": one.name, "product_type": one.product_type,
                    "ios_version": one.ios_version, "state": one.state, "answers": one.answers})
            })
            .collect();
        terminal::print_json(&json!({"schema": "idevice-fix/devices/1", "devices": devices}));
        return;
    }
    for one in listed {
        let name = plain(one.name.as_deref().unwrap_or("?"));
        let about: Vec<String> =
            [&one.product_type, &one.ios_version].into_iter().flatten().map(|t| plain(t)).collect();
        terminal::print(&format!(
            "{:<26} {name:<24} {:<20} {}\n",
            one.udid,
            about.join(", "),
            state_words(one)
        ));
    }
}

fn state_words(one: &Listed) -> &'static str {
    match one.state {
        Reach::Trusted => "trusted",
        _ if one.answers || !matches!(one.state, Reach::NotTrusted) => match one.state {
            Reach::NotTrusted => "not trusted yet",
            Reach::TrustPending => "asks whether to trust",
            Reach::TrustDenied => "trust was denied",
            Reach::StalePairing => "old pairing, not accepted",
            Reach::KeyMismatch => "does not hold its key",
            Reach::KeyChanged => "another key than paired",
            Reach::Locked => "locked",
            Reach::NotUnlockedSinceBoot => "not unlocked since its start",
            Reach::PairingForbidden => "pairing forbidden",
            Reach::RecoveryMode => "recovery mode",
            Reach::DfuMode => "DFU mode",
            Reach::UsbRestricted => "charges only: unlock it",
            Reach::HeldByOtherProgram => "not listed by usbmuxd",
            Reach::NoPermission => "no permission to open it",
            Reach::NoUsbmux => "no usbmuxd has it",
            Reach::Trusted => "trusted",
        },
        _ => "does not answer",
    }
}
