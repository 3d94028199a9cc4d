//! `shaders/sequence.wgsl`: sequences from one row a sample to one row a step, and back; the lengths of those of a batch.
//!
//! planar: `[batch, T F]`, element `t F + f` of a sample's row: the data set, the network's outputs, dense layers.
//! steps: `[batch T, F]`, row `n T + t`: what recurrent layers and embeddings take and make.

use super::division::Division;
use super::layout::clear;
use super::{Constants, Kernel, MAX_GROUPS, kernel, linear_grid, params};
use crate::memory::{Memory, Tensor};
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/division.wgsl"),
    include_str!("../../shaders/lib/columns.wgsl"),
    include_str!("../../shaders/lib/words.wgsl"),
    include_str!("../../shaders/sequence.wgsl")
);

params! {
    /// `params` of `sequence.wgsl`.
    SequenceParams {
        columns: u32, planar_row: u32, steps_row: u32, x_stride: u32,
        y_stride: u32, data_lengths_stride: u32, rows_stride: u32, lengths_stride: u32,
        by_steps: Division, by_columns: Division, by_quads: Division, by_planar: Division,
    }
}

impl SequenceParams {
    /// Sequences `[steps, features]`, the rows of both layouts padded to `row_words`, without strides.
    pub fn new([steps, features]: [u32; 2], row_words: u32) -> Self {
        let row = |columns: u32| columns.next_multiple_of(row_words) / 4;
        Self {
            columns: features,
            planar_row: row(steps * features),
            steps_row: row(features),
            by_steps: Division::by(steps),
            by_columns: Division::by(features),
            by_quads: Division::by(features.div_ceil(4)),
            by_planar: Division::by((steps * features).div_ceil(4)),
            ..Self::default()
        }
    }

    fn constants(&self) -> Constants {
        vec![("ALIGNED", self.columns.is_multiple_of(4).into())]
    }

    /// A grid over the quads in use of all samples that a tensor of planar rows has room for.
    fn grid(&self, planar: Tensor, quads_of_sample: u32) -> [u32; 2] {
        linear_grid(planar.len / (4 * self.planar_row) * quads_of_sample, MAX_GROUPS)
    }

    /// Calls `f(word in the planar rows, word in the rows of steps)` for every element.
    fn for_each_element(&self, samples: u32, mut f: impl FnMut(usize, usize)) {
        let [steps, columns, planar, row] =
            [self.by_steps.divisor, self.columns, 4 * self.planar_row, 4 * self.steps_row].map(|n| n as usize);
        for sample in 0..samples as usize {
            for at in 0..steps {
                for column in 0..columns {
                    f(sample * planar + at * columns + column, (sample * steps + at) * row + column);
                }
            }
        }
    }
}

fn variants() -> Vec<Constants> {
    [0, 1].map(|aligned| vec![("ALIGNED", aligned)]).to_vec()
}

kernel! {
    /// Rows of steps from planar rows.
    PlanarToSteps = "planar_to_steps" in "sequence.wgsl", SOURCE;
    params SequenceParams; sections [step];
    read [x: 2]; write [y: 3]; variants variants
}

kernel! {
    /// Planar rows from rows of steps.
    StepsToPlanar = "steps_to_planar" in "sequence.wgsl", SOURCE;
    params SequenceParams; sections [step];
    read [x: 2]; write [y: 3]; variants variants
}

kernel! {
    /// `lengths[n] = min(data_lengths[rows[n]], steps)` for the valid rows of the batch.
    BatchLengths = "batch_lengths" in "sequence.wgsl", SOURCE;
    params SequenceParams; sections [step];
    read [data_lengths: 2, rows: 3]; write [lengths: 4]; variants variants
}

impl Kernel for PlanarToSteps {
    fn constants(&self) -> Constants {
        self.params.constants()
    }

    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.x, self.params.by_steps.divisor * self.params.by_quads.divisor)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (p, x, mut y) = (&self.params, memory.u32(self.x, member), memory.u32_mut(self.y, member));
        clear(&mut y, step.rows * p.by_steps.divisor, p.steps_row, p.by_quads.divisor);
        p.for_each_element(step.rows, |planar, steps| y[steps] = x[planar]);
    }
}

impl Kernel for StepsToPlanar {
    fn constants(&self) -> Constants {
        self.params.constants()
    }

    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.y, self.params.by_planar.divisor)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (p, x, mut y) = (&self.params, memory.u32(self.x, member), memory.u32_mut(self.y, member));
        clear(&mut y, step.rows, p.planar_row, p.by_planar.divisor);
        p.for_each_element(step.rows, |planar, steps| y[planar] = x[steps]);
    }
}

impl Kernel for BatchLengths {
    fn constants(&self) -> Constants {
        self.params.constants()
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(self.lengths.len, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let mut lengths = memory.u32_mut(self.lengths, member);
        let steps = self.params.by_steps.divisor;
        let (data, rows) = (memory.u32(self.data_lengths, member), memory.u32(self.rows, member));
        for (length, &row) in lengths.iter_mut().zip(&*rows).take(step.rows as usize) {
            *length = data[row as usize].min(steps);
        }
    }
}
