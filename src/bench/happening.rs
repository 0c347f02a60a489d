//! What happens at the bench, as values: the journal shows them, scripts read them.

use std::fmt;

use serde_json::{Value, json};

use crate::facts::text::plain;
use crate::job::Ending;
use crate::progress::{Event, Touch};
use crate::usbmux::Udid;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// The bench is at work.
    Ready,
    /// The muxer is there.
    MuxerBack,
    /// The muxer is not there, and why; it is tried again.
    MuxerLost(String),
    /// A phone was plugged in.
    Connected {
        /// Which.
        udid: Udid,
        /// Its USB port, as the kernel names it, where that can be seen.
        port: Option<String>,
    },
    /// A phone left; it may come back.
    Disconnected {
        /// Which.
        udid: Udid,
    },
    /// A visit began.
    Began {
        /// Of which phone.
        udid: Udid,
        /// Its id in the record.
        job: String,
        /// The phone in a few words.
        device: String,
    },
    /// A visit that was open goes on.
    Continued {
        /// Of which phone.
        udid: Udid,
        /// Its id in the record.
        job: String,
    },
    /// Something that is worth telling in a visit.
    Told {
        /// Of which phone.
        udid: Udid,
        /// What.
        event: Event,
    },
    /// All that was to be done is done, or failed.
    Settled {
        /// With which phone.
        udid: Udid,
        /// The visit's id in the record.
        job: String,
        /// How it came out.
        ending: Ending,
    },
    /// The phone was unplugged and with that its visit ended.
    Ended {
        /// Which.
        udid: Udid,
        /// The visit's id in the record; `None`: it was gone before one began.
        job: Option<String>,
    },
    /// Something is wrong here, not with a phone.
    Trouble(String),
}

/// How much it matters, as syslog(3) counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// A person has to do something about it.
    Error,
    /// Something was left out.
    Warning,
    /// A person has to act at the phone.
    Notice,
    /// All is well.
    Info,
}

impl Happening {
    /// Its name for scripts.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::MuxerBack => "muxer-back",
            Self::MuxerLost(_) => "muxer-lost",
            Self::Connected { .. } => "device-connected",
            Self::Disconnected { .. } => "device-disconnected",
            Self::Began { .. } => "visit-began",
            Self::Continued { .. } => "visit-continued",
            Self::Told { event: Event::PersonNeeded { .. }, .. } => "person-needed",
            Self::Told { event: Event::PersonDone { .. }, .. } => "person-done",
            Self::Told { event: Event::Skipped { .. }, .. } => "skipped",
            Self::Told { .. } => "note",
            Self::Settled { .. } => "visit-done",
            Self::Ended { .. } => "visit-ended",
            Self::Trouble(_) => "trouble",
        }
    }

    /// How much it matters.
    #[must_use]
    pub fn weight(&self) -> Weight {
        match self {
            Self::Trouble(_) => Weight::Error,
            Self::MuxerLost(_) | Self::Told { event: Event::Skipped { .. }, .. } => Weight::Warning,
            Self::Settled { ending, .. } if ending.exit_status != 0 => Weight::Warning,
            Self::Told { event: Event::PersonNeeded { .. }, .. } => Weight::Notice,
            _ => Weight::Info,
        }
    }

    /// For scripts: one object.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut object =
            json!({"event": self.name(), "schema": "idevice-fix/bench/1", "at": jiff::Timestamp::now()});
        let told = match self {
            Self::Ready | Self::MuxerBack => json!({}),
            Self::MuxerLost(why) | Self::Trouble(why) => json!({"reason": why}),
            Self::Connected { udid, port } => json!({"udid": udid.as_str(), "port": port}),
            Self::Disconnected { udid } => json!({"udid": udid.as_str()}),
            Self::Began { udid, job, device } => json!({"udid": udid.as_str(), "job": job, "device": device}),
            Self::Continued { udid, job } => json!({"udid": udid.as_str(), "job": job}),
            Self::Told { udid, .. } => json!({"udid": udid.as_str(), "text": self.sentence()}),
            Self::Settled { udid, job, ending } => json!({"udid": udid.as_str(), "job": job,
                "exit_status": ending.exit_status, "sentence": ending.sentence, "photos": ending.photos_verdict}),
            Self::Ended { udid, job } => json!({"udid": udid.as_str(), "job": job}),
        };
        if let (Some(object), Value::Object(told)) = (object.as_object_mut(), told) {
            object.extend(told);
        }
        object
    }

    /// For people, on one line and harmless: text from a phone may be in it.
    fn sentence(&self) -> String {
        match self {
            Self::Ready => "Waiting for phones.".to_owned(),
            Self::MuxerBack => "The muxer is there.".to_owned(),
            Self::MuxerLost(why) => format!("The muxer is not there ({}); it is tried again.", plain(why)),
            Self::Connected { port, .. } => {
                let port = port.as_ref().map_or_else(String::new, |port| format!(" at port {}", plain(port)));
                format!("Plugged in{port}.")
            }
            Self::Disconnected { .. } => "Unplugged.".to_owned(),
            Self::Began { job, device, .. } => format!("Visit {job} of {}.", plain(device)),
            Self::Continued { job, .. } => format!("Visit {job} goes on."),
            Self::Told { event, .. } => event_words(event),
            Self::Settled { job, ending, .. } => {
                format!("Visit {job}: {} (exit {})", plain(&ending.sentence), ending.exit_status)
            }
            Self::Ended { job: Some(job), .. } => format!("Visit {job} ended with the phone."),
            Self::Ended { job: None, .. } => "It was gone before its visit began.".to_owned(),
            Self::Trouble(what) => plain(what),
        }
    }

    fn udid(&self) -> Option<&Udid> {
        match self {
            Self::Ready | Self::MuxerBack | Self::MuxerLost(_) | Self::Trouble(_) => None,
            Self::Connected { udid, .. }
            | Self::Disconnected { udid }
            | Self::Began { udid, .. }
            | Self::Continued { udid, .. }
            | Self::Told { udid, .. }
            | Self::Settled { udid, .. }
            | Self::Ended { udid, .. } => Some(udid),
        }
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.udid() {
            Some(udid) => write!(f, "{udid}: {}", self.sentence()),
            None => f.write_str(&self.sentence()),
        }
    }
}

