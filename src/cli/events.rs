//! A visit for scripts: one JSON object a line on stdout, at most a few a second for each phase.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::terminal;
use crate::progress::{Event, Observer, Phase, Touch};

/// Between two `advanced` events of one phase.
const ADVANCED_EVERY: Duration = Duration::from_millis(250);
/// The schema of every event.
const SCHEMA: &str = "idevice-fix/event/1";

/// Prints events.
#[derive(Debug, Default)]
pub(super) struct Events {
    told: Mutex<HashMap<Phase, Instant>>,
}

impl Events {
    fn is_due(&self, phase: Phase) -> bool {
        let mut told = self.told.lock().expect("no holder of this lock panics");
        let now = Instant::now();
        let due = told.get(&phase).is_none_or(|at| now.duration_since(*at) >= ADVANCED_EVERY);
        if due {
            told.insert(phase, now);
        }
        due
    }
}

impl Observer for Events {
    fn event(&self, event: Event) {
        if let Event::Advanced { phase, .. } = event
            && !self.is_due(phase)
        {
            return;
        }
        terminal::print_json(&object(&event));
    }
}

fn touch_name(touch: Touch) -> &'static str {
    match touch {
        Touch::Trust => "trust",
        Touch::Unlock => "unlock",
        Touch::Passcode => "passcode",
    }
}

fn object(event: &Event) -> Value {
    match event {
        Event::Began { phase, bytes_total, items_total } => json!({
            "event": "began", "schema": SCHEMA, "phase": phase.name(),
            "bytes_total": bytes_total, "items_total": items_total,
        }),
        Event::Advanced { phase, bytes_done, bytes_total, items_done } => json!({
            "event": "advanced", "schema": SCHEMA, "phase": phase.name(),
            "bytes_done": bytes_done, "bytes_total": bytes_total, "items_done": items_done,
        }),
        Event::Ended { phase } => json!({"event": "ended", "schema": SCHEMA, "phase": phase.name()}),
        Event::PersonNeeded { touch, within } => json!({
            "event": "person-needed", "schema": SCHEMA, "touch": touch_name(*touch),
            "within_seconds": within.as_secs(),
        }),
        Event::PersonDone { touch } => {
            json!({"event": "person-done", "schema": SCHEMA, "touch": touch_name(*touch)})
        }
        Event::Skipped { item, reason } => {
            json!({"event": "skipped", "schema": SCHEMA, "item": item, "reason": reason})
        }
        Event::Note(text) => json!({"event": "note", "schema": SCHEMA, "text": text}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_names_itself_and_its_schema() {
        let events = [
            Event::Began { phase: Phase::Photos, bytes_total: Some(7), items_total: None },
            Event::Advanced { phase: Phase::Photos, bytes_done: 1, bytes_total: None, items_done: 0 },
            Event::Ended { phase: Phase::Photos },
            Event::PersonNeeded { touch: Touch::Passcode, within: Duration::from_secs(180) },
            Event::PersonDone { touch: Touch::Passcode },
            Event::Skipped { item: "a".to_owned(), reason: "b".to_owned() },
            Event::Note("c".to_owned()),
        ];
        for event in events {
            let object = object(&event);
            assert!(object["event"].is_string() && object["schema"] == SCHEMA, "{object}");
        }
    }

    #[test]
    fn a_phase_that_moves_quickly_is_told_now_and_then() {
        let events = Events::default();
        assert!(events.is_due(Phase::Photos));
        assert!(!events.is_due(Phase::Photos));
        assert!(events.is_due(Phase::Backup), "another phase has its own clock");
    }
}
