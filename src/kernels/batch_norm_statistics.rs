//! `shaders/batch_norm_statistics.wgsl`: mean and variance of the columns of a batch, and the running ones.

use super::columns::{Block, Number, Parts, UNIT, bounds, gamma_unit, inverse_deviation, store, untouched};
use super::{EPS, FLUSH, Kernel, MAX_GROUPS, Tolerance, WORKGROUP, kernel, linear_grid, params};
use crate::memory::Memory;
use crate::step::{Section, Step};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/columns.wgsl"),
    include_str!("../../shaders/lib/activation.wgsl"),
    include_str!("../../shaders/batch_norm_statistics.wgsl")
);

params! {
    /// `params` of `batch_norm_statistics.wgsl`.
    StatisticsParams {
        columns: u32, quads: u32, width_shift: u32, part_rows: u32,
        parts: u32, x_row: u32, x_stride: u32, partials_stride: u32,
        moments_stride: u32, running_stride: u32, epsilon: f32, momentum: f32,
    }
}

impl StatisticsParams {
    /// Statistics of so many columns in these parts, of rows `x_row` quads apart, without strides.
    pub fn new(columns: u32, parts: Parts, x_row: u32, [epsilon, momentum]: [f32; 2]) -> Self {
        let Block { quads, width_shift } = Block::new(columns);
        let Parts { count, rows } = parts;
        Self { columns, quads, width_shift, part_rows: rows, parts: count, x_row, epsilon, momentum, ..Self::default() }
    }

    /// Words of `partials`.
    pub fn partials(&self) -> u32 {
        2 * self.parts * 4 * self.quads
    }

    /// Words of `moments`.
    pub fn moments(&self) -> u32 {
        2 * 4 * self.quads
    }

    fn split(&self) -> Parts {
        Parts { count: self.parts, rows: self.part_rows }
    }

    /// Words of a row of `moments` and of `partials`.
    fn row(&self) -> usize {
        4 * self.quads as usize
    }
}

kernel! {
    /// `partials` = mean of `x - x[0]`, and sum of the squares around it, of each part of the rows.
    BatchNormStatistics = "batch_norm_statistics" in "batch_norm_statistics.wgsl", SOURCE;
    params StatisticsParams; sections [step];
    read [x: 2]; write [partials: 3]
}

kernel! {
    /// `moments` = mean and `1 / sqrt(variance + epsilon)` of the batch, and the running mean and variance follow them.
    BatchNormFinish = "batch_norm_finish" in "batch_norm_statistics.wgsl", SOURCE;
    params StatisticsParams; sections [step];
    read [x: 2, parts: 3]; write [moments: 4, running_mean: 5, running_var: 6]
}

kernel! {
    /// `moments` = mean and `1 / sqrt(variance + epsilon)` of the running mean and variance.
    BatchNormMoments = "batch_norm_moments" in "batch_norm_statistics.wgsl", SOURCE;
    params StatisticsParams; sections [];
    read [mean: 1, variance: 2]; write [moments: 4]
}

