//! A training step in balls: every number with a bound on its error, so that no test body chooses a tolerance.
//!
//! The midpoint is the formula in f64. The radius is running error analysis (Higham 2002, section 3.3): what an operation
//! passes on from its operands, by the triangle inequality or a Lipschitz constant, plus the error of its own in f32:
//!
//! ```text
//! + - *          one rounding, in either direction: WGSL fixes no rounding mode, so 1 ULP = 2 EPS
//! sum of n       gamma(2n) * sum |a| |b| in any order, fused or not
//! / sqrt log     2.5 ULP; 1 / inverseSqrt of 2 + 2.5 ULP; 2^-21 absolute in [0.5, 2] and 3 ULP elsewhere
//! exp tanh       (3 + 2 |x|) ULP; 1e-5 absolute
//! relu           1-Lipschitz; its derivative is any of 0 and 1 where the ball of the pre-activation contains 0
//! ```
//!
//! The midpoints serve nobody as an oracle: the tests compare with `thinnet::reference` and take the radii from here.
//! Rounding in f64 is 2^-29 of rounding in f32 and lies far inside the slack of these bounds.

use thinnet::Optimizer;
use thinnet::kernels::{EPS, exp_error, gamma};
use thinnet::network::{Activation, Layer, Network};
use thinnet::reference::Masks;
use thinnet::rng::{self, Coordinates, Stream};

const ULP: f64 = 2.0 * EPS;

/// A denormal may be flushed to 0.
const TINY: f64 = 1.2e-38;

/// A number within `rad` of `mid`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Ball {
    pub(crate) mid: f64,
    pub(crate) rad: f64,
}

impl Ball {
    pub(crate) fn exact(mid: f64) -> Self {
        Self { mid, rad: 0.0 }
    }

    /// An f64 that the host rounds to f32.
    pub(crate) fn rounded(mid: f64) -> Self {
        Self { mid, rad: EPS * mid.abs() }
    }

    /// The largest magnitude.
    pub(crate) fn size(self) -> f64 {
        self.mid.abs() + self.rad
    }

    /// After an operation with an error of `n` ULP.
    fn ulps(self, n: f64) -> Self {
        Self { rad: self.rad + n * ULP * self.size() + TINY, ..self }
    }

    pub(crate) fn times(self, b: Self) -> Self {
        Self { mid: self.mid * b.mid, rad: self.mid.abs() * b.rad + self.rad * b.size() }.ulps(1.0)
    }

    pub(crate) fn plus(self, b: Self) -> Self {
        Self { mid: self.mid + b.mid, rad: self.rad + b.rad }.ulps(1.0)
    }

    pub(crate) fn minus(self, b: Self) -> Self {
        self.plus(Self { mid: -b.mid, ..b })
    }

    /// The quotient by a divisor that is at least `least` > 0.
    pub(crate) fn over(self, b: Self, least: f64) -> Self {
        let low = (b.mid - b.rad).max(least);
        let rad = self.rad / low + self.mid.abs() * (1.0 / low - 1.0 / b.mid).max(1.0 / b.mid - 1.0 / (b.mid + b.rad));
        Self { mid: self.mid / b.mid, rad }.ulps(2.5)
    }

    pub(crate) fn root(self) -> Self {
        let (low, high) = ((self.mid - self.rad).max(0.0).sqrt(), (self.mid + self.rad).sqrt());
        let mid = self.mid.sqrt();
        Self { mid, rad: (mid - low).max(high - mid) }.ulps(4.5)
    }
}

/// A sum of products of balls.
fn dot(terms: impl Iterator<Item = (Ball, Ball)>) -> Ball {
    let (mut sum, mut size, mut n) = (Ball::default(), 0.0, 0);
    for (a, b) in terms {
        sum.mid += a.mid * b.mid;
        sum.rad += a.mid.abs() * b.rad + a.rad * b.size();
        size += a.size() * b.size();
        n += 1;
    }
    sum.rad += gamma(2 * n) * size + n as f64 * TINY;
    sum
}

/// The sum of balls.
pub(crate) fn sum(terms: impl Iterator<Item = Ball>) -> Ball {
    dot(terms.map(|term| (term, Ball::exact(1.0))))
}

/// A step of a network, as `reference` takes it, with balls for weights.
pub(crate) struct Step<'a> {
    pub(crate) network: &'a Network,
    pub(crate) weights: &'a [Vec<Ball>],
    /// What the device sees, which f32 holds exactly.
    pub(crate) inputs: &'a [f64],
    pub(crate) labels: &'a [u32],
    pub(crate) masks: Masks<'a>,
}

/// Everything that a step computes before the optimizer.
pub(crate) struct Outcome {
    /// By row.
    pub(crate) losses: Vec<Ball>,
    /// `[rows, classes]`.
    pub(crate) logits: Vec<Ball>,
    /// One vector per parameter tensor.
    pub(crate) gradients: Vec<Vec<Ball>>,
    /// How far the pre-activations of ReLUs stay away from 0; negative where a ball contains 0.
    pub(crate) kink: f64,
}

