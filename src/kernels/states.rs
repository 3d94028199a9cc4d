//! `shaders/states.wgsl`: what comes out of a recurrent layer, from the states of its directions after every step.

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
    include_str!("../../shaders/states.wgsl")
);

params! {
    /// `params` of `states.wgsl`.
    StatesParams {
        columns: u32, x_row: u32, y_row: u32, a_stride: u32, b_stride: u32, y_stride: u32, lengths_stride: u32,
        by_steps: Division, by_outputs: Division, by_quads: Division,
    }
}

/// What comes out of a recurrent layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatesVariant {
    /// Whether there are two directions, side by side, or one.
    pub both: bool,
    /// Whether the last state of each sample comes out, or every one.
    pub last: bool,
    /// Backward: whether the gradient is that of the direction that begins at the last step, the second of the two.
    pub reverse: bool,
}

impl StatesVariant {
    fn constants(self, columns: u32) -> Constants {
        vec![
            ("BOTH", self.both.into()),
            ("LAST", self.last.into()),
            ("REVERSE", self.reverse.into()),
            ("ALIGNED", columns.is_multiple_of(4).into()),
        ]
    }

    /// Rows of y of a sample.
    fn rows(self, steps: u32) -> u32 {
        if self.last { 1 } else { steps }
    }

    /// The step whose state comes out as the last of a sequence, which is not empty.
    fn last_step(self, length: u32) -> u32 {
        if self.reverse { 0 } else { length - 1 }
    }
}

impl StatesParams {
    /// `columns` states of a direction after each of `steps` steps, all rows padded to `row_words`, without strides.
    pub fn new([steps, columns]: [u32; 2], row_words: u32, variant: StatesVariant) -> Self {
        let outputs = columns * if variant.both { 2 } else { 1 };
        let row = |columns: u32| columns.next_multiple_of(row_words) / 4;
        Self {
            columns,
            x_row: row(columns),
            y_row: row(outputs),
            by_steps: Division::by(steps),
            by_outputs: Division::by(outputs.div_ceil(4)),
            by_quads: Division::by(columns.div_ceil(4)),
            ..Self::default()
        }
    }

    /// Calls `f(row of y, step row)` for every row that comes out of a direction, of sequences of these lengths.
    fn for_each_row(&self, variant: StatesVariant, lengths: &[u32], mut f: impl FnMut(usize, usize)) {
        let steps = self.by_steps.divisor;
        for (sample, &length) in (0..).zip(lengths) {
            let length = length.min(steps);
            match variant.last {
                true if length == 0 => {}
                true => f(sample, sample * steps as usize + variant.last_step(length) as usize),
                false => (0..length as usize).map(|at| sample * steps as usize + at).for_each(|row| f(row, row)),
            }
        }
    }

    fn grid(&self, out: Tensor, row_quads: u32, quads: u32) -> [u32; 2] {
        linear_grid(out.len / (4 * row_quads) * quads, MAX_GROUPS)
    }

    /// The words of a row of states, and of one of a direction in y.
    fn places(&self, reverse: bool, x: usize, y: usize) -> impl Iterator<Item = (usize, usize)> {
        let first = if reverse { self.columns as usize } else { 0 };
        let (x, y) = (x * 4 * self.x_row as usize, y * 4 * self.y_row as usize + first);
        (0..self.columns as usize).map(move |column| (x + column, y + column))
    }
}

fn variants() -> Vec<Constants> {
    let all = (0..16).map(|bits: u32| [0, 1, 2, 3].map(|bit| bits >> bit & 1 == 1));
    // One direction has no reverse.
    let of = all.filter(|[both, _, reverse, _]| *both || !*reverse);
    of.map(|[both, last, reverse, aligned]| StatesVariant { both, last, reverse }.constants(3 + u32::from(aligned))).collect()
}

kernel! {
    /// `y` = the states `a`, or those of `a` and of `b` side by side, after every step or after the last. Of one direction, `b`
    /// is not read: any tensor stands for it.
    StatesForward = "states_forward" in "states.wgsl", SOURCE;
    params StatesParams; sections [step]; sides variant: StatesVariant;
    read [lengths: 2, a: 3, b: 4]; write [y: 5]; variants variants
}

kernel! {
    /// `dx` of one direction from `dy`: every valid row is written, with 0 where nothing comes from.
    StatesBackward = "states_backward" in "states.wgsl", SOURCE;
    params StatesParams; sections [step]; sides variant: StatesVariant;
    read [lengths: 2, dy: 3]; write [dx: 4]; variants variants
}

impl Kernel for StatesForward {
    fn constants(&self) -> Constants {
        self.variant.constants(self.params.columns)
    }

    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.y, self.params.y_row, self.params.by_outputs.divisor)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (p, lengths, mut y) = (&self.params, memory.u32(self.lengths, member), memory.u32_mut(self.y, member));
        let lengths = &lengths[..step.rows as usize];
        clear(&mut y, step.rows * self.variant.rows(p.by_steps.divisor), p.y_row, p.by_outputs.divisor);
        for (reverse, states) in [(false, self.a), (true, self.b)].into_iter().take(1 + usize::from(self.variant.both)) {
            let states = memory.u32(states, member);
            p.for_each_row(StatesVariant { reverse, ..self.variant }, lengths, |row, from| {
                p.places(reverse, from, row).for_each(|(x, at)| y[at] = states[x]);
            });
        }
    }
}

impl Kernel for StatesBackward {
    fn constants(&self) -> Constants {
        self.variant.constants(self.params.columns)
    }

    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.dx, self.params.x_row, self.params.by_quads.divisor)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (p, lengths, mut dx) = (&self.params, memory.u32(self.lengths, member), memory.u32_mut(self.dx, member));
        let dy = memory.u32(self.dy, member);
        clear(&mut dx, step.rows * p.by_steps.divisor, p.x_row, p.by_quads.divisor);
        p.for_each_row(self.variant, &lengths[..step.rows as usize], |row, to| {
            p.places(self.variant.reverse, to, row).for_each(|(x, at)| dx[x] = dy[at]);
        });
    }
}
