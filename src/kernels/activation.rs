//! `shaders/activation.wgsl`: activations, element by element.

use super::division::Division;
use super::{EPS, FLUSH, Kernel, MAX_GROUPS, Tolerance, exp_error, kernel, linear_grid, params};
use crate::memory::{Memory, Tensor};
use crate::network::Activation;
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/division.wgsl"),
    include_str!("../../shaders/lib/activation.wgsl"),
    include_str!("../../shaders/activation.wgsl")
);

params! {
    /// `params` of `activation.wgsl`.
    ActivationParams {
        kind: u32, units: u32, quads: u32, y_stride: u32, dy_stride: u32, dx_stride: u32, x_stride: u32, row: u32,
        by_quads: Division, pad0: u32,
    }
}

impl ActivationParams {
    /// An activation over rows of `units`, padded to `row_words`, without strides.
    pub fn new(activation: Activation, units: u32, row_words: u32) -> Self {
        let row = units.next_multiple_of(row_words) / 4;
        let quads = units.div_ceil(4);
        Self { kind: kind(activation), units, quads, row, by_quads: Division::by(quads), ..Self::default() }
    }

    /// One invocation per quad in use of the rows that a matrix has room for.
    fn grid(&self, tensor: Tensor) -> [u32; 2] {
        linear_grid(tensor.len / (4 * self.row) * self.quads, MAX_GROUPS)
    }

    /// Where the quads of the valid rows lie, and which unit each element is.
    fn places(&self, rows: u32) -> impl Iterator<Item = (usize, u32)> + use<> {
        let (row_words, used) = (4 * self.row, 4 * self.quads);
        (0..rows).flat_map(move |row| (0..used).map(move |unit| ((row * row_words + unit) as usize, unit)))
    }

    /// A bound for each of them; what lies between is left alone.
    fn bounds(&self, rows: u32, mut bound: impl FnMut((usize, u32)) -> f64) -> Vec<Tolerance> {
        let mut bounds = vec![-1.0; (4 * self.row * rows) as usize];
        self.places(rows).for_each(|place| bounds[place.0] = bound(place));
        vec![Tolerance::Bounds(bounds)]
    }
}

kernel! {
    /// `y = f(x)`.
    ActivationForward = "activation_forward" in "activation.wgsl", SOURCE;
    params ActivationParams; sections [step];
    read [x: 3]; write [y: 2]
}

kernel! {
    /// `dx = dy f'(x)`, from the output `y = f(x)`.
    ActivationBackward = "activation_backward" in "activation.wgsl", SOURCE;
    params ActivationParams; sections [step];
    read [dy: 2, output: 3]; write [dx: 4]
}

kernel! {
    /// `y = GELU(x)`.
    GeluForward = "gelu_forward" in "activation.wgsl", SOURCE;
    params ActivationParams; sections [step];
    read [x: 3]; write [y: 2]
}

kernel! {
    /// `dx = dy GELU'(x)`, from the input `x`.
    GeluBackward = "gelu_backward" in "activation.wgsl", SOURCE;
    params ActivationParams; sections [step];
    read [dy: 2, x: 3]; write [dx: 4]
}

pub(super) fn kind(activation: Activation) -> u32 {
    match activation {
        Activation::Identity => 0,
        Activation::Relu => 1,
        Activation::Tanh => 2,
        Activation::Sigmoid => 3,
        Activation::LeakyRelu => 4,
        Activation::Selu => 5,
        Activation::Gelu => u32::MAX, // Has entry points of its own, which look at no kind.
    }
}

const SLOPE: f64 = 0.01;
const LAMBDA: f64 = 1.0507009873554805;
const LAMBDA_ALPHA: f64 = LAMBDA * 1.6732632423543772;

