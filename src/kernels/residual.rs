//! `shaders/residual.wgsl`: the sum of branch and skip of a residual block, and blocks whose branch runs only for the samples
//! that keep it (stochastic depth: Huang et al., ECCV 2016).

use super::division::Division;
use super::sums::{Number, Sum, bounds, store};
use super::{Constants, Kernel, MAX_GROUPS, Tolerance, kernel, linear_grid, params};
use crate::memory::{Memory, Tensor};
use crate::step::{DROPPED, Section, Step, list_words};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/division.wgsl"),
    include_str!("../../shaders/residual.wgsl")
);

params! {
    /// `params` of `residual.wgsl`.
    ResidualParams {
        a_row: u32, b_row: u32, y_row: u32, a_stride: u32, b_stride: u32, y_stride: u32, list_stride: u32,
        by_quads: Division, by_pixels: Division, pad0: u32, pad1: u32, pad2: u32,
    }
}

impl ResidualParams {
    /// Rows of `columns`, padded to `row_words`, without strides; for the kernels of paths, `pixels` of them for each of the
    /// `samples` that a batch has room for.
    pub fn new(columns: u32, row_words: u32, pixels: u32, samples: u32) -> Self {
        let row = columns.next_multiple_of(row_words) / 4;
        Self {
            a_row: row,
            b_row: row,
            y_row: row,
            list_stride: list_words(samples),
            by_quads: Division::by(columns.div_ceil(4)),
            by_pixels: Division::by(pixels),
            ..Self::default()
        }
    }

    /// One invocation per quad of the rows that a matrix has room for.
    fn grid(&self, tensor: Tensor, row: u32) -> [u32; 2] {
        linear_grid(tensor.len / (4 * row) * self.by_quads.divisor, MAX_GROUPS)
    }

    /// Words of a row of a, b and y.
    fn rows(&self) -> [usize; 3] {
        [self.a_row, self.b_row, self.y_row].map(|quads| 4 * quads as usize)
    }

    fn columns(&self) -> usize {
        4 * self.by_quads.divisor as usize
    }

    /// The row of the compact matrix of each row of the whole one.
    fn kept_rows(&self, step: &Step, member: usize, site: usize) -> Vec<Option<usize>> {
        let pixels = self.by_pixels.divisor;
        let positions = step.members[member].sites[site].positions().into_iter().take(step.rows as usize);
        let rows = |position: u32| (0..pixels).map(move |q| (position != DROPPED).then(|| (position * pixels + q) as usize));
        positions.flat_map(rows).collect()
    }
}

fn variants() -> Vec<Constants> {
    [0, 1].map(|scaled| vec![("SCALED", scaled)]).to_vec()
}

kernel! {
    /// `y = a + b`.
    Add = "add" in "residual.wgsl", SOURCE;
    params ResidualParams; sections [step];
    read [a: 4, b: 5]; write [y: 6]; variants variants
}

kernel! {
    /// `compact` = the rows of `x` of the kept samples, times the site's scale where `scaled` says so.
    PathGather = "path_gather" in "residual.wgsl", SOURCE;
    params ResidualParams; sections [step, sites, position_rows]; site site; sides scaled: bool;
    read [x: 4]; write [compact: 6]; variants variants
}

kernel! {
    /// `y = skip +` the rows of `branch` of the kept samples, times the site's scale where `scaled` says so.
    PathAdd = "path_add" in "residual.wgsl", SOURCE;
    params ResidualParams; sections [step, sites, position_rows]; site site; sides scaled: bool;
    read [skip: 4, branch: 5]; write [y: 6]; variants variants
}

kernel! {
    /// `kept_samples` = the samples of the batch that are kept.
    PathSamples = "path_samples" in "residual.wgsl", SOURCE;
    params ResidualParams; sections [step, positions]; site site;
    read [samples: 4]; write [kept_samples: 6]; variants variants
}

impl Kernel for PathSamples {
    fn sections(&self) -> Vec<Section> {
        vec![Section::Step, Section::Positions(self.site)]
    }

