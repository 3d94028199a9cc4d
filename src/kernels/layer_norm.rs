//! `shaders/layer_norm.wgsl`: layer normalisation, forward and backward.

use super::columns::{Number, UNIT, bounds, gamma_unit, inverse_deviation, store, untouched};
use super::{FLUSH, Kernel, MAX_GROUPS, Tolerance, WORKGROUP, kernel, params};
use crate::memory::Memory;
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/nan.wgsl"),
    include_str!("../../shaders/lib/columns.wgsl"),
    include_str!("../../shaders/layer_norm.wgsl")
);

params! {
    /// `params` of `layer_norm.wgsl`.
    LayerNormParams {
        columns: u32, quads: u32, x_row: u32, y_row: u32,
        dy_row: u32, dx_row: u32, x_stride: u32, y_stride: u32,
        dy_stride: u32, dx_stride: u32, moments_stride: u32, weight_stride: u32,
        epsilon: f32, pad0: u32, pad1: u32, pad2: u32,
    }
}

impl LayerNormParams {
    /// Rows of so many columns, padded to `row_words` in every matrix, without strides.
    pub fn new(columns: u32, row_words: u32, epsilon: f32) -> Self {
        let row = columns.next_multiple_of(row_words) / 4;
        let rows = Self { x_row: row, y_row: row, dy_row: row, dx_row: row, ..Self::default() };
        Self { columns, quads: columns.div_ceil(4), epsilon, ..rows }
    }

    /// A workgroup for each row that the written matrix has room for.
    fn grid(&self, words: u32, row_quads: u32) -> [u32; 2] {
        let rows = (words / (4 * row_quads)).max(1);
        let y = rows.div_ceil(MAX_GROUPS);
        [rows.div_ceil(y), y]
    }

    /// Additions on the longest way of a number into a sum of the shader: its invocation's, a quad's, a run's, eight runs'.
    fn depth(&self) -> usize {
        (self.quads.div_ceil(WORKGROUP) + 2 + WORKGROUP / 8 + 8) as usize
    }

    /// The words of a row that are written: its columns, with numbers from `f`, and the padding of the last quad, 0.
    fn write(&self, out: &mut [Number], (row, row_quads): (usize, u32), f: impl Fn(usize) -> (f64, f64)) {
        let out = &mut out[row * 4 * row_quads as usize..][..4 * self.quads as usize];
        out.iter_mut().enumerate().for_each(|(column, number)| {
            *number = Some(if column < self.columns as usize { f(column) } else { (0.0, 0.0) });
        });
    }
}

kernel! {
    /// `y = weight (x - mean) inv + bias`, and `moments` = mean and inv of every row.
    LayerNormForward = "layer_norm_forward" in "layer_norm.wgsl", SOURCE;
    params LayerNormParams; sections [step];
    read [x: 2, weight: 3, bias: 4]; write [y: 5, moments: 6]
}

kernel! {
    /// `dx` from `dy` and from the `stored` moments.
    LayerNormBackward = "layer_norm_backward" in "layer_norm.wgsl", SOURCE;
    params LayerNormParams; sections [step];
    read [x: 2, weight: 3, dy: 4, stored: 5]; write [dx: 6]
}

/// What the forward pass finds in a row, each with its error.
struct Row {
    /// x minus mean.
    differences: Vec<(f64, f64)>,
    mean: (f64, f64),
    inverse: (f64, f64),
}

impl Row {
    /// v = x - x[0] has one operation, its mean `depth` and a quotient of 2.5 units, the difference one more. The sum of their
    /// squares has a square and `depth`, the variance a quotient.
    fn new(x: &[f32], depth: usize, epsilon: f32) -> Self {
        let (n, origin) = (x.len() as f64, f64::from(x[0]));
        let v: Vec<f64> = x.iter().map(|&x| f64::from(x) - origin).collect();
        let center = v.iter().sum::<f64>() / n;
        let size = v.iter().map(|v| v.abs()).sum::<f64>() / n;
        let center_error = gamma_unit(depth + 4) * size + 2.0 * FLUSH;
        let difference = |v: &f64| {
            let d = v - center;
            (d, UNIT * (v.abs() + d.abs()) * (1.0 + UNIT) + center_error + 2.0 * FLUSH)
        };
        let differences: Vec<_> = v.iter().map(difference).collect();
        let variance = differences.iter().map(|(d, _)| d * d).sum::<f64>() / n;
        let off = differences.iter().map(|(d, e)| 2.0 * d.abs() * e + e * e).sum::<f64>() / n;
        let error = off + gamma_unit(depth + 4) * (variance + off) + 2.0 * FLUSH;
        let mean = origin + center;
        Self {
            differences,
            mean: (mean, center_error + 1.5 * UNIT * mean.abs() + FLUSH),
            inverse: inverse_deviation((variance, error), epsilon),
        }
    }
}

