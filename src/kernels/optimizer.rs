//! `shaders/optimizer.wgsl`: SGD with momentum, Adam and RMSprop over a range of all weights. The twins compute in f64.

use super::{EPS, FLUSH, Kernel, MAX_GROUPS, Tolerance, kernel, linear_grid, params};
use crate::memory::{Memory, Tensor};
use crate::plan::Update;
use crate::step::{OptimizerStep, Section, Step};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/optimizer_step.wgsl"),
    include_str!("../../shaders/lib/optimizer.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/optimizer.wgsl")
);

params! {
    /// `params` of `optimizer.wgsl`.
    OptimizerParams { quads: u32, stride: u32, pad0: u32, pad1: u32 }
}

kernel! {
    /// `v = momentum v + g`, `w -= learning_rate v`, or Nesterov's `w -= learning_rate (g + momentum v)`.
    Sgd = "sgd" in "optimizer.wgsl", SOURCE;
    params OptimizerParams; sections [optimizer];
    read [dw: 2]; write [w: 3, m: 4]
}

kernel! {
    /// Adam (Kingma and Ba, ICLR 2015), also with decoupled decay.
    Adam = "adam" in "optimizer.wgsl", SOURCE;
    params OptimizerParams; sections [optimizer];
    read [dw: 2]; write [w: 3, m: 4, v: 5]
}

kernel! {
    /// RMSprop (Tieleman and Hinton 2012); `m` is its momentum buffer.
    RmsProp = "rmsprop" in "optimizer.wgsl", SOURCE;
    params OptimizerParams; sections [optimizer];
    read [dw: 2]; write [w: 3, m: 4, v: 5]
}

/// A number and a bound on the error that f32 may make in it: every operation rounds, and may flush what is denormal.
pub(super) type Estimate = (f64, f64);

/// `g = dw + weight_decay w`.
fn gradient(o: &OptimizerStep, dw: Estimate, w: Estimate) -> Estimate {
    let ((dw, error), rate) = (dw, f64::from(o.weight_decay));
    let decay = rate * w.0;
    (dw + decay, error + rate * w.1 + 2.0 * EPS * (dw.abs() + decay.abs()) + (3.0 + rate) * FLUSH)
}

/// `a x + b y` where x and y are estimates.
fn combine(a: f32, x: Estimate, b: f32, y: Estimate) -> Estimate {
    let (a, b) = (f64::from(a), f64::from(b));
    let (ax, by) = (a * x.0, b * y.0);
    (ax + by, 3.0 * EPS * (ax.abs() + by.abs()) + (3.0 + a.abs()) * FLUSH + a.abs() * x.1 + b.abs() * y.1)
}

pub(super) fn exact(x: f32) -> Estimate {
    (f64::from(x), 0.0)
}

/// `w - change`.
fn moved(w: Estimate, change: Estimate) -> Estimate {
    (w.0 - change.0, w.1 + change.1 + 2.0 * EPS * (change.0.abs() + w.0.abs()) + 3.0 * FLUSH)
}

/// `rate d`.
fn scaled(rate: f32, d: Estimate) -> Estimate {
    let rate = f64::from(rate);
    (rate * d.0, rate * d.1 + EPS * (rate * d.0).abs())
}

/// The new (velocity, weight).
fn sgd(o: &OptimizerStep, dw: Estimate, w: Estimate, m: Estimate) -> [Estimate; 2] {
    let g = gradient(o, dw, w);
    let velocity = combine(o.beta1, m, 1.0, g);
    let direction = if o.nesterov == 1 { combine(o.beta1, velocity, 1.0, g) } else { velocity };
    [velocity, moved(w, scaled(o.learning_rate, direction))]
}

/// `beta2 v + one_minus_beta2 g^2`.
fn mean_square(o: &OptimizerStep, g: Estimate, v: Estimate) -> Estimate {
    let square = (g.0 * g.0, (2.0 * g.0.abs() + g.1) * g.1 + EPS * g.0 * g.0 + FLUSH);
    combine(o.beta2, v, o.one_minus_beta2, square)
}

/// `x / (sqrt(second) / bias + epsilon)`; sqrt is 1 / inverseSqrt in WGSL, so 2 + 2.5 ULP; each division 2.5 ULP.
fn normalised(x: Estimate, second: Estimate, bias: f64, epsilon: f32) -> Estimate {
    let (root, epsilon) = (second.0.sqrt(), f64::from(epsilon));
    let root_error = (second.0 + second.1).sqrt() - (second.0 - second.1).max(0.0).sqrt() + 9.0 * EPS * root;
    let denominator = root / bias + epsilon;
    let denominator_error = root_error / bias + 6.0 * EPS * denominator;
    let least = (denominator - denominator_error).max(epsilon * (1.0 - 2.0 * EPS));
    let quotient = x.0 / denominator;
    (quotient, (x.0.abs() + x.1 + FLUSH) / least - quotient.abs() + 6.0 * EPS * quotient.abs())
}

/// The new (first moment, second moment, weight).
fn adam(o: &OptimizerStep, dw: Estimate, [w, m, v]: [Estimate; 3]) -> [Estimate; 3] {
    let g = gradient(o, dw, w);
    let first = combine(o.beta1, m, o.one_minus_beta1, g);
    let second = mean_square(o, g, v);
    let update = normalised(scaled(o.learning_rate, first), second, f64::from(o.root_bias2), o.epsilon);
    let decay = scaled(o.decoupled_decay, w);
    // The first of two subtractions rounds what is larger than its result by no more than the decay.
    let change = (decay.0 + update.0, decay.1 + update.1 + 2.0 * EPS * (w.0.abs() + decay.0.abs()) + FLUSH);
    [first, second, moved(w, change)]
}

