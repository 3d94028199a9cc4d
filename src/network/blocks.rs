//! The rate of DropBlock: [`Blocks`].

use super::KeepProb;

/// DropBlock (Ghiasi, Lin and Le, NeurIPS 2018) over maps of H x W: squares of `size` x `size` pixels are dropped, wherever one begins.
///
/// ```text
/// seed(c, y, x)  <=>  word(c, y, x) >= T        for the places y <= H - size, x <= W - size of a square's upper left corner
/// kept(c, y, x)  <=>  no seed among (c, y', x') with y - size < y' <= y, x - size < x' <= x
/// n(y, x)         =   the places of such a seed, at most size^2, fewer at the borders
/// rate(T)         =   1 / (H W) sum over y, x of (T / 2^32)^n(y, x)         the mean probability that a pixel is kept
/// ```
///
/// T is the smallest threshold with rate(T) >= keep_prob, where the paper's equation 1 has the first order of it, which drops too little
/// where squares overlap. A kept element is scaled by `1 / rate(T)`: never by the share that a batch happens to keep, so that training
/// and evaluation agree in the mean over all masks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blocks {
    /// T; 2^32 drops nothing.
    pub threshold: u64,
    /// rate(T), the mean share of the pixels that stay.
    pub keep: f64,
}

impl Blocks {
    /// For squares of `size` on maps of `[height, width]`.
    ///
    /// # Panics
    /// If no square of 1 or more fits.
    pub fn new(keep: KeepProb, size: u32, map: [u32; 2]) -> Self {
        assert!(size > 0 && map.iter().all(|&extent| extent >= size), "squares of {size} on maps of {map:?}");
        let rate = |threshold: u64| rate(threshold, size, map);
        let (mut low, mut high) = (0, 1u64 << 32);
        while low < high {
            let middle = (low + high) / 2;
            match rate(middle) >= keep.get() {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        Self { threshold: high, keep: rate(high) }
    }

    /// The factor of a kept element, f32(1 / rate); 0 where nothing is kept.
    pub fn scale(&self) -> f32 {
        if self.keep == 0.0 { 0.0 } else { (1.0 / self.keep) as f32 }
    }
}

fn rate(threshold: u64, size: u32, map: [u32; 2]) -> f64 {
    let q = threshold as f64 / 4_294_967_296.0;
    // Places on one axis that reach pixel i: from i - size + 1 to i, those inside 0 ..= extent - size.
    let places = |i: u32, extent: u32| i.min(extent - size) - (i + 1).saturating_sub(size) + 1;
    let counts = |extent: u32| {
        let mut counts = vec![0u32; size as usize + 1];
        (0..extent).for_each(|i| counts[places(i, extent) as usize] += 1);
        counts
    };
    let (rows, columns) = (counts(map[0]), counts(map[1]));
    let mut sum = 0.0;
    for (a, &pixels) in (0..).zip(&rows).filter(|&(_, &pixels)| pixels > 0) {
        for (b, &others) in (0..).zip(&columns).filter(|&(_, &others)| others > 0) {
            sum += f64::from(pixels) * f64::from(others) * libm::pow(q, f64::from(a * b));
        }
    }
    sum / (f64::from(map[0]) * f64::from(map[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_all_seeds_of_a_small_map() {
        // 2 x 3 places of squares of 2 x 2 on a map of 3 x 4: every one of the 2^6 sets of seeds.
        let (threshold, size, map) = (3u64 << 30, 2, [3u32, 4]);
        let q = 0.75f64;
        let mut expected = 0.0;
        for seeds in 0u32..64 {
            let share = (0..6).map(|i| if seeds >> i & 1 == 1 { 1.0 - q } else { q }).product::<f64>();
            let dropped = |y: u32, x: u32| {
                (0..6).any(|i| seeds >> i & 1 == 1 && (i / 3..i / 3 + 2).contains(&y) && (i % 3..i % 3 + 2).contains(&x))
            };
            let kept = (0..12).filter(|i| !dropped(i / 4, i % 4)).count();
            expected += share * kept as f64 / 12.0;
        }
        assert!((rate(threshold, size, map) - expected).abs() < 1e-15, "{} {expected}", rate(threshold, size, map));
    }

    #[test]
    fn the_threshold_gives_the_rate_that_was_asked_for() {
        for (keep, size, map) in [(0.9, 5, [12, 12]), (0.5, 7, [28, 28]), (0.1, 3, [5, 9]), (0.75, 1, [4, 4]), (0.3, 4, [4, 4])] {
            let blocks = Blocks::new(KeepProb::new(keep).unwrap(), size, map);
            assert!((blocks.keep - keep).abs() < 1e-7, "{keep} {size} {map:?}: {blocks:?}");
        }
        let of = |keep, size| Blocks::new(KeepProb::new(keep).unwrap(), size, [6, 6]);
        assert_eq!((of(1.0, 3).threshold, of(1.0, 3).scale()), (1 << 32, 1.0));
        assert_eq!((of(0.0, 3).threshold, of(0.0, 3).scale()), (0, 0.0));
        // Single pixels are ordinary dropout.
        assert_eq!(of(0.8, 1).threshold, KeepProb::new(0.8).unwrap().threshold());
    }
}
