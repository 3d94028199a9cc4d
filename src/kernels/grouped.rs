//! `shaders/grouped.wgsl`: convolution in several groups, depthwise above all, computed directly; forward and backward.
//!
//! On the device a weight is `[channels, kernel height * kernel width * C / groups]`, the elements of the kernel outermost;
//! PyTorch's is `[channels, C / groups, kernel height, kernel width]`.

use super::division::Division;
use super::sums::{Number, Sum, bounds, store};
use super::{Constants, EPS, Kernel, MAX_GROUPS, Tolerance, WORKGROUP, activation, kernel, linear_grid, params};
use crate::memory::{Memory, Tensor};
use crate::network::{Activation, Conv2d};
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/division.wgsl"),
    include_str!("../../shaders/lib/activation.wgsl"),
    include_str!("../../shaders/grouped.wgsl")
);

params! {
    /// `params` of `grouped.wgsl`.
    GroupedParams {
        map: [u32; 2], out: [u32; 2], kernel: [u32; 2], stride: [u32; 2], padding: [u32; 2], dilation: [u32; 2],
        inputs: u32, outputs: u32, group_inputs: u32, group_outputs: u32, x_row: u32, y_row: u32, weight_row: u32,
        x_stride: u32, y_stride: u32, weight_stride: u32, bias_stride: u32,
        by_input_quads: Division, by_output_quads: Division, by_out: Division, by_out_blocks: Division, by_out_width: Division,
        by_map: Division, by_map_blocks: Division, by_width: Division, by_down: Division, by_right: Division,
        by_group_inputs: Division, by_group_outputs: Division, pad0: u32,
    }
}

impl GroupedParams {
    /// A convolution over maps `[channels, height, width]`, all rows padded to `row_words`, without strides between members.
    ///
    /// # Panics
    /// On one that does not fit the maps: a checked network has none.
    pub fn new(conv: &Conv2d, [inputs, height, width]: [u32; 3], row_words: u32) -> Self {
        let window = conv.window;
        let out =
            window.places([height, width]).unwrap_or_else(|problem| panic!("a checked network has no such window: {problem}"));
        let (group_inputs, group_outputs) = (inputs / conv.groups, conv.channels / conv.groups);
        let row = |columns: u32| columns.next_multiple_of(row_words) / 4;
        let (pixels, places) = (height * width, out[0] * out[1]);
        Self {
            map: [height, width],
            out,
            kernel: window.kernel,
            stride: window.stride,
            padding: window.padding,
            dilation: window.dilation,
            inputs,
            outputs: conv.channels,
            group_inputs,
            group_outputs,
            x_row: row(inputs),
            y_row: row(conv.channels),
            weight_row: row(window.kernel[0] * window.kernel[1] * group_inputs),
            by_input_quads: Division::by(inputs.div_ceil(4)),
            by_output_quads: Division::by(conv.channels.div_ceil(4)),
            by_out: Division::by(places),
            by_out_blocks: Division::by(places.div_ceil(4)),
            by_out_width: Division::by(out[1]),
            by_map: Division::by(pixels),
            by_map_blocks: Division::by(pixels.div_ceil(4)),
            by_width: Division::by(width),
            by_down: Division::by(window.stride[0]),
            by_right: Division::by(window.stride[1]),
            by_group_inputs: Division::by(group_inputs),
            by_group_outputs: Division::by(group_outputs),
            ..Self::default()
        }
    }

    fn depthwise(&self) -> bool {
        self.group_inputs == 1 && self.group_outputs == 1
    }

    fn constants(&self, activation: Activation) -> Constants {
        vec![("ACTIVATION", activation::kind(activation)), ("DEPTHWISE", self.depthwise().into())]
    }

    /// Words of a row of W in use.
    fn weights(&self) -> u32 {
        self.kernel[0] * self.kernel[1] * self.group_inputs
    }

    /// Iterations of the loops over a window of so many channels, for each of the four that an invocation makes.
    fn iterations(&self, channels: u32) -> u64 {
        let [height, width] = self.kernel.map(u64::from);
        4 * height * (width * (u64::from(channels) + 2) + 2) + 8
    }

