//! How unlikely counts are if units are kept independently. Every function returns a p-value: masks that are as they should be have a p-value
//! below `x` in at most a share `x` of cases.

/// Twice the larger tail of a binomial count: `k` of `n` at probability `p`.
///
/// Chernoff's bound, `P(K >= k) <= exp(-n KL(k/n || p))`, holds at any size, and without replacement, too (Hoeffding, 1963, theorem 4).
pub(super) fn binomial(k: u64, n: u64, p: f64) -> f64 {
    (2.0 * (-divergence(k, n, p)).exp()).min(1.0)
}

/// `n KL(k/n || p)` in nats.
fn divergence(k: u64, n: u64, p: f64) -> f64 {
    let part = |k: u64, p: f64| if k == 0 { 0.0 } else { k as f64 * (k as f64 / (n as f64 * p)).ln() };
    (part(k, p) + part(n - k, 1.0 - p)).max(0.0)
}

/// How two sets of `a` and of `b` among `n` places share `both`: hypergeometric, so that only their meeting is judged and not their sizes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Joint {
    pub(super) n: u64,
    pub(super) a: u64,
    pub(super) b: u64,
    pub(super) both: u64,
}

impl Joint {
    pub(super) fn add(&mut self, other: Self) {
        (self.n, self.a, self.b, self.both) = (self.n + other.n, self.a + other.a, self.b + other.b, self.both + other.both);
    }

    pub(super) fn p_value(self) -> f64 {
        if self.degenerate() { 1.0 } else { binomial(self.both, self.a, self.b as f64 / self.n as f64) }
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

/// How much counts vary, each of `n` at the mean rate of all of them, in units of what independent trials do, with its p-value.
///
/// `D = sum (k - n r)^2 / (n r (1 - r))` has the mean `m - 1` and the variance `(m - 1) (2 + excess)`; with degrees of freedom of that
/// variance it is taken for a chi-squared, by the cube root of Wilson and Hilferty (1931).
pub(super) fn dispersion(counts: &[u32], n: u64) -> (f64, f64) {
    let m = counts.len() as f64;
    let mean = counts.iter().map(|&k| f64::from(k)).sum::<f64>() / m;
    let rate = mean / n as f64;
    let variance = mean * (1.0 - rate);
    if counts.len() < 2 || variance == 0.0 {
        return (1.0, 1.0);
    }
    let ratio = counts.iter().map(|&k| (f64::from(k) - mean).powi(2)).sum::<f64>() / variance / (m - 1.0);
    let excess = (1.0 - 6.0 * rate * (1.0 - rate)) / variance;
    let freedom = 2.0 * (m - 1.0) / (2.0 + excess);
    let spread = 2.0 / (9.0 * freedom);
    let z = (ratio.cbrt() - (1.0 - spread)) / spread.sqrt();
    (ratio, libm::erfc(z.abs() / std::f64::consts::SQRT_2))
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
    fn sets_that_are_one_or_apart_are_noticed() {
        let of = |both| Joint { n: 1000, a: 100, b: 100, both };
        assert!((of(100).correlation() - 1.0).abs() < 1e-12 && of(10).correlation().abs() < 1e-12);
        assert!(of(100).p_value() < 1e-90 && of(10).p_value() == 1.0 && of(0).p_value() < 1e-4);
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
    }
}
