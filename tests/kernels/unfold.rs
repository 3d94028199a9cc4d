//! Cases of the kernels of convolutions as products of matrices.

use thinnet::kernels::unfold::{Fold, FoldQuads, MapStrides, Unfold, UnfoldParams, UnfoldQuads};
use thinnet::memory::Tensor;
use thinnet::network::Window;

use super::{Case, Slot};
use crate::common::step;

/// A window over maps: (window, channels, map).
fn windows() -> Vec<(Window, u32, [u32; 2])> {
    let window = |kernel, stride, padding, dilation| Window { kernel, stride, padding, dilation };
    vec![
        (window([1, 1], [1, 1], [0, 0], [1, 1]), 4, [3, 5]),
        (window([5, 5], [1, 1], [0, 0], [1, 1]), 1, [7, 8]),
        (window([3, 3], [1, 1], [1, 1], [1, 1]), 8, [4, 6]),
        (window([3, 2], [2, 3], [1, 0], [1, 1]), 3, [7, 9]), // a rest in both axes
        (window([3, 3], [2, 2], [2, 1], [2, 3]), 4, [9, 11]),
        (window([2, 4], [3, 1], [0, 3], [1, 1]), 20, [6, 5]), // the padding is wider than what follows it
        (window([1, 7], [1, 2], [0, 3], [1, 1]), 5, [1, 16]),
    ]
}

/// (window, channels, map, places, valid samples, samples of the batch, members, words that rows are padded to)
type Shape = (Window, u32, [u32; 2], [u32; 2], [u32; 4]);

fn shapes(quads: bool) -> impl Iterator<Item = Shape> {
    let of_quads = windows().into_iter().filter(move |(_, channels, _)| !quads || channels % 4 == 0);
    of_quads.flat_map(|(window, channels, map)| {
        let places = window.places(map).unwrap();
        [[1, 1, 1, 4], [2, 3, 2, 4], [3, 3, 1, 64]].map(|sizes| (window, channels, map, places, sizes))
    })
}

/// Columns of u.
fn columns(window: &Window, channels: u32) -> u32 {
    window.kernel[0] * window.kernel[1] * channels
}

fn unfold_params((window, channels, map, places, [.., words]): &Shape, planar: bool, [x, u]: [Tensor; 2]) -> UnfoldParams {
    let layout = match planar {
        true => MapStrides::planar((channels * map[0] * map[1]).next_multiple_of(*words), *map),
        false => MapStrides::pixels(channels.next_multiple_of(*words), *map),
    };
    let row = columns(window, *channels).next_multiple_of(*words) / 4;
    let params = UnfoldParams::unfold(window, *channels, *map, *places, layout, row);
    UnfoldParams { read_stride: x.stride, write_stride: u.stride, ..params }
}

fn u_slot(shape: &Shape) -> Slot<'static> {
    let (window, channels, _, places, [valid, batch, _, words]) = *shape;
    let rows = places[0] * places[1];
    Slot::out_rows("u", batch * rows, valid * rows, columns(&window, channels), words)
}

pub(super) fn unfold(case: &mut Case) {
    for shape in shapes(false) {
        let (_, channels, map, _, [valid, batch, members, words]) = shape;
        let pixels = map[0] * map[1];
        for planar in [true, false] {
            let (rows, columns) = if planar { (1, channels * pixels) } else { (pixels, channels) };
            let x = Slot::rows("x", batch * rows, valid * rows, columns, words);
            case.check(&step(valid, members, &[]), [x, u_slot(&shape)], |[x, u]| {
                let params = unfold_params(&shape, planar, [x, u]);
                Unfold { params, x, u }
            });
        }
    }
}

pub(super) fn unfold_quads(case: &mut Case) {
    for shape in shapes(true) {
        let (_, channels, map, _, [valid, batch, members, words]) = shape;
        let pixels = map[0] * map[1];
        let x = Slot::rows("x", batch * pixels, valid * pixels, channels, words);
        case.check(&step(valid, members, &[]), [x, u_slot(&shape)], |[x_quads, u]| {
            let params = unfold_params(&shape, false, [x_quads, u]).of_quads();
            UnfoldQuads { params, x_quads, u }
        });
    }
}

fn fold_slots(shape: &Shape) -> [Slot<'static>; 2] {
    let (window, channels, map, places, [valid, batch, _, words]) = *shape;
    let (rows, pixels) = (places[0] * places[1], map[0] * map[1]);
    let du = Slot::rows("du", batch * rows, valid * rows, columns(&window, channels), words);
    [du, Slot::out_rows("dx", batch * pixels, valid * pixels, channels, words)]
}

fn fold_params((window, channels, map, places, [.., words]): &Shape, [du, dx]: [Tensor; 2]) -> UnfoldParams {
    let (u_row, row) = (columns(window, *channels).next_multiple_of(*words) / 4, channels.next_multiple_of(*words) / 4);
    let params = UnfoldParams::fold(window, *channels, *map, *places, u_row, row);
    UnfoldParams { read_stride: du.stride, write_stride: dx.stride, ..params }
}

pub(super) fn fold(case: &mut Case) {
    for shape in shapes(false) {
        let [valid, _, members, _] = shape.4;
        case.check(&step(valid, members, &[]), fold_slots(&shape), |[du, dx]| {
            let params = fold_params(&shape, [du, dx]);
            Fold { params, du, dx }
        });
    }
}

pub(super) fn fold_quads(case: &mut Case) {
    for shape in shapes(true) {
        let [valid, _, members, _] = shape.4;
        case.check(&step(valid, members, &[]), fold_slots(&shape), |[du_quads, dx]| {
            let params = fold_params(&shape, [du_quads, dx]).of_quads();
            FoldQuads { params, du_quads, dx }
        });
    }
}
