//! Numbers and names that follow from a seed, so that the same options make the same phone to the last byte.
//!
//! SplitMix64: small, quick, and the same on every machine. It keeps no secret and must never be used for one.

/// A stream of numbers that its seed determines.
#[derive(Debug, Clone)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    /// The stream of `seed` for one purpose; streams of different purposes do not disturb each other when one of
    /// them is asked more often.
    pub(super) fn new(seed: u64, purpose: &str) -> Self {
        let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
        for byte in purpose.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
        Self { state }
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, but without, `end`; 0 when `end` is 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        u64::try_from((u128::from(self.next()) * u128::from(end)) >> 64).unwrap_or(0)
    }

    /// From `low` up to and with `high`.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// From 0 up to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what an f64 holds")]
    pub(super) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Fills `bytes`.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let next = self.next().to_le_bytes();
            chunk.copy_from_slice(&next[..chunk.len()]);
        }
    }

    /// A UUID in the phone's own writing: version 4, upper case.
    pub(super) fn uuid(&mut self) -> String {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        uuid::Uuid::from_bytes(bytes).as_hyphenated().to_string().to_uppercase()
    }

    /// A resource's fingerprint as the library writes it: 28 characters of URL-safe base64, the first an `A`.
    pub(super) fn fingerprint(&mut self) -> String {
        use base64::Engine as _;
        let mut bytes = [0; 21];
        self.fill(&mut bytes);
        bytes[0] = 1;
        base64::engine::general_purpose::URL_SAFE.encode(bytes)
    }

    /// `digits` decimal digits, the first not 0.
    pub(super) fn digits(&mut self, digits: usize) -> String {
        (0..digits).map(|at| char::from(b'0' + self.between(u64::from(at == 0), 9) as u8)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_purpose_give_the_same_stream_and_no_other() {
        let stream = |seed, purpose| {
            let mut random = Random::new(seed, purpose);
            (0..8).map(|_| random.next()).collect::<Vec<_>>()
        };
        assert_eq!(stream(1, "a"), stream(1, "a"));
        assert_ne!(stream(1, "a"), stream(2, "a"));
        assert_ne!(stream(1, "a"), stream(1, "b"));
    }

    #[test]
    fn names_have_the_phones_shape() {
        let mut random = Random::new(7, "names");
        let uuid = random.uuid();
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"));
        assert_eq!(uuid, uuid.to_uppercase());
        let fingerprint = random.fingerprint();
        assert_eq!((fingerprint.len(), &fingerprint[..1]), (28, "A"));
        assert_eq!(random.digits(15).len(), 15);
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let mut random = Random::new(7, "range");
        for _ in 0..1000 {
            assert!(random.below(3) < 3);
            assert!((5..=9).contains(&random.between(5, 9)));
            assert!((0.0..1.0).contains(&random.fraction()));
        }
        assert_eq!(random.below(0), 0);
    }
}
