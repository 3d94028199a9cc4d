//! How the mask of a row comes from random words: [`MaskRule`]. The twins of all kernels that draw masks share it;
//! `shaders/lib/dropout.wgsl` is the other side.

use crate::rng::{self, Stream};
use crate::step::SiteStep;

/// How a kernel draws the mask of a row. Training has one pass for all rows of a step; Monte-Carlo draws are rows of one batch, so
/// that each row has a draw of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MaskRule {
    /// `word < T`, the words at the step's pass. The list of samples has one word for each row.
    Pass,
    /// `word < T`, the words at pass = the row's draw. Here and below the list has two words for each row: sample and draw.
    Draw,
    /// As [`MaskRule::Draw`], with the words of draw 2j for draws 2j and 2j + 1, complemented in the latter (Hammersley and Morton,
    /// 1956): a unit that is dropped in one of the two is more often kept in the other.
    Antithetic,
    /// `floor((pi(draw) 2^32 + word) / D) < T`, pi a permutation of the D draws, another one for each unit and sample (McKay,
    /// Beckman and Conover, 1979): among the D draws a unit is kept keep_prob D times, but for a rest below 1.
    LatinHypercube,
    /// Every unit: those of a thinned layer, whose dropped units are not there.
    All,
    /// Bit `unit` of the draw, counted from the site's first bit: every mask there is, once among 2^n draws of n units.
    EveryMask,
    /// As [`MaskRule::Pass`], with one mask for all rows: the words of sample 0 at the step's pass, which is the optimizer step at
    /// [`Stream::BatchMask`]. The list of samples has one word for each row, which is not read.
    Batch,
}

/// A site and how its masks are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteMask {
    /// The plan's site, by its number there.
    pub index: usize,
    /// The rule.
    pub rule: MaskRule,
}

impl From<usize> for SiteMask {
    /// A site in training.
    fn from(index: usize) -> Self {
        Self { index, rule: MaskRule::Pass }
    }
}

impl MaskRule {
    /// Every rule.
    pub const ALL: [Self; 7] =
        [Self::Pass, Self::Draw, Self::Antithetic, Self::LatinHypercube, Self::EveryMask, Self::All, Self::Batch];

    /// Its number in WGSL, the constant `DROPOUT`.
    pub fn constant(self) -> u32 {
        match self {
            Self::Pass => 1,
            Self::Draw => 2,
            Self::Antithetic => 3,
            Self::LatinHypercube => 4,
            Self::EveryMask => 5,
            Self::All => 6,
            Self::Batch => 7,
        }
    }

    /// Words of each row in the list of samples.
    pub fn words(self) -> u32 {
        if matches!(self, Self::Pass | Self::Batch) { 1 } else { 2 }
    }

    /// The sample and the pass or draw of a row.
    pub fn address(self, site: &SiteStep, samples: &[u32], row: usize) -> [u32; 2] {
        match self {
            Self::All => [0, 0],
            Self::Pass => [samples[row], site.pass],
            Self::Batch => [0, site.pass],
            _ => [samples[2 * row], samples[2 * row + 1]],
        }
    }

    /// Which of the units `4 quad .. 4 quad + 4` are kept at an address.
    pub fn kept(self, site: &SiteStep, key: [u32; 2], stream_and_site: u32, [sample, draw]: [u32; 2], quad: u32) -> [bool; 4] {
        let words = |pass| rng::philox4x32_10([quad, sample, pass, stream_and_site], key);
        match self {
            Self::Pass | Self::Batch | Self::Draw => words(draw).map(|word| site.keeps(word)),
            Self::Antithetic => {
                let flip = 0u32.wrapping_sub(draw & 1);
                words(draw & !1).map(|word| site.keeps(word ^ flip))
            }
            Self::LatinHypercube => {
                let at = rng::stream_and_site(Stream::LatinHypercube, stream_and_site & rng::MAX_SITE);
                let (words, seeds) = (words(draw), rng::philox4x32_10([quad, sample, 0, at], key));
                std::array::from_fn(|i| {
                    let place = u64::from(stratum(draw, site.pass, seeds[i])) << 32 | u64::from(words[i]);
                    place < u64::from(site.keep_all) << 32 | u64::from(site.threshold)
                })
            }
            Self::All => [true; 4],
            Self::EveryMask => std::array::from_fn(|i| draw.wrapping_shr(site.pass + 4 * quad + i as u32) & 1 == 1),
        }
    }
}

/// The place of `draw` in a permutation of `0..draws`: a Feistel network of four rounds that walks along its cycle until it is below
/// `draws`, then a rotation, which makes each place equally likely for a uniform seed.
fn stratum(draw: u32, draws: u32, seed: u32) -> u32 {
    let h = (33 - (draws.max(2) - 1).leading_zeros()) >> 1;
    let mask = (1u32 << h) - 1;
    let mut x = draw;
    loop {
        let (mut left, mut right) = (x >> h, x & mask);
        for round in 0..4u32 {
            (left, right) = (right, left ^ (mixed(right + (round << 16), seed) & mask));
        }
        x = left << h | right;
        if x < draws {
            break;
        }
    }
    let turn = ((u64::from(mixed(4 << 16, seed)) * u64::from(draws)) >> 32) as u32;
    let sum = x + turn;
    if sum >= draws { sum - draws } else { sum }
}

/// A word that depends on all bits of a place and a seed: two rounds of multiplication and shift, with the constants that Wellons'
/// search for hashes of low bias has found (hash-prospector, in the public domain).
fn mixed(place: u32, seed: u32) -> u32 {
    let mut m = place.wrapping_mul(0x9E37_79B1) ^ seed;
    m ^= m >> 16;
    m = m.wrapping_mul(0x21F0_AAAD);
    m ^= m >> 15;
    m = m.wrapping_mul(0x735A_2D97);
    m ^ (m >> 15)
}
