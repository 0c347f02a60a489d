//! The report as one HTML file that needs nothing else: no script, no font, no picture from anywhere, and a policy in
//! its head that forbids the browser to ask for any. Every text that came from a phone goes through
//! [`crate::facts::text::html`].

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::figures::{self, Light};
use super::picture::{self, Part};
use super::{Finding, Report, Rung, fact_words};
use crate::facts::text::html as escaped;
use crate::visit::climb::By;
use crate::visit::words;

const STYLE: &str = include_str!("style.css");

/// The report as a whole HTML document.
#[must_use]
pub fn html(report: &Report, zone: &TimeZone) -> String {
    let mut page = String::with_capacity(64 * 1024);
    head(&mut page, report, zone);
    page.push_str("<main>");
    hero(&mut page, report);
    whereabouts(&mut page, report);
    charts(&mut page, report, zone);
    done(&mut page, report, zone);
    climbed(&mut page, report, zone);
    risky(&mut page, report);
    ladder(&mut page, report);
    findings(&mut page, report);
    notes(&mut page, report);
    gaps(&mut page, report);
    page.push_str("</main>");
    foot(&mut page, report);
    page.push_str("</body></html>\n");
    page
}

/// Appends formatted markup; writing to a `String` cannot fail.
macro_rules! put {
    ($page:expr, $($arg:tt)*) => { let _ = write!($page, $($arg)*); };
}

fn head(page: &mut String, report: &Report, zone: &TimeZone) {
    let device = figures::device_line(report).unwrap_or_else(|| "No phone".to_owned());
    put!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"robots\" content=\"noindex\"><meta name=\"referrer\" content=\"no-referrer\">\
         <title>Photos report: {0}</title><style>{STYLE}</style></head><body>\
         <header><p class=\"device\">{0}</p><p>Read over the cable on {1}</p></header>",
        escaped(&device),
        words::moment(report.ended_at, zone)
    );
}

fn hero(page: &mut String, report: &Report) {
    let light = Light::of(&report.diagnosis.verdict.photos);
    put!(
        page,
        "<section class=\"hero {}\" aria-label=\"Verdict on the photos\">{}<div><p class=\"word\">{}</p><h1>{}</h1>",
        class(light),
        picture::sign(light),
        light.words(),
        escaped(&figures::headline(report))
    );
    if let Some(finding) = figures::answer(report) {
        let word = if light == Light::Safe { "What else is wrong:" } else { "Why?" };
        put!(page, "<p class=\"why\"><strong>{word}</strong> {}</p>", escaped(&finding.title));
    }
    page.push_str("</div></section>");
}

fn class(light: Light) -> &'static str {
    match light {
        Light::Safe => "safe",
        Light::NotSafe => "not-safe",
        Light::CannotTell => "cannot-tell",
    }
}

fn whereabouts(page: &mut String, report: &Report) {
    let places = figures::places(report);
    if places.is_empty() {
        return;
    }
    page.push_str("<section><h2>Where the originals are</h2>");
    page.push_str(&picture::originals(&places));
    page.push_str(
        "<table><caption class=\"soft small\">A photo is safe when its original is in at least two places. A Live \
         Photo counts once.</caption><thead><tr><th scope=\"col\">Original</th><th scope=\"col\" class=\"n\">Photos and \
         videos</th><th scope=\"col\" class=\"n\">In our copy</th><th scope=\"col\" class=\"n\">In the backup</th></tr>\
         </thead><tbody>",
    );
    for row in places {
        put!(
            page,
            "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            figures::place_words(&row.place),
            words::count(row.assets),
            words::count(row.copied),
            words::count(row.backed_up)
        );
    }
    page.push_str("</tbody></table></section>");
}

fn charts(page: &mut String, report: &Report, zone: &TimeZone) {
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
        picture::bar(&label, &parts, assets),
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
        picture::bar(&label, &[Part { class: "used", amount: used }], total),
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
        picture::bar(&label, &[Part { class, amount: level }], 100)
    ))
}

