//! `com.apple.mobile.diagnostics_relay`: the IORegistry, the battery, restart and shutdown. Requests and statuses as
//! in libimobiledevice's diagnostics_relay.h and pymobiledevice3's diagnostics.py.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use plist::{Dictionary, Value};

use super::config::Lock;
use super::device::{Departure, Device};
use super::healthy::dictionary;
use super::plists::{reply, request};
use crate::frame::DictExt;
use crate::usbmux::Stream;

/// The battery's entry, and the class that it is found by as well.
const BATTERY: &str = "AppleSmartBattery";
const POWER_SOURCE: &str = "IOPMPowerSource";
/// Between the reply to Restart and the phone's leaving, if it does not wait for the host.
const BEFORE_LEAVING: Duration = Duration::from_millis(200);
/// A phone that waits for the host to disconnect does not wait for ever.
const DISCONNECT_WAIT: Duration = Duration::from_secs(30);
/// Keys of a MobileGestalt request that are answered.
const GESTALT_KEYS_MAX: usize = 256;

/// Serves one connection.
pub(super) async fn serve(mut stream: Stream, device: Arc<Device>) -> io::Result<()> {
    while let Some(asked) = request(&mut stream).await? {
        let leaves = match asked.string("Request") {
            Some("Restart") => Some(Departure::Restart),
            Some("Shutdown") => Some(Departure::Off),
            Some("Goodbye") => return reply(&mut stream, dictionary! {"Status": "Success"}).await,
            _ => None,
        };
        reply(&mut stream, answer(&device, &asked)).await?;
        if let Some(departure) = leaves {
            if asked.boolean("WaitForDisconnect").unwrap_or(false) {
                let _ = tokio::time::timeout(DISCONNECT_WAIT, farewell(&mut stream)).await;
            } else {
                tokio::time::sleep(BEFORE_LEAVING).await;
            }
            device.leave(departure);
            return Ok(());
        }
    }
    Ok(())
}

/// Waits until the host disconnects. It says Goodbye before, and waits for the answer as long as it has patience:
/// idevicediagnostics for half a minute.
async fn farewell(stream: &mut Stream) {
    while let Ok(Some(asked)) = request(stream).await {
        if asked.string("Request") != Some("Goodbye") {
            continue;
        }
        if reply(stream, dictionary! {"Status": "Success"}).await.is_err() {
            return;
        }
    }
}

fn answer(device: &Device, asked: &Dictionary) -> Dictionary {
    let diagnostics = match asked.string("Request") {
        Some("IORegistry") => match entry(device, asked) {
            Some(entry) => dictionary! {"IORegistry": Value::Dictionary(entry)},
            // Nothing found, and queries by plane since iOS 9.
            None => Dictionary::new(),
        },
        Some("GasGauge") => dictionary! {"GasGauge": Value::Dictionary(gas_gauge(device))},
        Some("WiFi") => dictionary! {"WiFi": Value::Dictionary(dictionary! {"Status": "Success"})},
        Some("NAND") => dictionary! {"NAND": Value::Dictionary(dictionary! {"Status": "Success"})},
        Some("HDMI") => dictionary! {"HDMI": Value::Dictionary(dictionary! {"Status": "Success"})},
        Some("All") => dictionary! {
            "GasGauge": Value::Dictionary(gas_gauge(device)),
            "HDMI": Value::Dictionary(dictionary! {"Status": "Success"}),
            "NAND": Value::Dictionary(dictionary! {"Status": "Success"}),
            "WiFi": Value::Dictionary(dictionary! {"Status": "Success"}),
        },
        Some("MobileGestalt") => dictionary! {"MobileGestalt": Value::Dictionary(gestalt(device, asked))},
        Some("Sleep") => {
            device.set_lock(Lock::Locked);
            return dictionary! {"Status": "Success"};
        }
        Some("Restart" | "Shutdown") => return dictionary! {"Status": "Success"},
        _ => return dictionary! {"Status": "UnknownRequest"},
    };
    dictionary! {"Status": "Success", "Diagnostics": Value::Dictionary(diagnostics)}
}