pub(super) fn forward(kind: u32, x: f32) -> f32 {
    let x64 = f64::from(x);
    match kind {
        _ if x.is_nan() => x,
        1 => x.max(0.0),
        2 => libm::tanh(x64) as f32,
        3 => (1.0 / (1.0 + libm::exp(-x64))) as f32,
        4 if x <= 0.0 => (SLOPE * x64) as f32,
        5 if x <= 0.0 => (LAMBDA_ALPHA * libm::expm1(x64)) as f32,
        5 => (LAMBDA * x64) as f32,
        _ => x,
    }
}

/// WGSL: tanh is as accurate as the worse of 1e-5 absolute and sinh/cosh; its clamp changes less than that. Sigmoid is exp, an
/// addition and a division of 2.5 ULP, of a number clamped to 80: below -80 it is e^-80 < 2e-35 instead of less.
///
/// WGSL rounds to either side, 2 EPS, and constants are rounded, 1 EPS. SELU near 0 is a series: p_2 = 1 + x / 2 p_3 and so on,
/// each with a division, a product and a sum, of which the inner count an eighth or less: 4 EPS. The product with x, the product
/// with a constant, the terms left out and the twin's rounding make it less than 12. Elsewhere it is exp, of which the
/// subtraction leaves the absolute error.
pub(super) fn forward_error(kind: u32, x: f32) -> f64 {
    match kind {
        1 if x.is_subnormal() => FLUSH,
        2 => 1e-5 + 8.0 * EPS,
        3 => {
            let y = 1.0 / (1.0 + libm::exp(-f64::from(x)));
            y * (1.0 - y) * exp_error(f64::from(x).clamp(-80.0, 80.0)) + 8.0 * EPS * y + 2e-35
        }
        4 if x > 0.0 => FLUSH * f64::from(u8::from(x.is_subnormal())),
        4 => 4.0 * EPS * SLOPE * f64::from(x).abs() + FLUSH,
        5 if x > 0.0 => 4.0 * EPS * LAMBDA * f64::from(x) + 2.0 * FLUSH,
        5 if x > -0.25 => 12.0 * EPS * LAMBDA_ALPHA * f64::from(x).abs() + 4.0 * FLUSH,
        5 => {
            let x = f64::from(x).max(-80.0);
            LAMBDA_ALPHA * (libm::exp(x) * exp_error(x) + 6.0 * EPS) + 2.0 * FLUSH
        }
        _ => 0.0,
    }
}

/// f(z) and its error, where z is off by `error`: the twin rounds z as well, and no activation is steeper than SELU below 0.
pub(super) fn after(kind: u32, (z, error): (f64, f64)) -> (f64, f64) {
    if kind == 0 {
        return (z, error);
    }
    let error = error + EPS * z.abs();
    let near = [z - error, z, z + error].map(|z| forward_error(kind, z as f32));
    (f64::from(forward(kind, z as f32)), 1.76 * error + near.into_iter().fold(0.0, f64::max))
}

/// The gradient and its error: at most four roundings, and of the three numbers that dy multiplies or makes any may be flushed.
pub(super) fn backward(kind: u32, y: f32, dy: f32) -> (f64, f64) {
    let (y, dy) = (f64::from(y), f64::from(dy));
    let error = |magnitude: f64| 4.0 * EPS * dy.abs() * magnitude + FLUSH * (2.0 + dy.abs());
    match kind {
        1 => (if y > 0.0 { dy } else { 0.0 }, 0.0),
        2 => (dy * (1.0 - y * y), error(1.0 + 2.0 * y * y)),
        3 => (dy * (y * (1.0 - y)), error(y.abs() * (1.0 + y.abs()))),
        4 if y <= 0.0 => (SLOPE * dy, error(SLOPE)),
        5 if y > 0.0 => (LAMBDA * dy, error(LAMBDA)),
        5 => (dy * (y + LAMBDA_ALPHA), error(y.abs() + LAMBDA_ALPHA)),
        _ => (dy, 0.0),
    }
}

