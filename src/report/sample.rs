//! Reports for the tests of the renderers, written as the JSON that a visit leaves behind.

use serde_json::{Value, json};

use super::Report;

/// A phone in trouble, half way: the copy is made, the backup is not.
pub(super) fn troubled() -> Report {
    serde_json::from_value(troubled_json()).expect("the sample has the report's shape")
}

/// The same, with a name, a title, a path and a gap that try to break out of wherever they are shown.
pub(super) fn hostile() -> Report {
    let bad = "</style><img src=x onerror=alert(1)>\u{1b}[2J\u{202e}\r\n\"'&";
    let mut report = troubled();
    let device = report.diagnosis.device.as_mut().expect("the sample has a device");
    device.name = Some(bad.to_owned());
    device.model = None;
    device.product_type = Some(bad.to_owned());
    device.udid = bad.to_owned();
    report.job = Some(bad.to_owned());
    for finding in &mut report.diagnosis.findings {
        finding.title = bad.to_owned();
        finding.id = bad.to_owned();
        finding.severity = bad.to_owned();
        finding.evidence[0].value = Value::String(bad.to_owned());
        finding.evidence[0].source = bad.to_owned();
    }
    for reason in &mut report.diagnosis.verdict.reasons {
        reason.text = bad.to_owned();
    }
    for rung in &mut report.diagnosis.ladder {
        rung.title = bad.to_owned();
        rung.helped = bad.to_owned();
        rung.why.push(bad.to_owned());
        rung.steps.push(bad.to_owned());
        rung.blocked_by.push(bad.to_owned());
    }
    for rung in &mut report.climbed {
        rung.title = bad.to_owned();
        rung.sentence = bad.to_owned();
        rung.changes[0].fact = bad.to_owned();
        rung.changes[0].after = Value::String(bad.to_owned());
    }
    report.diagnosis.gaps[0].reason = bad.to_owned();
    report.diagnosis.gaps[0].fact = bad.to_owned();
    let protection = report.protection.as_mut().expect("the sample is protected");
    protection.skipped[0].item = bad.to_owned();
    protection.folder = bad.to_owned();
    report
}

/// No phone at all.
pub(super) fn nothing() -> Report {
    let mut report = troubled();
    report.diagnosis.device = None;
    report.diagnosis.facts = json!({});
    report.diagnosis.findings.clear();
    report.diagnosis.ladder.clear();
    report.diagnosis.gaps.clear();
    let verdict = &mut report.diagnosis.verdict;
    for word in [
        &mut verdict.photos,
        &mut verdict.erase,
        &mut verdict.delete_icloud_library,
        &mut verdict.toggle_icloud_photos,
    ] {
        "cannot-tell".clone_into(word);
    }
    verdict.reasons.clear();
    "CANNOT TELL: no phone could be read.".clone_into(&mut verdict.sentence);
    report.whereabouts = None;
    report.protection = None;
    report.climbed.clear();
    report
}

fn troubled_json() -> Value {
    json!({
        "schema": super::SCHEMA, "made_by": "idevice-fix 0.1.0", "job": "20261122T022510Z",
        "began_at": "2026-11-22T02:25:10Z", "ended_at": "2026-11-22T02:31:40Z", "simulated": true,
        "diagnosis": {
            "schema": super::DIAGNOSIS_SCHEMA,
            "device": {"udid": "00008101-000000000000001E", "name": "Anna's iPhone", "product_type": "iPhone13,2",
                "model": "iPhone 12", "ios_version": "18.4.1", "build": "22E252"},
            "facts": {
                "battery": {"level_percent": 53, "charging": true, "external_power": true, "health_percent": 91,
                    "cycle_count": 412, "temperature_c": 29.5},
                "storage": {"total_bytes": 127_989_493_760_u64, "free_bytes": 30_701_121_536_u64, "purgeable_bytes": null},
                "icloud_photos": {"enabled": true, "last_sync": "2026-11-20T21:17:09Z", "server_assets": 1203},
                "library": {"assets": 1240, "uploaded": 1203, "waiting": 30, "failed": 7, "never_queued": 0,
                    "originals_here_and_in_icloud": 1203, "originals_only_here": 37, "originals_only_in_icloud": 0,
                    "originals_in_neither": 0, "originals_place_unknown": 0, "recently_deleted": 12, "hidden": 3}
            },
            "gaps": [{"fact": "storage.purgeable_bytes", "reason": "this iOS does not say"}],
            "findings": findings(), "ladder": ladder(),
            "verdict": {"photos": "not-safe", "erase": "not-safe", "delete_icloud_library": "not-safe",
                "toggle_icloud_photos": "not-safe", "confirmed_on_real_device": false,
                "sentence": "NOT SAFE: 37 photos exist only on this phone and are not copied yet.", "told": [],
                "reasons": [
                    {"for": "photos", "id": "originals-only-here", "text": "37 photos exist only on this phone", "part": "your-data", "known": true},
                    {"for": "erase", "id": "originals-only-here", "text": "37 photos exist only on this phone", "part": "your-data", "known": true},
                    {"for": "erase", "id": "local-backup-missing", "text": "no verified local backup exists", "part": "your-data", "known": true},
                    {"for": "erase", "id": "find-my-on", "text": "Find My is on: the phone asks for the Apple Account password after an erase", "part": "after-the-erase", "known": true},
                    {"for": "delete_icloud_library", "id": "local-backup-missing", "text": "no verified local backup exists", "part": "your-data", "known": true},
                    {"for": "toggle_icloud_photos", "id": "originals-only-here", "text": "37 photos exist only on this phone", "part": "your-data", "known": true}
                ]}
        },
        "whereabouts": [
            {"place": "here-and-in-icloud", "assets": 1203, "copied": 1203, "backed_up": 0},
            {"place": "only-here", "assets": 37, "copied": 36, "backed_up": 0},
            {"place": "only-in-icloud", "assets": 0, "copied": 0, "backed_up": 0}
        ],
        "protection": {"folder": "/home/anna/idevice-fix/00008101-000000000000001E",
            "photos": {"copied_files": 1271, "copied_bytes": 4_120_331_776_u64, "from_backup_files": 0,
                "proven_files": 1271, "seconds": 128, "verified_at": "2026-11-22T02:31:20Z"},
            "backup": null,
            "skipped": [{"item": "DCIM/100APPLE/IMG_0007.HEIC", "reason": "the phone refused to open it (permission denied)"}]},
        "climbed": [{"remedy": "restart-device", "title": "Restart the phone", "by": "agent",
            "began_at": "2026-11-22T02:29:00Z", "ended_at": "2026-11-22T02:30:30Z", "result": "partly",
            "sentence": "Something moved; what called for it is still there.",
            "changes": [{"fact": "library.waiting", "before": 42, "after": 30}]}],
        "ending": {"exit_status": 6, "sentence": "Finished, but 1 file was skipped."}
    })
}

