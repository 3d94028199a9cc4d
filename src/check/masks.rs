//! Words and masks of a device against the mask contract on the CPU.

use std::ops::Range;

use crate::network::KeepProb;
use crate::ops::Site;
use crate::rng::{self, Coordinates, MAX_SITE, Stream};
use crate::{Device, Result, masks};

/// Counter, key, words: `philox4x32 10` of Random123's tests/kat_vectors.
const KNOWN_ANSWERS: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
    ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
    ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
    (
        [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
        [0xa409_3822, 0x299f_31d0],
        [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
    ),
];

/// The first words that are not Philox's.
pub(super) fn words(device: &Device) -> Result<Option<String>> {
    let wrong = |counter: [u32; 4], key: [u32; 2], [found, right]: [[u32; 4]; 2]| {
        let hex = |words: &[u32]| words.iter().map(|word| format!("{word:08x}")).collect::<Vec<_>>().join(" ");
        let (at, key) = (hex(&counter), hex(&key));
        (found != right).then(|| format!("counter {at}, key {key}: {}, but Philox4x32-10 is {}", hex(&found), hex(&right)))
    };
    for (counter, key, right) in KNOWN_ANSWERS {
        if let Some(wrong) = wrong(counter, key, [masks::philox_words(device, &[counter], key)?[0], right]) {
            return Ok(Some(wrong));
        }
    }
    // Products whose halves carry, and words of all kinds.
    let edges = [0, 1, 0xffff, 0x1_0000, 0x1_0001, 0x7fff_ffff, 0x8000_0000, 0xffff_0000, u32::MAX];
    let mut counters: Vec<[u32; 4]> = Vec::new();
    for (i, word) in (0..4).flat_map(|i| edges.map(|word| (i, word))) {
        counters.push(std::array::from_fn(|j| if i == j { word } else { !word }));
    }
    counters.extend((0..1000).map(|i| rng::philox4x32_10([i, 0, 0, 0], [1, 2])));
    for key in [[0, u32::MAX], [u32::MAX, 0], [0x1234_5678, 0x9abc_def0]] {
        let found = masks::philox_words(device, &counters, key)?;
        let mut each = counters.iter().zip(found);
        let first = each.find_map(|(&counter, found)| wrong(counter, key, [found, rng::philox4x32_10(counter, key)]));
        if first.is_some() {
            return Ok(first);
        }
    }
    Ok(None)
}

/// A mask to draw.
#[derive(Debug, Clone)]
pub(super) struct Drawn {
    site: Site,
    samples: Range<u32>,
    units: Range<u32>,
}

/// Masks of each stream; rates at the ends and between, coordinates small and large, ranges that begin and end anywhere in a quad.
pub(super) fn all(seed: u64) -> Vec<Drawn> {
    let last = u32::MAX - 300..u32::MAX;
    let units = [0..257, 3..1030, 1022..1289, u32::MAX - 513..u32::MAX];
    let rates: [f64; Stream::ALL.len()] = [0.0, 2f64.powi(-32), 0.1, 0.5, 0.8, 1.0 - 2f64.powi(-32), 1.0, 1.0 / 3.0, 0.5, 0.9];
    let drawn = |(i, (stream, rate)): (usize, (Stream, f64))| Drawn {
        site: Site {
            keep: KeepProb::new(rate).expect("these are probabilities"),
            seed: [seed, seed ^ ((1 << 40) + 7), !seed][i % 3],
            stream,
            site: [0, MAX_SITE, 3][i % 3],
            pass: [0, 5, u32::MAX, 1][i % 4],
        },
        samples: if i % 2 == 0 { 0..300 } else { last.clone() },
        units: units[i % 4].clone(),
    };
    Stream::ALL.into_iter().zip(rates).enumerate().map(drawn).collect()
}

impl Drawn {
    pub(super) fn name(&self) -> String {
        let Self { site: Site { keep, seed, stream, site, pass }, samples, units } = self;
        let (keep, stream) = (keep.get(), *stream as u32);
        format!("seed {seed}, keep {keep}, stream {stream}, site {site}, pass {pass}, samples {samples:?}, units {units:?}")
    }

    pub(super) fn difference(&self, device: &Device) -> Result<Option<String>> {
        Ok(self.wrong(masks::draw(device, &self.site, self.samples.clone(), self.units.clone())?))
    }

    /// The first unit of a mask that is not as the contract has it, and how many are not.
    fn wrong(&self, mask: Vec<Vec<bool>>) -> Option<String> {
        let Site { keep, seed, stream, site, pass } = self.site;
        let (mut wrong, mut first) = (0, None);
        for (sample, row) in self.samples.clone().zip(mask) {
            let at = Coordinates { stream, site, pass, sample };
            for (unit, found) in self.units.clone().zip(row) {
                if found != keep.keeps(at.word(unit, rng::key(seed))) {
                    wrong += 1;
                    first.get_or_insert((sample, unit, if found { "kept" } else { "dropped" }));
                }
            }
        }
        let all = self.samples.len() * self.units.len();
        first.map(|(sample, unit, found)| {
            format!("{wrong} of {all} units are wrong, the first is unit {unit} of sample {sample}, which is {found}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_of_a_mask_is_looked_at() {
        for drawn in all(9) {
            let mask = masks::draw(&Device::cpu(), &drawn.site, drawn.samples.clone(), drawn.units.clone()).unwrap();
            assert_eq!(drawn.wrong(mask.clone()), None, "{}", drawn.name());
            let (samples, units) = (drawn.samples.len(), drawn.units.len());
            for [row, column] in [[0, 0], [samples / 2, 1], [samples - 1, units - 1]] {
                let mut mask = mask.clone();
                mask[row][column] ^= true;
                let (sample, unit) = (drawn.samples.start + row as u32, drawn.units.start + column as u32);
                let found = if mask[row][column] { "kept" } else { "dropped" };
                let says = format!(
                    "1 of {} units are wrong, the first is unit {unit} of sample {sample}, which is {found}",
                    samples * units
                );
                assert_eq!(drawn.wrong(mask), Some(says));
            }
        }
    }
}
