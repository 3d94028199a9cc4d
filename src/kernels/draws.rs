//! `shaders/draws.wgsl`: Monte-Carlo draws as rows of a batch, and sums over them.

use super::{Constants, EPS, FLUSH, Kernel, MAX_GROUPS, Tolerance, exp_error, gamma, kernel, linear_grid, params};
use crate::memory::{Memory, Tensor};
use crate::network::{LEAST_LOG_VARIANCE, Loss};
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/nan.wgsl"),
    include_str!("../../shaders/draws.wgsl")
);

params! {
    /// `params` of `draws.wgsl`.
    DrawsParams { outputs: u32, y_row: u32, columns: u32, width: u32, one_mask: u32, inputs: u32, pad0: u32, pad1: u32 }
}

/// Words of `state` for each column of each input.
pub const FIELDS: usize = 6;

/// What is made of the network's output before it is added up over draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readout {
    /// The output itself.
    Values,
    /// Class probabilities and their entropy.
    Softmax,
    /// Probabilities of independent outputs, and the sum of their entropies.
    Sigmoid,
    /// Means and variances of numbers with a noise of their own.
    Gaussian,
}

impl Readout {
    /// What a loss takes the output for.
    pub fn of(loss: Loss) -> Self {
        match loss {
            Loss::SoftmaxCrossEntropy => Self::Softmax,
            Loss::BinaryCrossEntropy => Self::Sigmoid,
            Loss::MeanSquaredError => Self::Values,
            Loss::GaussianNll => Self::Gaussian,
        }
    }

    /// Columns that are added up.
    pub fn columns(self, outputs: u32) -> u32 {
        match self {
            Self::Values | Self::Gaussian => outputs,
            Self::Softmax | Self::Sigmoid => outputs + 1,
        }
    }

    /// How many of these columns are answers, the rest being an entropy or variances.
    pub fn answers(self, columns: usize) -> usize {
        match self {
            Self::Values => columns,
            Self::Softmax | Self::Sigmoid => columns - 1,
            Self::Gaussian => columns / 2,
        }
    }

    /// Words of a row of values: the columns and, for classes, the largest.
    pub fn width(self, outputs: u32) -> u32 {
        self.columns(outputs) + u32::from(self == Self::Softmax)
    }

    fn constants(self) -> Constants {
        let kind = match self {
            Self::Values => 0,
            Self::Softmax => 1,
            Self::Sigmoid => 2,
            Self::Gaussian => 3,
        };
        vec![("KIND", kind)]
    }
}

fn every_kind() -> Vec<Constants> {
    [Readout::Values, Readout::Softmax, Readout::Sigmoid, Readout::Gaussian].map(Readout::constants).to_vec()
}

fn any_kind() -> Vec<Constants> {
    vec![Readout::Values.constants()]
}

kernel! {
    /// Which draw of which input each row of the batch is.
    DrawRows = "draw_rows" in "draws.wgsl", SOURCE;
    params DrawsParams; sections [step];
    read [ids: 2]; write [rows: 3, samples: 4]; variants any_kind
}

kernel! {
    /// What the network says in each row.
    DrawOutputs = "draw_outputs" in "draws.wgsl", SOURCE;
    params DrawsParams; sections [step]; site readout: Readout;
    read [y: 2]; write [values: 3]; variants every_kind
}

kernel! {
    /// Adds the draws of the batch to the sums of their inputs.
    MergeDraws = "merge_draws" in "draws.wgsl", SOURCE;
    params DrawsParams; sections [step]; site readout: Readout;
    read [drawn: 2]; write [state: 3]; variants every_kind
}

kernel! {
    /// Stores what the network says in each draw.
    KeepDraws = "keep_draws" in "draws.wgsl", SOURCE;
    params DrawsParams; sections [step];
    read [drawn: 2]; write [draws: 3]; variants any_kind
}

