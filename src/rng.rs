//! The mask contract, version 1: every random decision is a pure function of its coordinates.
//!
//! ```text
//! philox4x32-10(counter, key)            Salmon et al., SC 2011; Random123
//! key      = (seed low 32 bits, seed high 32 bits)
//! counter  = (unit / 4, sample, pass, stream << 24 | site)
//! word     = philox(counter, key)[unit % 4]
//! ```
//!
//! No state of a random number generator exists anywhere. [`Coordinates`] is the only place that knows what the four
//! counter words mean; `shaders/lib/philox.wgsl` is the twin of [`philox4x32_10`].

use crate::{Error, Result};

/// Version of the mask contract; stored with the weights.
pub const CONTRACT_VERSION: u32 = 1;

const M0: u32 = 0xD251_1F53; // Salmon et al. 2011, table 2 and Random123 philox.h
const M1: u32 = 0xCD9E_8D57;
const W0: u32 = 0x9E37_79B9; // golden ratio
const W1: u32 = 0xBB67_AE85; // sqrt(3) - 1

/// Philox4x32-10: four words from a counter and a key (Salmon et al. 2011; Random123's `philox4x32` with 10 rounds).
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let (mut c, mut k) = (counter, key);
    for round in 0..10 {
        if round > 0 {
            k = [k[0].wrapping_add(W0), k[1].wrapping_add(W1)];
        }
        let p = u64::from(M0) * u64::from(c[0]);
        let q = u64::from(M1) * u64::from(c[2]);
        c = [(q >> 32) as u32 ^ c[1] ^ k[0], q as u32, (p >> 32) as u32 ^ c[3] ^ k[1], p as u32];
    }
    #[cfg(test)]
    trace::record(counter);
    c
}

/// The Philox key of a seed: its low and its high 32 bits.
pub fn key(seed: u64) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32]
}

/// What a random word is for. Two decisions of one run never share a stream, a site and a coordinate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stream {
    /// Masks in training.
    TrainingMask = 0,
    /// Masks of Monte-Carlo draws.
    MonteCarloMask = 1,
    /// Initial weights; the site is the parameter tensor.
    InitialWeights = 2,
    /// The order of the rows in an epoch.
    Shuffle = 3,
    /// Data augmentation; the sites and units are in [`crate::data::augmentation`], the last site is that of noisy labels.
    Augmentation = 4,
    /// Continuous noise; the last site is that of noise on the input.
    ContinuousNoise = 5,
    /// Masks that a whole batch shares; the pass is the optimizer step.
    BatchMask = 6,
    /// The rows held out for validation.
    ValidationSplit = 7,
    /// The permutations of Latin hypercube draws; the pass is 0.
    LatinHypercube = 8,
    /// Continuous noise of Monte-Carlo draws.
    MonteCarloNoise = 9,
}

impl Stream {
    /// Every stream, by number.
    pub const ALL: [Stream; 10] = [
        Stream::TrainingMask,
        Stream::MonteCarloMask,
        Stream::InitialWeights,
        Stream::Shuffle,
        Stream::Augmentation,
        Stream::ContinuousNoise,
        Stream::BatchMask,
        Stream::ValidationSplit,
        Stream::LatinHypercube,
        Stream::MonteCarloNoise,
    ];
}

/// Sites are 24-bit numbers: the stream has the upper 8 bits of the counter's last word.
pub const MAX_SITE: u32 = (1 << 24) - 1;

/// Everything that addresses a random word but the unit.
///
/// | coordinate | meaning |
/// | --- | --- |
/// | stream | what the word is for, see [`Stream`] |
/// | site | place in the network in depth-first order of declaration; for initial weights the parameter tensor; for augmentation its kind |
/// | pass | the epoch in training, the draw in Monte-Carlo, the optimizer step from 0 where a batch shares the mask |
/// | sample | row in the source file, before any range is selected; 0 where a batch shares the mask |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Coordinates {
    /// What the word is for.
    pub stream: Stream,
    /// Place in the network, at most [`MAX_SITE`].
    pub site: u32,
    /// How often the sample has been seen.
    pub pass: u32,
    /// Row in the source file.
    pub sample: u32,
}

impl Coordinates {
    /// The words of units `4 * quad .. 4 * quad + 4`: one Philox call serves four units.
    pub fn quad(&self, quad: u32, key: [u32; 2]) -> [u32; 4] {
        philox4x32_10([quad, self.sample, self.pass, stream_and_site(self.stream, self.site)], key)
    }

    /// The word of one unit.
    pub fn word(&self, unit: u32, key: [u32; 2]) -> u32 {
        self.quad(unit / 4, key)[(unit % 4) as usize]
    }
}

/// Exactly `k` of `n` units, in ascending order: those with the smallest (word, unit), all n if k is larger. A uniform draw
/// without replacement, nested in k: fewer units are a subset of more.
///
/// It takes O(n) time and n / 4 Philox calls. Masks that a batch shares are drawn so, at [`Stream::BatchMask`].
pub fn exact_k(at: Coordinates, n: u32, k: u32, key: [u32; 2]) -> Vec<u32> {
    if k == 0 || k >= n {
        return (0..k.min(n)).collect();
    }
    let words = (0..n.div_ceil(4)).flat_map(|quad| at.quad(quad, key));
    // The word above the unit, so that the order of the numbers is that of (word, unit).
    let ranked: Vec<u64> = words.zip(0..n).map(|(word, unit)| u64::from(word) << 32 | u64::from(unit)).collect();
    let last = *ranked.clone().select_nth_unstable(k as usize - 1).1;
    ranked.into_iter().filter(|&rank| rank <= last).map(|rank| rank as u32).collect()
}

