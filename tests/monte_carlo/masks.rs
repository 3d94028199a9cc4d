//! The masks of Monte-Carlo draws as random variables: every unit is kept keep_prob of the time under every rule that says so.

use thinnet::KeepProb;
use thinnet::mask_rule::MaskRule;
use thinnet::rng::{self, Stream};
use thinnet::step::SiteStep;

const DRAWS: u32 = 100;
const UNITS: u32 = 64;
const SAMPLES: u32 = 200;

/// Which draws keep each unit of a sample: bits of draws 0..100 by unit.
fn kept(rule: MaskRule, keep: f64, sample: u32, seed: u64) -> Vec<u128> {
    kept_of(DRAWS, rule, keep, sample, seed)
}

/// The same of another number of draws, at most 128.
fn kept_of(draws: u32, rule: MaskRule, keep: f64, sample: u32, seed: u64) -> Vec<u128> {
    let plain = SiteStep::new(KeepProb::new(keep).unwrap(), 0);
    let bound = KeepProb::new(keep).unwrap().threshold() * u64::from(draws);
    let site = match rule {
        MaskRule::LatinHypercube => SiteStep { threshold: bound as u32, keep_all: (bound >> 32) as u32, pass: draws, ..plain },
        _ => plain,
    };
    let at = rng::stream_and_site(Stream::MonteCarloMask, 3);
    let mut units = vec![0u128; UNITS as usize];
    for draw in 0..draws {
        for quad in 0..UNITS / 4 {
            for (unit, kept) in rule.kept(&site, rng::key(seed), at, [sample, draw], quad).into_iter().enumerate() {
                units[4 * quad as usize + unit] |= u128::from(kept) << draw;
            }
        }
    }
    units
}

/// Over 200 samples, 64 units and 100 draws a rate of 0.8 has deviation sqrt(0.16 / 1.28e6) = 0.00035; a keep_prob that is off by 1 %,
/// 0.008, is 22 of them away. False alarms at 5 deviations: fewer than one in a million. Antithetic pairs and strata vary less.
#[test]
fn every_rule_keeps_units_at_their_rate_in_every_draw() {
    for rule in [MaskRule::Draw, MaskRule::Antithetic, MaskRule::LatinHypercube] {
        for keep in [0.8, 0.5, 0.137] {
            let samples: Vec<_> = (0..SAMPLES).map(|sample| kept(rule, keep, sample, 11)).collect();
            let of_draw = |draw: u32| samples.iter().flatten().filter(|bits| *bits >> draw & 1 == 1).count() as f64;
            let n = f64::from(SAMPLES * UNITS);
            let deviation = (keep * (1.0 - keep) / n).sqrt();
            for draw in 0..DRAWS {
                let rate = of_draw(draw) / n;
                assert!((rate - keep).abs() < 5.0 * deviation, "{rule:?}, draw {draw}: {rate} for {keep}");
            }
            let all = (0..DRAWS).map(of_draw).sum::<f64>() / n / f64::from(DRAWS);
            assert!((all - keep).abs() < 5.0 * deviation / 10.0, "{rule:?}: {all} for {keep}");
        }
    }
}

#[test]
fn antithetic_pairs_have_complementary_masks_at_one_half() {
    for sample in 0..5 {
        for bits in kept(MaskRule::Antithetic, 0.5, sample, 3) {
            assert!((0..DRAWS / 2).all(|pair| (bits >> (2 * pair) & 1) != (bits >> (2 * pair + 1) & 1)));
        }
    }
    // Elsewhere a unit is never dropped by both (above 1/2) or kept by both (below).
    for bits in kept(MaskRule::Antithetic, 0.8, 0, 3) {
        assert!((0..DRAWS / 2).all(|pair| bits >> (2 * pair) & 3 != 0));
    }
    for bits in kept(MaskRule::Antithetic, 0.2, 0, 3) {
        assert!((0..DRAWS / 2).all(|pair| bits >> (2 * pair) & 3 != 3));
    }
}

#[test]
fn a_latin_hypercube_keeps_each_unit_in_its_share_of_the_draws() {
    for (keep, counts) in [(0.8, [80, 80]), (0.5, [50, 50]), (0.137, [13, 14]), (0.999, [99, 100]), (0.0, [0, 0])] {
        let mut seen = [0; 2];
        for bits in (0..50).flat_map(|sample| kept(MaskRule::LatinHypercube, keep, sample, 9)) {
            let count = bits.count_ones();
            assert!(counts.contains(&count), "{count} of 100 draws at {keep}");
            seen[usize::from(count == counts[1])] += 1;
        }
        // The rest below 1 is a matter of the word: 0.7 of the units have one more at 0.137.
        if keep == 0.137 {
            let share = f64::from(seen[1]) / 3200.0;
            assert!((share - 0.7).abs() < 5.0 * (0.21f64 / 3200.0).sqrt(), "{share}");
        }
    }
}