impl Kernel for DrawRows {
    fn constants(&self) -> Constants {
        Readout::Values.constants()
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(self.rows.len, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let ids = memory.u32(self.ids, member);
        let (mut rows, mut samples) = (memory.u32_mut(self.rows, member), memory.u32_mut(self.samples, member));
        for r in 0..step.rows {
            let (input, at) = (step.position + r % step.batch_rows, r as usize);
            rows[at] = input;
            samples[2 * at] = if self.params.one_mask == 1 { 0 } else { ids[input as usize] };
            samples[2 * at + 1] = step.epoch + r / step.batch_rows;
        }
    }
}

/// A number and how far the device may be from it.
type Number = (f64, f64);

/// WGSL's error of a logarithm: 2^-21 absolute in [0.5, 2], otherwise 3 ULP.
fn log_error(log: f64) -> f64 {
    1.0 / f64::from(1 << 21) + 6.0 * EPS * log.abs()
}

/// Probabilities, entropy and the first largest class.
fn softmax(z: &[f32]) -> Vec<Number> {
    let best = (0..z.len()).fold(0, |best, c| if z[c] > z[best] { c } else { best });
    let shifted: Vec<f64> = z.iter().map(|&v| f64::from(v) - f64::from(z[best])).collect();
    let powers: Vec<f64> = shifted.iter().map(|&d| libm::exp(d)).collect();
    let sum: f64 = powers.iter().sum();
    // The shift rounds once, exp has WGSL's error, the sum of n terms gamma_n, the division 2.5 ULP; all may be flushed.
    let power_error = |c: usize| exp_error(shifted[c]) + EPS * shifted[c].abs();
    let sum_error = (0..z.len()).map(|c| powers[c] * power_error(c)).sum::<f64>() / sum + gamma(z.len());
    let probability = |c: usize| {
        let p = powers[c] / sum;
        (p, p * (power_error(c) + sum_error + 6.0 * EPS) + 2.0 * FLUSH)
    };
    let mut numbers: Vec<Number> = (0..z.len()).map(probability).collect();
    let terms = || numbers.iter().zip(&shifted);
    let below: f64 = terms().map(|((p, _), d)| p * -d).sum();
    // Each term has the error of its probability, and three roundings: of the shift, of the product and of the twin.
    let below_error: f64 = terms().map(|((p, error), d)| (error + 3.0 * EPS * p) * -d + FLUSH).sum();
    let log = libm::log(sum);
    let error = below_error + gamma(z.len() + 2) * (below + log) + log_error(log) + sum_error;
    numbers.push((log + below, error));
    numbers.push((best as f64, 0.0));
    numbers
}

/// Probabilities, and the sum of their entropies.
fn sigmoid(z: &[f32]) -> Vec<Number> {
    let (mut numbers, mut entropy, mut error) = (Vec::new(), 0.0, 0.0);
    for &z in z {
        let z = f64::from(z);
        let power = libm::exp(-z.abs());
        let power_error = power * exp_error(z) + FLUSH;
        let (larger, smaller) = (1.0 / (1.0 + power), power / (1.0 + power));
        // Both move by at most as much as the power does; the addition and the division are 7 EPS.
        let off = |p: f64| power_error + 7.0 * EPS * p + FLUSH;
        numbers.push(if z >= 0.0 { (larger, off(larger)) } else { (smaller, off(smaller)) });
        let log = libm::log(1.0 + power);
        entropy += log + z.abs() * smaller;
        error += log_error(log) + power_error + 2.0 * EPS + z.abs() * (off(smaller) + 2.0 * EPS * smaller) + FLUSH;
    }
    numbers.push((entropy, error + gamma(2 * z.len() + 1) * entropy));
    numbers
}

/// Means and variances.
fn gaussian(z: &[f32]) -> Vec<Number> {
    let (means, logs) = z.split_at(z.len() / 2);
    let variance = |&log: &f32| {
        let log = f64::from(log.max(LEAST_LOG_VARIANCE));
        let variance = libm::exp(log);
        (variance, variance * exp_error(log) + EPS * variance + FLUSH)
    };
    means.iter().map(|&mean| (f64::from(mean), 0.0)).chain(logs.iter().map(variance)).collect()
}

impl DrawOutputs {
    /// What is written in each row.
    fn numbers(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let y = memory.f32(self.y, member);
        let row = |r: usize| {
            let z = &y[r * self.params.y_row as usize..][..self.params.outputs as usize];
            match self.readout {
                Readout::Values => z.iter().map(|&z| (f64::from(z), 0.0)).collect(),
                Readout::Softmax => softmax(z),
                Readout::Sigmoid => sigmoid(z),
                Readout::Gaussian => gaussian(z),
            }
        };
        (0..step.rows as usize).flat_map(row).collect()
    }
}

impl Kernel for DrawOutputs {
    fn constants(&self) -> Constants {
        self.readout.constants()
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(self.values.len / self.params.width, MAX_GROUPS)
    }

