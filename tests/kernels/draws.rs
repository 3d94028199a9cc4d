//! Cases of the kernels of Monte-Carlo draws, and the rules of their masks for the cases of the kernels that draw them.

use thinnet::kernels::draws::{DrawOutputs, DrawRows, DrawsParams, FIELDS, KeepDraws, MergeDraws, Readout};
use thinnet::mask_rule::MaskRule;
use thinnet::step::Step;

use super::{Case, Slot, bits, on_device, seed};
use crate::common::{numbers, step, words};

/// Draws of the Latin hypercube of the cases.
const DRAWS: u32 = 37;

/// The rules under which each row has a draw of its own.
pub(super) fn rules() -> impl Iterator<Item = MaskRule> + Clone {
    MaskRule::ALL.into_iter().filter(|&rule| rule != MaskRule::Pass && rule != MaskRule::All)
}

/// The step with a site that is drawn under a rule, its rate kept where the rule has one.
pub(super) fn with_rule(mut step: Step, site: usize, rule: MaskRule) -> Step {
    for member in &mut step.members {
        let site = &mut member.sites[site];
        match rule {
            MaskRule::LatinHypercube => {
                let bound = u64::from(site.threshold) * u64::from(DRAWS);
                (site.threshold, site.keep_all, site.pass) = (bound as u32, (bound >> 32) as u32, DRAWS);
            }
            MaskRule::EveryMask => site.pass = 3,
            _ => {}
        }
    }
    step
}

/// Sample and draw of each row, a list of its own for each member.
pub(super) fn draws(rows: u32) -> Slot<'static> {
    Slot::own("samples", 2 * rows, move |m| (0..rows).flat_map(|row| [7 * row + 1000 * m, (5 * row + m) % DRAWS]).collect())
}

/// Inputs and draws of a batch: one of each, and more of either.
const TILES: [[u32; 2]; 6] = [[1, 1], [1, 67], [31, 1], [3, 5], [33, 2], [5, 14]];

fn of([inputs, draws]: [u32; 2], position: u32, accumulated: u32) -> Step {
    let step = step(inputs * draws, 1, &[]);
    Step { position, epoch: 100 + accumulated, batch_rows: inputs, accumulated, ..step }
}

pub(super) fn draw_rows(case: &mut Case) {
    for (tile, one_mask) in TILES.into_iter().flat_map(|tile| [(tile, 0), (tile, 1)]) {
        let rows = tile[0] * tile[1];
        let ids = Slot::own("ids", tile[0] + 9, |_| words(tile[0] as usize + 9, 8));
        let slots = [ids, Slot::out("rows", rows + 3, rows), Slot::out("samples", 2 * rows + 6, 2 * rows)];
        case.check(&of(tile, 4, 6), slots, |[ids, rows, samples]| DrawRows {
            params: DrawsParams { one_mask, ..DrawsParams::default() },
            ids,
            rows,
            samples,
        });
    }
}

fn params(readout: Readout, outputs: u32, inputs: u32) -> DrawsParams {
    let (columns, width) = (readout.columns(outputs), readout.width(outputs));
    DrawsParams { outputs, y_row: outputs.next_multiple_of(4) + 4, columns, width, inputs, ..DrawsParams::default() }
}

const READOUTS: [Readout; 4] = [Readout::Values, Readout::Softmax, Readout::Sigmoid, Readout::Gaussian];

/// What the network says: moderate, and so far apart that a class is certain.
fn answers(rows: u32, params: DrawsParams) -> Slot<'static> {
    let DrawsParams { outputs, y_row, .. } = params;
    Slot::own("y", rows * y_row + 9, move |m| {
        let values = numbers((rows * y_row) as usize, seed("y", m));
        let sized = |(i, value): (usize, f32)| {
            let (row, column) = (i as u32 / y_row, i as u32 % y_row);
            // What is behind the outputs is no number: no kernel may take it for one.
            if column < outputs { value * [1.0, 9.0, 200.0][row as usize % 3] } else { f32::NAN }
        };
        values.into_iter().enumerate().map(sized).map(f32::to_bits).collect()
    })
}