impl Outcome {
    /// The fewest and the most rows that may count as correct.
    pub(crate) fn hits(&self, labels: &[u32]) -> (u32, u32) {
        let classes = self.logits.len() / labels.len();
        let mut hits = (0, 0);
        for (z, &label) in self.logits.chunks(classes).zip(labels) {
            let own = z[label as usize];
            let others = || (0..classes).filter(|&c| c != label as usize).map(|c| z[c]);
            hits.0 += u32::from(others().all(|z| own.mid - own.rad > z.mid + z.rad));
            hits.1 += u32::from(others().all(|z| own.mid + own.rad >= z.mid - z.rad));
        }
        hits
    }
}

impl Step<'_> {
    pub(crate) fn run(&self) -> Outcome {
        let mut kink = f64::INFINITY;
        let outputs = self.forward(&mut kink);
        let (losses, dlogits) = self.loss(&outputs[outputs.len() - 1]);
        Outcome { losses, gradients: self.backward(&outputs, dlogits), logits: outputs[outputs.len() - 1].clone(), kink }
    }

    /// The input and the output of every layer.
    fn forward(&self, kink: &mut f64) -> Vec<Vec<Ball>> {
        let mut outputs = vec![self.inputs.iter().copied().map(Ball::exact).collect::<Vec<_>>()];
        let mut tensor = 0;
        for (i, layer) in self.network.layers.iter().enumerate() {
            let x = &outputs[i];
            outputs.push(match layer {
                Layer::Dense(dense) => {
                    let (weight, bias) = (&self.weights[tensor], &self.weights[tensor + 1]);
                    tensor += 2;
                    let mut y = Vec::new();
                    for row in x.chunks(weight.len() / bias.len()) {
                        for (w, b) in weight.chunks(row.len()).zip(bias) {
                            let terms = w.iter().copied().zip(row.iter().copied());
                            let z = dot(terms.chain([(*b, Ball::exact(1.0))]));
                            if dense.activation == Activation::Relu {
                                *kink = kink.min(z.mid.abs() - z.rad);
                            }
                            y.push(activate(dense.activation, z));
                        }
                    }
                    y
                }
                Layer::Dropout(_) => self.drop_out(i, x),
                other => panic!("balls know nothing of {other:?}"),
            });
        }
        outputs
    }

    /// Dropout of layer `i` in either direction.
    fn drop_out(&self, i: usize, x: &[Ball]) -> Vec<Ball> {
        let (Layer::Dropout(dropout), Masks::Drawn { seed, pass, samples }) = (&self.network.layers[i], self.masks) else {
            return x.to_vec();
        };
        let site = self.network.sites().unwrap()[i].unwrap();
        let units = x.len() / samples.len();
        let (keep, scale) = (dropout.keep, Ball::exact(f64::from(dropout.keep.scale())));
        let kept = |e: usize| {
            let at = Coordinates { stream: Stream::TrainingMask, site, pass, sample: samples[e / units] };
            keep.keeps(at.word((e % units) as u32, rng::key(seed)))
        };
        (0..x.len()).map(|e| if kept(e) { x[e].times(scale) } else { Ball::default() }).collect()
    }

    /// The loss of every row and the gradient of their mean with respect to the logits.
    fn loss(&self, logits: &[Ball]) -> (Vec<Ball>, Vec<Ball>) {
        let (mut losses, mut gradient) = (Vec::new(), Vec::new());
        let (batch, classes) = (self.labels.len() as f64, logits.len() / self.labels.len());
        for (z, &label) in logits.chunks(classes).zip(self.labels) {
            let largest = z.iter().fold(f64::NEG_INFINITY, |a, z| a.max(z.mid));
            let off = z.iter().fold(0.0, |a: f64, z| a.max(z.rad));
            let powers: Vec<f64> = z.iter().map(|z| (z.mid - largest).exp()).collect();
            let total: f64 = powers.iter().sum();
            // Errors relative to a power: the shift rounds once, exp has WGSL's error at the shifted logit.
            let own = |c: usize| {
                let shifted = largest - z[c].mid + 2.0 * off;
                exp_error(shifted) + ULP * shifted
            };
            let of_sum = 1.01 * (0..classes).map(|c| powers[c] / total * own(c)).sum::<f64>() + gamma(2 * classes);
            let margin = largest - z[label as usize].mid;
            let log = total.ln();
            // The loss changes by at most 2 |dz| with the logits: the 1-norm of softmax - onehot is at most 2.
            let own_log = f64::from(1u32 << 21).recip() + 3.0 * ULP * log + of_sum;
            losses.push(Ball { mid: log + margin, rad: 2.0 * off + own_log + 3.0 * ULP * (log + margin + 2.0 * off) });
            for (c, power) in powers.iter().enumerate() {
                let p = power / total;
                // Logits off by `off` change a probability by a factor of at most e^(2 off).
                let rad = p * (2.0 * off + own(c) + 1.01 * of_sum + 2.5 * ULP).exp_m1() + TINY;
                let wanted = if c == label as usize { 1.0 } else { 0.0 };
                let difference = Ball { mid: p, rad }.minus(Ball::exact(wanted));
                gradient.push(difference.over(Ball::exact(batch), batch));
            }
        }
        (losses, gradient)
    }

    fn backward(&self, outputs: &[Vec<Ball>], dlogits: Vec<Ball>) -> Vec<Vec<Ball>> {
        let mut gradients = Vec::new();
        let (mut dy, mut tensor) = (dlogits, self.weights.len());
        for (i, layer) in self.network.layers.iter().enumerate().rev() {
            let Layer::Dense(dense) = layer else {
                dy = self.drop_out(i, &dy);
                continue;
            };
            tensor -= 2;
            let (weight, units, x) = (&self.weights[tensor], self.weights[tensor + 1].len(), &outputs[i]);
            let inputs = weight.len() / units;
            let rows = 0..self.labels.len();
            let g: Vec<Ball> = dy.iter().zip(&outputs[i + 1]).map(|(&d, &y)| d.times(derivative(dense.activation, y))).collect();
            let column = |u: usize| rows.clone().map(move |r| r * units + u);
            let at = |u: usize, j: usize| dot(column(u).zip(rows.clone()).map(|(e, r)| (g[e], x[r * inputs + j])));
            let back = |r: usize, j: usize| dot((0..units).map(|u| (g[r * units + u], weight[u * inputs + j])));
            gradients.push((0..units).map(|u| sum(column(u).map(|e| g[e]))).collect());
            gradients.push((0..units * inputs).map(|e| at(e / inputs, e % inputs)).collect());
            dy = (0..x.len()).map(|e| back(e / inputs, e % inputs)).collect();
        }
        gradients.reverse();
        gradients
    }
}

