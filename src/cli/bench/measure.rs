//! Time: repetitions that fill a span of seconds, medians, and how far a median can be trusted.
//!
//! This file, `probe.rs` and `work.rs` belong to `thinnet bench`; the programs in `benches/` include them by path, those around
//! other crates this one only, so that all of them measure in the same way while the library's API stays free of it.

use std::time::Instant;

use super::Result; // whatever the including program calls so

/// Something that can be done over and over.
pub(crate) struct Timed<'a> {
    /// Does it so many times, and returns when the device is done with all of them.
    run: Box<dyn FnMut(u32) -> Result<()> + 'a>,
    /// How often what is wanted is done in one repetition: the steps of an epoch, for instance.
    each: u32,
    /// Repetitions between two looks at the clock; 0 until it has been done once.
    block: u32,
}

impl<'a> Timed<'a> {
    pub(crate) fn new(each: u32, run: impl FnMut(u32) -> Result<()> + 'a) -> Self {
        Self { run: Box::new(run), each, block: 0 }
    }

    /// Does it `repetitions` times; seconds of one.
    fn block(&mut self, repetitions: u32) -> Result<f64> {
        let began = Instant::now();
        (self.run)(repetitions)?;
        Ok(began.elapsed().as_secs_f64() / (f64::from(repetitions) * f64::from(self.each)))
    }

    /// Seconds of one repetition: the median of `blocks` blocks, which together take about `seconds`, or a single repetition
    /// that takes longer. The first call takes
    /// longer: it compiles the kernels, and finds out how many repetitions a block has. Later calls follow the speed, so that one
    /// disturbed call does not decide how often everything after it waits for the device.
    pub(crate) fn seconds(&mut self, seconds: f64, blocks: u32) -> Result<f64> {
        let share = seconds / f64::from(blocks);
        let fitting = |one: f64, each: u32| ((share / (one * f64::from(each)).max(1e-9)) as u32).clamp(1, MOST);
        if self.block == 0 {
            self.block(1)?; // compiles
            // Not at once: what a single repetition takes is mostly the wait for its end.
            for repetitions in [1, 8, 64, 512] {
                self.block = fitting(self.block(repetitions)?, self.each);
                if self.block <= repetitions {
                    break;
                }
            }
        }
        let mut times = vec![self.block(self.block)?];
        // What takes longer in one block than all of them may is not done again.
        if times[0] * f64::from(self.block) * f64::from(self.each) < seconds {
            for _ in 1..blocks {
                times.push(self.block(self.block)?);
            }
        }
        let one = median(&times);
        self.block = fitting(one, self.each);
        Ok(one)
    }
}

/// The most repetitions of a block: what takes a microsecond need not be done more often to be measured.
const MOST: u32 = 1 << 14;

/// The middle of some values, or the mean of the two in the middle; NaN of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (n, half) if n % 2 == 0 => 0.5 * (sorted[half - 1] + sorted[half]),
        (_, half) => sorted[half],
    }
}

/// The interval between two of the sorted values that holds the median of what they were drawn from in 95 of 100 cases,
/// whatever the distribution (the order-statistics interval: David and Nagaraja, Order Statistics, 2003, section 7.1). None for
/// fewer than six values, of which no two are that far apart.
pub(crate) fn interval(values: &[f64]) -> Option<[f64; 2]> {
    let n = values.len();
    // The largest k with P(Binomial(n, 1/2) < k) <= 0.025: values k and n + 1 - k of 1 to n. Logarithms, so that no n underflows.
    let (mut tail, mut k, mut log) = (0.0, 0, -(n as f64) * std::f64::consts::LN_2);
    while k < n {
        tail += log.exp();
        if tail > 0.025 {
            break;
        }
        log += ((n - k) as f64 / (k + 1) as f64).ln();
        k += 1;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (k > 0).then(|| [sorted[k - 1], sorted[n - k]])
}

/// Measures two things in turn, so that a machine whose speed drifts slows both: seconds of each, pair by pair. Stops after
/// `pairs`, or, with at least one pair, when `budget` seconds are over.
pub(crate) fn in_pairs(
    two: &mut [Timed<'_>; 2],
    (pairs, seconds, budget): (u32, f64, f64),
    mut observe: impl FnMut(u32),
) -> Result<Vec<[f64; 2]>> {
    let began = Instant::now();
    let mut measured = Vec::new();
    for timed in two.iter_mut() {
        timed.seconds(seconds, 1)?; // compiles, and warms up
    }
    while measured.len() < pairs as usize && (measured.is_empty() || began.elapsed().as_secs_f64() < budget) {
        // Whichever comes second meets the other one's traces in the caches, so they change places.
        let first = measured.len() % 2;
        let mut pair = [0.0; 2];
        for i in [first, 1 - first] {
            pair[i] = two[i].seconds(seconds, 1)?;
        }
        measured.push(pair);
        observe(measured.len() as u32);
    }
    Ok(measured)
}

/// What pairs say: the medians of both, and of `second / first` pair by pair with its interval.
pub(crate) struct Compared {
    pub(crate) seconds: [f64; 2],
    pub(crate) ratio: f64,
    pub(crate) interval: Option<[f64; 2]>,
    pub(crate) pairs: usize,
}

impl Compared {
    pub(crate) fn of(pairs: &[[f64; 2]]) -> Self {
        let ratios: Vec<f64> = pairs.iter().map(|[first, second]| second / first).collect();
        let column = |i: usize| median(&pairs.iter().map(|pair| pair[i]).collect::<Vec<_>>());
        let seconds = [column(0), column(1)];
        Self { seconds, ratio: median(&ratios), interval: interval(&ratios), pairs: pairs.len() }
    }
}

impl std::fmt::Display for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [first, second] = self.seconds.map(|seconds| format!("{:.3} ms", 1e3 * seconds));
        let interval = self.interval.map_or("-".into(), |[low, high]| format!("{low:.3} to {high:.3}"));
        write!(f, "{first:>12} {second:>13} {:>8.3} {interval:>17} {:>6}", self.ratio, self.pairs)
    }
}

/// What stands above lines of [`Compared`].
pub(crate) fn compared_header() -> String {
    format!("{:>12} {:>13} {:>8} {:>17} {:>6}", "without", "with dropout", "ratio", "95 % interval", "pairs")
}