pub(super) fn draw_outputs(case: &mut Case) {
    let outputs = |readout| if readout == Readout::Gaussian { [2, 4, 6, 10, 34] } else { [1, 2, 5, 10, 33] };
    for (readout, outputs) in READOUTS.into_iter().flat_map(|readout| outputs(readout).map(|outputs| (readout, outputs))) {
        for tile in TILES {
            let (rows, params) = (tile[0] * tile[1], params(readout, outputs, tile[0]));
            let values = Slot::out("values", (rows + 2) * params.width, rows * params.width);
            case.check(&of(tile, 0, 0), [answers(rows, params), values], |[y, values]| DrawOutputs {
                params,
                readout,
                y,
                values,
            });
        }
    }
}

/// Values of draws; the class of a softmax is a whole number below `outputs`.
fn drawn(rows: u32, readout: Readout, params: DrawsParams) -> Slot<'static> {
    let DrawsParams { outputs, width, .. } = params;
    Slot::own("drawn", (rows + 2) * width, move |m| {
        let values = numbers((rows * width) as usize, seed("drawn", m));
        let word = |(i, value): (usize, f32)| match (readout, i as u32 % width) {
            (Readout::Softmax, column) if column == outputs + 1 => (value.abs() * outputs as f32).floor(),
            _ => value,
        };
        values.into_iter().enumerate().map(word).map(f32::to_bits).collect()
    })
}

pub(super) fn merge_draws(case: &mut Case) {
    for (readout, outputs) in READOUTS.into_iter().flat_map(|readout| [1, 3, 10].map(|outputs| (readout, outputs))) {
        for (tile, accumulated) in TILES.into_iter().flat_map(|tile| [(tile, 0), (tile, 12), (tile, 7)]) {
            let (rows, position, params) = (tile[0] * tile[1], 3, params(readout, outputs, tile[0]));
            let all = (position + tile[0]) * params.columns * FIELDS as u32;
            // Sums of the draws before; of the first draws nothing may be read.
            let state = Slot::own("state", all, move |m| match accumulated {
                0 => Vec::new(),
                _ => numbers(all as usize, seed("state", m)).into_iter().map(|v| (3.0 * v).to_bits()).collect(),
            });
            case.check(&of(tile, position, accumulated), [drawn(rows, readout, params), state], |[drawn, state]| MergeDraws {
                params,
                readout,
                drawn,
                state,
            });
        }
    }
}

pub(super) fn keep_draws(case: &mut Case) {
    for (readout, outputs) in READOUTS.into_iter().flat_map(|readout| [1, 3, 10].map(|outputs| (readout, outputs))) {
        for (tile, accumulated) in TILES.into_iter().flat_map(|tile| [(tile, 0), (tile, 2)]) {
            let (rows, params) = (tile[0] * tile[1], params(readout, outputs, tile[0] + 4));
            let all = (accumulated + tile[1]) * params.inputs * params.columns;
            let draws = Slot::out("draws", all, 0);
            case.check(&of(tile, 4, accumulated), [drawn(rows, readout, params), draws], |[drawn, draws]| KeepDraws {
                params,
                drawn,
                draws,
            });
        }
    }
}

/// What the call refuses must reach it: `exp` of a NaN may be a number on a device.
#[test]
fn a_nan_among_the_outputs_is_in_what_is_drawn() {
    for readout in READOUTS {
        let params = params(readout, 4, 1);
        for place in 0..4 {
            let mut z = [0.5f32, -1.0, 2.0, 0.25, 0.0, 0.0, 0.0, 0.0];
            z[place] = f32::NAN;
            let slots = [Slot::own("y", 8, move |_| bits(z)), Slot::out("values", params.width, params.width)];
            let [_, values] = on_device(&of([1, 1], 0, 0), slots, |[y, values]| DrawOutputs { params, readout, y, values });
            assert!(f32::from_bits(values[place]).is_nan(), "{readout:?}: output {place} is {:?}", f32::from_bits(values[place]));
        }
    }
}
