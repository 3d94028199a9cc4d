//! `shaders/activation.wgsl`: activations, element by element.

use super::{EPS, FLUSH, Kernel, MAX_GROUPS, Tolerance, exp_error, kernel, linear_grid, params};
use crate::memory::Memory;
use crate::network::Activation;
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/activation.wgsl")
);

params! {
    /// `params` of `activation.wgsl`.
    ActivationParams { kind: u32, units: u32, quads: u32, y_stride: u32, dy_stride: u32, dx_stride: u32, pad0: u32, pad1: u32 }
}

impl ActivationParams {
    /// An activation over rows of `units`, without strides.
    pub fn new(activation: Activation, units: u32) -> Self {
        Self { kind: kind(activation), units, quads: units.div_ceil(4), ..Self::default() }
    }
}

kernel! {
    /// `y = f(y)`, in place.
    ActivationForward = "activation_forward" in "activation.wgsl", SOURCE;
    params ActivationParams; sections [step];
    read []; write [y: 2]
}

kernel! {
    /// `dx = dy f'(x)`, from the output `y = f(x)`.
    ActivationBackward = "activation_backward" in "activation.wgsl", SOURCE;
    params ActivationParams; sections [step];
    read [dy: 2, output: 3]; write [dx: 4]
}

fn kind(activation: Activation) -> u32 {
    match activation {
        Activation::Identity => 0,
        Activation::Relu => 1,
        Activation::Tanh => 2,
        Activation::Sigmoid => 3,
        _ => todo!(),
    }
}

fn forward(kind: u32, x: f32) -> f32 {
    let x64 = f64::from(x);
    match kind {
        _ if x.is_nan() => x,
        1 => x.max(0.0),
        2 => libm::tanh(x64) as f32,
        3 => (1.0 / (1.0 + libm::exp(-x64))) as f32,
        _ => x,
    }
}

/// WGSL: tanh is as accurate as the worse of 1e-5 absolute and sinh/cosh; its clamp changes less than that. Sigmoid is exp, an
/// addition and a division of 2.5 ULP, of a number clamped to 80: below -80 it is e^-80 < 2e-35 instead of less.
fn forward_error(kind: u32, x: f32) -> f64 {
    match kind {
        1 if x.is_subnormal() => FLUSH,
        2 => 1e-5 + 8.0 * EPS,
        3 => {
            let y = 1.0 / (1.0 + libm::exp(-f64::from(x)));
            y * (1.0 - y) * exp_error(f64::from(x).clamp(-80.0, 80.0)) + 8.0 * EPS * y + 2e-35
        }
        _ => 0.0,
    }
}

/// The gradient and its error: at most four roundings, and of the three numbers that dy multiplies or makes any may be flushed.
fn backward(kind: u32, y: f32, dy: f32) -> (f64, f64) {
    let (y, dy) = (f64::from(y), f64::from(dy));
    let error = |magnitude: f64| 4.0 * EPS * dy.abs() * magnitude + FLUSH * (2.0 + dy.abs());
    match kind {
        1 => (if y > 0.0 { dy } else { 0.0 }, 0.0),
        2 => (dy * (1.0 - y * y), error(1.0 + 2.0 * y * y)),
        3 => (dy * (y * (1.0 - y)), error(y.abs() * (1.0 + y.abs()))),
        _ => (dy, 0.0),
    }
}

impl Kernel for ActivationForward {
    fn grid(&self) -> [u32; 2] {
        linear_grid(self.y.len / 4, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let columns = 4 * self.params.quads as usize;
        let mut y = memory.f32_mut(self.y, member);
        for (i, y) in y[..step.rows as usize * columns].iter_mut().enumerate() {
            *y = if i % columns < self.params.units as usize { forward(self.params.kind, *y) } else { 0.0 };
        }
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let columns = 4 * self.params.quads as usize;
        let y = memory.f32(self.y, member);
        let used = y[..step.rows as usize * columns].iter().enumerate();
        // The padding is 0 exactly.
        let bound = |(i, &x)| if i % columns < self.params.units as usize { forward_error(self.params.kind, x) } else { 0.0 };
        vec![Tolerance::Bounds(used.map(bound).collect())]
    }
}

impl Kernel for ActivationBackward {
    fn grid(&self) -> [u32; 2] {
        linear_grid(self.dx.len / 4, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let used = 4 * (self.params.quads * step.rows) as usize;
        let (dy, y) = (memory.f32(self.dy, member), memory.f32(self.output, member));
        let mut dx = memory.f32_mut(self.dx, member);
        for i in 0..used {
            dx[i] = backward(self.params.kind, y[i], dy[i]).0 as f32;
        }
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let used = 4 * (self.params.quads * step.rows) as usize;
        let (dy, y) = (memory.f32(self.dy, member), memory.f32(self.output, member));
        vec![Tolerance::Bounds((0..used).map(|i| backward(self.params.kind, y[i], dy[i]).1).collect())]
    }
}