    /// A grid over the samples that a tensor has room for, of so many pixels or blocks of them.
    fn grid(&self, tensor: Tensor, row: u32, [pixels, blocks, quads]: [Division; 3]) -> [u32; 2] {
        let samples = tensor.len / (4 * row * pixels.divisor);
        let places = if self.depthwise() { blocks } else { pixels };
        linear_grid(samples * places.divisor * quads.divisor, MAX_GROUPS)
    }

    /// Calls `f(word of y, word of W, word of x)` for every product.
    fn for_each_product(&self, samples: u32, mut f: impl FnMut(usize, usize, usize)) {
        let (places, pixels) = (self.by_out.divisor, self.by_map.divisor);
        for row in 0..samples * places {
            let (sample, place) = (row / places, row % places);
            let corner = [place / self.out[1] * self.stride[0], place % self.out[1] * self.stride[1]];
            for tap in 0..self.kernel[0] * self.kernel[1] {
                let tap_at = [tap / self.kernel[1], tap % self.kernel[1]];
                let at = |axis: usize| {
                    let padded = corner[axis] + tap_at[axis] * self.dilation[axis];
                    padded.checked_sub(self.padding[axis]).filter(|&at| at < self.map[axis])
                };
                let (Some(down), Some(right)) = (at(0), at(1)) else { continue };
                let pixel = sample * pixels + down * self.map[1] + right;
                for output in 0..self.outputs {
                    let first = output / self.group_outputs * self.group_inputs;
                    for c in 0..self.group_inputs {
                        let weight = output * 4 * self.weight_row + tap * self.group_inputs + c;
                        let (y, x) = (row * 4 * self.y_row + output, pixel * 4 * self.x_row + first + c);
                        f(y as usize, weight as usize, x as usize);
                    }
                }
            }
        }
    }

    fn out_rows(&self, samples: u32) -> u32 {
        samples * self.by_out.divisor
    }
}

/// A sum for every word of the quads in use of a matrix.
fn sums(rows: u32, row_quads: u32, columns: u32) -> Vec<Option<Sum>> {
    let (row, used) = (4 * row_quads, columns.next_multiple_of(4));
    (0..rows * row).map(|i| (i % row < used).then(Sum::default)).collect()
}

fn add(sums: &mut [Option<Sum>], at: usize, term: f64) {
    sums[at].as_mut().expect("a column in use").add(term);
}

/// The sums as numbers; each term is a product, which is rounded too.
fn products(sums: Vec<Option<Sum>>) -> Vec<Number> {
    sums.into_iter().map(|sum| sum.and_then(|sum| sum.times(1.0, 1))).collect()
}

/// Every activation, each way; GELU is none of a fused kernel, since its derivative needs its input.
fn forward_variants() -> Vec<Constants> {
    (0..12).map(|i| vec![("ACTIVATION", i / 2), ("DEPTHWISE", i % 2)]).collect()
}

fn backward_variants() -> Vec<Constants> {
    [0, 1].map(|depthwise| vec![("ACTIVATION", 0), ("DEPTHWISE", depthwise)]).to_vec()
}

kernel! {
    /// `y = f(W * x + b)`.
    GroupedForward = "grouped_forward" in "grouped.wgsl", SOURCE;
    params GroupedParams; sections [step]; sides activation: Activation;
    read [x: 2, weight: 3, bias: 4]; write [y: 5]; variants forward_variants
}

kernel! {
    /// `dx` from `dy`, the gradient with respect to `W * x + b`.
    GroupedBackwardInput = "grouped_backward_input" in "grouped.wgsl", SOURCE;
    params GroupedParams; sections [step];
    read [dy: 2, weight: 3]; write [dx: 5]; variants backward_variants
}

kernel! {
    /// `dW` and `db` from `x` and `dy`.
    GroupedBackwardWeight = "grouped_backward_weight" in "grouped.wgsl", SOURCE;
    params GroupedParams; sections [step];
    read [dy: 2, x_in: 3]; write [dweight: 4, dbias: 5]; variants backward_variants
}

impl GroupedForward {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let p = &self.params;
        let (x, weight, bias) = (memory.f32(self.x, member), memory.f32(self.weight, member), memory.f32(self.bias, member));
        let mut sums = sums(p.out_rows(step.rows), p.y_row, p.outputs);
        p.for_each_product(step.rows, |y, w, from| add(&mut sums, y, f64::from(weight[w]) * f64::from(x[from])));
        let (row, outputs, kind) = (4 * p.y_row as usize, p.outputs as usize, activation::kind(self.activation));
        let number = |(i, sum): (usize, Option<Sum>)| match (sum, i % row) {
            (None, _) => None,
            (Some(_), column) if column >= outputs => Some((0.0, 0.0)),
            (Some(mut sum), column) => {
                sum.add(f64::from(bias[column]));
                sum.times(1.0, 1).map(|z| activated(kind, z))
            }
        };
        sums.into_iter().enumerate().map(number).collect()
    }
}

