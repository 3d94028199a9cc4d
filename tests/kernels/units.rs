//! Cases of the kernels between whole matrices and those of the kept units alone.

use thinnet::Dropout;
use thinnet::idle::{Idle, MAX_UPDATES};
use thinnet::kernels::idle_update::{IdleParams, IdleUpdate};
use thinnet::kernels::thinned_update::ThinnedUpdate;
use thinnet::kernels::units::{GatherColumns, GatherWeight, ScatterGradient, Sides, UnitsParams};
use thinnet::plan::Update;
use thinnet::step::{DROPPED, Draw, SiteStep, Step};

use super::{Case, Slot, bits, seed};
use crate::common::{numbers, step, words};

/// The sites of a step: one of masks by sample, then the one that thins rows and the one that thins columns.
const SIDES: Sides = Sides { rows: Some(1), columns: Some(2) };

/// A whole matrix, how many rows and columns of it are kept, and columns that rows are padded to a multiple of.
#[derive(Clone, Copy)]
struct Shape {
    whole: [u32; 2],
    kept: [u32; 2],
    padded: u32,
}

impl Shape {
    fn quads(&self, columns: u32) -> u32 {
        columns.next_multiple_of(self.padded) / 4
    }

    /// Short blocks of rows, and long ones, of which one shape has two.
    fn block_quads(&self) -> u32 {
        if self.padded == 4 { 8 } else { 40 }
    }
}

fn shapes() -> impl Iterator<Item = (Shape, u32)> {
    let matrices = [
        ([1, 1], [1, 1]),
        ([1, 33], [1, 17]),
        ([5, 3], [2, 1]),
        ([31, 33], [15, 27]),
        ([33, 31], [33, 31]),
        ([64, 64], [32, 32]),
        ([70, 257], [67, 129]),
        ([257, 70], [128, 65]),
    ];
    matrices
        .into_iter()
        .flat_map(|(whole, kept)| [(4, 1), (4, 2), (64, 2)].map(|(padded, members)| (Shape { whole, kept, padded }, members)))
}

/// Each member keeps units of its own at each of the two sites.
fn thinned(rows: u32, members: u32, Shape { whole, kept, .. }: Shape) -> Step {
    let mut step = step(rows, members, &[0.5]);
    for (m, member) in step.members.iter_mut().enumerate() {
        for site in 0..2 {
            let dropout = Dropout::units(f64::from(kept[site]) / f64::from(whole[site])).unwrap();
            let draw = Draw { key: member.key, site: site as u32, units: whole[site], map: [1, 1], epoch: 3, update: 11 };
            member.sites.push(SiteStep::of(&dropout, &draw));
            let list = &mut member.sites[1 + site].kept;
            assert_eq!(list.len() as u32, kept[site]);
            // The second member keeps fewer units than its list has room for.
            let room = list.len();
            list[room - room / 3 * m..].fill(DROPPED);
        }
    }
    step
}

/// Both sides, and each alone, with the rows and columns that are then kept.
fn sides(Shape { whole, kept, .. }: Shape) -> [(Sides, [u32; 2]); 3] {
    [(SIDES, kept), (Sides { rows: None, ..SIDES }, [whole[0], kept[1]]), (Sides { columns: None, ..SIDES }, [kept[0], whole[1]])]
}

