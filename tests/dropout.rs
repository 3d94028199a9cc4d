//! Dropout on the device, bit for bit: the mask contract, what a mask depends on and what it does not, the rates.

use thinnet::ops::{Samples, Shape, Site};
use thinnet::rng::{self, Coordinates, MAX_SITE, Stream};
use thinnet::step::SiteStep;
use thinnet::{Dropout, Error, KeepProb};

use crate::common::numbers;
use crate::host::{Host, contract, shape, site};

/// Rows of a mask as the contract's documentation prints them.
fn printed(mask: &[u32], units: u32) -> Vec<String> {
    mask.chunks(units as usize).map(|row| row.iter().map(u32::to_string).collect()).collect()
}

#[test]
fn the_device_draws_the_masks_of_the_contract() {
    let host = Host::shared();
    // The test vectors of the mask contract, version 1.
    let mask = host.mask(&site(0.5), &shape(4, 16));
    assert_eq!(printed(&mask, 16), ["0111010100000001", "1111110011000100", "0010000111010010", "0000000011111110"]);

    let far = Site { seed: (1 << 40) + 7, site: 3, pass: 5, ..site(0.8) };
    let mask = host.mask(&far, &Shape { samples: Samples::From(59_998), ..shape(2, 1030) });
    let units: Vec<&[u32]> = mask.chunks(1030).map(|row| &row[1022..]).collect();
    assert_eq!(printed(&units.concat(), 8), ["11101111", "11011111"]);
}

#[test]
fn every_coordinate_reaches_the_device_whole() {
    let host = Host::shared();
    for stream in Stream::ALL {
        for (seed, number, pass, first) in
            [(0, 0, 0, 0), (u64::MAX, MAX_SITE, u32::MAX, u32::MAX - 4), (1 << 63, 1 << 23, 1 << 31, 1 << 31)]
        {
            let site = Site { seed, stream, site: number, pass, ..site(0.6) };
            for units in [31, 32] {
                let mask = host.mask(&site, &Shape { samples: Samples::From(first), ..shape(5, units) });
                assert_eq!(mask, contract(&site, (0..5).map(|row| first + row), units), "{site:?}, sample {first}");
            }
        }
    }
}

#[test]
fn a_grid_folded_into_two_dimensions_draws_the_same_mask() {
    // One invocation a row, and 33 a row: more than 65,535 workgroups of 64.
    for (units, quads) in [(1, 1), (132, 33)] {
        let rows = 65_535 * 64 / quads + 100;
        let mask = Host::shared().mask(&site(0.5), &shape(rows, units));
        assert!(mask == contract(&site(0.5), 0..rows, units), "{units} units");
    }
}

#[test]
fn a_word_equal_to_the_threshold_is_dropped_and_one_below_is_kept() {
    for unit in 0..8u32 {
        let at = Coordinates { stream: Stream::TrainingMask, site: 0, pass: 0, sample: 0 };
        let word = at.word(unit, rng::key(42));
        let drawn = |threshold: f64| Host::shared().mask(&site(threshold / 4_294_967_296.0), &shape(1, 8))[unit as usize];
        assert_eq!(drawn(f64::from(word)), 0, "unit {unit}, word {word}");
        assert_eq!(drawn(f64::from(word) + 1.0), 1, "unit {unit}, word {word}");
    }
}

#[test]
fn the_step_table_keeps_the_words_below_the_threshold_and_no_others() {
    for keep_prob in [0.0, 2f64.powi(-33), 0.1, 0.5, 0.8, 1.0 - 2f64.powi(-32), 1.0] {
        let keep = KeepProb::new(keep_prob).unwrap();
        let (threshold, row) = (keep.threshold(), SiteStep::new(keep, 0));
        let around = (threshold.saturating_sub(2)..threshold + 2).filter_map(|word| u32::try_from(word).ok());
        for word in around.chain([0, 1, u32::MAX - 1, u32::MAX]) {
            let kept = u64::from(word) < threshold;
            assert_eq!((row.keeps(word), keep.keeps(word)), (kept, kept), "keep_prob {keep_prob}, word {word}");
        }
    }
}

#[test]
fn a_batch_of_64_and_two_of_32_draw_the_same_mask() {
    let host = Host::shared();
    for (split, units) in [32, 1, 17, 63].into_iter().flat_map(|split| [(split, 37), (split, 36)]) {
        let whole = host.mask(&site(0.7), &shape(64, units));
        let mut halves = host.mask(&site(0.7), &shape(split, units));
        halves.extend(host.mask(&site(0.7), &Shape { samples: Samples::From(split), ..shape(64 - split, units) }));
        assert_eq!(halves, whole, "{split} + {}", 64 - split);
    }
}

