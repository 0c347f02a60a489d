//! What a request wants back, and what a reply says to it: pure, for the client.

use super::packet::{Operation, Status, u64_at};

/// What a reply without data may have as its body: eight bytes are right, a few more are borne.
const NUMBER_BODY_MAX: u64 = 64;

/// What a request wants back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Status,
    /// At most so many bytes.
    Data(u64),
    Handle,
    Position,
}

/// The most bytes that a reply of this operation may have, or `None` if it is no answer to what was wanted.
pub(super) fn bound(operation: u64, wants: Wants) -> Option<u64> {
    match (Operation::from_raw(operation)?, wants) {
        (Operation::Status, _)
        | (Operation::FileOpenResult, Wants::Handle)
        | (Operation::FileTellResult, Wants::Position) => Some(NUMBER_BODY_MAX),
        (Operation::Data, Wants::Data(most)) => Some(most),
        _ => None,
    }
}

/// What a reply says, before anybody holds it.
pub(super) enum Said {
    Done,
    No(Status),
    Data(Vec<u8>),
    Handle(u64),
    Position(u64),
}

/// `None`: it is no answer to what was wanted.
pub(super) fn understand(operation: u64, wants: Wants, body: Vec<u8>) -> Option<Said> {
    let number = (body.len() >= 8).then(|| u64_at(&body, 0));
    match (Operation::from_raw(operation)?, wants) {
        // A status without its number: libimobiledevice calls it an input/output error, too.
        (Operation::Status, _) => match (number.map_or(Status::Io, Status::from_code), wants) {
            (Status::Success, Wants::Status) => Some(Said::Done),
            (Status::Success, _) => None,
            (status, _) => Some(Said::No(status)),
        },
        (Operation::Data, Wants::Data(_)) => Some(Said::Data(body)),
        (Operation::FileTellResult, Wants::Position) => number.map(Said::Position),
        (Operation::FileOpenResult, Wants::Handle) => number.filter(|handle| *handle != 0).map(Said::Handle),
        _ => None,
    }
}
