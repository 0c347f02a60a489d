//! What may be done: what each risky step waits for, and the ladder.

use std::fmt::Write as _;

use super::{PAUSE, class};
use crate::facts::text::html as escaped;
use crate::report::{Report, Rung, figures};

pub(super) fn risky(page: &mut String, report: &Report) {
    page.push_str("<section><h2>Before anything that can lose data</h2>");
    for (of, title, light) in figures::risky(&report.diagnosis.verdict) {
        put!(
            page,
            "<div class=\"step\"><h3><span class=\"title\">{title}</span>{PAUSE}<span class=\"badge {}\">{}</span></h3>",
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

pub(super) fn ladder(page: &mut String, report: &Report) {
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
        "disruptive" => {
            "<span class=\"unseen\">, </span><span class=\"badge risk\">costs settings or time</span>"
        }
        "data" => "<span class=\"unseen\">, </span><span class=\"badge problem\">can lose photos</span>",
        _ => "<span class=\"unseen\">, </span><span class=\"badge blocking\">destroys</span>",
    };
    put!(
        page,
        "<li class=\"is-{class}\"><span class=\"number\">{}</span><div><h3><span class=\"title\">{}</span>{risk}\
         {PAUSE}<span class=\"badge {class}\">{word}</span></h3>",
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
