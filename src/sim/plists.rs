//! What most small services share: property lists in, property lists out.

use std::io;

use plist::{Dictionary, Value};

use crate::frame::{self, Encoding, Limits};
use crate::usbmux::Stream;

/// Hosts send small requests; the largest known is a home screen's layout.
const LIMITS: Limits = Limits { bytes: 1 << 20, depth: 32, nodes: 50_000 };

/// The host's next request; `None`: it left. One that is no dictionary is an empty one.
pub(super) async fn request(stream: &mut Stream) -> io::Result<Option<Dictionary>> {
    match frame::read(stream, &LIMITS).await {
        Ok(request) => Ok(Some(request.into_dictionary().unwrap_or_default())),
        Err(frame::Error::Closed | frame::Error::Cut | frame::Error::Io(_)) => Ok(None),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Answers with a dictionary.
pub(super) async fn reply(stream: &mut Stream, reply: Dictionary) -> io::Result<()> {
    reply_value(stream, &Value::Dictionary(reply)).await
}

/// Answers with any property list.
pub(super) async fn reply_value(stream: &mut Stream, reply: &Value) -> io::Result<()> {
    frame::write(stream, reply, Encoding::Xml).await.map_err(io::Error::other)
}