    /// It has no factor, so it does not matter.
    fn constants(&self) -> Constants {
        vec![("SCALED", 0)]
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(self.samples.len, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (samples, mut kept) = (memory.u32(self.samples, member), memory.u32_mut(self.kept_samples, member));
        let positions = step.members[member].sites[self.site].positions();
        for (&sample, position) in samples.iter().zip(positions).take(step.rows as usize) {
            if position != DROPPED {
                kept[position as usize] = sample;
            }
        }
    }
}

impl Add {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let ([a_row, b_row, y_row], columns) = (self.params.rows(), self.params.columns());
        let (a, b) = (memory.f32(self.a, member), memory.f32(self.b, member));
        let number = |i: usize| {
            let (row, column) = (i / y_row, i % y_row);
            let mut sum = Sum::default();
            sum.add(f64::from(a[row * a_row + column]));
            sum.add(f64::from(b[row * b_row + column]));
            sum.times(1.0, 0)
        };
        (0..step.rows as usize * y_row).map(|i| if i % y_row < columns { number(i) } else { None }).collect()
    }
}

impl PathGather {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let ([x_row, _, row_words], columns) = (self.params.rows(), self.params.columns());
        let x = memory.f32(self.x, member);
        let scale = factor(self.scaled, step, member, self.site);
        let mut numbers = vec![None; self.compact.len as usize];
        let rows = self.params.kept_rows(step, member, self.site).into_iter().enumerate();
        for (row, to) in rows.filter_map(|(row, to)| Some((row, to?))) {
            for column in 0..columns {
                let mut sum = Sum::default();
                sum.add(f64::from(x[row * x_row + column]));
                numbers[to * row_words + column] = sum.times(scale, usize::from(self.scaled));
            }
        }
        numbers
    }
}

impl PathAdd {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let ([skip_row, branch_row, y_row], columns) = (self.params.rows(), self.params.columns());
        let (skip, branch) = (memory.f32(self.skip, member), memory.f32(self.branch, member));
        let scale = factor(self.scaled, step, member, self.site);
        let kept = self.params.kept_rows(step, member, self.site);
        let mut numbers = vec![None; kept.len() * y_row];
        for (row, from) in kept.into_iter().enumerate() {
            for column in 0..columns {
                let mut sum = Sum::default();
                sum.add(f64::from(skip[row * skip_row + column]));
                if let Some(from) = from {
                    sum.add(scale * f64::from(branch[from * branch_row + column]));
                }
                numbers[row * y_row + column] = sum.times(1.0, usize::from(self.scaled && from.is_some()));
            }
        }
        numbers
    }
}

/// What the branch of a kept sample is multiplied by.
fn factor(scaled: bool, step: &Step, member: usize, site: usize) -> f64 {
    if scaled { f64::from(step.members[member].sites[site].scale) } else { 1.0 }
}

impl Kernel for Add {
    /// It has no path, so it does not matter.
    fn constants(&self) -> Constants {
        vec![("SCALED", 0)]
    }

    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.y, self.params.y_row)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let numbers = self.results(memory, step, member);
        store(memory, self.y, member, &numbers);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![bounds(&self.results(memory, step, member))]
    }
}

macro_rules! path_kernel {
    ($kernel:ident, $whole:ident, $row:ident, $out:ident) => {
        impl Kernel for $kernel {
            fn sections(&self) -> Vec<Section> {
                vec![Section::Step, Section::Site(self.site), Section::Positions(self.site)]
            }

            fn constants(&self) -> Constants {
                vec![("SCALED", self.scaled.into())]
            }

            fn grid(&self) -> [u32; 2] {
                self.params.grid(self.$whole, self.params.$row)
            }

            fn twin(&self, memory: &Memory, step: &Step, member: usize) {
                let numbers = self.results(memory, step, member);
                store(memory, self.$out, member, &numbers);
            }

            fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
                vec![bounds(&self.results(memory, step, member))]
            }
        }
    };
}

path_kernel!(PathGather, x, a_row, compact);
path_kernel!(PathAdd, y, y_row, y);
