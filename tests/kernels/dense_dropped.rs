//! The cases of the last layer over dropped inputs, for the lanes that the device has.

use thinnet::kernels::dense_dropped::{DenseOfDropped, DroppedParams, DroppedShape};
use thinnet::kernels::matmul::Matmul;
use thinnet::mask_rule::{MaskRule, SiteMask};
use thinnet::rng::{self, Stream};

use super::draws::{draws, with_rule};
use super::{Case, Slot, dense};
use crate::common::{step, words};

/// Rows of the data set.
const DATA: u32 = 41;

pub(super) fn dense_of_dropped(case: &mut Case) {
    let matmul = dense::shuffle();
    let Matmul::Shuffle { lanes } = matmul else { unreachable!("it is the shuffle family") };
    let words_of_row = matmul.row_words();
    // A row, more rows than a workgroup has, fewer and as many; outputs that fill no quad, some and all.
    let shapes: [(u32, u32, u32); 5] = [(1, 1, 1), (15, 5, 3), (16, 33, 10), (17, 257, 4 * lanes), (67, 64, 4 * lanes - 1)];
    for rule in MaskRule::ALL {
        for (rows, inputs, outputs) in shapes {
            let batch = rows + 3;
            let site = SiteMask { index: 1, rule };
            let params = DroppedParams {
                input_quads: inputs.div_ceil(4),
                input_row: inputs.next_multiple_of(words_of_row) / 4,
                outputs,
                output_quads: outputs.div_ceil(4),
                output_row: outputs.next_multiple_of(words_of_row) / 4,
                stream_and_site: rng::stream_and_site(Stream::MonteCarloMask, 3),
                ..DroppedParams::default()
            };
            let slots = [
                Slot::own("rows", batch, |_| words(batch as usize, 5).into_iter().map(|word| word % DATA).collect()),
                draws(batch),
                Slot::rows("values", DATA, DATA, inputs, 4),
                Slot::rows("bias", 1, 1, outputs, words_of_row),
                Slot::rows("weight", outputs, outputs, inputs, words_of_row),
                Slot::out_rows("y", batch, rows, outputs, words_of_row),
            ];
            case.check(&with_rule(step(rows, 1, &[0.1, 0.6]), 1, rule), slots, |[rows, samples, values, bias, weight, y]| {
                DenseOfDropped { params, shape: DroppedShape { site, lanes }, rows, samples, values, bias, weight, y }
            });
        }
    }
}
