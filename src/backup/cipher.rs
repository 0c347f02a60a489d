//! A file of an encrypted backup: AES-256-CBC with a zero start, and padding at its end that must be valid. Read while it
//! is decrypted, and written while it is encrypted.

use std::io::{self, Read};

use aws_lc_rs::cipher::{
    AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;

use super::Secret;

const BLOCK: usize = 16;
/// Decrypted at once.
const CHUNK: usize = 256 * 1024;

/// What stands at the end of an encrypted file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// Always there; without it the file is damaged.
    Required,
    /// Removed if it is there: some makers of backups leave it out behind a database, whose length fits anyway.
    IfThere,
}

/// Decrypts while reading.
pub struct Decrypting<R> {
    source: R,
    key: DecryptingKey,
    padding: Padding,
    last_ciphertext: [u8; BLOCK],
    /// Decrypted bytes; the last block is held back until it is known whether it is the file's last.
    plain: Vec<u8>,
    at: usize,
    held: Vec<u8>,
    ended: bool,
}

impl<R> std::fmt::Debug for Decrypting<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decrypting").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl<R: Read> Decrypting<R> {
    /// Reads `source` with a key of 32 bytes.
    ///
    /// # Errors
    /// A key of another length.
    pub fn new(source: R, key: &Secret, padding: Padding) -> io::Result<Self> {
        let key = UnboundCipherKey::new(&AES_256, key.expose()).and_then(DecryptingKey::cbc);
        let key = key.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the key does not fit"))?;
        let (plain, held) = (Vec::new(), Vec::new());
        Ok(Self { source, key, padding, last_ciphertext: [0; BLOCK], plain, at: 0, held, ended: false })
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = Vec::with_capacity(CHUNK);
        (&mut self.source).take(CHUNK as u64).read_to_end(&mut chunk)?;
        self.plain = std::mem::take(&mut self.held);
        self.at = 0;
        if chunk.is_empty() {
            self.ended = true;
            return self.strip();
        }
        if chunk.len() % BLOCK != 0 {
            return Err(damaged("its length is no multiple of 16"));
        }
        let next = chunk[chunk.len() - BLOCK..].try_into().expect("a block has 16 bytes");
        let start = DecryptionContext::Iv128(FixedLength::from(self.last_ciphertext));
        self.last_ciphertext = next;
        self.key.decrypt(&mut chunk, start).map_err(|_| damaged("it does not decrypt"))?;
        self.held = chunk.split_off(chunk.len() - BLOCK);
        self.plain.append(&mut chunk);
        Ok(())
    }

    /// Removes the padding from the last block.
    fn strip(&mut self) -> io::Result<()> {
        let count = self.plain.last().copied().map_or(0, usize::from);
        let tail = self.plain.len().checked_sub(count);
        let valid = (1..=BLOCK).contains(&count)
            && tail.is_some_and(|tail| self.plain[tail..].iter().all(|byte| usize::from(*byte) == count));
        match (valid, self.padding) {
            (true, _) => self.plain.truncate(self.plain.len() - count),
            (false, Padding::Required) => return Err(damaged("its padding is not valid")),
            (false, Padding::IfThere) => {}
        }
        Ok(())
    }
}

impl<R: Read> Read for Decrypting<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.plain.len() {
            if self.ended {
                return Ok(0);
            }
            self.fill()?;
        }
        let take = out.len().min(self.plain.len() - self.at);
        out[..take].copy_from_slice(&self.plain[self.at..self.at + take]);
        self.at += take;
        Ok(take)
    }
}

/// Encrypts piece by piece: what comes out of all pieces together is the file.
pub struct Encrypting {
    key: EncryptingKey,
    last_ciphertext: [u8; BLOCK],
    /// What is left of the pieces so far: less than a block.
    tail: Vec<u8>,
}

impl std::fmt::Debug for Encrypting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encrypting").finish_non_exhaustive()
    }
}