fn activate(activation: Activation, z: Ball) -> Ball {
    match activation {
        Activation::Identity => z,
        Activation::Relu if z.mid < -z.rad => Ball::exact(0.0),
        Activation::Relu => Ball { mid: z.mid.max(0.0), ..z },
        Activation::Tanh => Ball { mid: z.mid.tanh(), rad: z.rad + 1e-5 + 8.0 * ULP },
        // The derivative is at most 1/4; an addition and a division follow exp.
        Activation::Sigmoid => {
            let mid = 1.0 / (1.0 + (-z.mid).exp());
            Ball { mid, rad: 0.25 * (z.rad + exp_error(z.size())) }.ulps(4.0)
        }
        other => panic!("balls know nothing of {other:?}"),
    }
}

/// f'(z) from y = f(z).
fn derivative(activation: Activation, y: Ball) -> Ball {
    let one = Ball::exact(1.0);
    match activation {
        Activation::Identity => one,
        Activation::Relu if y.mid > y.rad => one,
        Activation::Relu if y.size() == 0.0 => Ball::exact(0.0),
        Activation::Relu => Ball { mid: if y.mid > 0.0 { 1.0 } else { 0.0 }, rad: 1.0 },
        Activation::Tanh => one.minus(y.times(y)),
        Activation::Sigmoid => y.times(one.minus(y)),
        other => panic!("balls know nothing of {other:?}"),
    }
}

/// What an optimizer remembers of a parameter tensor: the velocity, or the two moments.
pub(crate) type Moments = [Vec<Ball>; 2];

/// Update number `t`, counted from 1, of one parameter tensor.
pub(crate) fn update(
    optimizer: &Optimizer,
    (t, weight_decay): (u64, f64),
    weight: &mut [Ball],
    [m, v]: &mut Moments,
    gradient: &[Ball],
) {
    let r = Ball::rounded;
    for i in 0..weight.len() {
        let g = gradient[i].plus(r(weight_decay).times(weight[i]));
        let change = match *optimizer {
            Optimizer::Sgd { lr, momentum, nesterov: false } => {
                m[i] = r(momentum).times(m[i]).plus(g);
                r(lr).times(m[i])
            }
            Optimizer::Adam { lr, beta1, beta2, epsilon } => {
                m[i] = r(beta1).times(m[i]).plus(r(1.0 - beta1).times(g));
                v[i] = r(beta2).times(v[i]).plus(r(1.0 - beta2).times(g.times(g)));
                let bias = r((1.0 - beta2.powi(t as i32)).sqrt());
                let root = v[i].root().over(bias, bias.mid - bias.rad);
                let rate = r(lr / (1.0 - beta1.powi(t as i32)));
                // The root is not negative, whatever its ball says.
                rate.times(m[i]).over(root.plus(r(epsilon)), epsilon * (1.0 - 4.0 * ULP))
            }
            other => panic!("balls know nothing of {other:?}"),
        };
        weight[i] = weight[i].minus(change);
    }
}
