//! Rules about power and heat.

use crate::facts::sentences::{fixed, say};
use crate::facts::{Facts, value};

use super::FindingId;
use super::rule::{Found, Rule, yes};
use super::thresholds::{
    BATTERY_LOW_PERCENT, BATTERY_WORN_PERCENT, CHARGING_MAY_REST_PERCENT, DEVICE_HOT_CELSIUS,
    DEVICE_WARM_CELSIUS, NOT_CHARGING_PROBLEM_PERCENT,
};

pub(super) const RULES: &[Rule] = &[
    Rule { id: FindingId::BatteryLow, judge: battery_low },
    Rule { id: FindingId::NotCharging, judge: not_charging },
    Rule { id: FindingId::LowPowerMode, judge: low_power_mode },
    Rule { id: FindingId::BatteryWorn, judge: battery_worn },
    Rule { id: FindingId::DeviceHot, judge: device_hot },
];

/// Measured where the level is known; the engine's own flag, which may be older, only where it is not.
fn battery_low(facts: &Facts) -> Option<Found> {
    let battery = &facts.battery;
    let engine = facts.icloud_photos.engine.as_ref();
    match value(&battery.level_percent) {
        Some(level) if level < BATTERY_LOW_PERCENT && battery.gaining() != Some(true) => {
            let title = say!("battery-low", level = level);
            let found = Found::problem(title).on(&battery.level_percent);
            Some(found.on(&battery.charging).on(&battery.current_ma))
        }
        Some(_) => None,
        None => engine
            .filter(|engine| yes(&engine.low_battery))
            .map(|engine| Found::problem(fixed("battery-low-said")).on(&engine.low_battery)),
    }
}

fn not_charging(facts: &Facts) -> Option<Found> {
    let battery = &facts.battery;
    let level = value(&battery.level_percent).filter(|level| *level < CHARGING_MAY_REST_PERCENT)?;
    if battery.gaining() != Some(false) || yes(&battery.fully_charged) {
        return None;
    }
    let losing = value(&battery.current_ma).is_some_and(|current| current < 0);
    let title = if losing {
        say!("battery-loses", level = level)
    } else {
        say!("battery-not-charging", level = level)
    };
    let found = Found::problem_if(level < NOT_CHARGING_PROBLEM_PERCENT, title).on(&battery.level_percent);
    Some(found.on(&battery.charging).on(&battery.current_ma).on(&battery.adapter_watts))
}

fn low_power_mode(facts: &Facts) -> Option<Found> {
    let flag = &facts.icloud_photos.engine.as_ref()?.low_power_mode;
    yes(flag).then(|| Found::notice(fixed("low-power-mode")).on(flag))
}

fn battery_worn(facts: &Facts) -> Option<Found> {
    let health = &facts.battery.health_percent;
    let percent = value(health).filter(|percent| *percent < BATTERY_WORN_PERCENT)?;
    let title = say!("battery-worn", percent = percent);
    Some(Found::notice(title).on(health).on(&facts.battery.cycle_count))
}

fn device_hot(facts: &Facts) -> Option<Found> {
    let temperature = &facts.battery.temperature_c;
    let measured = value(temperature).filter(|celsius| *celsius >= DEVICE_HOT_CELSIUS);
    let engine = facts.icloud_photos.engine.as_ref();
    let flagged =
        engine.filter(|engine| yes(&engine.thermal_pressure) || yes(&engine.moderate_thermal_pressure));
    let title = match (measured, flagged) {
        (Some(celsius), _) => say!("hot", celsius = format!("{celsius:.1}")),
        (None, Some(_)) => {
            let but = value(temperature)
                .filter(|celsius| *celsius < DEVICE_WARM_CELSIUS)
                .map_or_else(String::new, |celsius| say!("hot-although", celsius = format!("{celsius:.1}")));
            say!("hot-said", but = but)
        }
        (None, None) => return None,
    };
    let mut found = Found::problem(title);
    if measured.is_some() {
        found = found.on(temperature);
    }
    if let Some(engine) = flagged {
        found = found.on(&engine.thermal_pressure).on(&engine.moderate_thermal_pressure);
    }
    Some(if measured.is_some() { found } else { found.on(temperature) })
}

#[cfg(test)]
pub(super) const CASES: &[super::rule::Case] = {
    use super::rule::Case;
    use super::rule::cases::{engine, fact};
    &[
        Case {
            id: FindingId::BatteryLow,
            fires: |f| {
                // A weak port: charging is claimed, and the current flows out.
                f.battery.level_percent = fact(19);
                f.battery.charging = fact(true);
                f.battery.current_ma = fact(-120);
            },
            silent: |f| {
                f.battery.level_percent = fact(19);
                f.battery.charging = fact(true);
                engine(f).low_battery = fact(true);
            },
        },
        Case {
            id: FindingId::NotCharging,
            fires: |f| {
                f.battery.level_percent = fact(79);
                f.battery.charging = fact(false);
            },
            silent: |f| {
                // Held at the charge limit.
                f.battery.level_percent = fact(80);
                f.battery.charging = fact(false);
            },
        },
        Case {
            id: FindingId::LowPowerMode,
            fires: |f| engine(f).low_power_mode = fact(true),
            silent: |f| engine(f).low_power_mode = fact(false),
        },
        Case {
            id: FindingId::BatteryWorn,
            fires: |f| f.battery.health_percent = fact(79),
            silent: |f| f.battery.health_percent = fact(80),
        },
        Case {
            id: FindingId::DeviceHot,
            fires: |f| engine(f).moderate_thermal_pressure = fact(true),
            silent: |f| f.battery.temperature_c = fact(37.9),
        },
    ]
};
