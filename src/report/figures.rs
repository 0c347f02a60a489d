//! Sentences and figures that the text and the HTML both show, drawn once from the report's values.

use jiff::tz::TimeZone;
use serde_json::Value;

use super::{Finding, Reason, Report, Verdict, Whereabouts, fact_words};
use crate::facts::sentences::fixed;
use crate::facts::text::plain;
use crate::photos::layout::{LaidOut, Link};
use crate::remedy::gate::Answer;
use crate::visit::climb::Change;
use crate::visit::{PhotosKept, words};

/// What a verdict is, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Light {
    Safe,
    NotSafe,
    CannotTell,
}

impl Light {
    /// Anything but the two known words is no knowledge.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "safe" => Light::Safe,
            "not-safe" => Light::NotSafe,
            _ => Light::CannotTell,
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Light::Safe => Answer::Safe.shout(),
            Light::NotSafe => Answer::NotSafe.shout(),
            Light::CannotTell => Answer::CannotTell.shout(),
        }
    }
}

/// The photos' verdict in one sentence, without its first word, which stands apart. Text from the phone is defused, not
/// yet escaped for HTML.
pub(super) fn headline(report: &Report) -> String {
    let verdict = &report.diagnosis.verdict;
    let shout = Light::of(&verdict.photos).words();
    let sentence = verdict.sentence.strip_prefix(shout).unwrap_or(&verdict.sentence).trim_start_matches(':');
    let clean = plain(sentence.trim_start());
    let mut chars = clean.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A sentence as part of another: no full stop.
fn clause(sentence: &str) -> String {
    plain(sentence.trim_end_matches('.'))
}

/// The device in one line: name, model, iOS.
pub(super) fn device_line(report: &Report) -> Option<String> {
    let device = report.diagnosis.device.as_ref()?;
    let model = device.model.as_ref().or(device.product_type.as_ref());
    let parts = [
        Some(plain(device.name.as_deref().unwrap_or("iPhone"))),
        model.map(|model| plain(model)),
        device.ios_version.as_ref().map(|version| format!("iOS {}", plain(version))),
        report.simulated.then(|| "simulated".to_owned()),
    ];
    Some(parts.into_iter().flatten().collect::<Vec<_>>().join(" · "))
}

/// The finding that answers "why?": the worst, unless it is a mere notice.
pub(super) fn answer(report: &Report) -> Option<&Finding> {
    report.diagnosis.findings.first().filter(|finding| finding.severity != "notice")
}

/// A whole number among the facts, by its dotted name.
pub(super) fn number(report: &Report, name: &str) -> Option<u64> {
    fact(report, name)?.as_u64()
}

/// A fact by its dotted name; `None` also for `null`.
pub(super) fn fact<'r>(report: &'r Report, name: &str) -> Option<&'r Value> {
    name.split('.').try_fold(&report.diagnosis.facts, |value, part| value.get(part)).filter(|v| !v.is_null())
}

/// How the copy was arranged, in one sentence.
#[must_use]
pub fn laid_out_sentence(made: &LaidOut) -> String {
    let folder = plain(&made.folder);
    if let Some(why) = &made.impossible {
        return format!("{folder} was not made: {}.", clause(why));
    }
    let files = words::counted(made.files, "file", "files");
    let links = match made.links {
        None => String::new(),
        Some(Link::Reflink) => ", sharing their bytes with the copy; a change of one leaves the other".to_owned(),
        Some(Link::HardLink) => {
            ", second names (hard links) of the copy's own: a change of one changes the copy, and photos verify says so"
                .to_owned()
        }
        Some(Link::Symlink) => {
            ", symbolic links to the copy: a change through one changes the copy, and photos verify says so".to_owned()
        }
    };
    let hidden = match made.hidden_left_out {
        0 => String::new(),
        n => format!(". Left out: {} of the Hidden album", words::counted(n, "file", "files")),
    };
    let others = match made.others_kept {
        0 => String::new(),
        n => format!(". Kept: {} that somebody put there", words::counted(n, "file", "files")),
    };
    format!("{folder}: {files}{links}{hidden}{others}.")
}

/// What the place of an original is called.
pub(super) fn place_words(place: &str) -> &'static str {
    match place {
        "here-and-in-icloud" => "on the phone and in iCloud",
        "only-here" => "only on the phone",
        "only-in-icloud" => "only in iCloud",
        "in-neither" => "in neither",
        _ => "unknown",
    }
}

/// Is an original of this place on the phone?
pub(super) fn on_phone(place: &str) -> bool {
    matches!(place, "here-and-in-icloud" | "only-here")
}

/// Is an original of this place in iCloud?
pub(super) fn in_icloud(place: &str) -> bool {
    matches!(place, "here-and-in-icloud" | "only-in-icloud")
}

/// The rows of the whereabouts that hold anything.
pub(super) fn places(report: &Report) -> Vec<&Whereabouts> {
    report.whereabouts.iter().flatten().filter(|row| row.assets > 0).collect()
}

/// The risky steps, each with its verdict, and the name by which its reasons know it.
pub(super) fn risky(verdict: &Verdict) -> [(&'static str, &'static str, Light); 3] {
    [
        ("erase", "Erase the phone and restore it", Light::of(&verdict.erase)),
        (
            "delete_icloud_library",
            "Delete the photo library in iCloud",
            Light::of(&verdict.delete_icloud_library),
        ),
        ("toggle_icloud_photos", "Turn iCloud Photos off and on", Light::of(&verdict.toggle_icloud_photos)),
    ]
}