fn done(page: &mut String, report: &Report, zone: &TimeZone) {
    let Some(protection) = &report.protection else { return };
    page.push_str("<section><h2>What was done</h2><table><tbody>");
    let photos = protection.photos.as_ref().and_then(|photos| photos.verified_at);
    let backup = protection.backup.as_ref().and_then(|backup| backup.verified_at);
    for (name, sentence, verified) in [
        ("Copy of the photos", figures::photos_done(report), photos),
        ("Local backup", figures::backup_done(report), backup),
    ] {
        let Some(sentence) = sentence else { continue };
        let when = verified.map_or_else(String::new, |at| {
            format!(" <span class=\"soft\">Verified {}.</span>", words::moment(at, zone))
        });
        put!(page, "<tr><th scope=\"row\">{name}</th><td>{}{when}</td></tr>", escaped(&sentence));
    }
    put!(
        page,
        "<tr><th scope=\"row\">Kept in</th><td><code>{}</code></td></tr>",
        escaped(&protection.folder)
    );
    for made in &protection.layouts {
        let sentence = figures::laid_out_sentence(made);
        put!(page, "<tr><th scope=\"row\">Also in</th><td>{}</td></tr>", escaped(&sentence));
    }
    page.push_str("</tbody></table>");
    if !protection.skipped.is_empty() {
        put!(
            page,
            "<h3 style=\"margin-top:1rem\">Skipped ({})</h3><table><thead><tr><th scope=\"col\">What</th>\
             <th scope=\"col\">Why</th></tr></thead><tbody>",
            words::count(protection.skipped.len() as u64)
        );
        for skipped in &protection.skipped {
            put!(
                page,
                "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td></tr>",
                escaped(&skipped.item),
                escaped(&skipped.reason)
            );
        }
        page.push_str("</tbody></table>");
    }
    page.push_str("</section>");
}

/// The rungs that were climbed: who did what, when, and what changed.
fn climbed(page: &mut String, report: &Report, zone: &TimeZone) {
    if report.climbed.is_empty() {
        return;
    }
    page.push_str(
        "<section><h2>Rungs that were climbed</h2><table><thead><tr><th scope=\"col\">Rung</th>\
         <th scope=\"col\">Done by</th><th scope=\"col\">What came of it</th></tr></thead><tbody>",
    );
    for rung in &report.climbed {
        put!(
            page,
            "<tr><th scope=\"row\">{}</th><td>{}<br><span class=\"soft small\">{}</span></td><td>{}",
            escaped(&rung.title),
            match rung.by {
                By::Agent => "idevice-fix",
                By::Owner => "the owner",
                By::Nobody => "nobody",
            },
            words::moment(rung.ended_at, zone),
            escaped(&rung.sentence)
        );
        if !rung.changes.is_empty() {
            page.push_str("<ul class=\"small soft\">");
            for change in &rung.changes {
                put!(page, "<li>{}</li>", escaped(&figures::change(change, zone)));
            }
            page.push_str("</ul>");
        }
        page.push_str("</td></tr>");
    }
    page.push_str("</tbody></table></section>");
}

fn risky(page: &mut String, report: &Report) {
    page.push_str("<section><h2>Before anything that can lose data</h2>");
    for (of, title, light) in figures::risky(&report.diagnosis.verdict) {
        put!(
            page,
            "<div class=\"step\"><h3><span class=\"title\">{title}</span><span class=\"badge {}\">{}</span></h3>",
            class(light),
            light.words()
        );
        let (data, after) = figures::reasons(report, of);
        for (name, reasons) in [("Your data", data), ("After the erase", after)] {
            if reasons.is_empty() {
                continue;
            }
            put!(page, "<p class=\"soft small\">{name}</p><ul>");
            for reason in reasons {
                put!(page, "<li>{}</li>", escaped(&reason.text));
            }
            page.push_str("</ul>");
        }
        for told in figures::told(report, of) {
            put!(page, "<p><strong>Know this:</strong> {}</p>", escaped(&told.text));
        }
        page.push_str("</div>");
    }
    page.push_str("</section>");
}

