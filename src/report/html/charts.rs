//! The phone in three small charts: upload, storage, battery. What is unknown has none.

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use crate::report::picture::{self, Part};
use crate::report::{Report, figures};
use crate::visit::words;

pub(super) fn charts(page: &mut String, report: &Report, zone: &TimeZone) {
    let cards: Vec<String> =
        [upload(report, zone), storage(report), battery(report)].into_iter().flatten().collect();
    if !cards.is_empty() {
        put!(page, "<section><h2>The phone</h2><div class=\"cards\">{}</div></section>", cards.concat());
    }
}

fn upload(report: &Report, zone: &TimeZone) -> Option<String> {
    let of = |name: &str| figures::number(report, &format!("library.{name}"));
    let (assets, uploaded) = (of("assets")?, of("uploaded")?);
    let rest = [
        ("waiting", of("waiting"), "warn"),
        ("failed", of("failed"), "alarm"),
        ("never queued", of("never_queued"), "warn"),
    ];
    let label = format!("{} of {} uploaded", words::count(uploaded), words::count(assets));
    let mut parts = vec![Part { class: "cloud", amount: uploaded }];
    parts.extend(rest.iter().filter_map(|(_, amount, class)| Some(Part { class, amount: (*amount)? })));
    // What the library does not say is no 0.
    let rest: Vec<String> = rest
        .iter()
        .filter(|(_, n, _)| *n != Some(0))
        .map(|(word, n, _)| {
            format!("{} {word}", n.map_or_else(|| "an unknown number".to_owned(), words::count))
        })
        .collect();
    let synced = figures::fact(report, "icloud_photos.last_sync")
        .and_then(|at| at.as_str()?.parse().ok())
        .map_or_else(String::new, |at| {
            format!("<p>Last contact with iCloud: {}</p>", words::moment(at, zone))
        });
    Some(format!(
        "<div><h3>Upload to iCloud</h3>{}<p>{label}{}{}</p>{synced}</div>",
        picture::bar("Bar: how much is uploaded", &parts, assets),
        if rest.is_empty() { "" } else { "; " },
        rest.join(", ")
    ))
}

fn storage(report: &Report) -> Option<String> {
    let total = figures::number(report, "storage.total_bytes")?;
    let free = figures::number(report, "storage.free_bytes")?;
    let used = total.saturating_sub(free);
    let label = format!("{} of {} used", words::bytes(used), words::bytes(total));
    Some(format!(
        "<div><h3>Storage</h3>{}<p>{label}; {} free</p></div>",
        picture::bar("Bar: how full it is", &[Part { class: "used", amount: used }], total),
        words::bytes(free)
    ))
}

fn battery(report: &Report) -> Option<String> {
    let level = figures::number(report, "battery.level_percent")?;
    let charging = figures::fact(report, "battery.charging").and_then(serde_json::Value::as_bool);
    let label = format!("{level} % charged");
    let now = match charging {
        Some(true) => ", charging",
        Some(false) => ", not charging",
        None => "",
    };
    let health = figures::number(report, "battery.health_percent")
        .map_or_else(String::new, |n| format!("<p>Health about {n} % (our estimate; Settings may differ)"));
    let cycles = figures::number(report, "battery.cycle_count")
        .map_or_else(String::new, |n| format!(", {}", words::counted(n, "charge cycle", "charge cycles")));
    let health = if health.is_empty() { health } else { format!("{health}{cycles}</p>") };
    let class = if level < 20 { "alarm" } else { "copy" };
    Some(format!(
        "<div><h3>Battery</h3>{}<p>{label}{now}</p>{health}</div>",
        picture::bar("Bar: how far it is charged", &[Part { class, amount: level }], 100)
    ))
}