fn entry(device: &Device, asked: &Dictionary) -> Option<Dictionary> {
    let wanted = |key: &str| asked.string(key).filter(|wanted| !wanted.is_empty());
    let names = [wanted("EntryName"), wanted("EntryClass")];
    names.into_iter().flatten().find_map(|name| {
        let registry = device.ioregistry();
        let by_class = || registry.dict(BATTERY).filter(|_| name == POWER_SOURCE);
        registry.dict(name).or_else(by_class).cloned()
    })
}

fn gas_gauge(device: &Device) -> Dictionary {
    let battery = device.ioregistry().dict(BATTERY);
    let Some(battery) = battery else { return dictionary! {"Status": "Failure"} };
    // A percentage since iOS 12.2, and always this one.
    let mut gauge = dictionary! {"FullChargeCapacity": 100, "Status": "Success"};
    for key in ["CycleCount", "DesignCapacity"] {
        gauge.extend(battery.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    gauge
}

fn gestalt(device: &Device, asked: &Dictionary) -> Dictionary {
    if device.version().mobile_gestalt_deprecated() {
        return dictionary! {"Status": "MobileGestaltDeprecated"};
    }
    let mut answers = dictionary! {"Status": "Success"};
    let keys = asked.array("MobileGestaltKeys").unwrap_or_default();
    for key in keys.iter().filter_map(Value::as_string).take(GESTALT_KEYS_MAX) {
        let value = match key {
            "PasswordConfigured" => Some(Value::Boolean(true)),
            "UserAssignedDeviceName" => device.value("", "DeviceName"),
            "BuildVersion" | "DeviceClass" | "ProductType" | "ProductVersion" | "SerialNumber"
            | "UniqueDeviceID" => device.value("", key),
            _ => None,
        };
        answers.extend(value.map(|value| (key.to_owned(), value)));
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phone(lockdown: &str) -> (tempfile::TempDir, Arc<Device>) {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("<plist version=\"1.0\"><dict><key></key><dict>{lockdown}</dict></dict></plist>");
        std::fs::write(folder.path().join("lockdown.plist"), text).unwrap();
        let device = Device::open(folder.path(), false).unwrap();
        (folder, device)
    }

    #[test]
    fn the_battery_is_found_by_name_and_by_class() {
        let (_folder, device) = phone("");
        for (key, name) in [("EntryName", BATTERY), ("EntryClass", POWER_SOURCE)] {
            let mut asked = dictionary! {"Request": "IORegistry", "EntryClass": ""};
            asked.insert(key.to_owned(), name.into());
            let answer = answer(&device, &asked);
            let found = answer.dict("Diagnostics").and_then(|found| found.dict("IORegistry")).unwrap();
            assert_eq!(found.int("Temperature"), Some(2950));
        }
        let asked = dictionary! {"Request": "IORegistry", "EntryName": "Nothing"};
        assert!(answer(&device, &asked).dict("Diagnostics").unwrap().is_empty());
    }

    #[test]
    fn mobile_gestalt_ended_with_17_4() {
        let asked = dictionary! {
            "Request": "MobileGestalt", "MobileGestaltKeys": Value::Array(vec!["ProductType".into()]),
        };
        let told = |version: &str| {
            let (_folder, device) = phone(&format!("<key>ProductVersion</key><string>{version}</string>"));
            let answer = answer(&device, &asked);
            answer.dict("Diagnostics").unwrap().dict("MobileGestalt").unwrap().clone()
        };
        assert_eq!(told("17.3").string("ProductType"), Some("iPhone13,2"));
        assert_eq!(told("17.4").string("Status"), Some("MobileGestaltDeprecated"));
    }

    #[tokio::test]
    async fn a_phone_that_waits_for_the_host_before_it_restarts_says_goodbye() {
        use crate::frame::{self, Encoding, Limits};

        let (_folder, device) = phone("");
        let (mut host, phone) = tokio::io::duplex(1 << 16);
        let served = tokio::spawn(serve(Box::new(phone), device));
        let restart = dictionary! {"Request": "Restart", "WaitForDisconnect": true};
        for asked in [restart, dictionary! {"Request": "Goodbye"}] {
            frame::write(&mut host, &Value::Dictionary(asked), Encoding::Xml).await.unwrap();
            let told = frame::read(&mut host, &Limits::LOCKDOWN).await.unwrap().into_dictionary().unwrap();
            assert_eq!(told.string("Status"), Some("Success"));
        }
        drop(host);
        served.await.unwrap().unwrap();
    }
}