/// Where there are few draws each has each stratum as often as another: among 64,000 units, with 5 deviations as above. The walk of
/// the permutation without its rotation is unfair by 11 deviations with 3 draws, by 42 with 5 and by 20 with 7.
#[test]
fn few_strata_are_equally_likely_in_every_draw() {
    for draws in [3u32, 5, 7] {
        let samples = 1000;
        // A unit of stratum s is kept at rates above s / T and dropped at those below.
        let mut kept_at = vec![vec![0u32; draws as usize]; draws as usize + 1];
        for (s, counts) in (0..=draws).zip(&mut kept_at) {
            let rate = f64::from(s) / f64::from(draws);
            for bits in (0..samples).flat_map(|sample| kept_of(draws, MaskRule::LatinHypercube, rate, sample, 17)) {
                (0..draws).zip(&mut *counts).for_each(|(draw, count)| *count += u32::from(bits >> draw & 1 == 1));
            }
        }
        let (n, share) = (f64::from(samples * UNITS), 1.0 / f64::from(draws));
        for (s, pair) in kept_at.windows(2).enumerate() {
            for (draw, (below, kept)) in pair[0].iter().zip(&pair[1]).enumerate() {
                let rate = f64::from(kept - below) / n;
                let far = (rate - share).abs() / (share * (1.0 - share) / n).sqrt();
                assert!(far < 5.0, "stratum {s} of {draws} in draw {draw}: {far} deviations");
            }
        }
    }
}

/// Two units of a sample, or one unit of two samples, agree in as many draws as chance says: over 3,000 pairs and 100 draws at one half
/// the share that agrees has deviation below sqrt(0.25 / 3e5) = 0.0009. One permutation for all units would agree always.
#[test]
fn strata_of_different_units_and_samples_are_independent() {
    for rule in [MaskRule::Draw, MaskRule::LatinHypercube] {
        let samples: Vec<_> = (0..50).map(|sample| kept(rule, 0.5, sample, 21)).collect();
        let agree = |a: u128, b: u128| f64::from((!(a ^ b) & ((1 << DRAWS) - 1)).count_ones()) / f64::from(DRAWS);
        let neighbours: Vec<f64> = samples.iter().flat_map(|units| units.windows(2).map(|w| agree(w[0], w[1]))).collect();
        let across: Vec<f64> =
            samples.windows(2).flat_map(|pair| pair[0].iter().zip(&pair[1]).map(|(&a, &b)| agree(a, b))).collect();
        for shares in [neighbours, across] {
            let n = shares.len() as f64;
            let mean = shares.iter().sum::<f64>() / n;
            assert!((mean - 0.5).abs() < 5.0 * 0.05 / n.sqrt(), "{rule:?}: {mean}");
            // The spread of the shares is that of a hypergeometric count, 0.05, too: some pairs are not alike more than others.
            let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / n;
            assert!((variance.sqrt() - 0.05).abs() < 0.005, "{rule:?}: {}", variance.sqrt());
        }
    }
}

#[test]
fn every_mask_comes_once() {
    let site = SiteStep { threshold: 0, keep_all: 0, pass: 2, ..SiteStep::new(KeepProb::new(0.5).unwrap(), 0) };
    for draw in 0..1u32 << 8 {
        let units: Vec<bool> = (0..2).flat_map(|quad| MaskRule::EveryMask.kept(&site, [1, 2], 0, [0, draw], quad)).collect();
        let expected: Vec<bool> = (2..10).map(|bit| draw >> bit & 1 == 1).collect();
        assert_eq!(units, expected);
    }
}

/// The test vectors of the README: seed 42, keep 0.5, site 0, sample 0, units 0..16 of draws 0 to 3, of 8 in the hypercube.
#[test]
fn masks_of_draws_are_those_of_the_contract() {
    let site = SiteStep::new(KeepProb::new(0.5).unwrap(), 0);
    let hypercube = SiteStep { threshold: 0, keep_all: 4, pass: 8, ..site.clone() };
    let at = rng::stream_and_site(Stream::MonteCarloMask, 0);
    let masks = |rule: MaskRule, site: &SiteStep| {
        [0, 1, 2, 3].map(|draw| {
            let units = (0..4).flat_map(|quad| rule.kept(site, rng::key(42), at, [0, draw], quad));
            units.map(|kept| if kept { '1' } else { '0' }).collect::<String>()
        })
    };
    assert_eq!(masks(MaskRule::Draw, &site), ["0011010000110111", "0001101000011000", "0011000010011101", "0011011111000001"]);
    assert_eq!(
        masks(MaskRule::Antithetic, &site),
        ["0011010000110111", "1100101111001000", "0011000010011101", "1100111101100010"]
    );
    assert_eq!(
        masks(MaskRule::LatinHypercube, &hypercube),
        ["1000111001000110", "0001011101000010", "0111100110101001", "0011101101010100"]
    );
}
