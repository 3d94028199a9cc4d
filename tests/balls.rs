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
//! relu           1-Lipschitz; its derivative is any of 0 and 1 where the ball of the pre-activation contains 0;
//!                leaky ReLU and SELU likewise
//! ```
//!
//! The midpoints serve nobody as an oracle: the tests compare with `thinnet::reference` and take the radii from here.
//! Rounding in f64 is 2^-29 of rounding in f32 and lies far inside the slack of these bounds.

use thinnet::Optimizer;
use thinnet::kernels::{EPS, gamma};
use thinnet::network::{Activation, Dropout, DropoutMode, Layer, Loss, Network};
use thinnet::reference::{Masks, Targets};
use thinnet::rng::{self, Coordinates, Stream};

mod functions;
mod norms;

pub(crate) use norms::{clip, max_norm};

use functions::{RowLoss, activate, against_values, derivative, gaussian_nll, softmax_cross_entropy};

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
    pub(crate) targets: Targets<'a>,
    pub(crate) masks: Masks<'a>,
}

/// Everything that a step computes before the optimizer.
pub(crate) struct Outcome {
    /// By row.
    pub(crate) losses: Vec<Ball>,
    /// `[rows, outputs]`.
    pub(crate) logits: Vec<Ball>,
    /// The fewest and the most rows that may count as correct.
    pub(crate) hits: (u32, u32),
    /// One vector per parameter tensor.
    pub(crate) gradients: Vec<Vec<Ball>>,
    /// How far the pre-activations of rectifiers stay away from 0; negative where a ball contains 0.
    pub(crate) kink: f64,
}

/// What the forward pass leaves to the backward pass.
struct Forward {
    /// The input and the output of every layer.
    outputs: Vec<Vec<Ball>>,
    /// The pre-activations of every dense layer.
    inner: Vec<Vec<Ball>>,
    kink: f64,
}

