//! `shaders/concrete_regularizer.wgsl`: the gradient of the rate of concrete dropout as a whole, with that of its regulariser.

use super::concrete::{LOGIT_LIMIT, Rate};
use super::gradients::PARTIALS;
use super::sums::{Number, Sum, bounds, store};
use super::{EPS, FLUSH, Kernel, MAX_GROUPS, Tolerance, WORKGROUP, kernel, linear_grid, params};
use crate::memory::Memory;
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/nan.wgsl"),
    include_str!("../../shaders/lib/concrete.wgsl"),
    include_str!("../../shaders/concrete_regularizer.wgsl")
);

params! {
    /// `params` of `concrete_regularizer.wgsl`.
    RegularizerParams {
        partials: u32, squares: u32, weight_regularizer: f32, entropy_regularizer: f32,
        quads: u32, logit_stride: u32, partials_stride: u32, squares_stride: u32,
        dlogit_stride: u32, w_stride: u32, dw_stride: u32, pad0: u32,
    }
}

impl RegularizerParams {
    /// For a site of so many units whose gradient comes in `partials` parts, before a weight of so many quads, without strides.
    ///
    /// In the paper `weight_regularizer` is l^2 / (tau N) and `dropout_regularizer` 2 / (tau N), with the prior length scale l, the
    /// precision tau and N training samples. The authors' Keras layer regularises the weight alone, their PyTorch one the bias
    /// as well; either is a number of quads, as the bias follows its weight.
    pub fn new([weight_regularizer, dropout_regularizer]: [f64; 2], units: u32, partials: u32, quads: u32) -> Self {
        Self {
            partials,
            squares: PARTIALS,
            weight_regularizer: weight_regularizer as f32,
            entropy_regularizer: (dropout_regularizer * f64::from(units)) as f32,
            quads,
            ..Self::default()
        }
    }
}

kernel! {
    /// `dlogit = sum of partials + dR/dc`; `squares` are the partial sums that [`super::gradients::GradientNorm`] makes of w.
    ConcreteFinish = "concrete_finish" in "concrete_regularizer.wgsl", SOURCE;
    params RegularizerParams; sections [step];
    read [logit: 2, partials: 3, squares: 4]; write [dlogit: 5]
}

kernel! {
    /// `dw += 2 weight_regularizer w / (1 - p)`.
    ConcreteDecay = "concrete_decay" in "concrete_regularizer.wgsl", SOURCE;
    params RegularizerParams; sections [step];
    read [logit: 2, w: 3]; write [dw: 4]
}

/// The error of a product whose factors and roundings are off by `error` relative to it, together; numbers on the way may be flushed.
fn relative(value: f64, error: f64) -> f64 {
    1.01 * value.abs() * error + 4.0 * FLUSH
}

impl ConcreteFinish {
    /// The sums have the errors of their additions, of up to `terms` terms; their products, three rounded operations and the
    /// errors of e^c and of p (1 - p), of which the quotient is 2.5 ULP; then two additions. The twin rounds.
    fn result(&self, memory: &Memory, step: &Step, member: usize) -> (f64, f64) {
        let (p, given) = (&self.params, memory.f32(self.logit, member)[0]);
        let total = |tensor, count: u32| {
            let mut sum = Sum::default();
            memory.f32(tensor, member)[..count as usize].iter().for_each(|&v| sum.add(f64::from(v)));
            sum.times(1.0, 0).unwrap_or_default()
        };
        let (sum, sum_error) = total(self.partials, p.partials);
        let (squares, squares_error) = total(self.squares, p.squares);
        let rate = Rate::of(given);
        let [odds, odds_error] = rate.odds;
        let weight = f64::from(p.weight_regularizer);
        let weights = weight * squares * odds;
        let weights_error = relative(weights, odds_error / odds + 4.0 * EPS) + 1.01 * weight * odds * squares_error;
        let share = rate.drop[0] / rate.inverse[0];
        let entropy = f64::from(p.entropy_regularizer) * rate.logit * share;
        let share_error = (rate.drop[1] / rate.drop[0]) + (rate.inverse[1] / rate.inverse[0]) + 5.0 * EPS;
        let entropy_error = relative(entropy, share_error + 4.0 * EPS);
        let (slope, error) = if step.accumulated == 0 {
            let error = sum_error + weights_error + entropy_error;
            let regularizer = weights + entropy;
            let slope = sum + regularizer;
            (slope, error + 2.0 * EPS * (regularizer.abs() + slope.abs() + 2.0 * error) + 2.0 * FLUSH)
        } else {
            (sum, sum_error)
        };
        // Where the slope is within its error of 0, the device may hold what the twin does not, or the other way round; either is
        // then within the error of 0, and of the other.
        let further = (given > LOGIT_LIMIT && slope < 0.0) || (given < -LOGIT_LIMIT && slope > 0.0);
        match () {
            () if further && slope.abs() > error => (0.0, 0.0),
            () if further => (0.0, error),
            () => (slope, error + EPS * slope.abs()),
        }
    }

    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let mut numbers = vec![None; self.dlogit.len as usize];
        numbers[..4].fill(Some((0.0, 0.0)));
        numbers[0] = Some(self.result(memory, step, member));
        numbers
    }
}

impl Kernel for ConcreteFinish {
    fn grid(&self) -> [u32; 2] {
        [1, 1]
    }

    fn iterations(&self) -> u64 {
        u64::from((self.params.partials + self.params.squares) / WORKGROUP + WORKGROUP) + 4
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let results = self.results(memory, step, member);
        store(memory, self.dlogit, member, &results);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![bounds(&self.results(memory, step, member))]
    }
}

impl ConcreteDecay {
    /// The factor is 1 / (1 - p) and two products, of which that with 2 is exact; then a product and a sum. The twin rounds.
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let (w, dw) = (memory.f32(self.w, member), memory.f32(self.dw, member));
        let mut numbers = vec![None; self.dw.len as usize];
        if step.accumulated != 0 {
            return numbers;
        }
        let [inverse, error] = Rate::of(memory.f32(self.logit, member)[0]).inverse;
        let factor = 2.0 * f64::from(self.params.weight_regularizer) * inverse;
        for i in 0..4 * self.params.quads as usize {
            let (change, d) = (factor * f64::from(w[i]), f64::from(dw[i]));
            let change_error = relative(change, error / inverse + 4.0 * EPS);
            let new = d + change;
            numbers[i] = Some((new, change_error + 3.0 * EPS * (new.abs() + change_error) + 3.0 * FLUSH));
        }
        numbers
    }
}

impl Kernel for ConcreteDecay {
    fn grid(&self) -> [u32; 2] {
        linear_grid(self.params.quads, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let results = self.results(memory, step, member);
        store(memory, self.dw, member, &results);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![bounds(&self.results(memory, step, member))]
    }
}
