//! `shaders/drop_connect.wgsl`: weights that are dropped, their gradient, and draws of what they give.

use super::division::Division;
use super::normal::{Near, normal_of};
use super::sums::{Number, Sum, bounds, store};
use super::{Constants, EPS, FLUSH, Kernel, MAX_GROUPS, Tolerance, gamma, kernel, linear_grid, params};
use crate::mask_rule::{MaskRule, SiteMask};
use crate::memory::{Memory, Tensor};
use crate::rng::{self, Stream};
use crate::step::{MemberStep, Section, Step};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/division.wgsl"),
    include_str!("../../shaders/lib/philox.wgsl"),
    include_str!("../../shaders/lib/dropout.wgsl"),
    include_str!("../../shaders/lib/kept_bits.wgsl"),
    include_str!("../../shaders/lib/normal.wgsl"),
    include_str!("../../shaders/drop_connect.wgsl")
);

params! {
    /// `params` of `drop_connect.wgsl`.
    DropConnectParams {
        inputs: u32, outputs: u32, quads: u32, quads_factor: u32, quads_shift: u32,
        output_quads: u32, output_factor: u32, output_shift: u32,
        row: u32, x_row: u32, y_row: u32, bias_at: u32, stream_and_site: u32,
        samples_stride: u32, weight_stride: u32, dropped_stride: u32, x_stride: u32, y_stride: u32, pad0: u32, pad1: u32,
    }
}

impl DropConnectParams {
    /// A weight `[outputs, inputs]`, rows padded to `row_words`; without strides, its bias right behind it.
    pub fn new([outputs, inputs]: [u32; 2], row_words: u32, (stream, site): (Stream, u32)) -> Self {
        let row = |columns: u32| columns.next_multiple_of(row_words) / 4;
        let [by_quads, by_output] = [inputs, outputs].map(|n| Division::by(n.div_ceil(4)));
        Self {
            inputs,
            outputs,
            quads: by_quads.divisor,
            quads_factor: by_quads.factor,
            quads_shift: by_quads.shift,
            output_quads: by_output.divisor,
            output_factor: by_output.factor,
            output_shift: by_output.shift,
            row: row(inputs),
            x_row: row(inputs),
            y_row: row(outputs),
            bias_at: outputs * row(inputs),
            stream_and_site: rng::stream_and_site(stream, site),
            ..Self::default()
        }
    }

    /// Whether a weight is kept.
    fn keeps(&self, site: SiteMask, values: &MemberStep, at: [u32; 2], output: u32, input: u32) -> bool {
        let unit = output * self.inputs + input;
        site.rule.kept(&values.sites[site.index], values.key, self.stream_and_site, at, unit / 4)[(unit % 4) as usize]
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(self.outputs * self.quads, MAX_GROUPS)
    }

    /// One invocation per four outputs of a row of y.
    fn grid_of_rows(&self, y: Tensor) -> [u32; 2] {
        linear_grid(y.len / (4 * self.y_row) * self.output_quads, MAX_GROUPS)
    }

    /// Writes `keep ? value * scale : 0` for every weight, and 0 for the rest of its last quad.
    fn select(&self, site: SiteMask, values: &MemberStep, read: impl Fn(usize) -> f32, mut write: impl FnMut(usize, f32)) {
        let scale = values.sites[site.index].scale;
        let at = site.rule.address(&values.sites[site.index], &[0, 0], 0);
        for output in 0..self.outputs {
            for column in 0..4 * self.quads {
                let word = (4 * output * self.row + column) as usize;
                let kept = column < self.inputs && self.keeps(site, values, at, output, column);
                write(word, if kept { read(word) * scale } else { 0.0 });
            }
        }
    }
}

fn constants(rule: MaskRule) -> Constants {
    vec![("DROPOUT", rule.constant())]
}

fn of_batch() -> Vec<Constants> {
    vec![constants(MaskRule::Batch)]
}

