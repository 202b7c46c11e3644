//! Chance that follows from a seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

/// A stream of random numbers. Streams of one seed with different names have nothing to do with
/// each other: whoever draws more, or is left out, changes nothing for the others.
#[derive(Debug)]
pub struct Chance(StdRng);

impl Chance {
    /// The stream of this name.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(seed.to_be_bytes());
        hash.update(name.as_bytes());
        Self(StdRng::from_seed(hash.finalize().into()))
    }

    /// A stream that goes its own way from here.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(StdRng::from_rng(&mut self.0))
    }

    /// Whether it happens that happens once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A number below `n`; 0 if there is none.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.0.random_range(0..n) }
    }

    /// An index into something of this length; 0 if it is empty.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(u64::try_from(len).unwrap_or(u64::MAX))).unwrap_or(0)
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.index(of.len()))
    }

    /// A time of up to so many milliseconds, mostly short.
    pub fn time(&mut self, ms_max: u64) -> Duration {
        let bound = self.below(ms_max.saturating_add(1));
        let micros = self.below(bound.saturating_mul(1_000).saturating_add(1));
        Duration::from_micros(micros)
    }

    /// Random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}