/// GELU at x: the share s of x that it is, the derivative v' of the sigmoid's argument, and the error of s.
///
/// v has four rounded operations and two constants of one sign. The sigmoid has the errors that [`forward_error`] gives it.
fn gelu_share(x: f64) -> [f64; 3] {
    let root = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
    let v = root * (x + 0.044715 * x * x * x);
    let share = 1.0 / (1.0 + libm::exp(-v));
    let slope = root * (1.0 + 3.0 * 0.044715 * x * x);
    let exp = exp_error(v.clamp(-80.0, 80.0)) + 10.0 * EPS * v.abs();
    [share, slope, share * (1.0 - share) * exp + 8.0 * EPS * share + 2e-35 + FLUSH]
}

/// GELU and its error; below -10 and above 10, where the shader stops to calculate, less than 1e-36 is left.
fn gelu(x: f32) -> (f64, f64) {
    let [share, _, error] = gelu_share(f64::from(x).clamp(-10.0, 10.0));
    let x = f64::from(x);
    match x {
        _ if x < -10.0 => (0.0, FLUSH),
        _ => (x * share, x.abs() * (error + 3.0 * EPS * share) + 2.0 * FLUSH),
    }
}

/// The gradient and its error: that of s, of the product with 1 - s, and a few roundings.
fn gelu_gradient(x: f32, dy: f32) -> (f64, f64) {
    if x.is_nan() {
        return (f64::NAN, f64::NAN);
    }
    let (x, dy) = (f64::from(x).clamp(-10.0, 10.0), f64::from(dy));
    let [share, slope, error] = gelu_share(x);
    let bend = x * slope * share * (1.0 - share);
    let size = share + bend.abs();
    let bend_error = (x * slope).abs() * (error + 2.0 * EPS * share * (1.0 - share)) + 16.0 * EPS * bend.abs();
    let flushed = FLUSH * (3.0 + dy.abs() * (2.0 + (x * slope).abs()));
    (dy * (share + bend), dy.abs() * (error + bend_error + 5.0 * EPS * size) + flushed)
}

impl Kernel for ActivationForward {
    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.y)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (x, mut y) = (memory.f32(self.x, member), memory.f32_mut(self.y, member));
        for (i, unit) in self.params.places(step.rows) {
            y[i] = if unit < self.params.units { forward(self.params.kind, x[i]) } else { 0.0 };
        }
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let x = memory.f32(self.x, member);
        // The padding is 0 exactly.
        let bound = |(i, unit)| if unit < self.params.units { forward_error(self.params.kind, x[i]) } else { 0.0 };
        self.params.bounds(step.rows, bound)
    }
}

impl Kernel for ActivationBackward {
    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.dx)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (dy, y) = (memory.f32(self.dy, member), memory.f32(self.output, member));
        let mut dx = memory.f32_mut(self.dx, member);
        for (i, _) in self.params.places(step.rows) {
            dx[i] = backward(self.params.kind, y[i], dy[i]).0 as f32;
        }
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let (dy, y) = (memory.f32(self.dy, member), memory.f32(self.output, member));
        self.params.bounds(step.rows, |(i, _)| backward(self.params.kind, y[i], dy[i]).1)
    }
}

impl Kernel for GeluForward {
    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.y)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let x = memory.f32(self.x, member);
        let mut y = memory.f32_mut(self.y, member);
        for (i, _) in self.params.places(step.rows) {
            y[i] = if x[i].is_nan() { x[i] } else { gelu(x[i]).0 as f32 };
        }
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let x = memory.f32(self.x, member);
        self.params.bounds(step.rows, |(i, _)| if x[i] == 0.0 { 0.0 } else { gelu(x[i]).1 })
    }
}

impl Kernel for GeluBackward {
    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.dx)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (dy, x) = (memory.f32(self.dy, member), memory.f32(self.x, member));
        let mut dx = memory.f32_mut(self.dx, member);
        for (i, _) in self.params.places(step.rows) {
            dx[i] = gelu_gradient(x[i], dy[i]).0 as f32;
        }
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let (dy, x) = (memory.f32(self.dy, member), memory.f32(self.x, member));
        self.params.bounds(step.rows, |(i, _)| if dy[i] == 0.0 { 0.0 } else { gelu_gradient(x[i], dy[i]).1 })
    }
}
