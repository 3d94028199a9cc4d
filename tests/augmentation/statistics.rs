//! Statistics of the reference, which the device equals. Every bound is 5 standard errors, passed by chance once in 1.7 million; the
//! power is stated with each.

use thinnet::kernels::mixup::MixupParams;
use thinnet::reference::{augmented, partner};
use thinnet::rng::{Coordinates, Stream, key};
use thinnet::{Augmentation, Shape};

const NONE: Augmentation = Augmentation { shift: 0, flip: false, noise: 0.0, cutout: 0, mixup: 0.0 };

/// What becomes of one image under `n` sample numbers.
fn images(augment: Augmentation, shape: [u32; 3], image: &[f64], n: u32) -> impl Iterator<Item = Vec<f64>> {
    let shape = Shape::from(shape);
    (0..n).map(move |sample| augmented(&augment, &shape, (image, &[sample]), 0, (7, 3)).unwrap().inputs)
}

fn near(what: &str, got: f64, expected: f64, standard_error: f64) {
    let off = (got - expected) / standard_error;
    assert!(off.abs() < 5.0, "{what}: {got}, expected {expected}, {off} standard errors");
}

/// A rate off by 1 % is 0.005, 10 standard errors: found for certain (all but 3e-7).
#[test]
fn half_of_the_images_are_flipped() {
    let n = 1_000_000;
    let flipped = images(Augmentation { flip: true, ..NONE }, [1, 1, 2], &[0.0, 1.0], n).filter(|image| image[0] == 1.0).count();
    near("flips", flipped as f64 / f64::from(n), 0.5, 0.5 / f64::from(n).sqrt());
}

/// All 25 shifts alike, and each as it should: the one lit pixel of an image stands at (dx, dy). A shift drawn 10 % too often is
/// 6.5 standard errors.
#[test]
fn shifts_are_uniform_on_both_axes_together() {
    let n = 100_000;
    let mut image = vec![0.0; 63];
    image[3 * 9 + 4] = 1.0;
    let mut counts = [0u32; 25];
    for image in images(Augmentation { shift: 2, ..NONE }, [1, 7, 9], &image, n) {
        let at = image.iter().position(|&x| x == 1.0).expect("a shift of 2 keeps the pixel inside");
        counts[(at / 9 - 1) * 5 + at % 9 - 2] += 1;
    }
    let share = 1.0 / 25.0;
    for (place, count) in counts.into_iter().enumerate() {
        let error = (share * (1.0 - share) / f64::from(n)).sqrt();
        near(&format!("shift {place}"), f64::from(count) / f64::from(n), share, error);
    }
}

/// Every pixel is the centre alike: a pixel is cut where the centre is within the square around it, so that at the edge less is cut.
/// A square of a side off by one changes every share by a quarter or more, hundreds of standard errors.
#[test]
fn squares_are_centred_anywhere_and_hang_over() {
    let (n, [height, width], side) = (40_000, [6u32, 5], 3u32);
    let mut cut = vec![0u32; 30];
    for image in images(Augmentation { cutout: side, ..NONE }, [1, height, width], &[1.0; 30], n) {
        image.iter().zip(&mut cut).for_each(|(&x, cut)| *cut += u32::from(x == 0.0));
    }
    // An odd square reaches as far to either side of its centre.
    let centres = |at: u32, n: u32| (0..n).filter(|centre| centre.abs_diff(at) <= side / 2).count() as f64 / f64::from(n);
    for (place, count) in (0..).zip(cut) {
        let share = centres(place % width, width) * centres(place / width, height);
        let error = (share * (1.0 - share) / f64::from(n)).sqrt();
        near(&format!("pixel {place}"), f64::from(count) / f64::from(n), share, error);
    }
}

/// A standard deviation off by 1 % is 14 standard errors, a mean off by 1 % of it 10.
#[test]
fn noise_is_normal_and_independent_from_element_to_element() {
    let (n, elements, deviation) = (50_000u32, 20u32, 0.3);
    let augment = Augmentation { noise: deviation, ..NONE };
    let (mut sums, mut neighbours) = ([0.0; 4], 0.0);
    for row in images(augment, [1, 1, elements], &[2.0; 20], n) {
        let z: Vec<f64> = row.iter().map(|x| (x - 2.0) / deviation).collect();
        (1..).zip(&mut sums).for_each(|(power, sum)| *sum += z.iter().map(|z| z.powi(power)).sum::<f64>());
        neighbours += z.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>();
    }
    let count = f64::from(n * elements);
    // Moments of z, and the variances of z, z^2, z^3 and z^4: 1, 2, 15 and 96.
    for ((sum, moment), variance) in sums.into_iter().zip([0.0, 1.0, 0.0, 3.0]).zip([1.0f64, 2.0, 15.0, 96.0]) {
        near("a moment", sum / count, moment, (variance / count).sqrt());
    }
    let pairs = f64::from(n * (elements - 1));
    near("neighbours", neighbours / pairs, 0.0, 1.0 / pairs.sqrt());
}

/// The shares of the device's table: the square of lambda - 1/2 has mean 1 / (4 (2 alpha + 1)), the variance of Beta, and its own
/// variance comes from the fourth central moment 3 / (16 (2 alpha + 1) (2 alpha + 3)). An alpha off by 10 % is 36 standard errors
/// and more; the line between two quantiles is none.
#[test]
fn shares_are_those_of_beta() {
    let n = 400_000;
    for alpha in [0.2, 0.4, 1.0, 3.0] {
        let params = MixupParams::new(100, alpha);
        let at = |sample| Coordinates { stream: Stream::Augmentation, site: 1, pass: 0, sample }.word(1, key(9));
        let squares: Vec<f64> = (0..n).map(|sample| (f64::from(params.share(at(sample))) - 0.5).powi(2)).collect();
        let (second, fourth) = (0.25 / (2.0 * alpha + 1.0), 3.0 / 16.0 / (2.0 * alpha + 1.0) / (2.0 * alpha + 3.0));
        let error = ((fourth - second * second) / f64::from(n)).sqrt();
        near(&format!("alpha {alpha}"), squares.iter().sum::<f64>() / f64::from(n), second, error);
        assert!((0..n).all(|sample| (0.5..=1.0).contains(&params.share(at(sample)))), "the row itself has the larger share");
    }
    // The ends of the words are the ends of the shares.
    let uniform = MixupParams::new(100, 1.0);
    assert_eq!((uniform.share(0), uniform.share(1 << 31)), (1.0, 0.75));
    assert!((uniform.share(u32::MAX) - 0.5).abs() <= 1.0 / (1 << 23) as f32);
}

/// Partners are any rows alike: of 40 rows, one drawn 10 % too often is 10 standard errors.
#[test]
fn partners_are_any_rows_of_the_data_set() {
    let (rows, samples) = (40u32, 400_000u32);
    let mut counts = vec![0u32; rows as usize];
    (0..samples).for_each(|sample| counts[partner(rows, sample, (5, 2)) as usize] += 1);
    let share = 1.0 / f64::from(rows);
    for (row, count) in counts.into_iter().enumerate() {
        let error = (share * (1.0 - share) / f64::from(samples)).sqrt();
        near(&format!("row {row}"), f64::from(count) / f64::from(samples), share, error);
    }
}