/// f of z, which the twin rounds; no activation is steeper than SELU below 0.
fn activated(kind: u32, (z, error): (f64, f64)) -> (f64, f64) {
    if kind == 0 {
        return (z, error);
    }
    let error = error + EPS * z.abs();
    let near = [z - error, z, z + error].map(|z| activation::forward_error(kind, z as f32));
    (f64::from(activation::forward(kind, z as f32)), 1.76 * error + near.into_iter().fold(0.0, f64::max))
}

impl GroupedBackwardInput {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let p = &self.params;
        let (dy, weight) = (memory.f32(self.dy, member), memory.f32(self.weight, member));
        let mut sums = sums(step.rows * p.by_map.divisor, p.x_row, p.inputs);
        p.for_each_product(step.rows, |y, w, x| add(&mut sums, x, f64::from(weight[w]) * f64::from(dy[y])));
        products(sums)
    }
}

impl GroupedBackwardWeight {
    /// dW and db.
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> [Vec<Number>; 2] {
        let p = &self.params;
        let (dy, x) = (memory.f32(self.dy, member), memory.f32(self.x_in, member));
        let mut of_weight = sums(p.outputs, p.weight_row, p.weights());
        p.for_each_product(step.rows, |y, w, from| add(&mut of_weight, w, f64::from(dy[y]) * f64::from(x[from])));
        let mut of_bias = sums(1, p.by_output_quads.divisor, p.outputs);
        for row in dy.chunks(4 * p.y_row as usize).take(p.out_rows(step.rows) as usize) {
            row[..p.outputs as usize].iter().enumerate().for_each(|(output, &d)| add(&mut of_bias, output, f64::from(d)));
        }
        let of_bias = of_bias.into_iter().map(|sum| sum.and_then(|sum| sum.times(1.0, 0))).collect();
        [products(of_weight), of_bias]
    }
}

impl Kernel for GroupedForward {
    fn constants(&self) -> Constants {
        self.params.constants(self.activation)
    }

    fn grid(&self) -> [u32; 2] {
        let p = &self.params;
        p.grid(self.y, p.y_row, [p.by_out, p.by_out_blocks, p.by_output_quads])
    }

    fn iterations(&self) -> u64 {
        self.params.iterations(self.params.group_inputs)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let numbers = self.results(memory, step, member);
        store(memory, self.y, member, &numbers);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![bounds(&self.results(memory, step, member))]
    }
}

impl Kernel for GroupedBackwardInput {
    fn constants(&self) -> Constants {
        self.params.constants(Activation::Identity)
    }

    fn grid(&self) -> [u32; 2] {
        let p = &self.params;
        p.grid(self.dx, p.x_row, [p.by_map, p.by_map_blocks, p.by_input_quads])
    }

    fn iterations(&self) -> u64 {
        self.params.iterations(self.params.group_outputs)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let numbers = self.results(memory, step, member);
        store(memory, self.dx, member, &numbers);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![bounds(&self.results(memory, step, member))]
    }
}

impl Kernel for GroupedBackwardWeight {
    fn constants(&self) -> Constants {
        self.params.constants(Activation::Identity)
    }

    /// The quads of a row of dW and one more for db, by the channels or quads of them.
    fn grid(&self) -> [u32; 2] {
        let p = &self.params;
        [p.weights().div_ceil(4) + 1, if p.depthwise() { p.by_output_quads.divisor } else { p.outputs }]
    }

    fn iterations(&self) -> u64 {
        u64::from(self.dy.len / (4 * self.params.y_row) / WORKGROUP) + u64::from(WORKGROUP) + 2
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let [of_weight, of_bias] = self.results(memory, step, member);
        store(memory, self.dweight, member, &of_weight);
        store(memory, self.dbias, member, &of_bias);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        self.results(memory, step, member).map(|numbers| bounds(&numbers)).into()
    }
}
