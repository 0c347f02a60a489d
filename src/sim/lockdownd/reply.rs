//! How a reply goes out: whole, in pieces, or as a fault wants it.

use std::io;
use std::time::Duration;

use plist::{Dictionary, Value};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::frame::{self, DictExt, Encoding};
use crate::lockdown::{Refusal, message};
use crate::sim::config::{At, FaultKind};
use crate::sim::faults::{Amount, Faults};

/// Between two pieces of one reply.
const PAUSE: Duration = Duration::from_millis(3);

/// Whether a reply arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// As it should.
    Whole,
    /// A refusal instead of it: nothing follows from the request.
    Refused,
    /// A fault broke it; the connection is over.
    Broken,
}

/// Sends a reply.
pub(super) async fn say<S: AsyncWrite + Unpin>(
    stream: &mut S,
    faults: &mut Faults,
    reply: Dictionary,
    in_pieces: bool,
) -> io::Result<Said> {
    let name = reply.string("Request").unwrap_or_default().to_owned();
    let bytes = frame::encode(&Value::Dictionary(reply), Encoding::Xml);
    let amounts = [Amount::Message, Amount::Bytes(bytes.len() as u64)];
    let strikes = faults.strike(At::Lockdown, &amounts);
    let said = if strikes == Some(FaultKind::Refuse) { Said::Refused } else { Said::Whole };
    let bytes = match strikes {
        None => bytes,
        Some(FaultKind::Refuse) => {
            let refused = message::refused(&name, &Refusal::InternalError);
            frame::encode(&Value::Dictionary(refused), Encoding::Xml)
        }
        Some(FaultKind::Corrupt) => corrupted(bytes),
        Some(FaultKind::LieAboutLength) => lying(bytes),
        Some(FaultKind::Short) => {
            stream.write_all(&bytes[..bytes.len() / 2]).await?;
            stream.flush().await?;
            return Ok(Said::Broken);
        }
        Some(FaultKind::Stall) => std::future::pending().await,
        Some(FaultKind::Unplug) => return Ok(Said::Broken),
    };
    if !in_pieces {
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        return Ok(said);
    }
    // The length itself stays whole: libimobiledevice reads it in one go, so no phone can have been cutting it.
    for piece in [&bytes[..4], &bytes[4..bytes.len() / 2], &bytes[bytes.len() / 2..]] {
        stream.write_all(piece).await?;
        stream.flush().await?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(said)
}

/// The frame is right, what is in it is not.
fn corrupted(mut bytes: Vec<u8>) -> Vec<u8> {
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..] {
        *byte ^= 0x5a;
    }
    bytes
}

/// More is announced than comes.
fn lying(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("our own replies are far below 4 GiB");
    bytes[..4].copy_from_slice(&(length.saturating_mul(2)).to_be_bytes());
    bytes
}