/// The new (momentum buffer, mean square, weight).
fn rmsprop(o: &OptimizerStep, dw: Estimate, [w, m, v]: [Estimate; 3]) -> [Estimate; 3] {
    let g = gradient(o, dw, w);
    let second = mean_square(o, g, v);
    let first = combine(o.beta1, m, 1.0, normalised(g, second, 1.0, o.epsilon));
    [first, second, moved(w, scaled(o.learning_rate, first))]
}

/// The new (weight, m, v) of an optimizer; SGD has no v, and leaves what stands in its place alone.
pub(super) fn updated(
    update: Update,
    o: &OptimizerStep,
    g: Estimate,
    (w, m): (Estimate, Estimate),
    v: impl Fn() -> Estimate,
) -> [Option<Estimate>; 3] {
    match update {
        Update::Sgd => {
            let [velocity, weight] = sgd(o, g, w, m);
            [Some(weight), Some(velocity), None]
        }
        Update::Adam => {
            let [first, second, weight] = adam(o, g, [w, m, v()]);
            [Some(weight), Some(first), Some(second)]
        }
        Update::RmsProp => {
            let [first, second, weight] = rmsprop(o, g, [w, m, v()]);
            [Some(weight), Some(first), Some(second)]
        }
    }
}

/// What a number is when it was stored.
pub(super) fn stored((value, error): Estimate) -> Estimate {
    (f64::from(value as f32), error + EPS * value.abs() + FLUSH)
}

/// What a kernel writes of w, m and v, and how far the device may be off; `None` where it writes nothing.
pub(super) type Written = [Vec<Option<Estimate>>; 3];

/// The twin's part: what is written.
pub(super) fn write(memory: &Memory, member: usize, tensors: [Tensor; 3], results: Written) {
    for (tensor, results) in tensors.into_iter().zip(results) {
        for (out, new) in memory.f32_mut(tensor, member).iter_mut().zip(results) {
            if let Some((value, _)) = new {
                *out = value as f32;
            }
        }
    }
}

/// No difference is below -1: what is left alone has the same bits.
pub(super) fn bounds(results: Written) -> Vec<Tolerance> {
    let of = |new: Vec<Option<Estimate>>| new.into_iter().map(|new| new.map_or(-1.0, |(_, bound)| bound)).collect();
    results.map(|new| Tolerance::Bounds(of(new))).into()
}

impl Kernel for Sgd {
    fn sections(&self) -> Vec<Section> {
        vec![Section::Optimizer]
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(self.params.quads, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let dw = memory.f32(self.dw, member);
        let (mut w, mut m) = (memory.f32_mut(self.w, member), memory.f32_mut(self.m, member));
        for i in 0..dw.len() {
            let [velocity, weight] = sgd(&step.members[member].optimizer, exact(dw[i]), exact(w[i]), exact(m[i]));
            (m[i], w[i]) = (velocity.0 as f32, weight.0 as f32);
        }
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let (dw, w, m) = (memory.f32(self.dw, member), memory.f32(self.w, member), memory.f32(self.m, member));
        let new: Vec<_> =
            (0..dw.len()).map(|i| sgd(&step.members[member].optimizer, exact(dw[i]), exact(w[i]), exact(m[i]))).collect();
        let bounds = |which: usize| Tolerance::Bounds(new.iter().map(|n| n[which].1).collect());
        vec![bounds(1), bounds(0)]
    }
}

/// The kernels that keep two numbers for each weight.
macro_rules! two_moments {
    ($kernel:ident, $new:ident) => {
        impl Kernel for $kernel {
            fn sections(&self) -> Vec<Section> {
                vec![Section::Optimizer]
            }

            fn grid(&self) -> [u32; 2] {
                linear_grid(self.params.quads, MAX_GROUPS)
            }

            fn twin(&self, memory: &Memory, step: &Step, member: usize) {
                let dw = memory.f32(self.dw, member);
                let (mut w, mut m) = (memory.f32_mut(self.w, member), memory.f32_mut(self.m, member));
                let mut v = memory.f32_mut(self.v, member);
                for i in 0..dw.len() {
                    let [first, second, weight] =
                        $new(&step.members[member].optimizer, exact(dw[i]), [w[i], m[i], v[i]].map(exact));
                    (m[i], v[i], w[i]) = (first.0 as f32, second.0 as f32, weight.0 as f32);
                }
            }

            fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
                let (dw, w) = (memory.f32(self.dw, member), memory.f32(self.w, member));
                let (m, v) = (memory.f32(self.m, member), memory.f32(self.v, member));
                let optimizer = &step.members[member].optimizer;
                let new: Vec<_> = (0..dw.len()).map(|i| $new(optimizer, exact(dw[i]), [w[i], m[i], v[i]].map(exact))).collect();
                let bounds = |which: usize| Tolerance::Bounds(new.iter().map(|n| n[which].1).collect());
                vec![bounds(2), bounds(0), bounds(1)]
            }
        }
    };
}

two_moments!(Adam, adam);
two_moments!(RmsProp, rmsprop);
