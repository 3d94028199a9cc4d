//! Cases of the dense kernels of every family that the device has.

use std::cell::RefCell;
use std::collections::BTreeSet;

use thinnet::Activation;
use thinnet::kernels::Kernel;
use thinnet::kernels::dense::{DenseBackwardInput, DenseBackwardWeight, DenseForward, DenseParams, DenseUpdate, Epilogue};
use thinnet::kernels::matmul::Matmul;
use thinnet::kernels::splits::{SplitsParams, SumSplits};
use thinnet::mask_rule::{MaskRule, SiteMask};
use thinnet::memory::Tensor;
use thinnet::plan::Update;
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::step::{OptimizerStep, Step};

use super::draws::{draws, rules, with_rule};
use super::{Case, Slot, bits, on_device, seed};
use crate::common::{device, numbers, padded, padded_to, step};

/// A shape: valid rows, rows of the batch, inputs, outputs, members.
#[derive(Clone, Copy)]
struct Shape {
    rows: u32,
    batch: u32,
    inputs: u32,
    outputs: u32,
    members: u32,
}

/// No two extents are alike but in the smallest; 67 rows and 257 columns need several workgroups, and the rows that follow 36 begin a
/// quad of rows: a sum that goes on into it shows.
fn small() -> impl Iterator<Item = Shape> {
    let widths = [(1, 1), (1, 257), (3, 5), (5, 3), (31, 33), (33, 31), (257, 1), (257, 33)];
    let rows = [1, 31, 33, 36, 67].into_iter();
    rows.flat_map(move |rows| {
        let shape = move |(inputs, outputs), members| Shape { rows, batch: rows + 3 * (members - 1), inputs, outputs, members };
        widths.into_iter().flat_map(move |width| [shape(width, 1), shape(width, 2)])
    })
}

/// The small shapes, and for the families that have larger tiles for larger products one that needs them, of so many rows, inputs
/// and outputs.
fn shapes(matmul: Matmul, [rows, inputs, outputs]: [u32; 3]) -> impl Iterator<Item = Shape> {
    let large = [1, 2].map(|members| Shape { rows, batch: rows + 5, inputs, outputs, members });
    small().chain(large.into_iter().filter(move |_| matmul != Matmul::Plain))
}

/// Which tiles the kernels of a case have; both must come.
#[derive(Default)]
struct Tiles(RefCell<BTreeSet<u32>>);

impl Tiles {
    fn see(&self, kernel: &impl Kernel) {
        let tile = kernel.constants().iter().find(|(name, _)| *name == "TILE").map(|(_, tile)| *tile);
        self.0.borrow_mut().extend(tile);
    }

    #[track_caller]
    fn are_all(&self, matmul: Matmul) {
        let all: &[u32] = if matmul == Matmul::Tile { &[32, 64] } else { &[] };
        assert!(self.0.borrow().iter().eq(all), "{matmul}: {:?}", self.0.borrow());
    }
}

/// The epilogues, one after the other over the shapes: every activation, without dropout and with.
fn epilogues() -> impl Iterator<Item = Epilogue> {
    use Activation::{Identity, LeakyRelu, Relu, Selu, Sigmoid, Tanh};
    let all = [Identity, Relu, Tanh, Sigmoid, LeakyRelu, Selu].into_iter();
    all.flat_map(|activation| [None, Some(SiteMask::from(1))].map(|site| Epilogue { activation, site })).cycle()
}

/// The kernels of the family `shuffle`, where the device has lanes for it.
pub(super) fn shuffle() -> Matmul {
    match device().caps().matmul {
        Matmul::Shuffle { lanes } => Matmul::Shuffle { lanes },
        other => panic!("these cases need a software adapter with subgroups of 4, 8 or 16 lanes, but this device has {other:?}"),
    }
}

/// Numbers around 1e-20, whose products are denormal: a device may flush them to zero.
fn tiny(name: &'static str, rows: u32, columns: u32, words: u32) -> Slot<'static> {
    Slot::own(name, rows * columns.next_multiple_of(words), move |member| {
        let small = |word: u32| (f32::from_bits(word) * 1e-20).to_bits();
        padded_to(words, rows, columns, seed(name, member)).into_iter().map(small).collect()
    })
}

/// The samples of the rows, a list of its own for each member.
fn samples(batch: u32) -> Slot<'static> {
    Slot::own("samples", batch, move |m| (0..batch).map(|row| 7 * row + 1000 * m).collect())
}

