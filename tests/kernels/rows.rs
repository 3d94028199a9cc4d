//! Cases of the kernels that move rows: which rows, their values, the outputs; and the bare Philox words.

use thinnet::kernels::gather::{GatherF32, GatherParams, GatherU8};
use thinnet::kernels::output::{OutputParams, StoreOutput};
use thinnet::kernels::philox::{PhiloxParams, PhiloxWords};
use thinnet::kernels::rows::{BatchRows, RowsParams};
use thinnet::mask_rule::SiteMask;
use thinnet::memory::Tensor;
use thinnet::rng::{self, Shuffle, Stream};
use thinnet::step::Step;

use super::draws::{draws, rules, with_rule};
use super::{Case, Slot, seed};
use crate::common::{padded, step, words};

/// Sample numbers of the caller's own: none is that of its row.
fn ids(rows: u32) -> Vec<u32> {
    (0..rows).map(|row| 1_000_000 + 3 * row).collect()
}

pub(super) fn batch_rows(case: &mut Case) {
    // (rows of the data set, position, valid rows): batches at the beginning, in the middle, and the ragged last.
    for (all, position, valid) in [(1, 0, 1), (2, 0, 2), (33, 31, 2), (270, 100, 33), (1797, 1766, 31), (60_000, 59_743, 257)] {
        for (shuffled, members, epoch) in [(0, 1, 5), (0, 2, 0), (1, 1, 0), (1, 2, u32::MAX)] {
            let batch = valid + 70 * (members - 1);
            let slots = [Slot::shared("ids", ids(all)), Slot::out("rows", batch, valid), Slot::out("samples", batch, valid)];
            let step = Step { position, epoch, ..step(valid, members, &[]) };
            case.check(&step, slots, |[ids, rows, samples]| {
                let params = RowsParams {
                    rows: all,
                    half_bits: Shuffle::new(all).half_bits,
                    shuffled,
                    rows_stride: rows.stride,
                    samples_stride: samples.stride,
                    ..RowsParams::default()
                };
                BatchRows { params, ids, rows, samples }
            });
        }
    }
}

/// Rows of the data set that the gather cases draw from.
const ROWS: u32 = 70;

/// (valid rows, rows of the batch, columns, members)
fn shapes() -> impl Iterator<Item = (u32, u32, u32, u32)> {
    let sizes = [1, 31, 33].into_iter().flat_map(|rows| [1, 3, 5, 31, 33, 257].map(|columns| (rows, columns)));
    sizes.flat_map(|(rows, columns)| [(rows, rows, columns, 1), (rows, rows + 30, columns, 2)])
}

/// Which rows a member gathers; some more than once.
fn chosen(valid: u32, batch: u32) -> Slot<'static> {
    Slot::own("rows", batch, move |m| words(valid as usize, seed("rows", m)).into_iter().map(|word| word % ROWS).collect())
}

/// Rows of x are longer than those of the data set by a quad where `wide` is 1.
fn gather_params(quads: u32, wide: u32, scale: f32, [rows, samples, x]: [Tensor; 3]) -> GatherParams {
    GatherParams {
        quads,
        x_row: quads + wide,
        scale,
        rows_stride: rows.stride,
        samples_stride: samples.stride,
        x_stride: x.stride,
        stream_and_site: rng::stream_and_site(Stream::TrainingMask, 5),
        ..GatherParams::default()
    }
}

fn samples(batch: u32) -> Slot<'static> {
    Slot::own("samples", batch, move |m| ids(batch + m)[m as usize..].to_vec())
}

/// x with rows of `quads + wide` quads.
fn gathered(valid: u32, batch: u32, quads: u32, wide: u32) -> Slot<'static> {
    Slot::out_rows("x", batch, valid, 4 * quads, 4 * (quads + wide))
}

/// Two sites, of which the second is dropped at, where there is one; a streamed batch is the last of the window.
fn rates(valid: u32, members: u32, site: Option<SiteMask>) -> Step {
    let step = step(valid, members, if site.is_some() { &[0.1, 0.7] } else { &[] });
    let step = site.map_or(step.clone(), |site| with_rule(step, site.index, site.rule));
    Step { window: ROWS - valid, ..step }
}

