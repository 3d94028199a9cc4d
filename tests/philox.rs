//! The mask contract's generator on the CPU and on the device.

use std::collections::BTreeSet;

use rand::Rng;
use thinnet::KeepProb;
use thinnet::kernels::dropout::DropoutMaskRagged;
use thinnet::kernels::philox::{PhiloxParams, PhiloxWords};
use thinnet::kernels::rows::{BatchRows, RowsParams};
use thinnet::rng::{self, Coordinates, PhiloxRng, Shuffle, Stream};
use thinnet::step::{SiteStep, Step};

use crate::common::{step, words};
use crate::kernels::{Slot, on_device};

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

/// The words of counters and keys, computed on the device.
fn words_on_device(counters: &[[u32; 4]], keys: &[[u32; 2]]) -> Vec<u32> {
    let len = counters.len() as u32;
    let slots =
        [Slot::shared("counters", counters.concat()), Slot::shared("keys", keys.concat()), Slot::out("words", 4 * len, 4 * len)];
    let [.., words] = on_device(&step(1, 1, &[]), slots, |[counters, keys, words]| PhiloxWords {
        params: PhiloxParams { len, ..PhiloxParams::default() },
        counters,
        keys,
        words,
    });
    words
}

#[test]
fn cpu_and_device_give_random123s_known_answers() {
    let (mut counters, mut keys, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for (counter, key, answer) in KNOWN_ANSWERS {
        assert_eq!(rng::philox4x32_10(counter, key), answer);
        counters.push(counter);
        keys.push(key);
        answers.extend(answer);
    }
    assert_eq!(words_on_device(&counters, &keys), answers);
}

#[test]
fn cpu_and_device_agree_on_counters_at_random_and_at_the_edges() {
    let mut counters: Vec<[u32; 4]> = words(4 * 4000, 21).chunks(4).map(|c| c.try_into().unwrap()).collect();
    let mut keys: Vec<[u32; 2]> = words(2 * 4000, 22).chunks(2).map(|k| k.try_into().unwrap()).collect();
    // Products whose 16-bit limbs carry: all words of ones, single bits, and the limbs next to a carry.
    for word in [0, 1, 0xffff, 0x1_0000, 0x1_0001, 0x7fff_ffff, 0x8000_0000, 0xffff_0000, u32::MAX] {
        counters.extend((0..4).map(|i| std::array::from_fn(|j| if i == j { word } else { !word })));
        keys.extend([[word, !word]; 4]);
    }
    let expected: Vec<u32> = counters.iter().zip(&keys).flat_map(|(c, k)| rng::philox4x32_10(*c, *k)).collect();
    assert_eq!(words_on_device(&counters, &keys), expected);
}

#[test]
fn a_word_is_addressed_by_all_its_coordinates() {
    let at = Coordinates { stream: Stream::BatchMask, site: 0x00AB_CDEF, pass: 7, sample: 9 };
    let key = rng::key(0x0123_4567_89AB_CDEF);
    assert_eq!(key, [0x89AB_CDEF, 0x0123_4567]);
    for unit in [0, 1, 2, 3, 4, 5, 1022, u32::MAX] {
        let quad = rng::philox4x32_10([unit / 4, 9, 7, 0x06AB_CDEF], key);
        assert_eq!(at.quad(unit / 4, key), quad);
        assert_eq!(at.word(unit, key), quad[unit as usize % 4]);
    }
}

#[test]
fn streams_have_the_numbers_of_the_contract_and_words_of_their_own() {
    use Stream::*;
    let table = [
        TrainingMask,
        MonteCarloMask,
        InitialWeights,
        Shuffle,
        Augmentation,
        ContinuousNoise,
        BatchMask,
        ValidationSplit,
        LatinHypercube,
        MonteCarloNoise,
    ];
    assert_eq!(Stream::ALL, table);
    let key = rng::key(42);
    let quads = table.map(|stream| Coordinates { stream, site: 5, pass: 0, sample: 0 }.quad(0, key));
    for (number, quad) in (0..).zip(quads) {
        assert_eq!(quad, rng::philox4x32_10([0, 0, 0, number << 24 | 5], key), "stream {number}");
    }
    assert_eq!(BTreeSet::from(quads).len(), 10);
    assert_eq!(rng::check_site(rng::MAX_SITE).unwrap(), 0x00FF_FFFF);
    assert!(rng::check_site(rng::MAX_SITE + 1).is_err(), "a site must not reach into the stream");
}

/// Masks that the contract publishes: seed, keep_prob, site, pass, first unit, and by sample the mask.
type MaskVector = (u64, f64, u32, u32, u32, &'static [(u32, &'static str)]);
const MASKS: [MaskVector; 2] = [
    (42, 0.5, 0, 0, 0, &[(0, "0111010100000001"), (1, "1111110011000100"), (2, "0010000111010010"), (3, "0000000011111110")]),
    ((1 << 40) + 7, 0.8, 3, 5, 1022, &[(59_998, "11101111"), (59_999, "11011111")]),
];