/// The strides are those of the tensors in the roles that `lib/dense.wgsl` gives them.
fn params(matmul: Matmul, shape: Shape, [x, weight, y, samples]: [Option<Tensor>; 4]) -> DenseParams {
    let stride = |tensor: Option<Tensor>| tensor.map_or(0, |tensor| tensor.stride);
    DenseParams {
        x_stride: stride(x),
        weight_stride: stride(weight),
        y_stride: stride(y),
        samples_stride: stride(samples),
        stream_and_site: rng::stream_and_site(Stream::TrainingMask, 3),
        ..DenseParams::new(shape.inputs, shape.outputs, shape.batch, matmul.row_words())
    }
}

/// Two sites, of which the second is dropped at, where there is one.
fn rates(shape: Shape, site: Option<SiteMask>) -> Step {
    let step = step(shape.rows, shape.members, if site.is_some() { &[0.1, 0.6] } else { &[] });
    site.map_or(step.clone(), |site| with_rule(step, site.index, site.rule))
}

fn forward_cases(case: &mut Case, matmul: Matmul) {
    let (words, tiles) = (matmul.row_words(), Tiles::default());
    let check = |case: &mut Case, shape: Shape, epilogue: Epilogue, x, weight, bias| {
        let y = Slot::out_rows("y", shape.batch, shape.rows, shape.outputs, words);
        let listed = match epilogue.site {
            Some(SiteMask { rule, .. }) if rule != MaskRule::Pass => draws(shape.batch),
            _ => samples(shape.batch),
        };
        let slots = [listed, bias, x, weight, y];
        case.check(&rates(shape, epilogue.site), slots, |[samples, bias, x, weight, y]| {
            let params = params(matmul, shape, [Some(x), Some(weight), Some(y), Some(samples)]);
            let kernel = DenseForward { matmul, params, epilogue, samples, bias, x, weight, y };
            tiles.see(&kernel);
            kernel
        });
    };
    let in_draws = rules().map(|rule| Epilogue { activation: Activation::Relu, site: Some(SiteMask { index: 1, rule }) }).cycle();
    let of_draws = shapes(matmul, [509, 19, 515]).filter(|shape| shape.rows >= 33 && shape.outputs > 5).zip(in_draws);
    for (shape, epilogue) in shapes(matmul, [509, 19, 515]).zip(epilogues()).chain(of_draws) {
        let Shape { rows, batch, inputs, outputs, .. } = shape;
        let (x, weight) = (Slot::rows("x", batch, rows, inputs, words), Slot::rows("weight", outputs, outputs, inputs, words));
        // The bias lies behind its weight: their strides are one.
        check(case, shape, epilogue, x, weight.with_stride(), Slot::rows("bias", 1, 1, outputs, words).with_stride());
    }
    let shape = Shape { rows: 7, batch: 7, inputs: 13, outputs: 17, members: 2 };
    let bias = Slot::own("bias", 17u32.next_multiple_of(words), move |_| vec![0; 17usize.next_multiple_of(words as usize)]);
    check(case, shape, Epilogue::NONE, tiny("x", 7, 13, words), tiny("weight", 17, 13, words).with_stride(), bias.with_stride());
    tiles.are_all(matmul);
}

/// Random outputs of the layer before, 0 where they were dropped: its ReLU kernel takes the mask from them.
fn stored_inputs(shape: Shape, epilogue: Epilogue, words: u32) -> Slot<'static> {
    let Shape { rows, batch, inputs, .. } = shape;
    let row_words = inputs.next_multiple_of(words);
    Slot::own("x", batch * row_words, move |member| {
        let mut values = padded_to(words, rows, inputs, seed("x", member));
        let rate = rates(shape, epilogue.site).members[member as usize].clone();
        for (i, value) in values.iter_mut().enumerate().filter(|_| epilogue.site.is_some()) {
            let (row, unit) = (i as u32 / row_words, i as u32 % row_words);
            let at = Coordinates { stream: Stream::TrainingMask, site: 3, pass: 3, sample: 7 * row + 1000 * member };
            if !rate.sites[1].keeps(at.word(unit, rate.key)) {
                *value = 0;
            }
        }
        values
    })
}

