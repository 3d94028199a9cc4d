//! Cases of the sums of residual blocks, with all samples and with those that keep their branch.

use thinnet::kernels::residual::{Add, PathAdd, PathGather, PathSamples, ResidualParams};
use thinnet::step::{DROPPED, SiteStep, Step};

use super::layout::{apart, matrix, sizes};
use super::{Case, Slot, bits, on_device, seed};
use crate::common::{POISON, padded_to, step};

const COLUMNS: [u32; 7] = [1, 3, 4, 5, 31, 33, 257];

pub(super) fn add(case: &mut Case) {
    for columns in COLUMNS {
        for (rows, batch, row_words, members) in sizes().into_iter().chain([(257, 260, 4, 2)]) {
            let slots = [
                matrix("a", batch, rows, columns, row_words),
                matrix("b", batch, rows, columns, 4),
                Slot::out_rows("y", batch, rows, columns, 64),
            ];
            case.check(&step(rows, members, &[]), slots, |[a, b, y]| {
                let params = ResidualParams {
                    b_row: columns.div_ceil(4),
                    y_row: columns.next_multiple_of(64) / 4,
                    a_stride: a.stride,
                    b_stride: b.stride,
                    y_stride: y.stride,
                    ..ResidualParams::new(columns, row_words, 1, batch)
                };
                Add { params, a, b, y }
            });
        }
    }
}

/// A path: what the members keep of a batch, and what a sample consists of.
struct Paths {
    batch: u32,
    rows: u32,
    kept: [Vec<u32>; 2],
    pixels: u32,
    columns: u32,
    row_words: u32,
}

/// Some, all and none of the samples; those past the valid ones are in no list. Members keep as many as their lists have room
/// for, or fewer.
fn paths() -> Vec<Paths> {
    let lists = [
        (5, 5, [vec![0, 2, 3], vec![1, 4, DROPPED]]),
        (6, 4, [vec![3], vec![0]]),
        (3, 3, [vec![0, 1, 2], vec![2, DROPPED, DROPPED]]),
        (4, 2, [vec![], vec![]]),
        (70, 67, [(0..67).filter(|n| n % 3 > 0).collect(), (20..64).collect()]),
    ];
    let rows = [(1, 5, 4), (6, 31, 64), (1, 257, 4), (49, 4, 64), (4, 3, 4)];
    let path = |((batch, rows, kept), (pixels, columns, row_words)): ((u32, u32, [Vec<u32>; 2]), _)| Paths {
        batch,
        rows,
        kept,
        pixels,
        columns,
        row_words,
    };
    lists.into_iter().flat_map(|list| rows.map(|row| path((list.clone(), row)))).collect()
}

impl Paths {
    /// The second site of the step is the path's, with a scale that is no power of two.
    fn step(&self, members: u32) -> Step {
        let mut step = step(self.rows, members, &[0.5]);
        for (member, kept) in step.members.iter_mut().zip(&self.kept) {
            let site = SiteStep { units: self.batch, kept: kept.clone(), scale: 1.7, ..member.sites[0].clone() };
            member.sites.push(site);
        }
        step
    }

    /// Rows that the branch has room for.
    fn room(&self) -> u32 {
        (self.kept[0].len() as u32 * self.pixels).max(1)
    }

    fn params(&self) -> ResidualParams {
        ResidualParams::new(self.columns, self.row_words, self.pixels, self.batch)
    }