#[test]
fn masks_are_those_of_the_contract_on_cpu_and_device() {
    for (seed, keep, site, pass, first, rows) in MASKS {
        let keep = KeepProb::new(keep).unwrap();
        for (sample, mask) in rows {
            let at = Coordinates { stream: Stream::TrainingMask, site, pass, sample: *sample };
            let unit = |u| if keep.keeps(at.word(u, rng::key(seed))) { '1' } else { '0' };
            assert_eq!((first..first + mask.len() as u32).map(unit).collect::<String>(), *mask, "sample {sample}");
        }
        let units = first + rows[0].1.len() as u32;
        let mut step = step(rows.len() as u32, 1, &[1.0]);
        step.members[0].key = rng::key(seed);
        step.members[0].sites[0] = SiteStep::new(keep, pass);
        let len = step.rows * units;
        let slots = [Slot::own("samples", step.rows, |_| rows.iter().map(|row| row.0).collect()), Slot::out("mask", len, len)];
        let [_, device] = on_device(&step, slots, |[samples, mask_units]| {
            let params = thinnet::kernels::dropout::DropoutParams::new(units, Stream::TrainingMask, site);
            DropoutMaskRagged { params, site: 0.into(), samples, mask_units }
        });
        for (row, (sample, mask)) in device.chunks(units as usize).zip(rows) {
            let text: String = row[first as usize..].iter().map(|kept| char::from(b'0' + *kept as u8)).collect();
            assert_eq!(text, *mask, "sample {sample} on the device");
        }
    }
}

/// Orders that the contract publishes for seed 42: rows, epoch, the first positions.
const SHUFFLES: [(u32, u32, &[u32]); 6] = [
    (2, 0, &[1, 0]),
    (3, 0, &[1, 0, 2]),
    (10, 0, &[1, 5, 7, 9, 4, 2, 8, 0, 6, 3]),
    (270, 0, &[128, 132, 223, 112, 153, 166, 209, 22]),
    (10, 1, &[1, 9, 0, 4, 6, 7, 2, 3, 5, 8]),
    (60_000, 3, &[46_570, 47_357, 44_506, 8_357, 25_223, 45_045, 47_365, 13_564]),
];

#[test]
fn shuffles_are_those_of_the_contract_on_cpu_and_device() {
    for (rows, epoch, expected) in SHUFFLES {
        let shuffle = Shuffle::new(rows);
        let count = expected.len() as u32;
        assert_eq!((0..count).map(|position| shuffle.row(position, epoch, rng::key(42))).collect::<Vec<_>>(), expected);
        let mut step = Step { epoch, ..step(count, 1, &[]) };
        step.members[0].key = rng::key(42);
        let slots =
            [Slot::shared("ids", (0..rows).collect()), Slot::out("rows", count, count), Slot::out("samples", count, count)];
        let [_, device, _] = on_device(&step, slots, |[ids, out, samples]| {
            let params = RowsParams { rows, half_bits: shuffle.half_bits, shuffled: 1, ..RowsParams::default() };
            BatchRows { params, ids, rows: out, samples }
        });
        assert_eq!(device, expected, "{rows} rows on the device");
    }
}

#[test]
fn a_shuffle_is_a_permutation_that_changes_with_epoch_and_seed() {
    for rows in [1, 2, 3, 4, 5, 16, 17, 255, 256, 257, 1797] {
        let order = |epoch, seed| -> Vec<u32> { (0..rows).map(|p| Shuffle::new(rows).row(p, epoch, rng::key(seed))).collect() };
        let mut sorted = order(0, 42);
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..rows), "{rows} rows");
        if rows > 16 {
            assert!(order(0, 42) != order(1, 42) && order(0, 42) != order(0, 43), "{rows} rows");
        }
    }
}

