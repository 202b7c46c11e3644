//! Numbers and slices, read from bytes that nobody vouches for.

use automerge::ChangeHash;

use super::{Checked, malformed};

/// Bytes of a change hash.
const HASH_BYTES: usize = 32;
/// Bits of a number that one byte of LEB128 carries.
const LEB_BITS: u32 = 7;

/// What is left to read. Nothing here allocates more than it has bytes for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn take(&mut self, count: usize) -> Checked<&'a [u8]> {
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or_else(|| malformed("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Checked<u8> {
        let (byte, rest) = self.0.split_first().ok_or_else(|| malformed("it ends too early"))?;
        self.0 = rest;
        Ok(*byte)
    }

    /// An unsigned LEB128 number, in its shortest form.
    pub(super) fn number(&mut self) -> Checked<u64> {
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(LEB_BITS as usize) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let placed = bits << shift;
            if placed >> shift != bits {
                break;
            }
            number |= placed;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                return if shortest { Ok(number) } else { Err(malformed("a number's form")) };
            }
        }
        Err(malformed("a number beyond 64 bits"))
    }

    /// A signed LEB128 number. Whether it is in its shortest form is not looked at: numbers this
    /// large name lengths, and what has another form has another hash too.
    pub(super) fn signed(&mut self) -> Checked<i64> {
        let mut number = 0_i128;
        for shift in (0..i64::BITS.next_multiple_of(LEB_BITS)).step_by(LEB_BITS as usize) {
            let byte = self.byte()?;
            number |= i128::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if byte & 0x40 != 0 {
                    number -= 1 << (shift + LEB_BITS);
                }
                return i64::try_from(number).map_err(|_wide| malformed("a number beyond 64 bits"));
            }
        }
        Err(malformed("a number beyond 64 bits"))
    }

    /// A number of bytes or things, each of which takes at least a byte of what is left.
    pub(super) fn length(&mut self) -> Checked<usize> {
        let number = self.number()?;
        let length = usize::try_from(number).map_err(|_wide| malformed("a length"))?;
        if length > self.0.len() { Err(malformed("a length beyond the end")) } else { Ok(length) }
    }

    /// Bytes with their length before them.
    pub(super) fn prefixed(&mut self) -> Checked<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    /// A list of hashes with their number before them.
    pub(super) fn hashes(&mut self) -> Checked<Vec<ChangeHash>> {
        let count = self.length()?;
        let bytes = count.checked_mul(HASH_BYTES).ok_or_else(|| malformed("a length"))?;
        let (hashes, _) = self.take(bytes)?.as_chunks::<HASH_BYTES>();
        Ok(hashes.iter().map(|hash| ChangeHash(*hash)).collect())
    }
}

/// A length as unsigned LEB128.
pub(in crate::document) fn leb(length: usize) -> Vec<u8> {
    let (mut rest, mut bytes) = (length, Vec::new());
    loop {
        let low = u8::try_from(rest & 0x7f).unwrap_or_default();
        rest >>= LEB_BITS;
        if rest == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
