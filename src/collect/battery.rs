//! The battery as the registry of the hardware shows it.
//!
//! Which entry a phone has differs: `AppleSmartBattery` from the iPhone 8 on, `AppleARMPMUCharger` before, and the
//! class `IOPMPowerSource` on both (libimobiledevice issues 570, 823, 1095). Newer systems move keys into
//! `BatteryData`; each is looked for in both places.

use plist::Dictionary;

use super::words;
use crate::facts::{Battery, Fact, Facts, Maybe, Source};
use crate::frame::DictExt;
use crate::lockdown::Session;
use crate::services::diagnostics::{self, Entry};

const ENTRIES: [(Entry<'static>, &str); 3] = [
    (Entry::Name("AppleSmartBattery"), "ioregistry:AppleSmartBattery"),
    (Entry::Class("IOPMPowerSource"), "ioregistry:IOPMPowerSource"),
    (Entry::Name("AppleARMPMUCharger"), "ioregistry:AppleARMPMUCharger"),
];

/// Facts that only the registry has.
const ONLY_HERE: [&str; 5] = [
    "battery.health_percent",
    "battery.cycle_count",
    "battery.temperature_c",
    "battery.current_ma",
    "battery.adapter_watts",
];

/// What the registry said.
pub(super) enum Registry {
    /// An entry, and where it was found.
    Entry(Dictionary, &'static str),
    /// None, and why.
    None(String),
}

/// Asks for the battery's entry by its names, newest first.
pub(super) async fn ask(session: &Session) -> Registry {
    let mut reason = "the phone shows no battery in its registry".to_owned();
    for (entry, place) in ENTRIES {
        match diagnostics::ioregistry(session, entry).await {
            Ok(Some(found)) => return Registry::Entry(found, place),
            Ok(None) => {}
            // Another name does not help where the service itself is refused or the wire is gone.
            Err(error) => {
                reason = words(&error);
                break;
            }
        }
    }
    Registry::None(reason)
}

impl Registry {
    /// What it says. A level that lockdown gave stands.
    pub(super) fn tell(self, facts: &mut Facts) {
        match self {
            Self::None(reason) => super::gaps(facts, &ONLY_HERE, &reason),
            Self::Entry(entry, place) => {
                tell(&entry, place, &mut facts.battery);
                for (name, known) in ONLY_HERE.into_iter().zip([
                    facts.battery.health_percent.is_some(),
                    facts.battery.cycle_count.is_some(),
                    facts.battery.temperature_c.is_some(),
                    facts.battery.current_ma.is_some(),
                    facts.battery.adapter_watts.is_some() || !has_adapter(&entry),
                ]) {
                    if !known {
                        facts.gap(name, "the phone's registry does not state it");
                    }
                }
            }
        }
    }
}

fn has_adapter(entry: &Dictionary) -> bool {
    entry.boolean("ExternalConnected").unwrap_or(false)
}

fn tell(entry: &Dictionary, place: &'static str, battery: &mut Battery) {
    let seek = Seek { entry, inner: entry.dict("BatteryData"), place };
    battery.health_percent = seek.health();
    battery.cycle_count = seek.find("CycleCount", |dict, key| bounded(dict.int(key)?, 0, 100_000));
    battery.temperature_c = seek
        .find("Temperature", |dict, key| bounded::<i16>(dict.int(key)?, -5_000, 15_000).map(centidegrees));
    battery.current_ma = seek.find("InstantAmperage", |dict, key| bounded(dict.int(key)?, -50_000, 50_000));
    if battery.level_percent.is_none() {
        battery.level_percent = seek.find("CurrentCapacity", |dict, key| bounded(dict.int(key)?, 0, 100));
    }
    if battery.charging.is_none() {
        battery.charging = seek.find("IsCharging", |dict, key| dict.boolean(key));
    }
    if battery.external_power.is_none() {
        battery.external_power = seek.find("ExternalConnected", |dict, key| dict.boolean(key));
    }
    if battery.fully_charged.is_none() {
        battery.fully_charged = seek.find("FullyCharged", |dict, key| dict.boolean(key));
    }
    let watts = entry.dict("AdapterDetails").and_then(|adapter| bounded(adapter.int("Watts")?, 0, 1_000));
    battery.adapter_watts = watts.map(|watts| Fact::new(watts, Source::new(place, "AdapterDetails.Watts")));
}

fn centidegrees(value: i16) -> f64 {
    f64::from(value) / 100.0
}

fn bounded<T: TryFrom<i64>>(value: i64, least: i64, most: i64) -> Option<T> {
    (least..=most).contains(&value).then(|| T::try_from(value).ok()).flatten()
}

struct Seek<'a> {
    entry: &'a Dictionary,
    inner: Option<&'a Dictionary>,
    place: &'static str,
}

impl Seek<'_> {
    fn find<T>(&self, key: &'static str, read: impl Fn(&Dictionary, &str) -> Option<T>) -> Maybe<T> {
        let value = read(self.entry, key).or_else(|| read(self.inner?, key))?;
        Some(Fact::new(value, Source::new(self.place, key)))
    }

    /// Nominal charge capacity (else the raw maximum) against the design's, in percent and at most 100. `MaxCapacity`
    /// is a percentage on phones, 100 at all times, and says nothing.
    fn health(&self) -> Maybe<u8> {
        let milliamperes = |dict: &Dictionary, key: &str| bounded::<u32>(dict.int(key)?, 100, 100_000);
        let design = self.find("DesignCapacity", milliamperes)?.value;
        let now = self
            .find("NominalChargeCapacity", milliamperes)
            .or_else(|| self.find("AppleRawMaxCapacity", milliamperes))?;
        let percent = (200 * u64::from(now.value) / u64::from(design)).div_ceil(2).min(100);
        Some(Fact::new(u8::try_from(percent).expect("at most 100"), now.source))
    }
}

