//! How unlikely counts are if units are kept independently: p-values. Masks that are as they should be have one below `x` in at most a share `x` of
//! cases, as far as a function says that it is a bound.

/// Twice the larger tail of a binomial count, `k` of `n` at probability `p`: a bound.
///
/// Chernoff's, `P(K >= k) <= exp(-n KL(k/n || p))`, which holds at any size, and without replacement, too (Hoeffding, 1963, theorem 4).
pub(super) fn binomial(k: u64, n: u64, p: f64) -> f64 {
    (2.0 * (-divergence(k as f64, n as f64, p)).exp()).min(1.0)
}

/// `n KL(k/n || p)` in nats.
pub(super) fn divergence(k: f64, n: f64, p: f64) -> f64 {
    let part = |k: f64, p: f64| if k == 0.0 { 0.0 } else { k * (k / (n * p)).ln() };
    (part(k, p) + part(n - k, 1.0 - p)).max(0.0)
}

/// The shares of `n` between which [`binomial`] is at least `level`.
pub(super) fn passing(n: u64, p: f64, level: f64) -> [f64; 2] {
    let passes = |share: f64| 2.0 * (-divergence(share * n as f64, n as f64, p)).exp() >= level;
    [0.0, 1.0].map(|end| {
        let (mut good, mut bad) = (p, end);
        if passes(bad) {
            return bad;
        }
        for _ in 0..60 {
            let middle = 0.5 * (good + bad);
            *if passes(middle) { &mut good } else { &mut bad } = middle;
        }
        good
    })
}

/// How two sets of `a` and of `b` among `n` places share `both`: only their meeting is judged, and not their sizes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Joint {
    pub(super) n: u64,
    pub(super) a: u64,
    pub(super) b: u64,
    pub(super) both: u64,
}

impl Joint {
    /// How surprising it is, roughly and quickly, in nats.
    pub(super) fn surprise(self) -> f64 {
        if self.degenerate() { 0.0 } else { divergence(self.both as f64, self.a as f64, self.b as f64 / self.n as f64) }
    }

    /// Twice the larger tail of the hypergeometric distribution: a bound for two rows. (Places of one row that overlap shifted are
    /// uncorrelated, but not independent.)
    ///
    /// From a count on, away from the mean, each probability is at most `ratio` times the one before.
    pub(super) fn p_value(self) -> f64 {
        if self.degenerate() {
            return 1.0;
        }
        let Self { n, a, b, both } = self;
        let [n, a, b, k] = [n, a, b, both].map(|count| count as f64);
        let choose = |n: f64, k: f64| libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0);
        let probability = (choose(a, k) + choose(n - a, b - k) - choose(n, b)).exp();
        let ratio = if k >= a * b / n {
            (a - k) * (b - k) / ((k + 1.0) * (n - a - b + k + 1.0))
        } else {
            k * (n - a - b + k) / ((a - k + 1.0) * (b - k + 1.0))
        };
        if ratio < 1.0 { (2.0 * probability / (1.0 - ratio)).min(1.0) } else { 1.0 }
    }

    /// Pearson's correlation of being in the one and in the other.
    pub(super) fn correlation(self) -> f64 {
        if self.degenerate() {
            return 0.0;
        }
        let [a, b, both] = [self.a, self.b, self.both].map(|count| count as f64 / self.n as f64);
        (both - a * b) / (a * (1.0 - a) * b * (1.0 - b)).sqrt()
    }

    fn degenerate(self) -> bool {
        self.a == 0 || self.b == 0 || self.a == self.n || self.b == self.n
    }
}