#[test]
fn a_sample_has_its_mask_wherever_it_stands_in_the_batch() {
    let (host, units) = (Host::shared(), 13);
    let whole = host.mask(&site(0.7), &shape(64, units));
    let order: Vec<u32> = (0..64).map(|row| rng::Shuffle::new(64).row(row, 0, rng::key(9))).collect();
    let listed = host.buffer(&order);
    let mask = host.mask(&site(0.7), &Shape { samples: Samples::Listed(&listed), ..shape(64, units) });
    assert_ne!(mask, whole, "the order is not shuffled");
    for (row, &sample) in mask.chunks(units as usize).zip(&order) {
        assert_eq!(row, &whole[(sample * units) as usize..][..units as usize], "sample {sample}");
    }
}

#[test]
fn listed_samples_are_the_samples_counted_from_the_first() {
    let (host, first) = (Host::shared(), 4_000_000_000);
    let listed = host.buffer(&(first..first + 33).collect::<Vec<_>>());
    for units in [7, 8] {
        let [a, b] = [Samples::Listed(&listed), Samples::From(first)].map(|samples| Shape { samples, ..shape(33, units) });
        let (x, dy) = (numbers(33 * units as usize, 1), numbers(33 * units as usize, 2));
        assert_eq!(host.mask(&site(0.7), &a), host.mask(&site(0.7), &b));
        assert_eq!(host.forward_backward(&site(0.7), &a, &x, &dy), host.forward_backward(&site(0.7), &b, &x, &dy));
        assert_ne!(host.mask(&site(0.7), &a), host.mask(&site(0.7), &shape(33, units)), "the samples do not matter");
    }
}

#[test]
fn the_mask_of_a_lower_rate_is_a_subset_of_that_of_a_higher_one() {
    let masks = [0.0, 0.1, 0.5, 0.8, 0.999, 1.0].map(|keep| Host::shared().mask(&site(keep), &shape(100, 101)));
    for pair in masks.windows(2) {
        assert!(pair[0].iter().zip(&pair[1]).all(|(low, high)| low <= high), "not nested");
        assert!(pair[0].iter().sum::<u32>() < pair[1].iter().sum(), "the rate does not matter");
    }
}

#[test]
fn keep_prob_0_gives_zeros_forward_and_backward() {
    let (x, dy) = (numbers(1000, 1), numbers(1000, 2));
    let (y, dx) = Host::shared().forward_backward(&site(0.0), &shape(8, 125), &x, &dy);
    // Positive zeros, as bits: neither -0 nor NaN.
    assert_eq!((y, dx), (vec![0; 1000], vec![0; 1000]));
    let infinite = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let (y, dx) = Host::shared().forward_backward(&site(0.0), &shape(1, 3), &infinite, &infinite);
    assert_eq!((y, dx), (vec![0; 3], vec![0; 3]));
}

#[test]
fn keep_prob_1_is_the_identity_bit_for_bit() {
    // No subnormal numbers: WGSL lets a device flush them to 0 in any multiplication.
    let mut x = numbers(1000, 1);
    x[..6].copy_from_slice(&[0.0, -0.0, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, f32::NEG_INFINITY]);
    let dy = numbers(1000, 2);
    let (y, dx) = Host::shared().forward_backward(&site(1.0), &shape(8, 125), &x, &dy);
    assert_eq!((&y[..], &dx[..]), (bytemuck::cast_slice(&x), bytemuck::cast_slice(&dy)));
}

#[test]
fn backward_drops_exactly_the_elements_that_forward_dropped_and_scales_by_the_same_factor() {
    let rates = [(0.5, 2.0f32), (0.8, 1.25), (0.1, 10.0), (0.3, 3.333_333_3)];
    for ((keep_prob, scale), units) in rates.into_iter().flat_map(|rate| [(rate, 33), (rate, 36)]) {
        let rows = 31;
        let site = Site { site: 2, pass: 4, ..site(keep_prob) };
        // Neither is ever 0 or alike, so that a zero is a dropped element and a swapped element is seen.
        let (x, dy) = (numbers(rows * units, 1), numbers(rows * units, 2));
        let (y, dx) = Host::shared().forward_backward(&site, &shape(rows as u32, units as u32), &x, &dy);
        let mask = contract(&site, 0..rows as u32, units as u32);
        let kept = |value: f32, keep: u32| if keep == 1 { (value * scale).to_bits() } else { 0 };
        for (i, &keep) in mask.iter().enumerate() {
            assert_eq!((y[i], dx[i]), (kept(x[i], keep), kept(dy[i], keep)), "keep_prob {keep_prob}, element {i}");
        }
        assert!(mask.contains(&0) && mask.contains(&1));
    }
}