fn findings() -> Value {
    json!([
        {"id": "icloud-storage-full", "severity": "blocking",
            "title": "iCloud storage is full, so nothing more is uploaded",
            "evidence": [{"source": "afc:/PhotoData/CPL/syncstatus.plist", "key": "isExceedingQuota", "value": true}]},
        {"id": "uploads-failed", "severity": "problem", "title": "7 photos could not be uploaded and the phone gave them up",
            "evidence": [{"source": "library:Photos.sqlite", "key": "ZCLOUDLOCALSTATE", "value": 7}]},
        {"id": "recently-deleted", "severity": "notice", "title": "12 photos are in Recently Deleted",
            "evidence": [{"source": "library:Photos.sqlite", "key": "ZTRASHEDSTATE", "value": 12}]}
    ])
}

fn ladder() -> Value {
    json!([
        {"rung": 1, "remedy": "copy-photos", "risk": "none", "state": "done", "automatic": true,
            "because": ["photos-not-copied"], "blocked_by": [], "title": "Copy the photos to this computer", "steps": []},
        {"rung": 2, "remedy": "back-up", "risk": "none", "state": "do", "automatic": true,
            "because": ["local-backup-missing"], "blocked_by": [], "title": "Make a local backup and verify it",
            "steps": ["Run idevice-fix backup and enter the passcode on the phone when it asks."]},
        {"rung": 3, "remedy": "free-icloud-storage", "risk": "none", "state": "do", "automatic": false,
            "because": ["icloud-storage-full"], "blocked_by": [], "title": "Free storage in iCloud or buy more",
            "steps": ["On the phone: Settings › your name › iCloud › Manage Account Storage.",
                "Remove backups of phones that you no longer have; leave this phone's own backup alone.",
                "Or choose a larger plan there."]},
        {"rung": 4, "remedy": "check-system-status", "risk": "none", "state": "ask", "automatic": false,
            "because": [], "blocked_by": [], "title": "Look whether iCloud itself is in trouble",
            "steps": ["Open Apple's System Status page and look at Photos."]},
        {"rung": 5, "remedy": "restart-device", "risk": "disruptive", "state": "do", "automatic": true,
            "because": ["uploads-failed"], "blocked_by": [], "title": "Restart the phone", "steps": ["idevice-fix restart"]},
        {"rung": 6, "remedy": "toggle-icloud-photos", "risk": "data", "state": "blocked", "automatic": false,
            "because": ["uploads-failed"], "blocked_by": ["originals-only-here"],
            "title": "Turn iCloud Photos off and on again", "steps": []},
        {"rung": 7, "remedy": "erase-and-restore", "risk": "destroys", "state": "blocked", "automatic": false,
            "because": ["uploads-failed"], "blocked_by": ["originals-only-here", "local-backup-missing", "find-my-on"],
            "title": "Erase the phone and restore the verified backup", "steps": []}
    ])
}

#[test]
fn what_is_written_is_read_again_the_same() {
    let report = troubled();
    let written = serde_json::to_vec(&report).expect("a report is plain data");
    assert_eq!(serde_json::from_slice::<Report>(&written).expect("just written"), report);
}
