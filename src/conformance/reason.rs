//! Why something was not measured, in our own words: an error's text may hold the phone's.

use super::word::Word;
use crate::lockdown;
use crate::{afc, frame, services, usbmux};

/// What a lockdown error means.
pub(super) fn of_lockdown(error: &lockdown::Error) -> Word {
    use lockdown::Error;
    Word::own(match error {
        Error::Refused { refusal, .. } => return Word::refusal(refusal),
        Error::Muxer(usbmux::Error::NoSuchDevice) => "the phone left",
        Error::Muxer(usbmux::Error::Refused(_)) => "the phone refused a connection",
        Error::Muxer(_) => "the way to the phone broke",
        Error::Wire { source, .. } => return of_wire(source),
        Error::Timeout(_) => "no answer in time",
        Error::OtherDevice | Error::KeyMismatch => "another device answers",
        Error::Protocol { .. } => "an answer outside of the protocol",
        Error::Tls(_) => "no encryption came about",
        Error::Record(_) => "the pair record cannot be used",
    })
}

/// What a broken wire means.
pub(super) fn of_wire(error: &frame::Error) -> Word {
    Word::own(match error {
        frame::Error::TooLong { .. } | frame::Error::TooDeep(_) | frame::Error::TooMany(_) => {
            "an answer beyond all bounds"
        }
        frame::Error::Malformed(_) => "an answer that is no property list",
        frame::Error::Closed | frame::Error::Cut | frame::Error::Io(_) => "the connection broke",
    })
}

/// What an error of a small service means.
pub(super) fn of_service(error: &services::Error) -> Word {
    use services::Error;
    match error {
        Error::Lockdown(error) => of_lockdown(error),
        Error::Refused { refusal, .. } => Word::refusal(refusal),
        Error::Wire { source, .. } => of_wire(source),
        Error::Protocol { .. } => Word::own("an answer outside of the protocol"),
        Error::Timeout(_) => Word::own("no answer in time"),
    }
}

/// What an error of the file service means.
pub(super) fn of_afc(error: &afc::Error) -> Word {
    use afc::Error;
    match error {
        Error::Status { status, .. } => Word::afc_status(*status),
        Error::Broken { .. } => Word::own("the connection broke"),
        Error::Unreached(error) => of_lockdown(error),
        Error::ShortRead { .. } => Word::own("fewer bytes than asked"),
        Error::TooLarge { .. } => Word::own("larger than it may be"),
        Error::Unreadable { .. } | Error::UnsendablePath { .. } => {
            Word::own("an answer outside of the protocol")
        }
    }
}