fn backward_input_cases(case: &mut Case, matmul: Matmul) {
    let (words, tiles) = (matmul.row_words(), Tiles::default());
    let check = |case: &mut Case, shape: Shape, epilogue: Epilogue, weight, dy| {
        let Shape { rows, batch, inputs, .. } = shape;
        let (x, dx) = (stored_inputs(shape, epilogue, words), Slot::out_rows("dx", batch, rows, inputs, words));
        let slots = [samples(batch), x, weight, dy, dx];
        case.check(&rates(shape, epilogue.site), slots, |[samples, x, weight, dy, dx]| {
            let of_gradients = params(matmul, shape, [Some(dx), Some(weight), Some(dy), Some(samples)]);
            let params = DenseParams { stored_stride: x.stride, ..of_gradients };
            let kernel = DenseBackwardInput { matmul, params, epilogue, samples, x, weight, dy, dx };
            tiles.see(&kernel);
            kernel
        });
    };
    for (shape, epilogue) in shapes(matmul, [509, 515, 19]).zip(epilogues()) {
        let Shape { rows, batch, inputs, outputs, .. } = shape;
        let weight = Slot::rows("weight", outputs, outputs, inputs, words);
        check(case, shape, epilogue, weight, Slot::rows("dy", batch, rows, outputs, words));
    }
    let shape = Shape { rows: 7, batch: 7, inputs: 13, outputs: 17, members: 2 };
    check(case, shape, Epilogue::NONE, tiny("weight", 17, 13, words), tiny("dy", 7, 17, words));
    tiles.are_all(matmul);
}

/// A tensor for W and, behind a gap, b; what it holds at first is `values` of its length.
fn weight_and_bias<'a>(
    name: &'static str,
    shape: Shape,
    words: u32,
    values: impl Fn(u32, usize) -> Vec<u32> + 'a,
) -> (Slot<'a>, u32) {
    let bias_at = (shape.outputs * shape.inputs.next_multiple_of(words)).next_multiple_of(64) + 64;
    let len = bias_at + shape.outputs.next_multiple_of(words);
    (Slot::own(name, len, move |member| values(member, len as usize)), bias_at / 4)
}

fn backward_weight_cases(case: &mut Case, matmul: Matmul) {
    let (words, tiles) = (matmul.row_words(), Tiles::default());
    let check = |case: &mut Case, shape: Shape, x, dy| {
        let (gradient, bias_at) = weight_and_bias("gradient", shape, words, |_, _| Vec::new());
        case.check(&rates(shape, None), [x, dy, gradient], |[x, dy, gradient]| {
            let params = DenseParams { bias_at, ..params(matmul, shape, [Some(x), Some(gradient), Some(dy), None]) };
            let kernel = DenseBackwardWeight { matmul, params, x, dy, gradient };
            tiles.see(&kernel);
            kernel
        });
    };
    for shape in shapes(matmul, [19, 509, 515]) {
        let Shape { rows, batch, inputs, outputs, .. } = shape;
        check(case, shape, Slot::rows("x", batch, rows, inputs, words), Slot::rows("dy", batch, rows, outputs, words));
    }
    let shape = Shape { rows: 7, batch: 7, inputs: 13, outputs: 17, members: 2 };
    check(case, shape, tiny("x", 7, 13, words), tiny("dy", 7, 17, words));
    // Denormal numbers themselves, of both signs, whose column sums are db.
    let denormal = |member| numbers(9 * 64, seed("dy", member)).into_iter().map(|v| (v * 1e-39).to_bits()).collect();
    let shape = Shape { rows: 9, batch: 9, inputs: 3, outputs: 4, members: 2 };
    check(
        case,
        shape,
        Slot::rows("x", 9, 9, 3, words),
        Slot::own("dy", 9 * words, move |m| {
            let mut all: Vec<u32> = denormal(m);
            all.truncate(9 * words as usize);
            all
        }),
    );
    tiles.are_all(matmul);
}

