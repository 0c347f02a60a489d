//! The report as one HTML file that needs nothing else: no script, no font, no picture from anywhere, and a policy in
//! its head that forbids the browser to ask for any. Every text that came from a phone goes through
//! [`crate::facts::text::html`].

/// Appends formatted markup; writing to a `String` cannot fail.
macro_rules! put {
    ($page:expr, $($arg:tt)*) => { let _ = write!($page, $($arg)*); };
}

mod charts;
mod steps;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::figures::{self, Light};
use super::picture;
use super::{Finding, Report, fact_words};
use crate::facts::text::html as escaped;
use crate::visit::climb::By;
use crate::visit::words;

const STYLE: &str = include_str!("style.css");
/// Before a badge: who hears a heading read hears where its title ends.
const PAUSE: &str = "<span class=\"unseen\">, </span>";

/// The report as a whole HTML document.
#[must_use]
pub fn html(report: &Report, zone: &TimeZone) -> String {
    let mut page = String::with_capacity(64 * 1024);
    head(&mut page, report, zone);
    page.push_str("<main>");
    hero(&mut page, report);
    whereabouts(&mut page, report);
    charts::charts(&mut page, report, zone);
    done(&mut page, report, zone);
    climbed(&mut page, report, zone);
    steps::risky(&mut page, report);
    steps::ladder(&mut page, report);
    findings(&mut page, report);
    notes(&mut page, report);
    gaps(&mut page, report);
    page.push_str("</main>");
    foot(&mut page, report);
    page.push_str("</body></html>\n");
    page
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
        "<div class=\"step\"><h3><span class=\"title\">{}</span>{PAUSE}<span class=\"badge {}\">{}</span></h3>\
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
