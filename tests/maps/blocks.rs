//! DropBlock: squares exactly where words put them, and the share that they leave.

use thinnet::network::{Blocks, Unit};

use super::{Mask, text};
use crate::mask_statistics::SIGMAS;

/// What squares at the seeds of the contract's words leave of a sample: brute force.
fn union_of_squares(mask: &Mask, size: u32, sample: u32) -> Vec<bool> {
    let [channels, height, width] = mask.shape.0.clone().try_into().unwrap();
    let threshold = Blocks::new(mask.dropout.keep, size, [height, width]).threshold;
    let at = |channel: u32, y: u32, x: u32| (channel * height + y) * width + x;
    let mut kept = vec![true; (channels * height * width) as usize];
    for channel in 0..channels {
        for (y, x) in (0..=height - size).flat_map(|y| (0..=width - size).map(move |x| (y, x))) {
            if u64::from(mask.word(sample, at(channel, y, x))) >= threshold {
                for (i, j) in (y..y + size).flat_map(|i| (x..x + size).map(move |j| (i, j))) {
                    kept[at(channel, i, j) as usize] = false;
                }
            }
        }
    }
    kept
}

#[test]
fn what_is_dropped_is_the_union_of_the_squares_at_the_seeds() {
    let samples = [3, 59_998, 0];
    let maps = [
        ([2, 3, 4], 2, 0.5),
        ([3, 9, 11], 4, 0.7),
        ([5, 7, 7], 1, 0.8),
        ([2, 6, 6], 6, 0.5),
        ([3, 11, 33], 5, 0.8),
        ([2, 12, 70], 7, 0.8),
        ([1, 40, 100], 40, 0.6),
        ([20, 12, 12], 5, 0.9),
    ];
    for (shape, size, keep) in maps {
        let own = Mask { seed: 7, site: 4, pass: 2, ..Mask::new(keep, Unit::Block(size), &shape) };
        for mask in [own.clone(), Mask { dropout: own.dropout.batch(), ..own }] {
            let expected: Vec<bool> = samples.iter().flat_map(|&sample| union_of_squares(&mask, size, sample)).collect();
            let what = format!("{size} x {size} of {shape:?}, {:?}", mask.dropout.mode);
            for backward in [false, true] {
                assert_eq!(text(&mask.drawn_blocks(size, &samples, backward)), text(&expected), "{what}, backward {backward}");
            }
            // Something is dropped, and something stays unless a square is the whole map.
            assert!(expected.iter().any(|&kept| !kept) && expected.contains(&true), "{what}: an empty case");
            let other = Mask { pass: 3, ..mask };
            assert_ne!(text(&other.drawn_blocks(size, &samples, false)), text(&expected), "{what}: another pass, another mask");
        }
    }
}

/// Maps of channels and samples are independent, the pixels of a map are not; so the mean is over maps, with the deviation of
/// their shares as it was found. The mean of 48,000 shares and more is normal enough for false alarms at 5 deviations of 5.7e-7. A
/// rate that is wrong by 1 % must be more than 10 deviations off, so that it is missed once in 3.5 million times at most.
#[test]
fn blocks_keep_the_share_they_say_and_a_rate_1_percent_off_is_noticed() {
    for (keep, size, samples) in [(0.9, 3, 6000u32), (0.75, 2, 6000), (0.9, 5, 8000)] {
        let shape = [8, 8, 7];
        let expected = Blocks::new(thinnet::KeepProb::new(keep).unwrap(), size, [8, 7]).keep;
        let samples: Vec<u32> = (0..samples).collect();
        let mask = Mask { site: 9, ..Mask::new(keep, Unit::Block(size), &shape) };
        let deviation = |keep: f64| {
            let kept = mask.keep(keep).kept(&samples);
            let shares: Vec<f64> = kept.chunks(56).map(|map| map.iter().filter(|&&kept| kept).count() as f64 / 56.0).collect();
            let n = shares.len() as f64;
            let mean = shares.iter().sum::<f64>() / n;
            let variance = shares.iter().map(|share| (share - mean) * (share - mean)).sum::<f64>() / (n - 1.0);
            (mean - expected) / (variance / n).sqrt()
        };
        let z = deviation(keep);
        assert!(z.abs() <= SIGMAS, "keep {keep}, squares of {size}: {z} standard deviations");
        for wrong in [0.99 * keep, 1.01 * keep] {
            let z = deviation(wrong);
            assert!(z.abs() > 2.0 * SIGMAS, "keep {keep}, squares of {size}: {wrong} is {z} standard deviations off");
        }
    }
}
