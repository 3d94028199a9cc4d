//! Masks of maps as random variables. As in `mask_statistics`: fixed seeds, bounds of five standard deviations, which chance
//! crosses once in 1.7 million times, and in every test a mask that is slightly wrong.

use thinnet::network::Unit;

use super::{Mask, shared};
use crate::mask_statistics::{SIGMAS, agreement, deviation};

/// A unit, a shape, a number of samples, and which elements are the first of their unit.
type Rate = (Unit, [u32; 3], u32, fn(usize) -> bool);

/// A unit, and the first element that shares the unit of an element.
type Whole = (Unit, fn(usize) -> usize);

/// One element of every unit of a sample, in the order of units.
fn of_units(kept: &[bool], elements: usize, first: impl Fn(usize) -> bool) -> Vec<u32> {
    let units: Vec<usize> = (0..elements).filter(|&element| first(element)).collect();
    kept.chunks(elements).flat_map(|sample| units.iter().map(|&unit| u32::from(sample[unit]))).collect()
}

/// 250,000 units at least: at keep 0.8 a rate off by 1 %, 0.008, is 10 standard deviations of sqrt(0.16 / 250,000) = 0.0008
/// away, and missed once in 3.5 million times.
#[test]
fn units_of_maps_are_kept_at_their_rate_and_one_1_percent_off_is_noticed() {
    let cases: [Rate; 5] = [
        (Unit::Element, [16, 8, 8], 250, |_| true),
        (Unit::Spatial2d, [50, 2, 3], 5000, |element| element % 6 == 0),
        (shared(&[1]), [10, 3, 5], 5000, |element| element % 15 < 5),
        (shared(&[0]), [3, 7, 7], 5200, |element| element < 49),
        (Unit::Path, [4, 1, 1], 250_000, |element| element == 0),
    ];
    for (unit, shape, samples, first) in cases {
        let samples: Vec<u32> = (0..samples).collect();
        let mask = Mask { site: 5, pass: 1, ..Mask::new(0.8, unit, &shape) };
        let deviation_of = |keep: f64| {
            let units = of_units(&mask.keep(keep).kept(&samples), mask.shape.elements() as usize, first);
            assert!(units.len() >= 250_000, "{unit}: {} units", units.len());
            deviation(units.iter().map(|&kept| u64::from(kept)).sum(), units.len(), 0.8)
        };
        let z = deviation_of(0.8);
        assert!(z.abs() <= SIGMAS, "{unit}: {z} standard deviations");
        for wrong in [0.99 * 0.8, 1.01 * 0.8] {
            let z = deviation_of(wrong);
            assert!(z.abs() > SIGMAS, "{unit}: the test accepts a mask drawn with {wrong}: {z} standard deviations");
        }
    }
}

#[test]
fn what_is_shared_is_kept_or_dropped_as_one() {
    let samples: Vec<u32> = (0..300).collect();
    let shape = [6, 5, 7];
    let whole = |kept: &[bool], of: fn(usize) -> usize| {
        kept.chunks(210).all(|sample| (0..210).all(|element| sample[element] == sample[of(element)]))
    };
    let cases: [Whole; 4] = [
        (Unit::Spatial2d, |element| element / 35 * 35),
        (shared(&[0]), |element| element % 35),
        (shared(&[2]), |element| element / 7 * 7),
        (Unit::Path, |_| 0),
    ];
    let elements = Mask::new(0.8, Unit::Element, &shape).kept(&samples);
    for (unit, first) in cases {
        assert!(whole(&Mask::new(0.8, unit, &shape).kept(&samples), first), "{unit}");
        assert!(!whole(&elements, first), "{unit}: elements by themselves are told from it");
        let mut wrong = Mask::new(0.8, unit, &shape).kept(&samples);
        wrong[209] ^= true;
        assert!(!whole(&wrong, first), "{unit}: one wrong element is noticed");
    }
}

#[test]
fn channels_and_samples_are_independent() {
    for keep in [0.5, 0.8] {
        let mask = Mask { site: 6, ..Mask::new(keep, Unit::Spatial2d, &[32, 2, 2]) };
        // Pairs without overlap: even samples against odd ones, even channels against odd ones, and channels 4 apart.
        let [even, odd] = [0, 1].map(|parity| {
            let samples: Vec<u32> = (0..4000).map(|i| 2 * i + parity).collect();
            of_units(&mask.kept(&samples), 128, |element| element % 4 == 0)
        });
        let channels = |which: fn(usize) -> bool| -> Vec<u32> {
            even.iter().enumerate().filter(|&(i, _)| which(i % 32)).map(|(_, &kept)| kept).collect()
        };
        let pairs = [
            ("samples", even.clone(), odd.clone()),
            ("neighbouring channels", channels(|c| c % 2 == 0), channels(|c| c % 2 == 1)),
            ("channels 4 apart", channels(|c| c % 8 < 4), channels(|c| c % 8 >= 4)),
        ];
        for (what, a, b) in pairs {
            let z = agreement(&a, &b, keep);
            assert!(z.abs() <= SIGMAS, "keep {keep}, {what}: {z} standard deviations");
            // Where one channel in twenty is another's, 64,000 pairs agree too often by 12.6 standard deviations at keep 0.5
            // and by 8.7 at 0.8.
            let mut copied = b;
            copied.iter_mut().zip(&a).step_by(20).for_each(|(copy, &kept)| *copy = kept);
            let z = agreement(&a, &copied, keep);
            assert!(z.abs() > SIGMAS, "keep {keep}, {what}: the test accepts channels in common, {z} standard deviations");
        }
    }
}
