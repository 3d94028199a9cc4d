//! Optimizers as `torch.optim` has them, one parameter tensor at a time, and what bounds norms.

/// SGD as `torch.optim.SGD` (no dampening): g = dw + wd w, v = momentum v + g, w = w - lr v; with Nesterov's momentum
/// w = w - lr (g + momentum v) (Sutskever et al., ICML 2013).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// lr.
    pub learning_rate: f64,
    /// The factor of the old velocity.
    pub momentum: f64,
    /// wd, coupled (L2), for every parameter, biases too.
    pub weight_decay: f64,
    /// Nesterov's momentum.
    pub nesterov: bool,
}

/// One step of SGD for one tensor; `velocity` starts at 0.
pub fn sgd_step(sgd: &Sgd, weight: &mut [f64], velocity: &mut [f64], gradient: &[f64]) {
    for i in 0..weight.len() {
        let g = gradient[i] + sgd.weight_decay * weight[i];
        velocity[i] = sgd.momentum * velocity[i] + g;
        let direction = if sgd.nesterov { g + sgd.momentum * velocity[i] } else { velocity[i] };
        weight[i] -= sgd.learning_rate * direction;
    }
}

/// Adam as `torch.optim.Adam` (Kingma and Ba, ICLR 2015, algorithm 1), with L2 coupled into the gradient:
/// g = dw + wd w, m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2,
/// w = w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon).
///
/// Decoupled, as `torch.optim.AdamW` (Loshchilov and Hutter, ICLR 2019), g = dw, and w = (1 - lr wd) w before the rest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// lr.
    pub learning_rate: f64,
    /// The decay of the mean of gradients.
    pub beta1: f64,
    /// The decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the square root, outside of it.
    pub epsilon: f64,
    /// wd, for every parameter, biases too.
    pub weight_decay: f64,
    /// Whether wd acts on the weight instead of on the gradient.
    pub decoupled: bool,
}

/// Step number `t` (the first is 1) of Adam for one tensor; the moments `m` and `v` start at 0.
pub fn adam_step(adam: &Adam, t: i32, weight: &mut [f64], m: &mut [f64], v: &mut [f64], gradient: &[f64]) {
    for i in 0..weight.len() {
        let mut g = gradient[i];
        if adam.decoupled {
            weight[i] *= 1.0 - adam.learning_rate * adam.weight_decay;
        } else {
            g += adam.weight_decay * weight[i];
        }
        m[i] = adam.beta1 * m[i] + (1.0 - adam.beta1) * g;
        v[i] = adam.beta2 * v[i] + (1.0 - adam.beta2) * g * g;
        let mean = m[i] / (1.0 - adam.beta1.powi(t));
        let square = v[i] / (1.0 - adam.beta2.powi(t));
        weight[i] -= adam.learning_rate * mean / (square.sqrt() + adam.epsilon);
    }
}

/// RMSprop as `torch.optim.RMSprop`, not centred (Tieleman and Hinton 2012): g = dw + wd w, v = alpha v + (1 - alpha) g^2,
/// m = momentum m + g / (sqrt(v) + epsilon), w = w - lr m.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RmsProp {
    /// lr.
    pub learning_rate: f64,
    /// The decay of the mean of squared gradients.
    pub alpha: f64,
    /// Added to the square root, outside of it.
    pub epsilon: f64,
    /// The factor of the old update.
    pub momentum: f64,
    /// wd, coupled (L2), for every parameter, biases too.
    pub weight_decay: f64,
}

/// One step of RMSprop for one tensor; `m` and `v` start at 0.
pub fn rmsprop_step(rmsprop: &RmsProp, weight: &mut [f64], m: &mut [f64], v: &mut [f64], gradient: &[f64]) {
    for i in 0..weight.len() {
        let g = gradient[i] + rmsprop.weight_decay * weight[i];
        v[i] = rmsprop.alpha * v[i] + (1.0 - rmsprop.alpha) * g * g;
        m[i] = rmsprop.momentum * m[i] + g / (v[i].sqrt() + rmsprop.epsilon);
        weight[i] -= rmsprop.learning_rate * m[i];
    }
}

/// What `torch.nn.utils.clip_grad_norm_` multiplies all gradients with: min(1, max_norm / (norm + 1e-6)), norm being that of
/// all tensors together.
pub fn clip_factor(max_norm: f64, gradients: &[Vec<f64>]) -> f64 {
    let norm = gradients.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
    let factor = max_norm / (norm + 1e-6);
    if factor > 1.0 { 1.0 } else { factor } // Unlike f64::min, this lets a NaN through.
}

/// Max-norm regularisation of a weight `[units, inputs]` (Srivastava et al., JMLR 2014, section 5.1): the incoming weights of
/// a unit are projected onto the ball of radius c.
pub fn max_norm(c: f64, weight: &mut [f64], inputs: usize) {
    for row in weight.chunks_mut(inputs) {
        let norm = row.iter().map(|w| w * w).sum::<f64>().sqrt();
        if norm > c {
            row.iter_mut().for_each(|w| *w *= c / norm);
        }
    }
}
