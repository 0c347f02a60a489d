//! Memory for the bytes of files, used again and again.
//!
//! To ask the system for a megabyte for each read, and give it back, costs nearly as much as moving the bytes: every
//! page of it is cleared and mapped first.

use std::sync::{Mutex, MutexGuard};

use super::packet::READ_BYTES_MAX;

/// Smaller memory comes and goes quickly enough by itself.
const KEPT_BYTES_MIN: usize = 128 << 10;

/// The most memory that is kept for later, in bytes. More than that is never in use at once.
const KEPT_BYTES_MAX: usize = 24 << 20;

/// Memory that waits for its next use.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Buffers {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }

    /// Empty, with room for `bytes` bytes, but never for more than one read at first.
    pub(super) fn take(&self, bytes: usize) -> Vec<u8> {
        let room = bytes.min(READ_BYTES_MAX as usize);
        if room < KEPT_BYTES_MIN {
            return Vec::with_capacity(room);
        }
        let kept = {
            let mut kept = self.kept();
            let last = kept.buffers.pop();
            kept.bytes -= last.as_ref().map_or(0, Vec::capacity);
            last
        };
        let mut buffer = kept.unwrap_or_default();
        buffer.reserve_exact(room);
        buffer
    }

    /// Takes back what [`Buffers::take`] gave.
    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if !(KEPT_BYTES_MIN..=READ_BYTES_MAX as usize).contains(&bytes) {
            return;
        }
        buffer.clear();
        let mut kept = self.kept();
        if kept.bytes + bytes <= KEPT_BYTES_MAX {
            kept.bytes += bytes;
            kept.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_comes_empty() {
        let buffers = Buffers::default();
        let mut first = buffers.take(1 << 20);
        first.extend_from_slice(b"old");
        let place = first.as_ptr();
        buffers.give_back(first);
        let second = buffers.take(1 << 20);
        assert_eq!((second.as_ptr(), second.len()), (place, 0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let buffers = Buffers::default();
        let many: Vec<_> = (0..40).map(|_| buffers.take(1 << 20)).collect();
        for buffer in many {
            buffers.give_back(buffer);
        }
        buffers.give_back(Vec::with_capacity(100));
        buffers.give_back(Vec::with_capacity(READ_BYTES_MAX as usize + 1));
        let kept = buffers.kept();
        assert_eq!(kept.bytes, kept.buffers.iter().map(Vec::capacity).sum::<usize>());
        assert!(kept.bytes <= KEPT_BYTES_MAX && kept.buffers.iter().all(|one| one.capacity() >= 1 << 20));
    }

    #[test]
    fn a_promise_of_much_takes_little_at_first() {
        let room = Buffers::default().take(1 << 30).capacity();
        assert_eq!(room, READ_BYTES_MAX as usize);
    }
}
