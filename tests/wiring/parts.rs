//! Weights larger than a binding are accumulated, clipped and updated in parts.

use thinnet::Optimizer;
use thinnet::data::Dataset;
use thinnet::executor::Executor;
use thinnet::kernels::matmul::Matmul;
use thinnet::memory::Tensor;
use thinnet::plan::{Caps, Plan, Plans, Training, Update};

use super::{EVERYTHING, network};
use crate::common::device;
use crate::drive::{self, ACCUMULATE, Member, TRAIN};

const OPTIMIZER: Optimizer = Optimizer::RmsProp { lr: 0.01, alpha: 0.9, epsilon: 1e-3, momentum: 0.5 };

fn members(count: u32, clip_norm: f64) -> Vec<Member> {
    (0..u64::from(count)).map(|m| Member::new(&network(), 7 + m, OPTIMIZER).norms(clip_norm, 0.8).weight_decay(0.01)).collect()
}

fn data() -> Dataset {
    drive::data_for(&network(), 17, false, 9)
}

fn plans(caps: Caps, training: Training, members: u32) -> Plans {
    drive::plans(caps, &network(), &data(), 7, training, members)
}

/// The device with the family that adds the parts' gradients up in one order.
fn plain() -> Caps {
    Caps { matmul: Matmul::Plain, ..device().caps() }
}

/// A limit with room for the weights of all members but the last, and so many words of the last.
fn limited(members: u32, words: u32) -> Caps {
    let weights = plans(Caps::baseline(), Update::Sgd.into(), members).plans[TRAIN].tensor("weights");
    Caps { max_binding: 4 * u64::from(weights.stride * (members - 1) + words), ..plain() }
}

/// The tensor that every kernel of this name binds by this name.
fn bound(plan: &Plan, kernel: &str, name: &str) -> Vec<Tensor> {
    let mut tensors = Vec::new();
    for kernel in plan.kernels.iter().filter(|k| k.entry().name == kernel) {
        let at = kernel.entry().tensors.iter().position(|binding| binding.name == name).unwrap();
        tensors.push(kernel.tensors()[at]);
    }
    tensors
}

#[test]
fn parts_cover_every_word_once_and_fit_the_limit() {
    for members in [1, 3] {
        let whole = plans(Caps::baseline(), EVERYTHING, members);
        let words = whole.plans[TRAIN].tensor("weights").len;
        // The largest layer, a limit that no part ends at, and one word more and less than everything.
        for (room, parts) in [(544, 2), (650, 2), (words - 1, 2), (words, 1), (words + 1, 1)] {
            let caps = limited(members, room);
            let plans = plans(caps.clone(), EVERYTHING, members);
            let checked = [
                (TRAIN, "accumulate_gradients", &["dw", "sum"][..]),
                (ACCUMULATE, "accumulate_gradients", &["dw", "sum"]),
                (TRAIN, "gradient_norm", &["dw"]),
                (TRAIN, "clip_gradient", &["dw"]),
                (TRAIN, "rmsprop", &["dw", "w", "m", "v"]),
            ];
            for (plan, kernel, names) in checked {
                for name in names {
                    let tensors = bound(&plans.plans[plan], kernel, name);
                    assert_eq!(tensors.len() as u32, parts, "{kernel} with room for {room} of {words} words");
                    let mut next = 0;
                    for tensor in tensors {
                        assert_eq!((tensor.offset, tensor.offset % 64), (next, 0), "{kernel}, {name}");
                        assert!(4 * u64::from(tensor.span(members)) <= caps.max_binding, "{kernel}, {name}");
                        next += tensor.len;
                    }
                    assert_eq!(next, words, "{kernel}, {name}");
                }
            }
            // The norms' parts are read together, by every clip kernel.
            let partials = bound(&plans.plans[TRAIN], "gradient_norm", "partials");
            let read = bound(&plans.plans[TRAIN], "clip_gradient", "partials");
            assert_eq!(partials.iter().map(|t| t.offset).collect::<Vec<_>>(), (0..parts).map(|i| 64 * i).collect::<Vec<_>>());
            assert!(partials.iter().all(|t| t.len == 64 && t.stride == read[0].stride));
            assert!(read.iter().all(|t| (t.offset, t.len) == (0, 64 * parts)));
        }
    }
}

/// The weights of every member after two epochs of accumulated steps.
fn trained(caps: Caps, training: Training, members: &[Member]) -> Vec<Vec<Vec<f32>>> {
    let plans = plans(caps, training, members.len() as u32);
    let mut executor = Executor::new(device(), plans).unwrap();
    drive::upload(&executor, &data(), members);
    let submission = executor.submit(&drive::accumulating(members, 17, (7, 2), 0..2)).unwrap();
    executor.wait(submission).unwrap();
    (0..members.len()).map(|m| drive::parameters_of(&executor, &network(), "", m as u32)).collect()
}

#[test]
fn training_in_parts_is_training_as_a_whole() {
    for count in [1, 2] {
        for (what, training, clip_norm) in [
            ("no norm is bounded", Training { clip_norm: false, ..EVERYTHING }, f64::INFINITY),
            ("the bound is out of reach", EVERYTHING, 1e6),
            ("the gradient is clipped", EVERYTHING, 0.02),
        ] {
            let members = members(count, clip_norm);
            let whole = trained(plain(), training, &members);
            let split = trained(limited(count, 544), training, &members);
            let pairs = || whole.iter().flatten().flatten().zip(split.iter().flatten().flatten());
            assert!(pairs().all(|(a, b)| a.is_finite() && b.is_finite()));
            if clip_norm == 0.02 {
                // The parts of the sum of squares are added in another order, so that its norm may round otherwise; its relative
                // error of 1e-6 moves four updates of at most 0.01 / sqrt(0.1) each by far less than this.
                let off = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off < 1e-5, "{what}: {off:e}");
                let unclipped = trained(plain(), training, &self::members(count, 1e6));
                let moved = whole.iter().flatten().flatten().zip(unclipped.iter().flatten().flatten());
                let moved = moved.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(moved > 1e-3, "clipping changes nothing: {moved:e}");
            } else {
                assert!(pairs().all(|(a, b)| a.to_bits() == b.to_bits()), "{what}, {count} members");
            }
        }
    }
}