#[test]
fn a_dropped_nan_or_infinity_becomes_zero() {
    let rows = 16;
    let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    for (bad, units) in bad.into_iter().flat_map(|bad| [(bad, 17), (bad, 20)]) {
        let mask = contract(&site(0.5), 0..rows, units);
        let values = vec![bad; mask.len()];
        let (y, dx) = Host::shared().forward_backward(&site(0.5), &shape(rows, units), &values, &values);
        for (i, &keep) in mask.iter().enumerate() {
            let fits = |bits: u32| if keep == 1 { !f32::from_bits(bits).is_finite() } else { bits == 0 };
            assert!(fits(y[i]) && fits(dx[i]), "{bad}, element {i}, keep {keep}: {:#x} {:#x}", y[i], dx[i]);
        }
    }
}

#[test]
fn a_rate_that_is_no_probability_is_refused_by_name_and_value() {
    let message = |result: Result<Dropout, Error>| match result {
        Err(error @ Error::KeepProb { .. }) => error.to_string(),
        other => panic!("not refused: {other:?}"),
    };
    for (value, text, remedy) in [
        (f64::NAN, "NaN", "from 0 to 1"),
        (-0.2, "-0.2", "from 0 to 1"),
        (1.0 + f64::EPSILON, "1.0000000000000002", "from 0 to 1"),
        (50.0, "50", "percentage, divide by 100"),
        (f64::INFINITY, "inf", "from 0 to 1"),
    ] {
        for (door, result) in [("keep_prob", Dropout::keep(value)), ("drop_prob", Dropout::drop(value))] {
            let message = message(result);
            assert!(message.starts_with(&format!("{door} {text} ")) && message.contains(remedy), "{message}");
        }
    }
    // Its threshold rounds to 0, so that it would keep nothing and scale by infinity.
    let message = message(Dropout::keep(1e-11));
    assert!(message.starts_with("keep_prob 0.00000000001 ") && message.contains("2^-33"), "{message}");
    assert_eq!(KeepProb::new(2f64.powi(-33)).unwrap().threshold(), 1);
}

#[test]
fn dropping_02_is_keeping_08() {
    assert_eq!(Dropout::drop(0.2).unwrap(), Dropout::keep(0.8).unwrap());
    assert_eq!(Dropout::drop(0.2).unwrap().keep.threshold(), 3_435_973_837);
    for percent in 0..=100 {
        let share = f64::from(percent) / 100.0;
        let [drop, keep] = [Dropout::drop(share), Dropout::keep(f64::from(100 - percent) / 100.0)].map(|d| d.unwrap().keep);
        assert_eq!((drop.threshold(), drop.scale()), (keep.threshold(), keep.scale()), "{percent} %");
    }
}

#[test]
fn the_scale_is_one_over_the_share_that_the_threshold_keeps() {
    // 2^32 / T by hand: T = 4 at 1e-9, so the scale is 2^30 and not 1e9.
    for (keep_prob, threshold, scale) in [
        (0.0, 0, 0.0),
        (1e-9, 4, 1_073_741_824.0f32),
        (0.1, 429_496_730, 10.0),
        (0.5, 1 << 31, 2.0),
        (0.8, 3_435_973_837, 1.25),
        (0.999, 4_290_672_329, 1.001_001),
        (1.0, 1 << 32, 1.0),
    ] {
        let keep = KeepProb::new(keep_prob).unwrap();
        assert_eq!((keep.threshold(), keep.scale()), (threshold, scale), "keep_prob {keep_prob}");
        // The device multiplies 1 by it wherever the mask keeps.
        let (y, _) = Host::shared().forward_backward(&site(keep_prob), &shape(1, 64), &[1.0; 64], &[1.0; 64]);
        let expected: Vec<u32> = contract(&site(keep_prob), [0], 64).iter().map(|m| m * scale.to_bits()).collect();
        assert_eq!(y, expected, "keep_prob {keep_prob}");
    }
}