fn ladder(page: &mut String, report: &Report) {
    if report.diagnosis.ladder.is_empty() {
        return;
    }
    page.push_str("<section><h2>What to do, least risk first</h2><ol class=\"ladder\" role=\"list\">");
    for rung in &report.diagnosis.ladder {
        one_rung(page, report, rung);
    }
    page.push_str("</ol></section>");
}

fn one_rung(page: &mut String, report: &Report, rung: &Rung) {
    let (class, word) = match rung.state.as_str() {
        "done" => ("done", "done"),
        "blocked" => ("blocked", "blocked"),
        "ask" => ("ask", "look on the phone"),
        _ => ("do", "to do"),
    };
    let risk = match rung.risk.as_str() {
        "none" => "",
        "disruptive" => " <span class=\"badge risk\">costs settings or time</span>",
        "data" => " <span class=\"badge problem\">can lose photos</span>",
        _ => " <span class=\"badge blocking\">destroys</span>",
    };
    put!(
        page,
        "<li class=\"is-{class}\"><span class=\"number\">{}</span><div><h3><span class=\"title\">{}</span>{risk} \
         <span class=\"badge {class}\">{word}</span></h3>",
        rung.rung,
        escaped(&rung.title)
    );
    if !rung.blocked_by.is_empty() {
        page.push_str("<ul class=\"small soft\">");
        for by in figures::blocked_by(report, rung) {
            put!(page, "<li>{}</li>", escaped(&by));
        }
        page.push_str("</ul>");
    }
    // The steps of a rung that can lose photos are nobody's to read as long as the gate is shut.
    let shut = rung.state == "blocked" && matches!(rung.risk.as_str(), "data" | "destroys");
    if rung.state != "done" && !shut && !rung.steps.is_empty() {
        page.push_str("<ol class=\"small\">");
        for step in &rung.steps {
            put!(page, "<li>{}</li>", escaped(step));
        }
        page.push_str("</ol>");
        if !rung.helped.is_empty() {
            put!(
                page,
                "<p class=\"small soft\"><strong>It helped when:</strong> {}</p>",
                escaped(&rung.helped)
            );
        }
        if !rung.why.is_empty() {
            page.push_str("<details class=\"small soft\"><summary>Why, and what it costs</summary><ul>");
            for why in &rung.why {
                put!(page, "<li>{}</li>", escaped(why));
            }
            page.push_str("</ul></details>");
        }
    }
    page.push_str("</div></li>");
}

fn findings(page: &mut String, report: &Report) {
    if report.diagnosis.findings.is_empty() {
        return;
    }
    page.push_str("<section><h2>What was found, worst first</h2>");
    for finding in &report.diagnosis.findings {
        one_finding(page, finding);
    }
    page.push_str("</section>");
}

fn one_finding(page: &mut String, finding: &Finding) {
    put!(
        page,
        "<div class=\"step\"><h3><span class=\"title\">{}</span><span class=\"badge {}\">{}</span></h3>\
         <p class=\"id\">{}</p>",
        escaped(&finding.title),
        match finding.severity.as_str() {
            "blocking" => "blocking",
            "problem" => "problem",
            _ => "notice",
        },
        escaped(&finding.severity),
        escaped(&finding.id)
    );
    if !finding.evidence.is_empty() {
        page.push_str("<ul class=\"small soft\">");
        for evidence in &finding.evidence {
            put!(page, "<li>{}</li>", escaped(&figures::evidence(evidence)));
        }
        page.push_str("</ul>");
    }
    page.push_str("</div>");
}

fn gaps(page: &mut String, report: &Report) {
    if report.diagnosis.gaps.is_empty() {
        return;
    }
    page.push_str(
        "<section><h2>What could not be read</h2><table><thead><tr><th scope=\"col\">Fact</th>\
         <th scope=\"col\">Why</th></tr></thead><tbody>",
    );
    for gap in &report.diagnosis.gaps {
        put!(
            page,
            "<tr><th scope=\"row\">{}<br><code>{}</code></th><td>{}</td></tr>",
            escaped(&fact_words::whole_name(&gap.fact)),
            escaped(&gap.fact),
            escaped(&gap.reason)
        );
    }
    page.push_str("</tbody></table></section>");
}