/// Random words in the padding of rows, too: nothing may depend on it, and every bit of a number must survive.
fn random(name: &'static str, len: u32) -> Slot<'static> {
    Slot::own(name, len, move |m| words(len as usize, seed("words", m)))
}

pub(super) fn gather_weight(case: &mut Case) {
    for (shape, members) in shapes() {
        for (sides, compact) in sides(shape) {
            let [quads, read_quads] = [compact[1], shape.whole[1]].map(|columns| shape.quads(columns));
            let len = compact[0] * 4 * quads;
            let slots = [random("weight", shape.whole[0] * 4 * read_quads), Slot::out("compact", len, len)];
            case.check(&thinned(1, members, shape), slots, |[weight, compact_at]| {
                let params = UnitsParams {
                    quads,
                    read_quads,
                    read_stride: weight.stride,
                    write_stride: compact_at.stride,
                    block_quads: shape.block_quads(),
                    ..UnitsParams::new(sides, compact, shape.whole[1])
                };
                GatherWeight { params, sides, weight, compact: compact_at }
            });
        }
    }
}

pub(super) fn scatter_gradient(case: &mut Case) {
    // Where nothing is kept, everything that is written is 0.
    let nothing = Shape { whole: [9, 7], kept: [0, 0], padded: 4 };
    for (shape, members) in shapes().chain([(nothing, 2)]) {
        for (sides, compact) in sides(shape) {
            let [quads, read_quads] = [shape.whole[1], compact[1]].map(|columns| shape.quads(columns));
            let len = shape.whole[0] * 4 * quads;
            let slots = [random("compact_gradient", (compact[0] * 4 * read_quads).max(4)), Slot::out("dweight", len, len)];
            case.check(&thinned(1, members, shape), slots, |[compact_gradient, dweight]| {
                let params = UnitsParams {
                    quads,
                    read_quads,
                    read_stride: compact_gradient.stride,
                    write_stride: dweight.stride,
                    block_quads: shape.block_quads(),
                    ..UnitsParams::new(sides, shape.whole, compact[1])
                };
                ScatterGradient { params, sides, compact_gradient, dweight }
            });
        }
    }
}

pub(super) fn gather_columns(case: &mut Case) {
    for (shape, members) in shapes() {
        // The whole matrix is the batch, of which the last rows are not valid.
        let ([rows, columns], kept) = (shape.whole, shape.kept[1]);
        let batch = rows + 3 * (members - 1);
        let [quads, read_quads] = [kept, columns].map(|columns| shape.quads(columns));
        let x = Slot::own("x", batch * 4 * read_quads, move |m| words((rows * 4 * read_quads) as usize, seed("x", m)));
        let slots = [x, Slot::out("compact", batch * 4 * quads, rows * 4 * quads)];
        case.check(&thinned(rows, members, shape), slots, |[x, compact]| {
            let params = UnitsParams {
                quads,
                read_quads,
                read_stride: x.stride,
                write_stride: compact.stride,
                block_quads: shape.block_quads(),
                ..UnitsParams::new(Sides { rows: None, ..SIDES }, [batch, kept], columns)
            };
            GatherColumns { params, site: 2, x, compact }
        });
    }
}

/// Numbers of a weight or a moment, of `low` and more where that is above 0.
fn numbers_of(name: &'static str, len: u32, low: f32) -> Slot<'static> {
    let value = move |v: f32| if low > 0.0 { v.abs() + low } else { v };
    Slot::own(name, len, move |m| bits(numbers(len as usize, seed(name, m)).into_iter().map(value))).even()
}

const UPDATES: [Update; 3] = [Update::Sgd, Update::Adam, Update::RmsProp];

/// Every optimizer, over shapes and sides in turn; what is read of m and v is as large as w.
pub(super) fn thinned_update(case: &mut Case) {
    let all = shapes().flat_map(|(shape, members)| sides(shape).map(move |(sides, compact)| (shape, members, sides, compact)));
    for ((shape, members, sides, compact), update) in all.zip(UPDATES.into_iter().cycle()) {
        let [quads, read_quads] = [shape.whole[1], compact[1]].map(|columns| shape.quads(columns));
        let len = shape.whole[0] * 4 * quads;
        let gradient = (compact[0] * 4 * read_quads).max(4);
        let slots = [
            Slot::own("gradient", gradient, move |m| bits(numbers(gradient as usize, seed("gradient", m)))),
            numbers_of("w", len, 0.0),
            numbers_of("m", len, 0.0),
            numbers_of("v", len, 0.01),
        ];
        let mut step = thinned(1, members, shape);
        for (member, values) in step.members.iter_mut().enumerate() {
            values.optimizer = super::dense::optimizer_of(member as u32);
        }
        case.check(&step, slots, |[compact_gradient, w, m, v]| {
            let params = UnitsParams {
                quads,
                read_quads,
                read_stride: compact_gradient.stride,
                write_stride: w.stride,
                block_quads: shape.block_quads(),
                ..UnitsParams::new(sides, [compact[0], shape.whole[1]], compact[1])
            };
            ThinnedUpdate { params, update, sides, compact_gradient, w, m, v }
        });
    }
}

/// Every optimizer, over shapes in turn: all dropped rows once, as without a list; rows that have waited for different times, up to the
/// longest; none.
pub(super) fn idle_update(case: &mut Case) {
    let lists = [None, Some(3), Some(MAX_UPDATES), Some(0)];
    let all = shapes().flat_map(|(shape, members)| lists.map(|longest| (shape, members, longest)));
    for ((shape, members, longest), update) in all.zip(UPDATES.into_iter().cycle()) {
        let quads = shape.quads(shape.whole[1]);
        let len = shape.whole[0] * 4 * quads;
        let mut step = thinned(1, members, shape);
        for (member, values) in (0..).zip(&mut step.members) {
            values.optimizer = super::dense::optimizer_of(member);
            // Sites whose dropped rows are updated keep as many as their plan says.
            for (site, dropped) in values.sites[1..].iter_mut().zip([0, 1].map(|side| shape.whole[side] - shape.kept[side])) {
                if site.kept.contains(&DROPPED) {
                    site.kept = (dropped..site.units).collect();
                }
            }
            let site = &mut values.sites[1];
            let dropped = Idle::all_dropped(site).rows;
            site.idle = longest.map(|longest| {
                let earlier = (1..longest).map(|k| super::dense::optimizer_of(member + k)).collect();
                let listed = dropped.iter().filter(|[row, _]| longest > 0 && (row + member) % 3 != 1);
                Idle { earlier, rows: listed.map(|&[row, _]| [row, 1 + (7 * row + member) % longest]).collect() }
            });
        }
        let slots = [numbers_of("w", len, 0.0), numbers_of("m", len, 0.0), numbers_of("v", len, 0.01)];
        case.check(&step, slots, |[w, m, v]| {
            let dropped = shape.whole[0] - shape.kept[0];
            let params = IdleParams { stride: w.stride, block_quads: shape.block_quads(), ..IdleParams::new(dropped, quads) };
            IdleUpdate { params, site: 1, update, w, m, v }
        });
    }
}