/// The last counter word, `stream << 24 | site`.
pub fn stream_and_site(stream: Stream, site: u32) -> u32 {
    debug_assert!(site <= MAX_SITE);
    (stream as u32) << 24 | site
}

/// Checks a site number.
///
/// # Errors
/// A site above [`MAX_SITE`].
pub fn check_site(site: u32) -> Result<u32> {
    if site <= MAX_SITE {
        return Ok(site);
    }
    Err(Error::Option { option: "site", value: site.to_string(), problem: format!("a site has 24 bits, at most {MAX_SITE}") })
}

/// A uniform number in (0, 1) from a word: `((word >> 9) + 0.5) * 2^-23`, never 0 or 1.
pub fn uniform(word: u32) -> f64 {
    (f64::from(word >> 9) + 0.5) * (0.5f64).powi(23)
}

/// A standard normal number from two words (Box and Muller 1958), in f64 with `libm` so that it is the same on every machine.
pub fn normal(words: [u32; 2]) -> f64 {
    libm::sqrt(-2.0 * libm::log(uniform(words[0]))) * libm::cos(2.0 * std::f64::consts::PI * uniform(words[1]))
}

/// The order of `rows` rows: a permutation computed position by position, by a cycle-walking Feistel network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shuffle {
    /// How many rows are permuted.
    pub rows: u32,
    /// Bits of one Feistel half: `max(1, ceil(ceil(log2 rows) / 2))`.
    pub half_bits: u32,
}

impl Shuffle {
    /// The shuffle of `rows` rows (at least one).
    pub fn new(rows: u32) -> Self {
        let bits = 32 - rows.saturating_sub(1).leading_zeros(); // ceil(log2 rows)
        Self { rows, half_bits: bits.div_ceil(2).max(1) }
    }

    /// Which row stands at `position` (below `rows`) in the order of `epoch`.
    pub fn row(&self, position: u32, epoch: u32, key: [u32; 2]) -> u32 {
        let (h, mask) = (self.half_bits, (1u32 << self.half_bits) - 1);
        let mut x = position;
        loop {
            let (mut left, mut right) = (x >> h, x & mask);
            for round in 0..8 {
                let f = philox4x32_10([right, round, epoch, stream_and_site(Stream::Shuffle, 0)], key)[0] & mask;
                (left, right) = (right, left ^ f);
            }
            x = left << h | right;
            if x < self.rows {
                return x;
            }
        }
    }
}

/// Philox as a generator for the `rand` crate: the words of units 0, 1, 2 ... at fixed [`Coordinates`].
///
/// Nothing in thinnet draws through it; it lets other code use `rand`'s distributions over addressed words.
///
/// ```
/// use rand::Rng;
/// use thinnet::rng::{Coordinates, PhiloxRng, Stream};
/// let at = Coordinates { stream: Stream::Augmentation, site: 0, pass: 3, sample: 7 };
/// let mut rng = PhiloxRng::new(42, at);
/// assert_eq!(rng.next_u32(), at.word(0, thinnet::rng::key(42)));
/// ```
#[derive(Debug, Clone)]
pub struct PhiloxRng {
    key: [u32; 2],
    at: Coordinates,
    unit: u64,
}

impl PhiloxRng {
    /// The generator of a seed at some coordinates. It yields 2^32 words, then starts again.
    pub fn new(seed: u64, at: Coordinates) -> Self {
        Self { key: key(seed), at, unit: 0 }
    }
}

impl rand::rand_core::TryRng for PhiloxRng {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> std::result::Result<u32, Self::Error> {
        let word = self.at.word(self.unit as u32, self.key);
        self.unit = (self.unit + 1) & 0xFFFF_FFFF;
        Ok(word)
    }

    fn try_next_u64(&mut self) -> std::result::Result<u64, Self::Error> {
        let low = self.try_next_u32()?;
        Ok(u64::from(self.try_next_u32()?) << 32 | u64::from(low))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> std::result::Result<(), Self::Error> {
        for chunk in bytes.chunks_mut(4) {
            let word = self.try_next_u32()?.to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

/// Records the counters that a test's thread draws, so that a test can show that none is used twice.
#[cfg(test)]
pub(crate) mod trace {
    use std::cell::RefCell;

    thread_local! { static COUNTERS: RefCell<Option<Vec<[u32; 4]>>> = const { RefCell::new(None) } }

    pub(crate) fn record(counter: [u32; 4]) {
        COUNTERS.with_borrow_mut(|c| {
            if let Some(counters) = c {
                counters.push(counter);
            }
        });
    }

    /// Runs `f` and returns every counter it drew on this thread.
    pub(crate) fn counters(f: impl FnOnce()) -> Vec<[u32; 4]> {
        COUNTERS.set(Some(Vec::new()));
        f();
        COUNTERS.take().unwrap_or_default()
    }
}
