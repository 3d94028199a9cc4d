//! `shaders/norm_gradients.wgsl`: the gradients of weight and bias of batch and layer normalisation.

use super::columns::{Block, Number, Parts, bounds, gamma_unit, store, untouched};
use super::{EPS, FLUSH, Kernel, MAX_GROUPS, Tolerance, WORKGROUP, kernel, linear_grid, params};
use crate::memory::{Memory, Tensor};
use crate::step::{Section, Step};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/columns.wgsl"),
    include_str!("../../shaders/norm_gradients.wgsl")
);

params! {
    /// `params` of `norm_gradients.wgsl`.
    NormGradientsParams {
        columns: u32, quads: u32, width_shift: u32, part_rows: u32,
        parts: u32, bias_at: u32, x_row: u32, dy_row: u32,
        x_stride: u32, dy_stride: u32, moments_stride: u32, partials_stride: u32,
        gradient_stride: u32, pad0: u32, pad1: u32, pad2: u32,
    }
}

impl NormGradientsParams {
    /// Sums over so many columns in these parts, with rows of every matrix and from dweight to dbias padded to `row_words`,
    /// without strides.
    pub fn new(columns: u32, parts: Parts, row_words: u32) -> Self {
        let Block { quads, width_shift } = Block::new(columns);
        let row = columns.next_multiple_of(row_words) / 4;
        let Parts { count, rows } = parts;
        let rows_of = Self { x_row: row, dy_row: row, bias_at: row, ..Self::default() };
        Self { columns, quads, width_shift, part_rows: rows, parts: count, ..rows_of }
    }

    /// Words of `partials`: all that is written, and the gap behind it.
    pub fn partials(&self) -> u32 {
        2 * self.parts * 4 * self.bias_at
    }

    fn grid(&self) -> [u32; 2] {
        [Block::new(self.columns).groups(), self.parts]
    }

    /// The sums of every part. `moments(row, column)` is mean and inv.
    ///
    /// A term is dy xhat, 3 operations, any of which may be flushed; the sum of n terms, in whatever order, adds n. The twin
    /// rounds.
    fn results(
        &self,
        (x, dy, partials): (Tensor, Tensor, Tensor),
        (memory, step, member): (&Memory, &Step, usize),
        moments: impl Fn(usize, usize) -> [f32; 2],
    ) -> Vec<Number> {
        let (x, dy) = (memory.f32(x, member), memory.f32(dy, member));
        let (x_row, dy_row) = (4 * self.x_row as usize, 4 * self.dy_row as usize);
        let mut numbers = untouched(partials);
        let split = Parts { count: self.parts, rows: self.part_rows };
        for part in 0..self.parts {
            let rows = split.range(part, step.rows);
            let terms = rows.len();
            for column in 0..4 * self.quads as usize {
                let (mut sums, mut sizes, mut flushed) = ([0.0; 2], [0.0; 2], 0.0);
                for row in rows.clone().filter(|_| column < self.columns as usize) {
                    let [mean, inverse] = moments(row, column).map(f64::from);
                    let d = f64::from(dy[row * dy_row + column]);
                    let slope = d * (f64::from(x[row * x_row + column]) - mean) * inverse;
                    sums = [sums[0] + slope, sums[1] + d];
                    sizes = [sizes[0] + slope.abs(), sizes[1] + d.abs()];
                    flushed += FLUSH * (2.0 + d.abs() * (1.0 + inverse.abs()));
                }
                for i in 0..2 {
                    let at = (2 * part as usize + i) * 4 * self.bias_at as usize + column;
                    numbers[at] = Some((sums[i], gamma_unit(terms + 5) * sizes[i] + EPS * sums[i].abs() + flushed));
                }
            }
        }
        numbers
    }
}

kernel! {
    /// `partials` = the sums of `dy xhat` and of `dy` over each part of the rows, with a mean and an inv for each column.
    BatchNormGradients = "batch_norm_gradients" in "norm_gradients.wgsl", SOURCE;
    params NormGradientsParams; sections [step];
    read [x: 2, dy: 3, moments: 4]; write [partials: 5]
}

kernel! {
    /// The same with a mean and an inv for each row.
    LayerNormGradients = "layer_norm_gradients" in "norm_gradients.wgsl", SOURCE;
    params NormGradientsParams; sections [step];
    read [x: 2, dy: 3, row_moments: 4]; write [partials: 5]
}

kernel! {
    /// `gradient` = the sum of all parts: dweight, then dbias.
    NormGradientsFinish = "norm_gradients_finish" in "norm_gradients.wgsl", SOURCE;
    params NormGradientsParams; sections [];
    read [parts: 1]; write [gradient: 2]
}

impl BatchNormGradients {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let moments = memory.f32(self.moments, member);
        let inverse = 4 * self.params.quads as usize;
        let tensors = (self.x, self.dy, self.partials);
        self.params.results(tensors, (memory, step, member), |_, column| [moments[column], moments[inverse + column]])
    }
}

impl LayerNormGradients {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let moments = memory.f32(self.row_moments, member);
        let tensors = (self.x, self.dy, self.partials);
        self.params.results(tensors, (memory, step, member), |row, _| [moments[2 * row], moments[2 * row + 1]])
    }
}

macro_rules! sums_kernel {
    ($kernel:ident) => {
        impl Kernel for $kernel {
            fn grid(&self) -> [u32; 2] {
                self.params.grid()
            }

            fn iterations(&self) -> u64 {
                u64::from((self.params.part_rows << self.params.width_shift) / WORKGROUP + 2 * WORKGROUP)
            }

            fn twin(&self, memory: &Memory, step: &Step, member: usize) {
                let results = self.results(memory, step, member);
                store(memory, self.partials, member, &results);
            }

            fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
                vec![bounds(&self.results(memory, step, member))]
            }
        }
    };
}

sums_kernel!(BatchNormGradients);
sums_kernel!(LayerNormGradients);

impl NormGradientsFinish {
    fn results(&self, memory: &Memory, member: usize) -> Vec<Number> {
        let (p, parts) = (&self.params, memory.f32(self.parts, member));
        let bias_at = 4 * p.bias_at as usize;
        let mut numbers = untouched(self.gradient);
        let words = (0..4 * p.quads as usize).flat_map(|column| [column, bias_at + column]);
        for at in words {
            let terms = || (0..p.parts as usize).map(|part| f64::from(parts[2 * part * bias_at + at]));
            let (sum, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
            let count = p.parts as usize + 1;
            numbers[at] = Some((sum, gamma_unit(count) * size + EPS * sum.abs() + count as f64 * FLUSH));
        }
        numbers
    }
}

impl Kernel for NormGradientsFinish {
    fn sections(&self) -> Vec<Section> {
        Vec::new()
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(2 * self.params.quads, MAX_GROUPS)
    }

    fn iterations(&self) -> u64 {
        u64::from(self.params.parts + 1)
    }

    fn twin(&self, memory: &Memory, _: &Step, member: usize) {
        let results = self.results(memory, member);
        store(memory, self.gradient, member, &results);
    }

    fn tolerance(&self, memory: &Memory, _: &Step, member: usize) -> Vec<Tolerance> {
        vec![bounds(&self.results(memory, member))]
    }
}