/// Mean and squares of the numbers of a part, and their errors; `lanes` invocations take a number each, again and again.
///
/// Let u be a unit, V the largest |v|, v = x - x[0], and k the numbers of an invocation, numbered j. Its means:
/// mean_j = mean_(j-1) + delta / j with |delta| <= 2 V. v is off by u V, delta by that and u |delta|, the quotient by 2.5 u and
/// the product by u, the sum by u V: together u V (1 + 10 / j), and an earlier error counts (1 - 1/j) times. So j times the error
/// grows by u V (j + 10) with every number, and the error E of a mean is at most u V (k / 2 + 11).
///
/// Each delta^2 (1 - 1/j) then has an error of delta D = E + 3 u V and 5.5 u of its own (the square, the product, 1 / j and
/// 1 - 1/j), and the sum k u more. From j = 2 on delta^2 is at most twice the term, so that the deltas have a sum of squares of
/// 2 M and, by Cauchy, a sum of sqrt(n 2 M), M being the sum of squares of the part. The first term is 0 but for 2.5 u V^2.
///
/// Merging: the mean of the means adds (lanes + 4) u V; a difference of means is off by G = 2 E + (lanes + 6) u V, these
/// have a sum of sqrt(n M), and lanes + 5 operations follow, then the sum of both kinds of squares. The twin rounds each once.
/// Every difference, product and square may be flushed.
fn part_moments(v: &[f64], lanes: usize) -> [(f64, f64); 2] {
    let n = v.len() as f64;
    if v.is_empty() {
        return [(0.0, 0.0); 2];
    }
    let mean = v.iter().sum::<f64>() / n;
    let squares: f64 = v.iter().map(|v| (v - mean) * (v - mean)).sum();
    let largest = v.iter().fold(0.0, |largest: f64, v| largest.max(v.abs()));
    let (k, lanes) = (v.len().div_ceil(lanes) as f64, lanes as f64);
    let flushed = 2.0 * (k + lanes) * FLUSH;
    let of_lane = UNIT * largest * (k / 2.0 + 11.0) + flushed;
    let mean_error = of_lane + UNIT * largest * (lanes + 5.0) + flushed;
    let (d, g) = (of_lane + 3.0 * UNIT * largest, 2.0 * of_lane + UNIT * largest * (lanes + 6.0) + flushed);
    let of_lanes = 2.0 * d * (2.0 * n * squares).sqrt() + n * d * d + (k + 6.0) * UNIT * 2.0 * squares;
    let merged = 2.0 * g * (n * squares).sqrt() + n * g * g + (2.0 * lanes + 6.0) * UNIT * squares;
    let firsts = 2.5 * UNIT * lanes * largest * largest;
    [(mean, mean_error), (squares, of_lanes + merged + firsts + EPS * squares + 2.0 * (n + lanes) * FLUSH)]
}

impl BatchNormStatistics {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let (p, x) = (&self.params, memory.f32(self.x, member));
        let (row, x_row) = (p.row(), 4 * p.x_row as usize);
        let mut numbers = untouched(self.partials);
        for part in 0..p.parts {
            let rows = p.split().range(part, step.rows);
            for column in 0..row {
                let v: Vec<f64> = rows.clone().map(|r| f64::from(x[r * x_row + column]) - f64::from(x[column])).collect();
                let found = part_moments(&v, Block::new(p.columns).lanes() as usize);
                for (i, number) in found.into_iter().enumerate() {
                    numbers[(2 * part as usize + i) * row + column] = Some(number);
                }
            }
        }
        numbers
    }
}

impl Kernel for BatchNormStatistics {
    fn grid(&self) -> [u32; 2] {
        [Block::new(self.params.columns).groups(), self.params.parts]
    }

    fn iterations(&self) -> u64 {
        u64::from((self.params.part_rows << self.params.width_shift) / WORKGROUP + 3 * WORKGROUP)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let results = self.results(memory, step, member);
        store(memory, self.partials, member, &results);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![bounds(&self.results(memory, step, member))]
    }
}

/// All parts of a column: number of rows, mean and squares of each.
///
/// The mean has `parts` products and sums and a division, 2.5 units. A difference from it is off by that and a unit;
/// the squares have `parts` sums of three operations each, the division into a variance 2.5 units.
fn merged(parts: &[(f64, f64, f64)]) -> [(f64, f64); 2] {
    let count = parts.len();
    let rows: f64 = parts.iter().map(|(n, ..)| n).sum();
    let mean = parts.iter().map(|(n, mean, _)| n * mean).sum::<f64>() / rows;
    let size = parts.iter().map(|(n, mean, _)| n * mean.abs()).sum::<f64>() / rows;
    let mean_error = gamma_unit(count + 4) * size + 2.0 * FLUSH;
    let (mut squares, mut error) = (0.0, 0.0);
    for &(n, of_part, square) in parts {
        let d = of_part - mean;
        let off = mean_error + UNIT * (d.abs() + mean_error) + FLUSH;
        squares += square + n * d * d;
        error += n * (2.0 * d.abs() * off + off * off) + 3.0 * FLUSH;
    }
    [(mean, mean_error), (squares, error + gamma_unit(count + 6) * squares)]
}

