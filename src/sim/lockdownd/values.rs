//! GetValue, SetValue, RemoveValue: who may read and set what.

use plist::Value;

use crate::lockdown::Refusal;
use crate::sim::device::Device;
use crate::sim::trust::Identity;
use crate::sim::values::TIME;

/// What a host may read of the null domain before it is trusted (libimobiledevice, go-ios and usbmuxd rely on some).
const PUBLIC: &[&str] = &[
    "BasebandCertId",
    "BasebandKeyHashInformation",
    "BasebandRegionSKU",
    "BasebandSerialNumber",
    "BasebandStatus",
    "BasebandVersion",
    "BoardId",
    "BuildVersion",
    "CPUArchitecture",
    "ChipID",
    "DeviceClass",
    "DeviceColor",
    "DeviceName",
    "DevicePublicKey",
    "DieID",
    "HardwareModel",
    "HasSiDP",
    "HumanReadableProductVersionString",
    "PartitionType",
    "ProductName",
    "ProductType",
    "ProductVersion",
    "ProductionSOC",
    "ProtocolVersion",
    "SupportedDeviceFamilies",
    "TelephonyCapability",
    "UniqueChipID",
    "UniqueDeviceID",
    "WiFiAddress",
];
/// The domain that is open before trust, and its keys (libimobiledevice #1199).
const PUBLIC_DOMAIN: &str = "com.apple.mobile.iTunes";
const PUBLIC_DOMAIN_KEYS: &[&str] =
    &["FamilyID", "MinITunesVersion", "MinMacOSVersion", "iTunesSetupComplete"];
/// What usbmuxd sets on a phone that does not trust it.
const UNTRUSTED_HOST: &str = "UntrustedHostBUID";
/// What a host may change in the null domain.
const CHANGEABLE: &[&str] =
    &["DeviceName", TIME, "TimeZone", "TrustedHostAttached", UNTRUSTED_HOST, "Uses24HourClock"];
/// Domains that say what is, which no host decides.
const READ_ONLY: &[&str] = &[
    "com.apple.disk_usage",
    "com.apple.disk_usage.factory",
    "com.apple.fmip",
    "com.apple.mobile.battery",
    "com.apple.mobile.chaperone",
    "com.apple.mobile.restriction",
    "com.apple.mobile.software_behavior",
    "com.apple.security.mac.amfi",
];
/// Values that hosts may have set on one phone.
const SET_VALUES_MAX: usize = 1024;

type Extra = Vec<(&'static str, Value)>;

/// Answers GetValue.
pub(super) fn value(
    device: &Device,
    identity: &Identity,
    trusted: bool,
    domain: Option<&str>,
    key: Option<&str>,
) -> Result<Extra, Refusal> {
    let name = domain.unwrap_or_default();
    if device.config().refuse.lockdown_domains.iter().any(|refused| refused == name) {
        return Err(Refusal::GetProhibited);
    }
    let mut values = device.domain(name);
    if name.is_empty() && !values.contains_key("DevicePublicKey") {
        values.insert("DevicePublicKey".to_owned(), Value::Data(identity.public_key.to_pem()));
    }
    let value = match key {
        Some(key) if trusted || is_public(name, key) => values.remove(key).ok_or(Refusal::MissingValue)?,
        Some(_) => return Err(Refusal::GetProhibited),
        None if trusted => Value::Dictionary(values),
        None if name.is_empty() || name == PUBLIC_DOMAIN => {
            Value::Dictionary(values.into_iter().filter(|(key, _)| is_public(name, key)).collect())
        }
        None => return Err(Refusal::GetProhibited),
    };
    let mut extra: Extra = Vec::new();
    extra.extend(domain.map(|domain| ("Domain", domain.into())));
    extra.extend(key.map(|key| ("Key", key.into())));
    extra.push(("Value", value));
    Ok(extra)
}

fn is_public(domain: &str, key: &str) -> bool {
    match domain {
        "" => PUBLIC.contains(&key),
        PUBLIC_DOMAIN => PUBLIC_DOMAIN_KEYS.contains(&key),
        _ => false,
    }
}

/// Answers SetValue.
pub(super) fn set(
    device: &Device,
    trusted: bool,
    domain: Option<&str>,
    key: Option<String>,
    value: Option<Value>,
) -> Result<Extra, Refusal> {
    let key = key.ok_or(Refusal::MissingKey)?;
    let value = value.ok_or(Refusal::MissingValue)?;
    may_change(trusted, domain, &key)?;
    let name = domain.unwrap_or_default();
    if device.values_changed() >= SET_VALUES_MAX && device.value(name, &key).is_none() {
        return Err(Refusal::SetProhibited);
    }
    if name.is_empty() && key == TIME {
        if !device.lets_clock_be_set() {
            return Err(Refusal::SetProhibited);
        }
        device.set_clock(seconds(&value).ok_or(Refusal::MissingValue)?);
    } else {
        device.set_value(name, &key, Some(value.clone()));
    }
    tell(device, name, &key);
    let mut extra: Extra = Vec::new();
    extra.extend(domain.map(|domain| ("Domain", domain.into())));
    extra.push(("Key", key.into()));
    extra.push(("Value", value));
    Ok(extra)
}

/// Answers RemoveValue.
pub(super) fn remove(
    device: &Device,
    trusted: bool,
    domain: Option<&str>,
    key: Option<String>,
) -> Result<Extra, Refusal> {
    let key = key.ok_or(Refusal::MissingKey)?;
    may_change(trusted, domain, &key)?;
    let name = domain.unwrap_or_default();
    if device.value(name, &key).is_none() {
        return Err(Refusal::MissingValue);
    }
    device.set_value(name, &key, None);
    tell(device, name, &key);
    Ok(Vec::new())
}

/// Posts what a host changed.
fn tell(device: &Device, domain: &str, key: &str) {
    match (domain, key) {
        ("", "DeviceName") => device.post_notification("com.apple.mobile.lockdown.device_name_changed"),
        ("", "TimeZone") => device.post_notification("com.apple.mobile.lockdown.timezone_changed"),
        ("", _) => {}
        _ => device.post_notification(&format!("{domain}.domain_changed")),
    }
}

/// A number of seconds, whole or not.
fn seconds(value: &Value) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a date in whole seconds is far below 2^53")]
    let whole = value.as_signed_integer().map(|whole| whole as f64);
    value.as_real().or(whole)
}

fn may_change(trusted: bool, domain: Option<&str>, key: &str) -> Result<(), Refusal> {
    match domain {
        None | Some("") if key == UNTRUSTED_HOST => Ok(()),
        _ if !trusted => Err(Refusal::SetProhibited),
        Some(domain) if READ_ONLY.contains(&domain) => Err(Refusal::SetProhibited),
        None | Some("") if !CHANGEABLE.contains(&key) => Err(Refusal::ImmutableValue),
        _ => Ok(()),
    }
}
