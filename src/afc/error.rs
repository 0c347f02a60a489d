//! How a request can fail: the device says no, or the connection is dead.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::lockdown;

use super::packet::{HeaderError, Operation, Status};

/// A request that got no good answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The device says no. The connection lives.
    #[error("{operation} {path:?}: {status}")]
    Status {
        /// What was asked.
        operation: Operation,
        /// Of which path: may be text from the phone.
        path: Arc<str>,
        /// What it said.
        status: Status,
    },
    /// The connection is dead, and with it everything that was asked on it.
    #[error("{operation} {path:?}: the AFC connection is dead: {cause}")]
    Broken {
        /// What was asked.
        operation: Operation,
        /// Of which path: may be text from the phone.
        path: Arc<str>,
        /// Why.
        cause: Arc<Cause>,
    },
    /// The service could not be started or reached.
    #[error("AFC could not be reached: {0}")]
    Unreached(#[source] Arc<lockdown::Error>),
    /// A read that was not the file's last gave fewer bytes than asked: the file would silently be cut.
    #[error("{path:?}: the device sent {got} bytes at {offset} where {wanted} were asked and are there")]
    ShortRead {
        /// Of which path: may be text from the phone.
        path: Arc<str>,
        /// Where in the file.
        offset: u64,
        /// Bytes asked.
        wanted: u64,
        /// Bytes that came.
        got: u64,
    },
    /// The file is larger than the caller wants in memory.
    #[error("{path:?}: {size} bytes, more than the {max} that this file may have")]
    TooLarge {
        /// Of which path: may be text from the phone.
        path: Arc<str>,
        /// Its size.
        size: u64,
        /// The bound.
        max: u64,
    },
    /// A reply that does not say what it must.
    #[error("{operation} {path:?}: the device's answer cannot be understood")]
    Unreadable {
        /// What was asked.
        operation: Operation,
        /// Of which path: may be text from the phone.
        path: Arc<str>,
    },
    /// A path that no request can carry: it holds a NUL, or is longer than the phone's own limit.
    #[error("{path:?} cannot be a path on the device")]
    UnsendablePath {
        /// Which.
        path: Arc<str>,
    },
}

impl Error {
    /// The device's own word, if it gave one.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        match self {
            Error::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Why the connection is dead, if it is.
    #[must_use]
    pub fn broken(&self) -> Option<&Arc<Cause>> {
        match self {
            Error::Broken { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

/// Why a connection is dead. After any of these nothing more is read from it or written to it.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The device closed it, or left.
    #[error("the device closed it")]
    Closed,
    /// It broke.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// Nothing came for this long although an answer was due.
    #[error("no answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// What came is no packet.
    #[error("what the device sent is no packet: {0}")]
    Header(HeaderError),
    /// A reply out of order, doubled, or with a number of its own making.
    #[error("reply number {got} came where {wanted} was due")]
    WrongNumber {
        /// Whose turn it was.
        wanted: u64,
        /// What came.
        got: u64,
    },
    /// A packet although nothing was asked.
    #[error("the device sent a packet that nobody asked for")]
    Unasked,
    /// A reply that is no answer to the question.
    #[error("the answer to {asked} has operation {got:#x}")]
    WrongReply {
        /// The question.
        asked: Operation,
        /// The reply's operation.
        got: u64,
    },
    /// A reply larger than what was asked.
    #[error("the answer to {asked} has {got} bytes where at most {most} can be")]
    TooLong {
        /// The question.
        asked: Operation,
        /// Its body's bytes.
        got: u64,
        /// The bound.
        most: u64,
    },
    /// We let go of it.
    #[error("it was given up")]
    GivenUp,
}
