//! Cases of DropConnect: matrices whose rows begin anywhere in a quad of units, masks of a batch and of rows.

use thinnet::kernels::drop_connect::{DropConnectParams, DropConnectRows, DropWeightGradient, DropWeights};
use thinnet::mask_rule::{MaskRule, SiteMask};
use thinnet::memory::Tensor;
use thinnet::rng::Stream;
use thinnet::step::Step;

use super::draws::{draws, rules, with_rule};
use super::dropout::{SITE, rates};
use super::{Case, Slot, seed};
use crate::common::{numbers, padded_to, words};

const SHAPES: [[u32; 2]; 7] = [[1, 1], [3, 4], [5, 31], [33, 3], [7, 64], [10, 257], [64, 30]];

fn params(shape: [u32; 2], row_words: u32, stream: Stream) -> DropConnectParams {
    DropConnectParams::new(shape, row_words, (stream, SITE))
}

/// A weight `[outputs, inputs]` with padded rows and, behind it, a bias.
fn weight(name: &'static str, [outputs, inputs]: [u32; 2], row_words: u32) -> Slot<'static> {
    let row = inputs.next_multiple_of(row_words);
    let len = outputs * row + outputs.next_multiple_of(4);
    Slot::own(name, len, move |m| {
        let mut values = padded_to(row_words, outputs, inputs, seed(name, m));
        values.extend(numbers(outputs.next_multiple_of(4) as usize, seed("bias", m)).into_iter().map(f32::to_bits));
        values
    })
}

fn steps() -> impl Iterator<Item = Step> {
    [vec![0.0], vec![1.0], vec![0.5, 0.8]].into_iter().map(|keeps| rates(3, &keeps))
}

const BATCH: SiteMask = SiteMask { index: 1, rule: MaskRule::Batch };

pub(super) fn drop_weights(case: &mut Case) {
    for (shape, row_words) in SHAPES.into_iter().zip([4, 64].into_iter().cycle()) {
        for step in steps() {
            let samples = Slot::own("samples", 3, |m| words(3, seed("samples", m)));
            let [outputs, inputs] = shape;
            let slots =
                [samples, weight("weight", shape, row_words), Slot::out_rows("dropped", outputs, outputs, inputs, row_words)];
            case.check(&step, slots, |[samples, weight, dropped]: [Tensor; 3]| DropWeights {
                params: DropConnectParams {
                    samples_stride: samples.stride,
                    weight_stride: weight.stride,
                    dropped_stride: dropped.stride,
                    ..params(shape, row_words, Stream::BatchMask)
                },
                site: BATCH,
                samples,
                weight,
                dropped,
            });
        }
    }
}

pub(super) fn drop_weight_gradient(case: &mut Case) {
    for (shape, row_words) in SHAPES.into_iter().zip([64, 4].into_iter().cycle()) {
        for step in steps() {
            let samples = Slot::own("samples", 3, |m| words(3, seed("samples", m)));
            let [outputs, inputs] = shape;
            let gradient = Slot::rows("gradient", outputs, outputs, inputs, row_words);
            case.check(&step, [samples, gradient], |[samples, gradient]: [Tensor; 2]| DropWeightGradient {
                params: DropConnectParams {
                    samples_stride: samples.stride,
                    weight_stride: gradient.stride,
                    ..params(shape, row_words, Stream::BatchMask)
                },
                site: BATCH,
                samples,
                gradient,
            });
        }
    }
}

pub(super) fn drop_connect_rows(case: &mut Case) {
    for ((shape, row_words), rule) in SHAPES.into_iter().zip([4, 64].into_iter().cycle()).zip(rules().cycle()) {
        let [outputs, inputs] = shape;
        for step in steps() {
            let (batch, rows) = (step.rows + 2, step.rows);
            let step = with_rule(step, 1, rule);
            let slots = [
                if rule.words() == 1 {
                    Slot::own("samples", batch, move |m| words(rows as usize, seed("samples", m)))
                } else {
                    draws(rows)
                },
                weight("weight", shape, row_words),
                Slot::rows("x", batch, rows, inputs, row_words),
                Slot::out_rows("y", batch, rows, outputs, row_words),
            ];
            case.check(&step, slots, |[samples, weight, x, y]: [Tensor; 4]| DropConnectRows {
                params: DropConnectParams {
                    samples_stride: samples.stride,
                    weight_stride: weight.stride,
                    x_stride: x.stride,
                    y_stride: y.stride,
                    ..params(shape, row_words, Stream::MonteCarloMask)
                },
                site: SiteMask { index: 1, rule },
                samples,
                weight,
                x,
                y,
            });
        }
    }
}