#[cfg(test)]
mod tests {
    use plist::Value;

    use super::*;
    use crate::facts::value;

    fn dictionary(entries: &[(&str, Value)]) -> Dictionary {
        entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }

    fn told(entry: Dictionary) -> Facts {
        let mut facts = Facts::default();
        Registry::Entry(entry, "ioregistry:AppleSmartBattery").tell(&mut facts);
        facts
    }

    #[test]
    fn an_entry_as_phones_have_it() {
        let adapter = dictionary(&[("Watts", 20.into())]);
        let facts = told(dictionary(&[
            ("DesignCapacity", 2815.into()),
            ("NominalChargeCapacity", 2562.into()),
            ("MaxCapacity", 100.into()),
            ("CycleCount", 412.into()),
            ("Temperature", 2950.into()),
            ("InstantAmperage", Value::from((-312_i64).cast_unsigned())),
            ("AdapterDetails", Value::Dictionary(adapter)),
            ("ExternalConnected", true.into()),
        ]));
        let battery = &facts.battery;
        assert_eq!((value(&battery.health_percent), value(&battery.cycle_count)), (Some(91), Some(412)));
        assert_eq!((value(&battery.temperature_c), value(&battery.current_ma)), (Some(29.5), Some(-312)));
        assert_eq!(value(&battery.adapter_watts), Some(20));
        assert!(facts.gaps.is_empty(), "{:?}", facts.gaps);
    }

    #[test]
    fn keys_that_moved_inside_are_found() {
        let inner = dictionary(&[("DesignCapacity", 3000.into()), ("AppleRawMaxCapacity", 2400.into())]);
        let facts = told(dictionary(&[("BatteryData", Value::Dictionary(inner))]));
        assert_eq!(value(&facts.battery.health_percent), Some(80));
        assert!(facts.gap_of("battery.cycle_count").is_some());
    }

    #[test]
    fn impossible_readings_are_gaps() {
        let facts = told(dictionary(&[
            ("DesignCapacity", 0.into()),
            ("NominalChargeCapacity", i64::MAX.into()),
            ("CycleCount", (-1).into()),
            ("Temperature", 65_535.into()),
            ("InstantAmperage", i64::MIN.into()),
            ("CurrentCapacity", 65_535.into()),
        ]));
        assert_eq!(facts.battery.health_percent, None);
        assert!(facts.battery.cycle_count.is_none() && facts.battery.current_ma.is_none());
        assert!(facts.battery.temperature_c.is_none());
        assert_eq!(facts.battery.level_percent, None);
        assert!(facts.gap_of("battery.health_percent").is_some());
    }
}
