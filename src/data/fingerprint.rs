//! A number that tells the rows of one training from those of another.

use super::{Dataset, Inputs, Targets, Values};

/// The fingerprint of inputs, targets and lengths in their order: equal rows have equal ones on every machine, and any others another
/// one but for 1 pair in 2^64. It is no secret: who wants to can make other rows of the same.
///
/// FNV-1a (Fowler, Noll, Vo) over words of 64 bits instead of bytes, with the upper half folded onto the lower one after each. A word
/// is 8 bytes or 2 values of 32 bits, the first in the lowest bits. 60,000 x 784 bytes take some 12 ms, as many f32 some 50 ms.
pub(crate) fn of(data: &Dataset) -> u64 {
    let mut hash = Fnv(0xCBF2_9CE4_8422_2325);
    let Inputs { columns, values, lengths, .. } = &data.inputs;
    hash.pair(data.rows(), *columns);
    match &**values {
        Values::U8 { bytes, .. } => {
            let (words, rest) = bytes.as_chunks::<8>();
            words.iter().for_each(|word| hash.word(u64::from_le_bytes(*word)));
            rest.iter().for_each(|&byte| hash.word(byte.into()));
        }
        Values::F32(values) => hash.all(values, |value| value.to_bits()),
    }
    if let Some(lengths) = lengths {
        hash.all(&lengths.of_rows, |length| length);
    }
    match &data.targets {
        Targets::Classes { labels, .. } => hash.all(labels, |label| label),
        Targets::Values { values, .. } => hash.all(values, |value| value.to_bits()),
    }
    hash.0
}

/// The same of the rows with what else a training depends on: what bytes are multiplied by, and the sample numbers, of which masks are
/// made. (Files of models hold the other one, and their scale beside it.)
pub(crate) fn with_samples(data: &Dataset) -> u64 {
    let mut hash = Fnv(of(data));
    let scale = match data.inputs.values() {
        Values::U8 { scale, .. } => scale.to_bits(),
        Values::F32(_) => 0,
    };
    hash.pair(scale, data.rows());
    hash.all(data.inputs.samples(), |sample| sample);
    hash.0
}

struct Fnv(u64);

impl Fnv {
    fn word(&mut self, word: u64) {
        let product = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01B3);
        // A product carries upwards only; without this the upper bits of a word would never reach the lower ones of the hash.
        self.0 = product ^ (product >> 32);
    }

    fn pair(&mut self, low: u32, high: u32) {
        self.word(u64::from(low) | u64::from(high) << 32);
    }

    fn all<T: Copy>(&mut self, values: &[T], bits: impl Fn(T) -> u32) {
        let (pairs, rest) = values.as_chunks::<2>();
        pairs.iter().for_each(|&[low, high]| self.pair(bits(low), bits(high)));
        rest.iter().for_each(|&value| self.pair(bits(value), 0));
    }
}
