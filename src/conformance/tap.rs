//! Looks at what a phone says during a backup while it passes by: the order of its messages, their shapes, and how its
//! files end. Nothing is held up, changed or kept.
//!
//! The framing is that of libimobiledevice `mobilebackup2.c`: messages of a length and a property list, and after
//! DLMessageUploadFiles a stream of files until an empty name.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use plist::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::node::Node;
use super::shape;
use super::word::Word;
use crate::frame::{self, Limits};
use crate::mobilebackup2::codes::BLOCK_DATA;
use crate::usbmux::Stream;

/// Messages that are looked at; longer ones are lists of files.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
const LIMITS: Limits = Limits { bytes: MESSAGE_BYTES_MAX, depth: 16, nodes: 50_000 };
/// Changes of message that are noted in their order.
const ORDER_MAX: usize = 200;
/// Different shapes of one message that are noted.
const SHAPES_MAX: usize = 4;

/// The messages that are known.
const MESSAGES: &[&str] = &[
    "DLContentsOfDirectory",
    "DLMessageCopyItem",
    "DLMessageCreateDirectory",
    "DLMessageDeviceReady",
    "DLMessageDisconnect",
    "DLMessageDownloadFiles",
    "DLMessageGetFreeDiskSpace",
    "DLMessageMoveFiles",
    "DLMessageMoveItems",
    "DLMessageProcessMessage",
    "DLMessagePurgeDiskSpace",
    "DLMessageRemoveFiles",
    "DLMessageRemoveItems",
    "DLMessageUploadFiles",
    "DLMessageVersionExchange",
];

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Messages in their order. The same one several times in a row stands once, and so do two that take turns: how
    /// often they do depends on how much there is to back up.
    pub(super) order: Vec<Word>,
    /// The last message, which may not stand in `order`.
    last: Option<Word>,
    /// The shapes of each message.
    pub(super) shapes: BTreeMap<Word, Vec<Node>>,
    /// How many files ended with each code.
    pub(super) codes: BTreeMap<u8, u64>,
    /// The stream was none that is known.
    pub(super) lost: bool,
}

/// What comes next.
#[derive(Debug)]
enum Next {
    /// Four bytes: the length of a message.
    Length,
    /// A message.
    Message,
    /// Four bytes: the length of a file's first or second name.
    Name { second: bool },
    /// Four bytes: the length of a block.
    Block,
    /// One byte: a block's code. Then so many bytes to pass over.
    Code { rest: u64 },
}

#[derive(Debug)]
struct Reader {
    next: Next,
    wanted: usize,
    held: Vec<u8>,
    /// Bytes to pass over before anything else.
    skip: u64,
}

impl Reader {
    fn new() -> Self {
        Self { next: Next::Length, wanted: 4, held: Vec::new(), skip: 0 }
    }

    fn take(&mut self, mut bytes: &[u8], seen: &mut Seen) {
        while !bytes.is_empty() && !seen.lost {
            if self.skip > 0 {
                let passed = usize::try_from(self.skip).map_or(bytes.len(), |skip| skip.min(bytes.len()));
                self.skip -= passed as u64;
                bytes = &bytes[passed..];
                continue;
            }
            let more = (self.wanted - self.held.len()).min(bytes.len());
            self.held.extend_from_slice(&bytes[..more]);
            bytes = &bytes[more..];
            if self.held.len() == self.wanted {
                let held = std::mem::take(&mut self.held);
                self.step(&held, seen);
            }
        }
    }

    fn expect(&mut self, next: Next, wanted: usize) {
        (self.next, self.wanted) = (next, wanted);
    }

    fn step(&mut self, held: &[u8], seen: &mut Seen) {
        let number = || u32::from_be_bytes(held.try_into().expect("four bytes were wanted"));
        match self.next {
            Next::Length => match number() as usize {
                0 => seen.lost = true,
                length if length > MESSAGE_BYTES_MAX => {
                    note(seen, Word::own("a message too long to look at"), None);
                    self.skip = length as u64;
                }
                length => self.expect(Next::Message, length),
            },
            Next::Message => {
                let uploads = message(held, seen);
                self.expect(if uploads { Next::Name { second: false } } else { Next::Length }, 4);
            }
            Next::Name { second } => {
                let length = number();
                self.skip = length.into();
                match (length, second) {
                    (0, false) => self.expect(Next::Length, 4),
                    (_, false) => self.expect(Next::Name { second: true }, 4),
                    (_, true) => self.expect(Next::Block, 4),
                }
            }
            Next::Block => match number() {
                0 => seen.lost = true,
                length => self.expect(Next::Code { rest: u64::from(length) - 1 }, 1),
            },
            Next::Code { rest } => {
                self.skip = rest;
                if held[0] == BLOCK_DATA {
                    self.expect(Next::Block, 4);
                } else {
                    *seen.codes.entry(held[0]).or_default() += 1;
                    self.expect(Next::Name { second: false }, 4);
                }
            }
        }
    }
}