/// The reasons against one risky step: those of the owner's data, then those of the time after.
pub(super) fn reasons<'r>(report: &'r Report, of: &str) -> (Vec<&'r Reason>, Vec<&'r Reason>) {
    report
        .diagnosis
        .verdict
        .reasons
        .iter()
        .filter(|reason| reason.of == of)
        .partition(|reason| reason.part != "after-the-erase")
}

/// What the owner has to be told about one risky step although it keeps nothing shut.
pub(super) fn told<'r>(report: &'r Report, of: &str) -> impl Iterator<Item = &'r super::Told> {
    report.diagnosis.verdict.told.iter().filter(move |told| told.of == of)
}

/// What keeps a rung shut, in words where a reason or a finding has them.
pub(super) fn blocked_by(report: &Report, rung: &super::Rung) -> Vec<String> {
    let diagnosis = &report.diagnosis;
    let words = |id: &String| {
        let reason =
            diagnosis.verdict.reasons.iter().find(|reason| reason.id == *id).map(|reason| &reason.text);
        let finding =
            diagnosis.findings.iter().find(|finding| finding.id == *id).map(|finding| &finding.title);
        let remedy = diagnosis.ladder.iter().find(|other| other.remedy == *id).map(|other| &other.title);
        // No question of the verdict is about it, and no finding says it.
        let first = (id == "back-up-first").then(|| fixed("gate-back-up-first"));
        clause(reason.or(finding).or(remedy).map(String::as_str).or(first).unwrap_or(id))
    };
    rung.blocked_by.iter().map(words).collect()
}

/// What was copied, in one sentence.
pub(super) fn photos_done(report: &Report) -> Option<String> {
    let photos = report.protection.as_ref()?.photos.as_ref()?;
    let copied = if photos.copied_files == 0 {
        "nothing new to copy".to_owned()
    } else {
        format!(
            "{} copied, {}, in {}",
            words::counted(photos.copied_files, "file", "files"),
            words::bytes(photos.copied_bytes),
            words::duration(std::time::Duration::from_secs(photos.seconds))
        )
    };
    let resumed = match photos.resumed_bytes {
        0 => String::new(),
        n => format!("; {} of an interrupted file were here already", words::bytes(n)),
    };
    let taken = match photos.from_backup_files {
        0 => String::new(),
        n => format!("; {} taken from the backup, since the phone refused to hand it out", words::count(n)),
    };
    Some(format!("{copied}{resumed}{taken}; {}.", proven(photos)))
}

/// How well the copy of the photos is proven: what was read again for that, and what only stands as it stood.
fn proven(photos: &PhotosKept) -> String {
    let Some(at) = photos.verified_at else { return "the copy is NOT proven".to_owned() };
    let read = photos.proven_files.saturating_sub(photos.unread_files);
    let stands = |files: &str, is: &str, was: &str| {
        let earliest = words::ago(photos.unread_since.unwrap_or(at), at);
        format!(
            "{files} {is}, by size and date, as {was} read and found whole (the earliest reading: {earliest})"
        )
    };
    match (read, photos.unread_files) {
        (1, 0) => "the 1 file of the copy was read again and is whole".to_owned(),
        (all, 0) => format!("all {} files of the copy were read again and are whole", words::count(all)),
        (0, 1) => stands("the 1 file of the copy", "is", "when it was"),
        (0, all) => stands(&format!("all {} files of the copy", words::count(all)), "are", "when they were"),
        (read, others) => {
            let (were, are) = if read == 1 { ("was", "is") } else { ("were", "are") };
            let read = words::counted(read, "file", "files");
            let others = match others {
                1 => stands("the other one", "is", "when it was"),
                n => stands(&format!("the other {}", words::count(n)), "are", "when they were"),
            };
            format!("{read} of the copy {were} read again and {are} whole; {others}")
        }
    }
}

/// What was backed up, in one sentence.
pub(super) fn backup_done(report: &Report) -> Option<String> {
    let backup = report.protection.as_ref()?.backup.as_ref()?;
    let proven = match (backup.verified_at, backup.proven_inside) {
        (None, _) => "it is NOT proven",
        (Some(_), true) => "every file was read again and is whole",
        (Some(_), false) => {
            "every file was read again and is what came over the cable; without its password only its outside is proven"
        }
    };
    Some(format!(
        "{} in {}, {}; {} came over the cable in {}; {proven}.",
        words::counted(backup.files, "file", "files"),
        words::bytes(backup.bytes),
        if backup.encrypted { "encrypted" } else { "not encrypted" },
        words::bytes(backup.received_bytes),
        words::duration(std::time::Duration::from_secs(backup.seconds)),
    ))
}

/// A fact that changed, as people read it: `Photo library: Waiting for upload: 30 → 12`.
pub(super) fn change(change: &Change, zone: &TimeZone) -> String {
    let of = |value: &Value| fact_words::in_words(&change.fact, value, zone);
    format!("{}: {} \u{2192} {}", fact_words::whole_name(&change.fact), of(&change.before), of(&change.after))
}

/// A value that shows a finding, as people read it: `isExceedingQuota = true (afc:/PhotoData/CPL/syncstatus.plist)`.
pub(super) fn evidence(evidence: &super::Evidence) -> String {
    let value = match &evidence.value {
        Value::String(text) => plain(text),
        // Braces and quotes help nobody; the report's JSON has them.
        lists @ (Value::Object(_) | Value::Array(_)) => {
            plain(&fact_words::in_words("", lists, &TimeZone::UTC))
        }
        other => plain(&other.to_string()),
    };
    match (evidence.key.as_str(), evidence.source.as_str()) {
        ("", source) => format!("{} = {value}", plain(source)),
        (key, "") => format!("{} = {value}", plain(key)),
        (key, source) => format!("{} = {value} ({})", plain(key), plain(source)),
    }
}
