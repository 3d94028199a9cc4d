//! Cases of the dense kernels.

use thinnet::kernels::dense::{DenseBackwardBias, DenseBackwardInput, DenseBackwardWeight, DenseForward, DenseParams};
use thinnet::memory::Tensor;

use super::{Case, Slot, seed};
use crate::common::{numbers, padded, step};

/// A shape: valid rows, rows of the batch, inputs, outputs, members.
struct Shape {
    rows: u32,
    batch: u32,
    inputs: u32,
    outputs: u32,
    members: u32,
}

/// No two extents are alike but in the smallest; 67 rows and 257 columns need several workgroups.
fn shapes() -> impl Iterator<Item = Shape> {
    let widths = [(1, 1), (1, 257), (3, 5), (5, 3), (31, 33), (33, 31), (257, 1), (257, 33)];
    let rows = [1, 31, 33, 67].into_iter();
    rows.flat_map(move |rows| {
        let shape = move |(inputs, outputs), members| Shape { rows, batch: rows + 3 * (members - 1), inputs, outputs, members };
        widths.into_iter().flat_map(move |width| [shape(width, 1), shape(width, 2)])
    })
}

fn quads(columns: u32) -> u32 {
    columns.next_multiple_of(4)
}

/// Numbers around 1e-20, whose products are denormal: a device may flush them to zero.
fn tiny(name: &'static str, rows: u32, columns: u32) -> Slot<'static> {
    Slot::own(name, rows * quads(columns), move |member| {
        let small = |word: u32| (f32::from_bits(word) * 1e-20).to_bits();
        padded(rows, columns, seed(name, member)).into_iter().map(small).collect()
    })
}

/// The strides are those of the tensors in the roles that `dense.wgsl` gives them.
fn params(inputs: u32, outputs: u32, [x, weight, bias, y]: [Option<Tensor>; 4]) -> DenseParams {
    let stride = |tensor: Option<Tensor>| tensor.map_or(0, |tensor| tensor.stride);
    DenseParams {
        x_stride: stride(x),
        weight_stride: stride(weight),
        bias_stride: stride(bias),
        y_stride: stride(y),
        ..DenseParams::new(inputs, outputs)
    }
}

pub(super) fn dense_forward(case: &mut Case) {
    let forward = |i, o| {
        move |[x, weight, bias, y]: [Tensor; 4]| DenseForward {
            params: params(i, o, [Some(x), Some(weight), Some(bias), Some(y)]),
            x,
            weight,
            bias,
            y,
        }
    };
    for Shape { rows, batch, inputs, outputs, members } in shapes() {
        let (x, weight) = (Slot::matrix("x", batch, rows, inputs), Slot::matrix("weight", outputs, outputs, inputs));
        let bias = Slot::matrix("bias", 1, 1, outputs);
        let y = Slot::out("y", batch * quads(outputs), rows * quads(outputs));
        case.check(&step(rows, members, &[]), [x, weight, bias, y], forward(inputs, outputs));
    }
    let y = Slot::out("y", 7 * 20, 7 * 20);
    let slots = [tiny("x", 7, 13), tiny("weight", 17, 13), Slot::own("bias", 20, |_| vec![0; 20]), y];
    case.check(&step(7, 2, &[]), slots, forward(13, 17));
}

pub(super) fn dense_backward_input(case: &mut Case) {
    let backward = |i, o| {
        move |[weight, dy, dx]: [Tensor; 3]| DenseBackwardInput {
            params: params(i, o, [Some(dx), Some(weight), None, Some(dy)]),
            weight,
            dy,
            dx,
        }
    };
    for Shape { rows, batch, inputs, outputs, members } in shapes() {
        let (weight, dy) = (Slot::matrix("weight", outputs, outputs, inputs), Slot::matrix("dy", batch, rows, outputs));
        let dx = Slot::out("dx", batch * quads(inputs), rows * quads(inputs));
        case.check(&step(rows, members, &[]), [weight, dy, dx], backward(inputs, outputs));
    }
    let slots = [tiny("weight", 17, 13), tiny("dy", 7, 17), Slot::out("dx", 7 * 16, 7 * 16)];
    case.check(&step(7, 2, &[]), slots, backward(13, 17));
}

pub(super) fn dense_backward_weight(case: &mut Case) {
    let backward = |i, o| {
        move |[x, dy, dweight]: [Tensor; 3]| DenseBackwardWeight {
            params: params(i, o, [Some(x), Some(dweight), None, Some(dy)]),
            x,
            dy,
            dweight,
        }
    };
    for Shape { rows, batch, inputs, outputs, members } in shapes() {
        let (x, dy) = (Slot::matrix("x", batch, rows, inputs), Slot::matrix("dy", batch, rows, outputs));
        let dweight = Slot::out("dweight", outputs * quads(inputs), outputs * quads(inputs));
        case.check(&step(rows, members, &[]), [x, dy, dweight], backward(inputs, outputs));
    }
    let slots = [tiny("x", 7, 13), tiny("dy", 7, 17), Slot::out("dweight", 17 * 16, 17 * 16)];
    case.check(&step(7, 2, &[]), slots, backward(13, 17));
}

pub(super) fn dense_backward_bias(case: &mut Case) {
    let backward = |o| {
        move |[dy, dbias]: [Tensor; 2]| DenseBackwardBias { params: params(1, o, [None, None, Some(dbias), Some(dy)]), dy, dbias }
    };
    for Shape { rows, batch, outputs, members, .. } in shapes() {
        let slots = [Slot::matrix("dy", batch, rows, outputs), Slot::out("dbias", quads(outputs), quads(outputs))];
        case.check(&step(rows, members, &[]), slots, backward(outputs));
    }
    // Denormal numbers themselves, of both signs.
    let denormal = |member| numbers(9 * 4, seed("dy", member)).into_iter().map(|v| (v * 1e-39).to_bits()).collect();
    let slots = [Slot::own("dy", 9 * 4, denormal), Slot::out("dbias", 4, 4)];
    case.check(&step(9, 2, &[]), slots, backward(4));
}