fn event_words(event: &Event) -> String {
    match event {
        Event::PersonNeeded { touch: Touch::Trust, .. } => {
            "Unlock it, tap Trust and enter its passcode.".to_owned()
        }
        Event::PersonNeeded { touch: Touch::Unlock, .. } => "Unlock it.".to_owned(),
        Event::PersonNeeded { touch: Touch::Passcode, .. } => {
            "Enter its passcode: it asks for it now.".to_owned()
        }
        Event::PersonDone { .. } => "Nobody has to do anything any more.".to_owned(),
        Event::Skipped { item, reason } => format!("Skipped {}: {}", plain(item), plain(reason)),
        Event::Note(note) => plain(note),
        Event::Began { phase, .. } => format!("Begins {phase}."),
        Event::Ended { phase } => format!("Ends {phase}."),
        Event::Advanced { .. } => String::new(),
    }
}

/// Whether it is worth a line in a journal.
#[must_use]
pub(super) fn is_worth_telling(event: &Event) -> bool {
    !matches!(event, Event::Advanced { .. } | Event::Began { .. } | Event::Ended { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udid() -> Udid {
        Udid::parse("00008101-000000000000001E").unwrap()
    }

    #[test]
    fn what_a_phone_says_stays_on_one_line_and_moves_no_cursor() {
        let evil = "x\n<0>kernel: fire\u{1b}[2J".to_owned();
        for happening in [
            Happening::Began { udid: udid(), job: "j".to_owned(), device: evil.clone() },
            Happening::Told { udid: udid(), event: Event::Note(evil.clone()) },
            Happening::Told {
                udid: udid(),
                event: Event::Skipped { item: evil.clone(), reason: evil.clone() },
            },
            Happening::MuxerLost(evil.clone()),
            Happening::Trouble(evil),
        ] {
            let line = happening.to_string();
            assert!(!line.contains(['\n', '\u{1b}']), "{line:?}");
        }
    }

    #[test]
    fn scripts_get_name_phone_and_outcome() {
        let ending = Ending { exit_status: 4, sentence: "Locked.".to_owned(), photos_verdict: None };
        let settled = Happening::Settled { udid: udid(), job: "j".to_owned(), ending };
        let object = settled.json();
        assert_eq!((&object["event"], &object["exit_status"]), (&json!("visit-done"), &json!(4)));
        assert_eq!(object["udid"], udid().as_str());
        assert_eq!(settled.weight(), Weight::Warning);
    }
}