impl BatchNormFinish {
    /// Of the moments, of the running mean and of the running variance.
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> [Vec<Number>; 3] {
        let p = &self.params;
        let (x, parts) = (memory.f32(self.x, member), memory.f32(self.parts, member));
        let (old_mean, old_var) = (memory.f32(self.running_mean, member), memory.f32(self.running_var, member));
        let mut results = [untouched(self.moments), untouched(self.running_mean), untouched(self.running_var)];
        let n = f64::from(step.rows);
        for column in 0..p.row() {
            let inside = column < p.columns as usize;
            if step.rows == 0 || !inside {
                results[0][column] = Some((0.0, 0.0));
                results[0][p.row() + column] = Some((0.0, 0.0));
            }
            if step.rows == 0 {
                continue;
            }
            let of_part = |part: u32| {
                let at = 2 * part as usize * p.row() + column;
                let rows = p.split().range(part, step.rows).len() as f64;
                (rows, f64::from(parts[at]), f64::from(parts[at + p.row()]))
            };
            let [center, (squares, error)] = merged(&(0..p.parts).map(of_part).collect::<Vec<_>>());
            let mean = f64::from(x[column]) + center.0;
            let mean_error = center.1 + 1.5 * UNIT * mean.abs() + FLUSH;
            let quotient = |n: f64| (squares / n, error / n + 3.0 * UNIT * squares / n + FLUSH);
            if inside {
                results[0][column] = Some((mean, mean_error));
                results[0][p.row() + column] = Some(inverse_deviation(quotient(n), p.epsilon));
            }
            results[1][column] = Some(followed(old_mean[column], (mean, mean_error), p.momentum));
            if step.rows > 1 {
                results[2][column] = Some(followed(old_var[column], quotient(n - 1.0), p.momentum));
            }
        }
        results
    }
}

/// `old + momentum (new - old)`: three operations; the twin rounds. Each number may be flushed.
fn followed(old: f32, (new, error): (f64, f64), momentum: f32) -> (f64, f64) {
    let (old, momentum) = (f64::from(old), f64::from(momentum));
    let change = momentum * (new - old);
    let result = old + change;
    (result, momentum * error * (1.0 + 3.0 * UNIT) + 3.0 * UNIT * change.abs() + 1.5 * UNIT * result.abs() + 4.0 * FLUSH)
}

impl Kernel for BatchNormFinish {
    fn grid(&self) -> [u32; 2] {
        linear_grid(self.params.quads, MAX_GROUPS)
    }

    fn iterations(&self) -> u64 {
        2 * u64::from(self.params.parts + 1)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let [moments, mean, var] = self.results(memory, step, member);
        store(memory, self.moments, member, &moments);
        store(memory, self.running_mean, member, &mean);
        store(memory, self.running_var, member, &var);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        self.results(memory, step, member).iter().map(|numbers| bounds(numbers)).collect()
    }
}

impl BatchNormMoments {
    fn results(&self, memory: &Memory, member: usize) -> Vec<Number> {
        let p = &self.params;
        let (mean, variance) = (memory.f32(self.mean, member), memory.f32(self.variance, member));
        let mut numbers = untouched(self.moments);
        for column in 0..p.row() {
            let inside = column < p.columns as usize;
            let inverse = || inverse_deviation((f64::from(variance[column]), 0.0), p.epsilon);
            numbers[column] = Some(if inside { (f64::from(mean[column]), 0.0) } else { (0.0, 0.0) });
            numbers[p.row() + column] = Some(if inside { inverse() } else { (0.0, 0.0) });
        }
        numbers
    }
}

impl Kernel for BatchNormMoments {
    fn sections(&self) -> Vec<Section> {
        Vec::new()
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(self.params.quads, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, _: &Step, member: usize) {
        let results = self.results(memory, member);
        store(memory, self.moments, member, &results);
    }

    fn tolerance(&self, memory: &Memory, _: &Step, member: usize) -> Vec<Tolerance> {
        vec![bounds(&self.results(memory, member))]
    }
}