fn notes(page: &mut String, report: &Report) {
    let notes = report.protection.as_ref().map_or(&[][..], |protection| &protection.notes);
    if notes.is_empty() {
        return;
    }
    page.push_str("<section><h2>Notes on the backup</h2><p class=\"soft small\">Seen and judged harmless.</p><ul class=\"small soft\">");
    for note in notes {
        put!(page, "<li>{}</li>", escaped(note));
    }
    page.push_str("</ul></section>");
}

fn foot(page: &mut String, report: &Report) {
    put!(page, "<footer><p>{}", escaped(&report.made_by));
    if let Some(job) = &report.job {
        put!(page, " · visit {}", escaped(job));
    }
    if let Some(device) = &report.diagnosis.device {
        put!(page, " · {}", escaped(&device.udid));
    }
    page.push_str("</p>");
    if report.redacted {
        page.push_str(
            "<p>Made to be handed on: the phone's name and id, folders and names of files are left out.</p>",
        );
    }
    if !report.diagnosis.verdict.confirmed_on_real_device {
        page.push_str(
            "<p>What this program knows about iPhones was checked against public records and a simulated iPhone, not yet \
             against a real one with this version of iOS.</p>",
        );
    }
    page.push_str("</footer>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn page(report: &Report) -> String {
        html(report, &TimeZone::UTC)
    }

    #[test]
    fn nothing_is_fetched_from_anywhere() {
        let page = page(&sample::troubled());
        for bad in ["http://", "https://", "<script", "src=", "url(", "@import", "<link"] {
            assert!(!page.contains(bad), "{bad}");
        }
        assert!(page.contains("default-src 'none'"));
    }

    #[test]
    fn a_phone_cannot_write_markup() {
        let page = page(&sample::hostile());
        assert!(!page.contains("<img") && !page.contains("onerror=alert(1)>"), "markup went through");
        assert!(page.contains("&lt;img"), "the text itself is shown");
        assert!(!page.contains('\u{202e}') && !page.contains('\x1b'));
    }

    #[test]
    fn every_tag_is_closed() {
        for report in [sample::troubled(), sample::hostile(), sample::nothing()] {
            let page = page(&report);
            for tag in [
                "section", "div", "table", "tbody", "details", "thead", "ol", "ul", "li", "main", "svg", "p",
                "h3", "tr",
            ] {
                let opened =
                    page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
                assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
            }
        }
    }

    #[test]
    fn the_steps_of_what_can_lose_photos_are_not_shown_while_the_gate_is_shut() {
        let mut report = sample::troubled();
        let at =
            report.diagnosis.ladder.iter().position(|rung| rung.remedy == "toggle-icloud-photos").unwrap();
        report.diagnosis.ladder[at].steps = vec!["Turn the switch off.".to_owned()];
        report.diagnosis.ladder[at].why = vec!["It starts over.".to_owned()];
        let shut = page(&report);
        assert!(!shut.contains("Turn the switch off.") && !shut.contains("It starts over."));
        report.diagnosis.ladder[at].state = "do".to_owned();
        assert!(page(&report).contains("Turn the switch off."));
        // What only costs time is shown while it waits for something.
        report.diagnosis.ladder[at].state = "blocked".to_owned();
        report.diagnosis.ladder[at].risk = "disruptive".to_owned();
        assert!(page(&report).contains("Turn the switch off."));
    }

    #[test]
    fn what_the_library_does_not_say_is_not_drawn_as_none() {
        let mut report = sample::troubled();
        report.diagnosis.facts["library"]["failed"] = serde_json::Value::Null;
        let page = page(&report);
        assert!(page.contains("30 waiting, an unknown number failed"), "{page}");
    }

    #[test]
    fn text_and_html_say_the_same_verdict() {
        let report = sample::troubled();
        let sentence = figures::headline(&report);
        assert!(page(&report).contains(&escaped(&sentence)));
        assert!(
            crate::report::text(&report, &crate::report::Style { width: 400, ..Default::default() })
                .contains(&sentence)
        );
    }
}