#[test]
fn thresholds_are_exact_and_nested() {
    assert_eq!(KeepProb::new(0.8).unwrap().threshold(), 3_435_973_837);
    let kept = |keep: f64, word| SiteStep::new(KeepProb::new(keep).unwrap(), 0).keeps(word);
    for word in [0, 1, 0x7fff_ffff, 0x8000_0000, 3_435_973_836, 3_435_973_837, u32::MAX] {
        assert_eq!([0.0, 0.5, 0.8, 1.0].map(|keep| kept(keep, word)), [false, word < 1 << 31, word < 3_435_973_837, true]);
    }
}

#[test]
fn uniform_numbers_lie_strictly_between_0_and_1() {
    let (least, most) = (rng::uniform(0), rng::uniform(u32::MAX));
    assert_eq!((least, most), (2f64.powi(-24), 1.0 - 2f64.powi(-24)));
    // The ends are still inside as f32.
    assert!(least as f32 > 0.0 && (most as f32) < 1.0);
    // 2^23 values at equal distances: the lower nine bits of a word do not count.
    assert_eq!(rng::uniform(511), least);
    assert_eq!(rng::uniform(512) - least, 2f64.powi(-23));
    assert_eq!(rng::uniform(1 << 31), 0.5 + 2f64.powi(-24));
}

/// How many standard errors the first four moments are away from those of a standard normal distribution.
fn moment_errors(values: &[f64]) -> [f64; 4] {
    let n = values.len() as f64;
    let moment = |power| values.iter().map(|v| v.powi(power)).sum::<f64>() / n;
    // Means and variances of z, z^2, z^3, z^4: 0 and 1, 1 and 2, 0 and 15, 3 and 96.
    [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0f64)]
        .map(|(power, mean, variance): (i32, f64, f64)| (moment(power) - mean).abs() / (variance / n).sqrt())
}

/// False alarms: five standard errors, p < 6e-7 for each of four moments. Power, for 400,000 numbers: a scale that is 1 % off
/// moves the second moment by 9 standard errors and a mean of 0.015 the first by 9.5, so each is missed with p < 1e-4.
#[test]
fn normal_numbers_have_the_moments_of_the_normal_distribution() {
    let words = words(800_000, 1963);
    let normals: Vec<f64> = words.chunks(2).map(|pair| rng::normal([pair[0], pair[1]])).collect();
    let errors = moment_errors(&normals);
    assert!(errors.iter().all(|&error| error < 5.0), "{errors:?}");
    let scaled: Vec<f64> = normals.iter().map(|v| 1.01 * v).collect();
    assert!(moment_errors(&scaled)[1] > 5.0, "a wrong scale is found");
    let moved: Vec<f64> = normals.iter().map(|v| v + 0.015).collect();
    assert!(moment_errors(&moved)[0] > 5.0, "a wrong mean is found");
    // Box and Muller by hand, at the ends: the largest number, and both signs of the cosine.
    assert!((rng::normal([0, 0]) - (48.0 * 2f64.ln()).sqrt()).abs() < 1e-6);
    assert!((rng::normal([0, 1 << 31]) + (48.0 * 2f64.ln()).sqrt()).abs() < 1e-6);
    assert!(rng::normal([u32::MAX, 0]).abs() < 4e-4);
}

#[test]
fn the_generator_for_rand_yields_the_words_of_units_in_order() {
    let at = Coordinates { stream: Stream::Augmentation, site: 3, pass: 1, sample: 8 };
    let key = rng::key(7);
    let mut generator = PhiloxRng::new(7, at);
    for unit in 0..11 {
        assert_eq!(generator.next_u32(), at.word(unit, key));
    }
    assert_eq!(generator.next_u64(), u64::from(at.word(12, key)) << 32 | u64::from(at.word(11, key)), "the low word comes first");
    let mut bytes = [0; 7];
    generator.fill_bytes(&mut bytes);
    let words = [at.word(13, key).to_le_bytes(), at.word(14, key).to_le_bytes()].concat();
    assert_eq!(bytes[..], words[..7]);
    assert_eq!(generator.next_u32(), at.word(15, key), "a word that was used in part is used up");
}