impl LayerNormForward {
    /// Of y and of the moments. y has two products and a sum more than the difference; the twin rounds.
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> [Vec<Number>; 2] {
        let (p, x) = (&self.params, memory.f32(self.x, member));
        let (weight, bias) = (memory.f32(self.weight, member), memory.f32(self.bias, member));
        let mut results = [untouched(self.y), untouched(self.moments)];
        for r in 0..step.rows as usize {
            let row = Row::new(&x[r * 4 * p.x_row as usize..][..p.columns as usize], p.depth(), p.epsilon);
            let (inverse, inverse_error) = row.inverse;
            p.write(&mut results[0], (r, p.y_row), |column| {
                let ((d, error), weight) = (row.differences[column], f64::from(weight[column]));
                let scaled = d * inverse * weight;
                let y = scaled + f64::from(bias[column]);
                let off = weight.abs() * (error * (inverse + inverse_error) + d.abs() * inverse_error);
                let flushed = FLUSH * (2.0 + weight.abs());
                (y, off * (1.0 + 3.0 * UNIT) + 2.1 * UNIT * scaled.abs() + 1.5 * UNIT * y.abs() + flushed)
            });
            results[1][2 * r] = Some(row.mean);
            results[1][2 * r + 1] = Some(row.inverse);
        }
        results
    }
}

impl Kernel for LayerNormForward {
    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.y.len, self.params.y_row)
    }

    fn iterations(&self) -> u64 {
        u64::from(3 * (self.params.quads / WORKGROUP) + 4 * WORKGROUP) + 8
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let [y, moments] = self.results(memory, step, member);
        store(memory, self.y, member, &y);
        store(memory, self.moments, member, &moments);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        self.results(memory, step, member).iter().map(|numbers| bounds(numbers)).collect()
    }
}

impl LayerNormBackward {
    /// g has one operation, xhat two, their product one; the means have `depth` and a quotient of 2.5 units. dx then has at most
    /// 2 + 1 operations in a term, two differences, a product, and the twin's rounding. Every number may be flushed.
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let p = &self.params;
        let (x, dy) = (memory.f32(self.x, member), memory.f32(self.dy, member));
        let (weight, stored) = (memory.f32(self.weight, member), memory.f32(self.stored, member));
        let mut numbers = untouched(self.dx);
        let n = f64::from(p.columns);
        for r in 0..step.rows as usize {
            let [mean, inverse] = [stored[2 * r], stored[2 * r + 1]].map(f64::from);
            let of_column = |column: usize| {
                let xhat = (f64::from(x[r * 4 * p.x_row as usize + column]) - mean) * inverse;
                (f64::from(dy[r * 4 * p.dy_row as usize + column]) * f64::from(weight[column]), xhat)
            };
            let terms: Vec<(f64, f64)> = (0..p.columns as usize).map(of_column).collect();
            let mean_of = |f: &dyn Fn(&(f64, f64)) -> f64| terms.iter().map(f).sum::<f64>() / n;
            let (level, slope) = (mean_of(&|(g, _)| *g), mean_of(&|(g, xhat)| g * xhat));
            let level_error = gamma_unit(p.depth() + 4) * mean_of(&|(g, _)| g.abs()) + 2.0 * FLUSH;
            let of_slope = FLUSH * mean_of(&|(g, xhat)| 2.0 + xhat.abs() + g.abs() * (1.0 + inverse.abs()));
            let slope_error = gamma_unit(p.depth() + 7) * mean_of(&|(g, xhat)| (g * xhat).abs()) + of_slope;
            p.write(&mut numbers, (r, p.dx_row), |column| {
                let (g, xhat) = terms[column];
                let size = g.abs() + level.abs() + (xhat * slope).abs();
                let flushed = FLUSH * (4.0 + (1.0 + inverse.abs()) * slope.abs());
                let error = level_error + xhat.abs() * slope_error * (1.0 + 4.0 * UNIT) + 7.0 * UNIT * size + flushed;
                (inverse * (g - level - xhat * slope), inverse.abs() * error * (1.0 + 4.0 * UNIT) + FLUSH)
            });
        }
        numbers
    }
}

impl Kernel for LayerNormBackward {
    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.dx.len, self.params.dx_row)
    }

    fn iterations(&self) -> u64 {
        u64::from(2 * (self.params.quads / WORKGROUP) + 4 * WORKGROUP) + 8
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let results = self.results(memory, step, member);
        store(memory, self.dx, member, &results);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![bounds(&self.results(memory, step, member))]
    }
}
