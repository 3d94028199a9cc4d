//! Cases of the optimizers. All their tensors have one layout, that of the weights.

use thinnet::kernels::optimizer::{Adam, OptimizerParams, RmsProp, Sgd};
use thinnet::memory::Tensor;
use thinnet::step::{OptimizerStep, Step};

use super::{Case, Slot, bits, on_device, seed};
use crate::common::{numbers, step};

/// Lengths in words; the last needs several workgroups.
const LENGTHS: [u32; 5] = [4, 64, 124, 260, 1028];

/// Scalars of step `t` as the host computes them; without decay or with.
fn scalars(t: i32, learning_rate: f32, weight_decay: f32) -> OptimizerStep {
    let (beta1, beta2) = (0.9f64, 0.999f64);
    OptimizerStep {
        learning_rate: learning_rate / (1.0 - beta1.powi(t)) as f32,
        weight_decay,
        beta1: beta1 as f32,
        one_minus_beta1: (1.0 - beta1) as f32,
        beta2: beta2 as f32,
        one_minus_beta2: (1.0 - beta2) as f32,
        root_bias2: (1.0 - beta2.powi(t)).sqrt() as f32,
        epsilon: 1e-8,
        ..OptimizerStep::default()
    }
}

/// Every member has scalars of its own.
fn steps() -> Vec<Step> {
    let of = |scalars: &[OptimizerStep]| {
        let mut step = step(1, scalars.len() as u32, &[]);
        step.members.iter_mut().zip(scalars).for_each(|(member, scalars)| member.optimizer = *scalars);
        step
    };
    vec![
        of(&[scalars(1, 0.1, 0.0)]),
        of(&[scalars(1, 0.001, 0.01), scalars(1, 0.1, 0.0)]),
        of(&[scalars(1000, 0.0, 0.3), scalars(1000, 1.0, 1e-4), scalars(3, 0.01, 0.0)]),
        of(&[
            OptimizerStep { nesterov: 1, decoupled_decay: 0.02, ..scalars(2, 0.1, 0.0) },
            OptimizerStep { beta1: 0.0, decoupled_decay: 1e-4, ..scalars(2, 0.3, 0.1) },
            OptimizerStep { nesterov: 1, decoupled_decay: 0.5, ..scalars(9, 1.0, 1e-3) },
        ]),
    ]
}

/// Random numbers of the sizes given, one after the other.
fn sized(name: &str, member: u32, len: u32, sizes: &'static [f32]) -> Vec<f32> {
    let values = numbers(len as usize, seed(name, member)).into_iter();
    values.zip(sizes.iter().cycle()).map(|(value, size)| value * size).collect()
}

/// Gradients, weights and first moments of every size that f32 can square, and zeros; second moments that go with them.
/// The sizes meet in many combinations, because their numbers share no factor.
fn state(len: u32) -> [Slot<'static>; 4] {
    let all: &[f32] = &[1.0, 1e-3, 0.0, 1e-8, 1e-20, 1e-30, 1e-37, 1e-39, 1e10, 1e18, 0.1];
    let weights: &[f32] = &[1.0, 0.1, 0.0, 1e-30, 100.0, 1e-38, 1e-3];
    let moments: &[f32] = &[0.0, 1e-3, 1e-38, 1.0, 1e5];
    let squares: &[f32] = &[0.0, 1e-6, 1e-38, 1.0, 1e10, 1e30, 1e-3, 1e-39, 1.0, 1e-12, 1.0, 1e-2, 1e-30];
    [
        Slot::own("dw", len, move |m| bits(sized("dw", m, len, all))).even(),
        Slot::own("w", len, move |m| bits(sized("w", m, len, weights))).even(),
        Slot::own("m", len, move |m| bits(sized("m", m, len, moments))).even(),
        Slot::own("v", len, move |m| bits(sized("v", m, len, squares).into_iter().map(f32::abs))).even(),
    ]
}

fn params(w: Tensor) -> OptimizerParams {
    OptimizerParams { quads: w.len / 4, stride: w.stride, ..OptimizerParams::default() }
}

pub(super) fn sgd(case: &mut Case) {
    for len in LENGTHS {
        for step in steps() {
            let [dw, w, m, _] = state(len);
            case.check(&step, [dw, w, m], |[dw, w, m]| Sgd { params: params(w), dw, w, m });
        }
    }
}

pub(super) fn adam(case: &mut Case) {
    for len in LENGTHS {
        for step in steps() {
            case.check(&step, state(len), |[dw, w, m, v]| Adam { params: params(w), dw, w, m, v });
        }
    }
}

pub(super) fn rmsprop(case: &mut Case) {
    for len in LENGTHS {
        for step in steps() {
            case.check(&step, state(len), |[dw, w, m, v]| RmsProp { params: params(w), dw, w, m, v });
        }
    }
}

