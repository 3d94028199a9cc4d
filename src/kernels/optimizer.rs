//! `shaders/optimizer.wgsl`: SGD with momentum and Adam over a range of all weights. The twins compute in f64.

use super::{EPS, FLUSH, Kernel, MAX_GROUPS, Tolerance, kernel, linear_grid, params};
use crate::memory::Memory;
use crate::step::{OptimizerStep, Section, Step};

const SOURCE: &str = concat!(include_str!("../../shaders/lib/index.wgsl"), include_str!("../../shaders/optimizer.wgsl"));

params! {
    /// `params` of `optimizer.wgsl`.
    OptimizerParams { quads: u32, stride: u32, pad0: u32, pad1: u32 }
}

kernel! {
    /// `v = momentum v + g`, `w -= learning_rate v`.
    Sgd = "sgd" in "optimizer.wgsl", SOURCE;
    params OptimizerParams; sections [optimizer];
    read [dw: 2]; write [w: 3, m: 4]
}

kernel! {
    /// Adam (Kingma and Ba, ICLR 2015).
    Adam = "adam" in "optimizer.wgsl", SOURCE;
    params OptimizerParams; sections [optimizer];
    read [dw: 2]; write [w: 3, m: 4, v: 5]
}

/// A number and a bound on the error that f32 may make in it: every operation rounds, and may flush what is denormal.
type Estimate = (f64, f64);

/// `g = dw + weight_decay w`.
fn gradient(o: &OptimizerStep, dw: f32, w: f32) -> Estimate {
    let (dw, decay) = (f64::from(dw), f64::from(o.weight_decay) * f64::from(w));
    (dw + decay, 2.0 * EPS * (dw.abs() + decay.abs()) + (3.0 + f64::from(o.weight_decay)) * FLUSH)
}

/// `a x + b y` where y is an estimate.
fn combine(a: f32, x: f32, b: f32, y: Estimate) -> Estimate {
    let (ax, b) = (f64::from(a) * f64::from(x), f64::from(b));
    let error = 3.0 * EPS * (ax.abs() + (b * y.0).abs()) + (3.0 + f64::from(a).abs()) * FLUSH;
    (ax + b * y.0, error + b.abs() * y.1)
}

/// The new (velocity, weight).
fn sgd(o: &OptimizerStep, dw: f32, w: f32, m: f32) -> [Estimate; 2] {
    let velocity = combine(o.beta1, m, 1.0, gradient(o, dw, w));
    let update = f64::from(o.learning_rate) * velocity.0;
    let weight = f64::from(w) - update;
    let error = f64::from(o.learning_rate) * velocity.1 + 3.0 * EPS * (update.abs() + f64::from(w).abs());
    [velocity, (weight, error + 3.0 * FLUSH)]
}

/// The new (first moment, second moment, weight).
fn adam(o: &OptimizerStep, dw: f32, [w, m, v]: [f32; 3]) -> [Estimate; 3] {
    let g = gradient(o, dw, w);
    let first = combine(o.beta1, m, o.one_minus_beta1, g);
    let square = (g.0 * g.0, (2.0 * g.0.abs() + g.1) * g.1 + EPS * g.0 * g.0 + FLUSH);
    let second = combine(o.beta2, v, o.one_minus_beta2, square);
    // sqrt is 1 / inverseSqrt in WGSL, so 2 + 2.5 ULP; each division 2.5 ULP.
    let root = second.0.sqrt();
    let root_error = (second.0 + second.1).sqrt() - (second.0 - second.1).max(0.0).sqrt() + 9.0 * EPS * root;
    let bias = f64::from(o.root_bias2);
    let denominator = root / bias + f64::from(o.epsilon);
    let denominator_error = root_error / bias + 6.0 * EPS * denominator;
    let rate = f64::from(o.learning_rate);
    let update = rate * first.0 / denominator;
    let least = (denominator - denominator_error).max(f64::from(o.epsilon) * (1.0 - 2.0 * EPS));
    let update_error = (rate * (first.0.abs() + first.1) + FLUSH) / least - update.abs() + 7.0 * EPS * update.abs();
    let error = update_error + 2.0 * EPS * (f64::from(w).abs() + update.abs()) + 3.0 * FLUSH;
    [first, second, (f64::from(w) - update, error)]
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
            let [velocity, weight] = sgd(&step.members[member].optimizer, dw[i], w[i], m[i]);
            (m[i], w[i]) = (velocity.0 as f32, weight.0 as f32);
        }
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let (dw, w, m) = (memory.f32(self.dw, member), memory.f32(self.w, member), memory.f32(self.m, member));
        let new: Vec<_> = (0..dw.len()).map(|i| sgd(&step.members[member].optimizer, dw[i], w[i], m[i])).collect();
        let bounds = |which: usize| Tolerance::Bounds(new.iter().map(|n| n[which].1).collect());
        vec![bounds(1), bounds(0)]
    }
}

impl Kernel for Adam {
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
            let [first, second, weight] = adam(&step.members[member].optimizer, dw[i], [w[i], m[i], v[i]]);
            (m[i], v[i], w[i]) = (first.0 as f32, second.0 as f32, weight.0 as f32);
        }
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let (dw, w) = (memory.f32(self.dw, member), memory.f32(self.w, member));
        let (m, v) = (memory.f32(self.m, member), memory.f32(self.v, member));
        let optimizer = &step.members[member].optimizer;
        let new: Vec<_> = (0..dw.len()).map(|i| adam(optimizer, dw[i], [w[i], m[i], v[i]])).collect();
        let bounds = |which: usize| Tolerance::Bounds(new.iter().map(|n| n[which].1).collect());
        vec![bounds(2), bounds(0), bounds(1)]
    }
}