/// The sum over a batch in parts: `shape.batch` rows in parts of `split_rows`, of which one is ragged and one has no valid row.
fn split_cases(case: &mut Case, matmul: Matmul, shape: Shape, split_rows: u32) {
    let words = matmul.row_words();
    let Shape { rows, batch, inputs, outputs, members } = shape;
    let splits = batch.div_ceil(split_rows);
    assert!(rows % split_rows != 0 && rows < (splits - 1) * split_rows);
    for members in 1..=members {
        let shape = Shape { members, ..shape };
        let (_, bias_at) = weight_and_bias("gradient", shape, words, |_, _| Vec::new());
        let part = 4 * bias_at + outputs.next_multiple_of(words);
        let slots = [
            Slot::rows("x", batch, rows, inputs, words),
            Slot::rows("dy", batch, rows, outputs, words),
            Slot::own("gradient", splits * part, |_| Vec::new()),
        ];
        case.check(&rates(shape, None), slots, |[x, dy, gradient]| {
            let base = params(matmul, shape, [Some(x), Some(gradient), Some(dy), None]);
            let params = DenseParams { bias_at, splits, split_rows, split_quads: part / 4, ..base };
            DenseBackwardWeight { matmul, params, x, dy, gradient }
        });
    }
}

/// Scalars of a member's own.
pub(super) fn optimizer_of(member: u32) -> OptimizerStep {
    OptimizerStep {
        learning_rate: 0.1,
        weight_decay: 0.01 * member as f32,
        beta1: 0.9,
        one_minus_beta1: 0.1,
        beta2: 0.99,
        one_minus_beta2: 0.01,
        root_bias2: 0.5,
        epsilon: 1e-3,
        nesterov: member,
        ..OptimizerStep::default()
    }
}

fn update_cases(case: &mut Case, matmul: Matmul) {
    let (words, tiles) = (matmul.row_words(), Tiles::default());
    let updates = [Update::Sgd, Update::Adam, Update::RmsProp].into_iter().cycle();
    for (shape, update) in shapes(matmul, [19, 509, 515]).zip(updates) {
        let Shape { rows, batch, inputs, outputs, .. } = shape;
        let values = |name: &'static str, low: f32| {
            move |m: u32, len: usize| {
                bits(numbers(len, seed(name, m)).into_iter().map(move |v| if low > 0.0 { low + v.abs() } else { v }))
            }
        };
        let (w, bias_at) = weight_and_bias("w", shape, words, values("w", 0.0));
        let (m, _) = weight_and_bias("m", shape, words, values("m", 0.0));
        let (v, _) = weight_and_bias("v", shape, words, values("v", 0.01));
        let (x, dy) = (Slot::rows("x", batch, rows, inputs, words), Slot::rows("dy", batch, rows, outputs, words));
        let mut step = rates(shape, None);
        for (member, values) in step.members.iter_mut().enumerate() {
            values.optimizer = optimizer_of(member as u32);
        }
        case.check(&step, [x, dy, w.even(), m.even(), v.even()], |[x, dy, w, m, v]| {
            let params = DenseParams { bias_at, ..params(matmul, shape, [Some(x), Some(w), Some(dy), None]) };
            let kernel = DenseUpdate { matmul, params, update, x, dy, w, m, v };
            tiles.see(&kernel);
            kernel
        });
    }
    tiles.are_all(matmul);
}

pub(super) fn dense_forward(case: &mut Case) {
    forward_cases(case, Matmul::Plain);
}

pub(super) fn dense_forward_shuffle(case: &mut Case) {
    forward_cases(case, shuffle());
}

pub(super) fn dense_backward_input(case: &mut Case) {
    backward_input_cases(case, Matmul::Plain);
}

pub(super) fn dense_backward_input_shuffle(case: &mut Case) {
    backward_input_cases(case, shuffle());
}

pub(super) fn dense_backward_weight(case: &mut Case) {
    backward_weight_cases(case, Matmul::Plain);
}

pub(super) fn dense_backward_weight_shuffle(case: &mut Case) {
    backward_weight_cases(case, shuffle());
    split_cases(case, shuffle(), Shape { rows: 2 * 4096 + 5, batch: 3 * 4096 + 7, inputs: 3, outputs: 2, members: 2 }, 4096);
}