kernel! {
    /// `V = keep ? W scale : 0`.
    DropWeights = "drop_weights" in "drop_connect.wgsl", SOURCE;
    params DropConnectParams; sections [step, sites]; site site: SiteMask;
    read [samples: 3, weight: 4]; write [dropped: 5]; variants of_batch
}

kernel! {
    /// `dW = keep ? dV scale : 0`.
    DropWeightGradient = "drop_weight_gradient" in "drop_connect.wgsl", SOURCE;
    params DropConnectParams; sections [step, sites]; site site: SiteMask;
    read [samples: 3]; write [gradient: 4]; variants of_batch
}

kernel! {
    /// `y = x V^T + b` with a V for each row.
    DropConnectRows = "drop_connect_rows" in "drop_connect.wgsl", SOURCE;
    params DropConnectParams; sections [step, sites]; site site: SiteMask;
    read [samples: 3, weight: 4, x: 5]; write [y: 6]; variants || MaskRule::ALL.map(constants).to_vec()
}

/// The rules that draws of normal numbers know: a Latin hypercube and a list of every mask are of masks, training has others.
pub const GAUSSIAN_DRAWS: [MaskRule; 2] = [MaskRule::Draw, MaskRule::Antithetic];

kernel! {
    /// `y = x W^T + b + sigma sqrt((x * x) (W * W)^T) z`, z normal for each row and output, sigma the scale of the site:
    /// `sqrt((1 - p) / p)`. The rule is one of [`GAUSSIAN_DRAWS`]. Wan et al. (ICML 2013), section 3.2, algorithm 2.
    DropConnectGaussian = "drop_connect_gaussian" in "drop_connect.wgsl", SOURCE;
    params DropConnectParams; sections [step, sites]; site site: SiteMask;
    read [samples: 3, weight: 4, x: 5]; write [y: 6]; variants || GAUSSIAN_DRAWS.map(constants).to_vec()
}

macro_rules! drop_connect_kernel {
    ($kernel:ident: $($body:item)+) => {
        impl Kernel for $kernel {
            fn sections(&self) -> Vec<Section> {
                vec![Section::Step, Section::Site(self.site.index)]
            }

            fn constants(&self) -> Constants {
                constants(self.site.rule)
            }

            $($body)+
        }
    };
}

drop_connect_kernel! {
    DropWeights:
    fn grid(&self) -> [u32; 2] {
        self.params.grid()
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (weight, mut dropped) = (memory.f32(self.weight, member), memory.f32_mut(self.dropped, member));
        self.params.select(self.site, &step.members[member], |word| weight[word], |word, value| dropped[word] = value);
    }
}

drop_connect_kernel! {
    DropWeightGradient:
    fn grid(&self) -> [u32; 2] {
        self.params.grid()
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let before = memory.f32(self.gradient, member).to_vec();
        let mut gradient = memory.f32_mut(self.gradient, member);
        self.params.select(self.site, &step.members[member], |word| before[word], |word, value| gradient[word] = value);
    }
}

drop_connect_kernel! {
    DropConnectRows:
    fn grid(&self) -> [u32; 2] {
        self.params.grid_of_rows(self.y)
    }

    fn iterations(&self) -> u64 {
        8 * u64::from(self.params.quads + 1)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let numbers = self.results(memory, step, member);
        store(memory, self.y, member, &numbers);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![bounds(&self.results(memory, step, member))]
    }
}

impl DropConnectRows {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let DropConnectParams { inputs, outputs, row, x_row, y_row, bias_at, output_quads, .. } = self.params;
        let (weight, x, samples) =
            (memory.f32(self.weight, member), memory.f32(self.x, member), memory.u32(self.samples, member));
        let values = &step.members[member];
        let site = &values.sites[self.site.index];
        let mut numbers = vec![None; self.y.len as usize];
        for n in 0..step.rows {
            let at = self.site.rule.address(site, &samples, n as usize);
            for output in 0..4 * output_quads {
                let mut sum = (0.0, 0.0);
                for input in (0..inputs).filter(|_| output < outputs) {
                    if self.params.keeps(self.site, values, at, output, input) {
                        let dropped = weight[(4 * output * row + input) as usize] * site.scale;
                        let product = f64::from(dropped) * f64::from(x[(4 * n * x_row + input) as usize]);
                        sum = (sum.0 + product, sum.1 + product.abs());
                    }
                }
                if output < outputs {
                    let bias = f64::from(weight[(4 * bias_at + output) as usize]);
                    sum = (sum.0 + bias, sum.1 + bias.abs());
                }
                // Products and their sums in any order, and the rounding of the twin.
                let error = gamma(inputs as usize + 2) * sum.1 + EPS * sum.0.abs();
                numbers[(4 * n * y_row + output) as usize] = Some((sum.0, error));
            }
        }
        numbers
    }
}