pub(super) fn gather_f32(case: &mut Case) {
    gather_draws(case);
    for (valid, batch, columns, members) in shapes() {
        for (site, wide, streamed) in [(None, 0, false), (Some(1.into()), 1, false), (None, 1, true), (Some(1.into()), 0, true)] {
            let quads = columns.div_ceil(4);
            let values = Slot::shared("values", padded(ROWS, columns, 5));
            let slots = [chosen(valid, batch), samples(batch), values, gathered(valid, batch, quads, wide)];
            case.check(&rates(valid, members, site), slots, |[rows, samples, values, x]| GatherF32 {
                params: gather_params(quads, wide, 1.0, [rows, samples, x]),
                site,
                streamed,
                rows,
                samples,
                values,
                x,
            });
        }
    }
}

/// One shape with each rule of Monte-Carlo draws.
fn gather_draws(case: &mut Case) {
    for (rule, members) in rules().flat_map(|rule| [(rule, 1), (rule, 2)]) {
        let (valid, batch, columns, site) = (33, 36, 31u32, Some(SiteMask { index: 1, rule }));
        let quads = columns.div_ceil(4);
        let values = Slot::shared("values", padded(ROWS, columns, 5));
        let slots = [chosen(valid, batch), draws(valid), values, gathered(valid, batch, quads, 1)];
        case.check(&rates(valid, members, site), slots, |[rows, samples, values, x]| GatherF32 {
            params: gather_params(quads, 1, 1.0, [rows, samples, x]),
            site,
            streamed: false,
            rows,
            samples,
            values,
            x,
        });
    }
}

pub(super) fn gather_u8(case: &mut Case) {
    for (valid, batch, columns, members) in shapes() {
        let scales = [(1.0 / 255.0, None, 0), (1.0 / 255.0, Some(1.into()), 1), (1.0 / 16.0, Some(1.into()), 0), (-3.7, None, 1)];
        for ((scale, site, wide), streamed) in scales.into_iter().zip([false, false, true, true]) {
            let quads = columns.div_ceil(4);
            let bytes = Slot::shared("bytes", words((ROWS * quads) as usize, 6));
            let slots = [chosen(valid, batch), samples(batch), bytes, gathered(valid, batch, quads, wide)];
            case.check(&rates(valid, members, site), slots, |[rows, samples, bytes, x]| GatherU8 {
                params: gather_params(quads, wide, scale, [rows, samples, x]),
                site,
                streamed,
                rows,
                samples,
                bytes,
                x,
            });
        }
    }
}

pub(super) fn store_output(case: &mut Case) {
    for (valid, batch, columns, members) in shapes() {
        for position in [0, 17] {
            let quads = columns.div_ceil(4);
            // Only the place of the batch is written; the rows before and after it stay poison, which device and twin share.
            let outputs =
                Slot::out("outputs", (position + batch + 2) * 4 * quads, if position == 0 { valid * 4 * quads } else { 0 });
            let step = Step { position, ..step(valid, members, &[]) };
            let wide = 16 * (position % 2);
            let y = Slot::rows("y", batch, valid, columns, 4 + wide);
            let y_row = columns.next_multiple_of(4 + wide) / 4;
            case.check(&step, [y, outputs], |[y, outputs]| {
                let params = OutputParams { quads, y_stride: y.stride, outputs_stride: outputs.stride, y_row };
                StoreOutput { params, y, outputs }
            });
        }
    }
}

pub(super) fn philox_words(case: &mut Case) {
    for len in [1, 31, 65, 4099] {
        let slots = [
            Slot::shared("counters", words(4 * len as usize, 1)),
            Slot::shared("keys", words(2 * len as usize, 2)),
            Slot::out("words", 4 * len, 4 * len),
        ];
        case.check(&step(1, 1, &[]), slots, |[counters, keys, words]| PhiloxWords {
            params: PhiloxParams { len, ..PhiloxParams::default() },
            counters,
            keys,
            words,
        });
    }
}