/// Padding has gradient 0: were it to move at all, it would not be padding any more.
#[test]
fn a_weight_without_gradient_and_moments_stays_exactly_where_it_is() {
    let mut step = step(1, 1, &[]);
    step.members[0].optimizer = scalars(1, 0.1, 0.0);
    let slots = || {
        let zeros = |name| Slot::own(name, 64, |_| vec![0; 64]).even();
        let weights = sized("w", 0, 64, &[1.0, 0.0, 1e-30, 1e30]);
        [zeros("dw"), Slot::own("w", 64, move |_| bits(weights.clone())).even(), zeros("m"), zeros("v")]
    };
    let before = sized("w", 0, 64, &[1.0, 0.0, 1e-30, 1e30]);
    let equal = |after: &[u32]| after.iter().zip(&before).all(|(a, b)| f32::from_bits(*a) == *b);
    let [dw, w, m, _] = slots();
    let [_, w, m] = on_device(&step, [dw, w, m], |[dw, w, m]| Sgd { params: params(w), dw, w, m });
    assert!(equal(&w) && m == [0; 64], "sgd: {w:x?} {m:x?}");
    let [_, w, m, v] = on_device(&step, slots(), |[dw, w, m, v]| Adam { params: params(w), dw, w, m, v });
    assert!(equal(&w) && m == [0; 64] && v == [0; 64], "adam: {w:x?} {m:x?} {v:x?}");
    let [_, w, m, v] = on_device(&step, slots(), |[dw, w, m, v]| RmsProp { params: params(w), dw, w, m, v });
    assert!(equal(&w) && m == [0; 64] && v == [0; 64], "rmsprop: {w:x?} {m:x?} {v:x?}");

    // With decay the zeros stay, and the others go.
    step.members[0].optimizer.weight_decay = 0.5;
    let [_, w, ..] = on_device(&step, slots(), |[dw, w, m, v]| Adam { params: params(w), dw, w, m, v });
    let zeros = before.iter().zip(&w).filter(|(before, _)| **before == 0.0);
    assert!(zeros.into_iter().all(|(_, &after)| f32::from_bits(after) == 0.0) && !equal(&w), "adam with decay: {w:x?}");
}

/// Known answers, so that twin and shader are not wrong together: a first step of Adam moves by the learning rate.
#[test]
fn the_first_step_of_adam_moves_by_the_learning_rate_whatever_the_gradient() {
    let mut step = step(1, 1, &[]);
    step.members[0].optimizer = scalars(1, 0.25, 0.0);
    let slots = [
        Slot::own("dw", 4, |_| bits([1e-3, -1.0, 1e3, -1e15])).even(),
        Slot::own("w", 4, |_| bits([1.0, -1.0, 0.0, 3.0])).even(),
        Slot::own("m", 4, |_| vec![0; 4]).even(),
        Slot::own("v", 4, |_| vec![0; 4]).even(),
    ];
    let [_, w, ..] = on_device(&step, slots, |[dw, w, m, v]| Adam { params: params(w), dw, w, m, v });
    for (got, expected) in w.into_iter().map(f32::from_bits).zip([0.75f32, -0.75, -0.25, 3.25]) {
        assert!((got - expected).abs() < 1e-5, "{got}, expected {expected}");
    }
}

/// One step over one quad, from moments (0.5, 4.0) and weight 2; returns the new (w, m, v).
fn one_step<K: thinnet::kernels::Kernel + 'static>(
    scalars: OptimizerStep,
    dw: f32,
    kernel: impl Fn([Tensor; 4]) -> K,
) -> [f32; 3] {
    let mut step = step(1, 1, &[]);
    step.members[0].optimizer = scalars;
    let filled = |name, value| Slot::own(name, 4, move |_| bits([value; 4])).even();
    let slots = [filled("dw", dw), filled("w", 2.0), filled("m", 0.5), filled("v", 4.0)];
    let [_, w, m, v] = on_device(&step, slots, kernel);
    [w[0], m[0], v[0]].map(f32::from_bits)
}

/// Known answers by hand for g = 1 (of which 0.5 is coupled decay) and learning rate 0.1.
#[test]
fn nesterov_decoupled_decay_and_rmsprop_by_hand() {
    let common = OptimizerStep { learning_rate: 0.1, weight_decay: 0.25, beta1: 0.5, ..OptimizerStep::default() };
    let sgd = |nesterov| {
        let mut step = step(1, 1, &[]);
        step.members[0].optimizer = OptimizerStep { nesterov, ..common };
        let filled = |name, value| Slot::own(name, 4, move |_| bits([value; 4])).even();
        let slots = [filled("dw", 0.5), filled("w", 2.0), filled("m", 0.5)];
        let [_, w, m] = on_device(&step, slots, |[dw, w, m]| Sgd { params: params(w), dw, w, m });
        [w[0], m[0]].map(f32::from_bits)
    };
    let close = |got: &[f32], expected: &[f32]| {
        let near = got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-6 * expected.abs());
        assert!(near, "{got:?}, expected {expected:?}");
    };
    close(&sgd(0), &[2.0 - 0.1 * 1.25, 1.25]); // v = 0.5 * 0.5 + 1
    close(&sgd(1), &[2.0 - 0.1 * 1.625, 1.25]); // g + 0.5 v

    // beta2 makes v 0.75 * 4 + 0.25 * 1 = 3.25, and epsilon the denominator a number that is not its root.
    let second = OptimizerStep { beta2: 0.75, one_minus_beta2: 0.25, epsilon: 0.5, ..common };
    let root = 3.25f32.sqrt() + 0.5;
    let rmsprop = one_step(second, 0.5, |[dw, w, m, v]| RmsProp { params: params(w), dw, w, m, v });
    let m = 0.5 * 0.5 + 1.0 / root;
    close(&rmsprop, &[2.0 - 0.1 * m, m, 3.25]);

    let adam = OptimizerStep { one_minus_beta1: 0.5, root_bias2: 1.0, ..second };
    let run = |scalars, dw| one_step(scalars, dw, |[dw, w, m, v]| Adam { params: params(w), dw, w, m, v });
    close(&run(adam, 0.5), &[2.0 - 0.1 * 0.75 / root, 0.75, 3.25]);
    // Decoupled, the decay is in the weight alone.
    let decoupled = OptimizerStep { weight_decay: 0.0, decoupled_decay: 0.125, ..adam };
    close(&run(decoupled, 1.0), &[2.0 * 0.875 - 0.1 * 0.75 / root, 0.75, 3.25]);
}