    fn iterations(&self) -> u64 {
        3 * u64::from(self.params.outputs / 4 + 2)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let numbers = self.numbers(memory, step, member);
        let mut values = memory.f32_mut(self.values, member);
        values.iter_mut().zip(numbers).for_each(|(value, (number, _))| *value = number as f32);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![Tolerance::Bounds(self.numbers(memory, step, member).into_iter().map(|(_, error)| error).collect())]
    }
}

/// The sums of one column of one input after a batch, with their errors.
fn merged(values: &[f32], wins: f64, accumulated: u32, before: Option<&[f32]>) -> [Number; FIELDS] {
    let center = before.map_or(values[0], |state| state[0]);
    let differences: Vec<f64> = values.iter().map(|&value| f64::from(value) - f64::from(center)).collect();
    let squares = differences.iter().map(|d| d * d).sum::<f64>();
    let sizes = differences.iter().map(|d| d.abs()).sum::<f64>();
    // A draw whose pair is in the batch before is paired with what is left of that.
    let left = before.filter(|_| accumulated % 2 == 1).map(|state| f64::from(state[5]));
    let paired: Vec<f64> = left.into_iter().chain(differences.iter().copied()).collect();
    let (pairs, _) = paired.as_chunks::<2>();
    let pair_squares: f64 = pairs.iter().map(|[a, b]| (a + b) * (a + b)).sum();
    let pair_sizes: f64 = pairs.iter().map(|[a, b]| (a.abs() + b.abs()) * (a.abs() + b.abs())).sum();
    let old = |field: usize| before.map_or(0.0, |state| f64::from(state[field]));
    // Differences and products round, as do the sums of n terms and what was there before; each may be flushed.
    let n = values.len() + 6;
    let sum = |new: f64, size: f64, field: usize| {
        let old = old(field);
        (old + new, gamma(n) * (size + old.abs()) + n as f64 * FLUSH)
    };
    [
        (f64::from(center), 0.0),
        sum(differences.iter().sum(), sizes, 1),
        sum(squares, squares, 2),
        sum(pair_squares, pair_sizes, 3),
        (old(4) + wins, 0.0),
        differences.last().map_or((0.0, 0.0), |&last| (last, 2.0 * EPS * last.abs() + FLUSH)),
    ]
}

impl MergeDraws {
    fn for_each_column(&self, (memory, step, member): (&Memory, &Step, usize), mut f: impl FnMut(usize, [Number; FIELDS])) {
        let (drawn, state) = (memory.f32(self.drawn, member), memory.f32(self.state, member));
        let DrawsParams { outputs, columns, width, .. } = self.params;
        let inputs = step.batch_rows as usize;
        for (input, column) in (0..inputs).flat_map(|i| (0..columns as usize).map(move |column| (i, column))) {
            let rows = || drawn[..step.rows as usize * width as usize].chunks(width as usize).skip(input).step_by(inputs);
            let values: Vec<f32> = rows().map(|row| row[column]).collect();
            let wins = match self.readout {
                Readout::Values | Readout::Gaussian => 0,
                Readout::Softmax => rows().filter(|row| row[outputs as usize + 1] == column as f32).count(),
                Readout::Sigmoid => values.iter().filter(|&&value| value > 0.5).count(),
            };
            let at = ((step.position as usize + input) * columns as usize + column) * FIELDS;
            let before = (step.accumulated > 0).then(|| &state[at..][..FIELDS]);
            f(at, merged(&values, wins as f64, step.accumulated, before));
        }
    }
}

impl Kernel for MergeDraws {
    fn constants(&self) -> Constants {
        self.readout.constants()
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(self.state.len / FIELDS as u32, MAX_GROUPS)
    }

    fn iterations(&self) -> u64 {
        u64::from(self.drawn.len / (self.params.width * self.params.inputs).max(1)) + 2
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let mut numbers = Vec::new();
        self.for_each_column((memory, step, member), |at, fields| numbers.push((at, fields)));
        let mut state = memory.f32_mut(self.state, member);
        for (at, fields) in numbers {
            state[at..][..FIELDS].copy_from_slice(&fields.map(|(number, _)| number as f32));
        }
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let mut bounds = vec![-1.0; self.state.len as usize];
        self.for_each_column((memory, step, member), |at, fields| {
            bounds[at..][..FIELDS].copy_from_slice(&fields.map(|(_, error)| error));
        });
        vec![Tolerance::Bounds(bounds)]
    }
}

impl Kernel for KeepDraws {
    fn constants(&self) -> Constants {
        Readout::Values.constants()
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(rows(self.drawn, self.params.width) * self.params.columns, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let DrawsParams { columns, width, inputs, .. } = self.params;
        let (drawn, mut draws) = (memory.f32(self.drawn, member), memory.f32_mut(self.draws, member));
        for r in 0..step.rows {
            let (draw, input) = (step.accumulated + r / step.batch_rows, step.position + r % step.batch_rows);
            let to = ((draw * inputs + input) * columns) as usize;
            let from = &drawn[(r * width) as usize..][..columns as usize];
            draws[to..][..columns as usize].copy_from_slice(from);
        }
    }
}

/// Rows that a tensor has room for.
fn rows(tensor: Tensor, width: u32) -> u32 {
    tensor.len / width
}