impl Step<'_> {
    pub(crate) fn run(&self) -> Outcome {
        let forward = self.forward();
        let logits = forward.outputs[forward.outputs.len() - 1].clone();
        let (mut losses, mut dlogits, mut hits) = (Vec::new(), Vec::new(), (0, 0));
        for r in 0..self.rows() {
            let (loss, gradient, [least, most]) =
                self.loss(r, &logits[r * logits.len() / self.rows()..][..logits.len() / self.rows()]);
            losses.push(loss);
            dlogits.extend(gradient);
            hits = (hits.0 + u32::from(least), hits.1 + u32::from(most));
        }
        Outcome { losses, logits, hits, gradients: self.backward(&forward, dlogits), kink: forward.kink }
    }

    fn rows(&self) -> usize {
        self.inputs.len() / self.network.input.0[0] as usize
    }

    fn forward(&self) -> Forward {
        let inputs = self.inputs.iter().copied().map(Ball::exact).collect::<Vec<_>>();
        let mut forward = Forward { outputs: vec![inputs], inner: Vec::new(), kink: f64::INFINITY };
        let mut tensor = 0;
        for (i, layer) in self.network.layers.iter().enumerate() {
            let x = &forward.outputs[i];
            let (z, y) = match layer {
                Layer::Dense(dense) => {
                    let (weight, bias) = (&self.weights[tensor], &self.weights[tensor + 1]);
                    tensor += 2;
                    let mut z = Vec::new();
                    for row in x.chunks(weight.len() / bias.len()) {
                        for (w, b) in weight.chunks(row.len()).zip(bias) {
                            let terms = w.iter().copied().zip(row.iter().copied());
                            z.push(dot(terms.chain([(*b, Ball::exact(1.0))])));
                        }
                    }
                    if matches!(dense.activation, Activation::Relu | Activation::LeakyRelu | Activation::Selu) {
                        forward.kink = z.iter().fold(forward.kink, |kink, z| kink.min(z.mid.abs() - z.rad));
                    }
                    let y = z.iter().map(|&z| activate(dense.activation, z)).collect();
                    (z, y)
                }
                Layer::Dropout(dropout) => (Vec::new(), self.drop_out(i, dropout, x)),
                other => panic!("balls know nothing of {other:?}"),
            };
            forward.inner.push(z);
            forward.outputs.push(y);
        }
        forward
    }

    /// Dropout of layer `i` in either direction.
    fn drop_out(&self, i: usize, dropout: &Dropout, x: &[Ball]) -> Vec<Ball> {
        let scaled = |x: &Ball, scale: f32| x.times(Ball::exact(f64::from(scale)));
        let Masks::Drawn { seed, pass, update, samples } = self.masks else {
            let scale = dropout.eval_scale();
            return x.iter().map(|x| if scale == 1.0 { *x } else { scaled(x, scale) }).collect();
        };
        // The rate of the step.
        let dropout = &dropout.at(update);
        let site = self.network.sites().unwrap()[i].unwrap();
        let units = x.len() / samples.len();
        let (shared, n) = (Coordinates { stream: Stream::BatchMask, site, pass: update, sample: 0 }, units as u32);
        let of_batch = rng::exact_k(shared, n, dropout.kept_count(n), rng::key(seed));
        let kept = |e: usize| {
            if dropout.mode == DropoutMode::Units {
                return of_batch.contains(&((e % units) as u32));
            }
            let at = Coordinates { stream: Stream::TrainingMask, site, pass, sample: samples[e / units] };
            dropout.keep.keeps(at.word((e % units) as u32, rng::key(seed)))
        };
        (0..x.len()).map(|e| if kept(e) { scaled(&x[e], dropout.train_scale(n)) } else { Ball::default() }).collect()
    }

    /// The loss of row `r`, whose outputs are `z`.
    fn loss(&self, r: usize, z: &[Ball]) -> RowLoss {
        match self.targets {
            Targets::Labels(labels) => softmax_cross_entropy(z, labels[r] as usize, self.rows() as f64),
            Targets::Values(values) if self.network.loss == Loss::GaussianNll => {
                let k = z.len() / 2;
                gaussian_nll(z, &values[r * k..][..k], self.rows() as f64)
            }
            Targets::Values(values) => {
                let t = &values[r * z.len()..][..z.len()];
                against_values(self.network.loss, z, t, self.rows() as f64)
            }
        }
    }

    fn backward(&self, Forward { outputs, inner, .. }: &Forward, dlogits: Vec<Ball>) -> Vec<Vec<Ball>> {
        let mut gradients = Vec::new();
        let (mut dy, mut tensor) = (dlogits, self.weights.len());
        for (i, layer) in self.network.layers.iter().enumerate().rev() {
            let dense = match layer {
                Layer::Dense(dense) => dense,
                Layer::Dropout(dropout) => {
                    dy = self.drop_out(i, dropout, &dy);
                    continue;
                }
                other => panic!("balls know nothing of {other:?}"),
            };
            tensor -= 2;
            let (weight, units, x) = (&self.weights[tensor], self.weights[tensor + 1].len(), &outputs[i]);
            let inputs = weight.len() / units;
            let rows = 0..self.rows();
            let slopes = outputs[i + 1].iter().zip(&inner[i]).map(|(&y, &z)| derivative(dense.activation, y, z));
            let g: Vec<Ball> = dy.iter().zip(slopes).map(|(&d, slope)| d.times(slope)).collect();
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
    let decoupled = matches!(optimizer, Optimizer::AdamW { .. });
    for i in 0..weight.len() {
        let g = gradient[i].plus(r(if decoupled { 0.0 } else { weight_decay }).times(weight[i]));
        let change = match *optimizer {
            Optimizer::Sgd { lr, momentum, nesterov } => {
                m[i] = r(momentum).times(m[i]).plus(g);
                r(lr).times(if nesterov { g.plus(r(momentum).times(m[i])) } else { m[i] })
            }
            Optimizer::Adam { lr, beta1, beta2, epsilon } | Optimizer::AdamW { lr, beta1, beta2, epsilon } => {
                m[i] = r(beta1).times(m[i]).plus(r(1.0 - beta1).times(g));
                v[i] = r(beta2).times(v[i]).plus(r(1.0 - beta2).times(g.times(g)));
                let bias = r((1.0 - beta2.powi(t as i32)).sqrt());
                let root = v[i].root().over(bias, bias.mid - bias.rad);
                let rate = r(lr / (1.0 - beta1.powi(t as i32)));
                // The root is not negative, whatever its ball says.
                let update = rate.times(m[i]).over(root.plus(r(epsilon)), epsilon * (1.0 - 4.0 * ULP));
                let decay = r(if decoupled { lr * weight_decay } else { 0.0 });
                weight[i] = weight[i].minus(decay.times(weight[i]));
                update
            }
            Optimizer::RmsProp { lr, alpha, epsilon, momentum } => {
                v[i] = r(alpha).times(v[i]).plus(r(1.0 - alpha).times(g.times(g)));
                let update = g.over(v[i].root().plus(r(epsilon)), epsilon * (1.0 - 4.0 * ULP));
                m[i] = r(momentum).times(m[i]).plus(update);
                r(lr).times(m[i])
            }
            other => panic!("balls know nothing of {other:?}"),
        };
        weight[i] = weight[i].minus(change);
    }
}