pub(super) fn dense_backward_weight_tile(case: &mut Case) {
    backward_weight_cases(case, Matmul::Tile);
    split_cases(case, Matmul::Tile, Shape { rows: 3 * 48 + 5, batch: 5 * 48 + 7, inputs: 67, outputs: 37, members: 2 }, 48);
    // So many parts that the tiles are large.
    split_cases(case, Matmul::Tile, Shape { rows: 27 * 16 + 1, batch: 34 * 16, inputs: 67, outputs: 37, members: 2 }, 16);
}

pub(super) fn dense_update(case: &mut Case) {
    update_cases(case, Matmul::Plain);
}

pub(super) fn dense_update_shuffle(case: &mut Case) {
    update_cases(case, shuffle());
}

pub(super) fn dense_forward_tile(case: &mut Case) {
    forward_cases(case, Matmul::Tile);
}

pub(super) fn dense_backward_input_tile(case: &mut Case) {
    backward_input_cases(case, Matmul::Tile);
}

pub(super) fn dense_update_tile(case: &mut Case) {
    update_cases(case, Matmul::Tile);
}

/// The parts of `[outputs, inputs]` and of a bias that begins some quads behind it. What lies between them are numbers in the parts, and
/// in the gradient poison, which stays.
pub(super) fn sum_splits(case: &mut Case) {
    let shapes = [(1, 1, 4, 0, 1, 1), (7, 3, 4, 1, 2, 2), (13, 5, 64, 0, 5, 1), (130, 9, 4, 3, 13, 3), (70, 66, 64, 2, 3, 2)];
    for (inputs, outputs, words, gap, splits, members) in shapes {
        let layer = DenseParams::new(inputs, outputs, 1, words);
        let bias_at = outputs * layer.input_row + gap;
        let quads = bias_at + outputs.next_multiple_of(words) / 4;
        let params = DenseParams { bias_at, splits, split_quads: quads, ..layer };
        let words = (4 * quads * splits) as usize;
        let partials = Slot::own("partials", 4 * quads * splits, move |m| bits(numbers(words, seed("partials", m))));
        let gradient = Slot::own("gradient", 4 * quads, |_| Vec::new());
        case.check(&step(1, members, &[]), [partials, gradient], |[partials, gradient]| SumSplits {
            params: SplitsParams::new(&params, partials.stride, gradient.stride),
            partials,
            gradient,
        });
    }
}

/// The same numbers from every family, where sums of small whole numbers are exact: so the same mask, too.
#[test]
fn families_agree_bit_for_bit_where_sums_are_exact() {
    let whole = |name: &'static str, rows: u32, columns: u32, words: u32| {
        Slot::own(name, rows * columns.next_multiple_of(words), move |m| {
            let rounded = |word: u32| (f32::from_bits(word) * 4.0).round().to_bits();
            padded_to(words, rows, columns, seed(name, m)).into_iter().map(rounded).collect()
        })
    };
    let (rows, inputs, outputs) = (45, 37, 70);
    let shape = Shape { rows, batch: rows, inputs, outputs, members: 1 };
    let epilogue = Epilogue { activation: Activation::Relu, site: Some(SiteMask::from(1)) };
    let result = |matmul: Matmul| {
        let words = matmul.row_words();
        let y = Slot::out_rows("y", rows, rows, outputs, words);
        let slots = [
            samples(rows),
            whole("bias", 1, outputs, words),
            whole("x", rows, inputs, words),
            whole("weight", outputs, inputs, words),
            y,
        ];
        let [.., y] = on_device(&rates(shape, Some(1.into())), slots, |[samples, bias, x, weight, y]| {
            let params = params(matmul, shape, [Some(x), Some(weight), Some(y), Some(samples)]);
            DenseForward { matmul, params, epilogue, samples, bias, x, weight, y }
        });
        let row = outputs.next_multiple_of(words) as usize;
        y.chunks(row).flat_map(|row| row[..outputs as usize].to_vec()).collect::<Vec<u32>>()
    };
    let plain = result(Matmul::Plain);
    assert!(plain.iter().filter(|&&word| word == 0).count() > plain.len() / 3, "some units are dropped");
    assert_eq!(plain, result(shuffle()));
    assert_eq!(plain, result(Matmul::Tile));
    assert_eq!(padded(1, 3, 1).len(), 4);
}
