//! What every report holds to, whatever the phone says.

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
    let at = report.diagnosis.ladder.iter().position(|rung| rung.remedy == "toggle-icloud-photos").unwrap();
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