drop_connect_kernel! {
    DropConnectGaussian:
    fn grid(&self) -> [u32; 2] {
        self.params.grid_of_rows(self.y)
    }

    fn iterations(&self) -> u64 {
        u64::from(self.params.quads + 1)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let numbers = self.results(memory, step, member);
        store(memory, self.y, member, &numbers);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![bounds(&self.results(memory, step, member))]
    }
}

impl DropConnectGaussian {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let DropConnectParams { inputs, outputs, row, x_row, y_row, bias_at, output_quads, stream_and_site, .. } = self.params;
        let SiteMask { index, rule } = self.site;
        assert!(GAUSSIAN_DRAWS.contains(&rule), "{rule:?} is no rule of draws of normal numbers");
        let (weight, x, samples) =
            (memory.f32(self.weight, member), memory.f32(self.x, member), memory.u32(self.samples, member));
        let (values, number) = (&step.members[member], |values: &[f32], word: u32| f64::from(values[word as usize]));
        let site = &values.sites[index];
        let mut numbers = vec![None; self.y.len as usize];
        for n in 0..step.rows {
            let at = rule.address(site, &samples, n as usize);
            for output in 0..4 * output_quads {
                let (mut mean, mut squares) = (Sum::default(), Sum::default());
                for input in (0..inputs).filter(|_| output < outputs) {
                    let product = number(&weight, 4 * output * row + input) * number(&x, 4 * n * x_row + input);
                    mean.add(product);
                    squares.add(product * product);
                }
                let y = if output < outputs {
                    mean.add(number(&weight, 4 * bias_at + output));
                    let z = normal_of(rule, (stream_and_site, values.key), at, output);
                    gaussian_draw((mean, squares), f64::from(site.scale), z)
                } else {
                    (0.0, 0.0)
                };
                numbers[(4 * n * y_row + output) as usize] = Some(y);
            }
        }
        numbers
    }
}

/// `mean + sigma sqrt(squares) z`, and how far the device may be from it: the products are rounded, and rounded again as they are
/// squared; sqrt is right to 4.5 ULP (that of inverseSqrt and of a division), 9 EPS; another operation rounds to either side,
/// 2 EPS, and may be flushed; the twin rounds.
fn gaussian_draw((mean, squares): (Sum, Sum), sigma: f64, [z, z_error]: Near) -> (f64, f64) {
    let [(mean, mean_error), (square, square_error)] = [mean.times(1.0, 1), squares.times(1.0, 3)].map(Option::unwrap_or_default);
    let root = square.sqrt();
    // |sqrt(a) - sqrt(b)| is at most |a - b| / sqrt(a), and at most sqrt(|a - b|).
    let root_error = if square_error == 0.0 { 0.0 } else { (square_error / root).min(square_error.sqrt()) };
    let root_error = root_error + 9.0 * EPS * (root + root_error);
    let deviation = sigma * root;
    let deviation_error = sigma * root_error + 2.0 * EPS * sigma * (root + root_error) + FLUSH;
    let noise = deviation * z;
    let noise_error = deviation * z_error + deviation_error * (z.abs() + z_error);
    let noise_error = noise_error + 2.0 * EPS * (noise.abs() + noise_error) + FLUSH;
    let (y, error) = (mean + noise, mean_error + noise_error);
    (y, error + 2.0 * EPS * (y.abs() + error) + EPS * y.abs() + FLUSH)
}