impl Encrypting {
    /// Encrypts with a key of 32 bytes; `None`: the key has another length.
    #[must_use]
    pub fn new(key: &Secret) -> Option<Self> {
        let key = UnboundCipherKey::new(&AES_256, key.expose()).and_then(EncryptingKey::cbc).ok()?;
        Some(Self { key, last_ciphertext: [0; BLOCK], tail: Vec::with_capacity(BLOCK) })
    }

    /// So many bytes a file has when it is encrypted.
    #[must_use]
    pub fn length(plain_bytes: u64) -> u64 {
        (plain_bytes / BLOCK as u64 + 1) * BLOCK as u64
    }

    /// The next piece; it comes out in whole blocks.
    pub fn piece(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.tail);
        bytes.extend_from_slice(plain);
        self.tail = bytes.split_off(bytes.len() - bytes.len() % BLOCK);
        self.encrypt(bytes)
    }

    /// The last block, with the padding.
    #[must_use]
    pub fn last(mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.tail);
        let count = BLOCK - bytes.len();
        bytes.resize(BLOCK, u8::try_from(count).expect("at most a block"));
        self.encrypt(bytes)
    }

    fn encrypt(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let Some(last) = bytes.len().checked_sub(BLOCK) else { return bytes };
        let start = EncryptionContext::Iv128(FixedLength::from(self.last_ciphertext));
        self.key.less_safe_encrypt(&mut bytes, start).expect("whole blocks are encrypted");
        self.last_ciphertext = bytes[last..].try_into().expect("a block has 16 bytes");
        bytes
    }
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Encrypts as a phone does.
    pub(in crate::backup) fn encrypt(plain: &[u8], key: &[u8; 32], padded: bool) -> Vec<u8> {
        let mut bytes = plain.to_vec();
        if padded {
            let count = BLOCK - plain.len() % BLOCK;
            bytes.resize(plain.len() + count, u8::try_from(count).unwrap());
        }
        let key = EncryptingKey::cbc(UnboundCipherKey::new(&AES_256, key).unwrap()).unwrap();
        let start = EncryptionContext::Iv128(FixedLength::from([0; BLOCK]));
        key.less_safe_encrypt(&mut bytes, start).unwrap();
        bytes
    }

    fn decrypt(bytes: &[u8], key: [u8; 32], padding: Padding) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        Decrypting::new(bytes, &Secret::new(key), padding)?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn every_length_comes_back() {
        for length in [0, 1, 15, 16, 17, 31, 32, CHUNK - 16, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5] {
            let plain: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
            assert!(decrypt(&encrypt(&plain, &[5; 32], true), [5; 32], Padding::Required).unwrap() == plain);
        }
    }

    #[test]
    fn pieces_of_any_length_make_the_file_that_one_piece_makes() {
        let plain: Vec<u8> = (0..1000).map(|at| (at * 13 % 251) as u8).collect();
        for length in [0, 1, 15, 16, 17, 999, 1000] {
            let whole = encrypt(&plain[..length], &[5; 32], true);
            assert_eq!(Encrypting::length(length as u64), whole.len() as u64);
            for step in [1, 7, 16, 33, 1000] {
                let mut encrypting = Encrypting::new(&Secret::new([5; 32])).unwrap();
                let mut out = Vec::new();
                for piece in plain[..length].chunks(step) {
                    out.extend(encrypting.piece(piece));
                }
                out.extend(encrypting.last());
                assert!(out == whole, "{length} in steps of {step}");
            }
        }
        assert!(Encrypting::new(&Secret::new([5; 31])).is_none());
    }

    #[test]
    fn damage_and_other_keys_are_found() {
        let plain = [0xEEu8; 100];
        let whole = encrypt(&plain, &[5; 32], true);
        for length in 0..whole.len() {
            assert!(decrypt(&whole[..length], [5; 32], Padding::Required).is_err(), "cut at {length}");
        }
        assert!(decrypt(&whole, [6; 32], Padding::Required).is_err());
    }

    #[test]
    fn a_database_without_padding_is_whole() {
        let plain = [0xEEu8; 4096];
        for padded in [false, true] {
            assert_eq!(
                decrypt(&encrypt(&plain, &[5; 32], padded), [5; 32], Padding::IfThere).unwrap(),
                plain
            );
        }
    }
}
