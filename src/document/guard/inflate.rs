//! Inflating, never beyond what is allowed.

use std::io::Read as _;

use flate2::bufread::DeflateDecoder;

use super::{Checked, malformed, too_many};

/// Bytes that are inflated at a time while only their number is wanted.
const STEP_BYTES: usize = 16 << 10;

/// Inflates on an account: what is left for all of a message, in bytes.
#[derive(Debug)]
pub(super) struct Inflater {
    left: usize,
}

impl Inflater {
    pub(super) fn new(left: usize) -> Self {
        Self { left }
    }

    /// Takes bytes off the account that need no inflating but are held like inflated ones.
    pub(super) fn hold(&mut self, bytes: usize) -> Checked<()> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| too_many("bytes, inflated"))?;
        Ok(())
    }

    /// Bytes that may still be inflated.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// How many bytes these are when inflated (RFC 1951), at most `most`. They are not kept.
    pub(super) fn measure(&mut self, deflated: &[u8], most: usize) -> Checked<usize> {
        let mut decoder = DeflateDecoder::new(deflated);
        let most = most.min(self.left);
        let (mut step, mut size) = ([0; STEP_BYTES], 0_usize);
        loop {
            let read = decoder.read(&mut step).map_err(|error| malformed(&error.to_string()))?;
            if read == 0 {
                break;
            }
            size = size.saturating_add(read);
            if size > most {
                return Err(too_many("bytes, inflated"));
            }
        }
        if !decoder.into_inner().is_empty() {
            return Err(malformed("bytes after what is deflated"));
        }
        self.hold(size)?;
        Ok(size)
    }

    /// Inflates to at most `most` bytes, in memory that fits exactly.
    pub(super) fn inflate(&mut self, deflated: &[u8], most: usize) -> Checked<Vec<u8>> {
        let mut inflated = Vec::with_capacity(self.measure(deflated, most)?);
        let read = DeflateDecoder::new(deflated).read_to_end(&mut inflated);
        read.map_err(|error| malformed(&error.to_string()))?;
        Ok(inflated)
    }
}
