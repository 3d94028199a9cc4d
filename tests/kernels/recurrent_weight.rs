//! Cases of the gradient of a recurrent weight whose gates have inputs of their own.

use thinnet::kernels::recurrent_weight::{RecurrentWeight, RecurrentWeightParams};

use super::{Case, Slot, seed};
use crate::common::{padded_to, step};

pub(super) fn recurrent_weight(case: &mut Case) {
    let sizes = [[1u32, 1], [1, 33], [3, 3], [3, 8], [4, 5], [4, 30]];
    for ([gates, hidden], row_words) in sizes.into_iter().zip([4, 64].into_iter().cycle()) {
        for (rows, members) in [(1, 1), (7, 2), (31, 1)] {
            let (h4, batch) = (hidden.next_multiple_of(4), rows + 3);
            let plane = batch * hidden.next_multiple_of(row_words);
            let (weight, bias) = (gates * h4 * hidden.next_multiple_of(row_words), gates * h4);
            let values = move |m: u32| {
                let of_gate = |gate: u32| {
                    let mut words = padded_to(row_words, rows, hidden, seed("x", m) + u64::from(gate));
                    words.resize(plane as usize, f32::NAN.to_bits());
                    words
                };
                (0..gates).flat_map(of_gate).collect()
            };
            let slots = [
                Slot::own("x", gates * plane, values),
                Slot::rows("dy", batch, rows, gates * h4, row_words),
                // Rows of dW are written up to the last quad in use, and so is db behind them.
                Slot::own("gradient", weight + bias, |_| Vec::new()),
            ];
            case.check(&step(rows, members, &[]), slots, |[x, dy, gradient]| {
                let params = RecurrentWeightParams {
                    bias_at: weight / 4,
                    input_plane: plane / 4,
                    x_stride: x.stride,
                    dy_stride: dy.stride,
                    gradient_stride: gradient.stride,
                    ..RecurrentWeightParams::new([gates, hidden], row_words)
                };
                RecurrentWeight { params, x, dy, gradient }
            });
        }
    }
}