    fn whole(&self, name: &'static str) -> Slot<'static> {
        matrix(name, self.batch * self.pixels, self.rows * self.pixels, self.columns, self.row_words)
    }
}

pub(super) fn path_gather(case: &mut Case) {
    for path in paths() {
        for (members, scaled) in [(1, true), (2, false), (2, true)] {
            let Paths { columns, row_words, pixels, .. } = path;
            // With two members lists are as long, but not as full: the check of what is written is of what both write.
            let both =
                (0..members as usize).map(|m| path.kept[m].iter().filter(|&&n| n != DROPPED).count() as u32).min().unwrap();
            let compact = Slot::out_rows("compact", path.room(), both * pixels, columns, row_words);
            case.check(&path.step(members), [path.whole("x"), compact], |[x, compact]| {
                let params = ResidualParams { a_stride: x.stride, y_stride: compact.stride, ..path.params() };
                PathGather { params, site: 1, scaled, x, compact }
            });
        }
    }
}

pub(super) fn path_samples(case: &mut Case) {
    for path in paths() {
        for members in [1, 2] {
            let room = (path.kept[0].len() as u32).max(1);
            let both =
                (0..members as usize).map(|m| path.kept[m].iter().filter(|&&n| n != DROPPED).count() as u32).min().unwrap();
            let samples = Slot::own("samples", path.batch, |m| (0..path.rows).map(|i| 1_000 * (m + 1) + 7 * i).collect());
            case.check(&path.step(members), [samples, Slot::out("kept_samples", room, both)], |[samples, kept_samples]| {
                let params = ResidualParams { a_stride: samples.stride, y_stride: kept_samples.stride, ..path.params() };
                PathSamples { params, site: 1, samples, kept_samples }
            });
        }
    }
}

pub(super) fn path_add(case: &mut Case) {
    for path in paths() {
        for (members, scaled) in [(1, true), (2, false), (2, true)] {
            let Paths { columns, row_words, pixels, .. } = path;
            // Rows of the branch that no sample has are poison.
            let branch = |m: u32| {
                let rows = path.kept[m as usize].iter().filter(|&&n| n != DROPPED).count() as u32 * pixels;
                let row = columns.next_multiple_of(row_words);
                apart(padded_to(row_words, rows, columns, seed("branch", m)), columns, row)
            };
            let slots = [
                path.whole("skip"),
                Slot::own("branch", path.room() * columns.next_multiple_of(row_words), branch),
                Slot::out_rows("y", path.batch * pixels, path.rows * pixels, columns, row_words),
            ];
            case.check(&path.step(members), slots, |[skip, branch, y]| {
                let params =
                    ResidualParams { a_stride: skip.stride, b_stride: branch.stride, y_stride: y.stride, ..path.params() };
                PathAdd { params, site: 1, scaled, skip, branch, y }
            });
        }
    }
}

/// Known answers, so that twin and shader are not wrong together; a branch that is not read may be NaN.
#[test]
fn three_samples_of_which_one_is_kept() {
    let path = Paths { batch: 3, rows: 3, kept: [vec![1], vec![]], pixels: 2, columns: 1, row_words: 4 };
    let quads = |numbers: &[f32]| bits(numbers.iter().flat_map(|&v| [v, 0.0, 0.0, 0.0]));
    let whole = || Slot::own("whole", 24, |_| quads(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let mut step = path.step(1);
    step.members[0].sites[1].scale = 4.0;
    let gather = |scaled| {
        let [_, compact] = on_device(&step, [whole(), Slot::out("compact", 12, 8)], |[x, compact]| PathGather {
            params: path.params(),
            site: 1,
            scaled,
            x,
            compact,
        });
        compact
    };
    assert_eq!(gather(false)[..8], quads(&[3.0, 4.0]));
    assert_eq!(gather(true)[..8], quads(&[12.0, 16.0]));
    assert_eq!(gather(true)[8..], [POISON; 4]);
    let branch = || Slot::own("branch", 12, |_| quads(&[0.5, 0.25, f32::NAN]));
    let add = |scaled| {
        let [_, _, y] = on_device(&step, [whole(), branch(), Slot::out("y", 24, 24)], |[skip, branch, y]| PathAdd {
            params: path.params(),
            site: 1,
            scaled,
            skip,
            branch,
            y,
        });
        y
    };
    assert_eq!(add(true), quads(&[1.0, 2.0, 5.0, 5.0, 5.0, 6.0]));
    assert_eq!(add(false), quads(&[1.0, 2.0, 3.5, 4.25, 5.0, 6.0]));
}