/// Notes a message; whether files follow.
fn message(bytes: &[u8], seen: &mut Seen) -> bool {
    let parsed = frame::parse(bytes, &LIMITS).ok().and_then(Value::into_array).unwrap_or_default();
    let name = parsed.first().and_then(Value::as_string).unwrap_or_default();
    let known = MESSAGES.iter().find(|known| **known == name);
    let elements = parsed.iter().skip(1).take(8).map(|element| without_counts(shape::of(element))).collect();
    note(seen, Word::own(known.copied().unwrap_or("another message")), Some(Node::List(elements)));
    name == "DLMessageUploadFiles"
}

/// Paths are keys in some messages: how many there are is no matter of the message's shape.
fn without_counts(node: Node) -> Node {
    let Node::Map(mut entries) = node else { return node };
    if let Some(hidden) = entries.get_mut(&Word::own(shape::UNLISTED)) {
        *hidden = Node::own("some");
    }
    Node::Map(entries)
}

fn note(seen: &mut Seen, name: Word, shape: Option<Node>) {
    let last = seen.last.replace(name.clone());
    let takes_turns = match (seen.order.as_slice(), &last) {
        ([.., one, other], Some(last)) => (one == &name && other == last) || (one == last && other == &name),
        _ => false,
    };
    if last.as_ref() != Some(&name) && !takes_turns && seen.order.len() < ORDER_MAX {
        seen.order.push(name.clone());
    }
    let Some(shape) = shape else { return };
    let shapes = seen.shapes.entry(name).or_default();
    if !shapes.contains(&shape) && shapes.len() < SHAPES_MAX {
        shapes.push(shape);
    }
}

/// A stream that is looked at.
#[derive(Debug)]
pub(super) struct Tap {
    stream: Stream,
    reader: Reader,
    seen: Arc<Mutex<Seen>>,
}

impl Tap {
    pub(super) fn new(stream: Stream, seen: Arc<Mutex<Seen>>) -> Self {
        Self { stream, reader: Reader::new(), seen }
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let tap = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut tap.stream).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = polled {
            let mut seen = tap.seen.lock().unwrap_or_else(PoisonError::into_inner);
            tap.reader.take(&buffer.filled()[before..], &mut seen);
        }
        polled
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Encoding, encode};

    fn talk() -> Vec<u8> {
        let mut bytes = Vec::new();
        let say = |items: Vec<Value>| encode(&Value::Array(items), Encoding::Binary);
        bytes.extend(say(vec!["DLMessageVersionExchange".into(), 400.into(), 0.into()]));
        bytes.extend(say(vec!["DLMessageAnna".into()]));
        bytes.extend(say(vec!["DLMessageUploadFiles".into(), 1.into()]));
        for (data, code) in [(&b"some bytes"[..], 0_u8), (b"", 0x0B)] {
            for name in ["/anna/IMG_1.HEIC", "UDID/ab/abc"] {
                bytes.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
                bytes.extend(name.as_bytes());
            }
            if !data.is_empty() {
                bytes.extend(u32::try_from(data.len() + 1).unwrap().to_be_bytes());
                bytes.push(BLOCK_DATA);
                bytes.extend(data);
            }
            bytes.extend([0, 0, 0, 2, code, b'x']);
        }
        bytes.extend([0; 4]);
        bytes.extend(say(vec!["DLMessageProcessMessage".into(), 1.into()]));
        bytes
    }

    fn seen_in_pieces(bytes: &[u8], size: usize) -> Seen {
        let (mut reader, mut seen) = (Reader::new(), Seen::default());
        bytes.chunks(size).for_each(|piece| reader.take(piece, &mut seen));
        seen
    }

    #[test]
    fn a_talk_is_understood_however_it_is_cut() {
        let bytes = talk();
        for size in [1, 2, 3, 7, 50, bytes.len()] {
            let seen = seen_in_pieces(&bytes, size);
            let order: Vec<&str> = seen.order.iter().map(Word::as_str).collect();
            assert_eq!(
                order,
                [
                    "DLMessageVersionExchange",
                    "another message",
                    "DLMessageUploadFiles",
                    "DLMessageProcessMessage"
                ]
            );
            assert_eq!(seen.codes, [(0, 1), (0x0B, 1)].into());
            assert!(!seen.lost);
        }
    }

    #[test]
    fn what_takes_turns_stands_once() {
        let mut seen = Seen::default();
        for name in ["a", "b", "b", "a", "b", "a", "c", "a", "a", "b"] {
            note(&mut seen, Word::own(name), None);
        }
        let order: Vec<&str> = seen.order.iter().map(Word::as_str).collect();
        assert_eq!(order, ["a", "b", "c", "a", "b"]);
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut state = 1_u64;
        for _ in 0..200 {
            let bytes: Vec<u8> = (0..300)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // Small numbers, so that lengths are met.
                    u8::try_from(state >> 61).unwrap()
                })
                .collect();
            seen_in_pieces(&bytes, 13);
        }
    }
}