/// How much counts vary, each of `n` at the rate of all of them, in units of what independent trials do; with its p-value, which is approximate.
///
/// `D = sum (k - n r)^2 / (n r (1 - r))` is taken for a chi-squared of `m - 1` degrees of freedom, by the cube root of Wilson and Hilferty
/// (1931). Its lower tail is that of counts that could be any number (Sheppard's correction, doubled to be safe): that whole numbers
/// are all the same is not that rare. Counts below 1 on average are not judged: chi-squared's tail is too light for them.
pub(super) fn dispersion(counts: &[u32], n: u64) -> (f64, f64) {
    let m = counts.len() as f64;
    let mean = counts.iter().map(|&k| f64::from(k)).sum::<f64>() / m;
    let (rare, variance) = (mean.min(n as f64 - mean), mean * (1.0 - mean / n as f64));
    if counts.len() < 2 || variance == 0.0 {
        return (1.0, 1.0);
    }
    let ratio = counts.iter().map(|&k| (f64::from(k) - mean).powi(2)).sum::<f64>() / variance / (m - 1.0);
    let corrected = if ratio < 1.0 { (ratio + m / (m - 1.0) / (6.0 * variance)).min(1.0) } else { ratio };
    let spread = 2.0 / (9.0 * (m - 1.0));
    let z = (corrected.cbrt() - (1.0 - spread)) / spread.sqrt();
    (ratio, if rare < 1.0 { 1.0 } else { libm::erfc(z.abs() / std::f64::consts::SQRT_2) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_above_the_tail_and_not_far() {
        // P(K >= 60 of 100 at 1/2) = 0.02844, both tails 0.05689 (the sum of binomial coefficients).
        let bound = binomial(60, 100, 0.5);
        assert!((0.05689..0.28).contains(&bound), "{bound}");
        assert_eq!(binomial(50, 100, 0.5), 1.0);
        assert_eq!(binomial(0, 10, 0.5), 2.0 * 0.5f64.powi(10));
        assert!((binomial(100, 100, 0.9) - 2.0 * 0.9f64.powi(100)).abs() < 1e-15);
        // What cannot happen has no probability.
        assert_eq!((binomial(1, 10, 0.0), binomial(9, 10, 1.0)), (0.0, 0.0));
    }

    #[test]
    fn what_would_pass_is_what_passes() {
        for (n, p) in [(100, 0.9999), (1000, 0.5), (1_000_000, 0.1), (10, 0.5), (50, 1.0), (50, 0.0)] {
            let [low, high] = passing(n, p, 1e-6);
            assert!(low <= p && p <= high);
            for k in (0..=n).step_by((n / 1000).max(1) as usize) {
                let inside = (low..=high).contains(&(k as f64 / n as f64));
                assert_eq!(binomial(k, n, p) >= 1e-6, inside, "{k} of {n} at {p}: {low} to {high}");
            }
        }
    }

    /// Against the sum of all probabilities, in whole numbers.
    #[test]
    fn the_tail_of_two_sets_is_the_sum_of_its_probabilities_or_a_little_more() {
        let choose = |n: u64, k: u64| (0..k).fold(1.0, |product, i| product * (n - i) as f64 / (k - i) as f64);
        for (n, a, b) in [(20, 7, 9), (40, 20, 20), (64, 6, 32)] {
            let probability = |k: u64| choose(a, k) * choose(n - a, b - k) / choose(n, b);
            let counts = (a + b).saturating_sub(n)..=a.min(b);
            for both in counts.clone() {
                let upper = both * n >= a * b;
                let in_tail = |k: &u64| if upper { *k >= both } else { *k <= both };
                let tail: f64 = counts.clone().filter(in_tail).map(probability).sum();
                let found = Joint { n, a, b, both }.p_value();
                let far = (both as f64 - (a * b) as f64 / n as f64).abs() > 3.0;
                assert!(found >= (2.0 * tail).min(1.0) * (1.0 - 1e-9), "{both}: {found} {tail}");
                assert!(!far || found <= 2.0 * tail * 1.5, "{both}: {found} {tail}");
            }
        }
    }

    #[test]
    fn sets_that_are_one_or_apart_are_noticed() {
        let of = |both| Joint { n: 1000, a: 100, b: 100, both };
        assert!((of(100).correlation() - 1.0).abs() < 1e-12 && of(10).correlation().abs() < 1e-12);
        assert!(of(100).p_value() < 1e-130 && of(10).p_value() > 0.2 && of(0).p_value() < 1e-4);
        assert!(of(100).surprise() > of(0).surprise() && of(10).surprise() == 0.0);
        assert_eq!(Joint { n: 5, a: 0, b: 2, both: 0 }.p_value(), 1.0);
    }

    #[test]
    fn counts_that_vary_too_little_or_too_much_are_noticed() {
        let (ratio, p) = dispersion(&[50; 100], 100);
        assert!(ratio == 0.0 && p < 1e-12, "{p}");
        let (ratio, p) = dispersion(&[40, 60].repeat(50), 100);
        assert!((ratio - 400.0 / 99.0).abs() < 1e-9 && p < 1e-12, "{ratio} {p}");
        assert_eq!(dispersion(&[7], 10), (1.0, 1.0));
        assert_eq!(dispersion(&[10, 10], 10), (1.0, 1.0));
        // Eight times 4 of 8 has a probability of 5e-5.
        assert!(dispersion(&[4; 8], 8).1 > 1e-4);
        assert_eq!(dispersion(&[1, 0, 0, 0], 1000).1, 1.0);
    }
}
