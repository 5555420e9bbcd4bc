//! A seeded generator: the same seed gives the same benchmark on every machine.

/// Mixes all bits of a word (the finaliser of `SplitMix64`).
pub(crate) const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// Scales a well-mixed word to `0..bound`.
#[expect(clippy::cast_possible_truncation, reason = "the product shifted by 64 is below the bound, which is a usize")]
pub(crate) const fn below(word: u64, bound: usize) -> usize {
    ((word as u128 * bound as u128) >> 64) as usize
}

/// A `SplitMix64` generator.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number of `0..bound`; `bound` must not be zero.
    pub(crate) const fn below(&mut self, bound: usize) -> usize {
        below(self.word(), bound)
    }

    /// One element, or nothing of an empty slice.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { of.get(self.below(of.len())) }
    }
}
