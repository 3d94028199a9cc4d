//! Cases of the steps of recurrent layers: every cell with every kind of mask, at the ends of a sequence and inside it, in both
//! directions, ragged.
//!
//! What a step may read is a number, and nothing else is: columns past the padding of a quad, other steps, other planes are poison.
//! What belongs to steps past the length of a sample is no number either, where the kernel says that it reaches nothing.

use thinnet::kernels::matmul::Matmul;
use thinnet::kernels::recurrent::{
    RecurrentBackward, RecurrentForward, RecurrentMask, RecurrentParams, RecurrentShape, RecurrentSite, RecurrentSize,
};
use thinnet::mask_rule::{MaskRule, SiteMask};
use thinnet::memory::Tensor;
use thinnet::network::Cell;
use thinnet::rng::{self, Stream};
use thinnet::step::Step;

use super::dense::shuffle;
use super::draws::{draws, with_rule};
use super::dropout::{SITE, rates};
use super::{Case, Slot, seed};
use crate::common::{POISON, numbers, words};

mod differences;

/// A step of a layer.
#[derive(Clone, Copy)]
struct Shape {
    size: RecurrentSize,
    rule: MaskRule,
    /// Valid rows.
    rows: u32,
    /// Of each member.
    keeps: [f64; 2],
    members: u32,
    t: u32,
    reverse: bool,
    truncation: Option<u32>,
    ragged: bool,
    /// The lanes of a shuffle kernel, 0 for a plain one, and the samples of an invocation.
    lanes: u32,
    together: u32,
}

/// Every cell with every kind of mask and none, at the first step, inside and at the last, in both directions; the rest is drawn.
///
/// Each kind of mask of each cell has cases that drop, and carry something back, for one sample and for four of an invocation: the
/// steps at the ends, of which there are two or more, with no border of truncation.
fn shapes() -> impl Iterator<Item = Shape> {
    let kinds = RecurrentMask::ALL.map(Some).into_iter().chain([None]);
    let all = Cell::ALL.into_iter().flat_map(move |cell| kinds.clone().map(move |kind| (cell, kind)));
    let places = [0u32, 1, 2].into_iter().flat_map(|place| [false, true].map(|reverse| (place, reverse)));
    let all = all.flat_map(move |kind| places.clone().map(move |place| (kind, place)));
    (0..).zip(all).map(|(i, ((cell, masks), (place, reverse)))| {
        let mut drawn = words(9, i).into_iter();
        let mut pick = |list: &[u32]| list[drawn.next().unwrap() as usize % list.len()];
        let inside = place == 1;
        let (hidden, steps) = (pick(&[1, 3, 4, 5, 33, 34, 8]), pick(if inside { &[1, 3, 4, 5, 6] } else { &[2, 3, 4, 5] }));
        let (rows, row_words) = (pick(&[1, 4, 7, 3, 9, 2, 13, 5, 6, 11, 8]), pick(&[4, 8, 16, 64]));
        let rules = MaskRule::ALL.into_iter().filter(|&rule| inside || rule != MaskRule::All).collect::<Vec<_>>();
        Shape {
            size: RecurrentSize { cell, hidden, steps, batch: rows + 2, row_words, masks },
            rule: rules[i as usize % rules.len()],
            rows,
            keeps: [[0.4, 0.7], [0.6, 0.3], [0.5, 0.0], [0.7, 1.0]][pick(&[0, 1, 2, 3]) as usize],
            members: pick(&[1, 2]),
            t: [0, steps / 2, steps - 1][place as usize],
            reverse,
            truncation: Some(pick(&[0, 1, 2, 3])).filter(|&steps| inside && steps > 0),
            ragged: pick(&[0, 1, 1, 1]) == 1,
            lanes: 0,
            together: if (place + u32::from(reverse)) % 2 == 0 { 4 } else { 1 },
        }
    })
}

/// Half of them for the shuffle kernels, every cell with every kind of mask at both ends and inside: rows as textures have them, and some
/// extents that several workgroups share. Everything behind the products is the plain kernels' own, and so are the rules of masks.
fn shuffled() -> impl Iterator<Item = Shape> {
    let Matmul::Shuffle { lanes } = shuffle() else { unreachable!("the family is the shuffle one") };
    let half = (0..).zip(shapes()).filter(|(i, _)| (i + i / 6) % 2 == 0);
    half.map(move |(i, shape)| {
        let (hidden, rows) = [(67, 18), (34, 35), (shape.size.hidden, shape.rows), (shape.size.hidden, 16)][i as usize % 4];
        let size = RecurrentSize { hidden, batch: rows + 2, row_words: 64, ..shape.size };
        let together = if i / 6 % 2 == 0 { 16 } else { lanes.max(8) };
        Shape { size, rows, lanes, together, rule: MaskRule::Pass, members: 1 + u32::from(i % 12 == 0), ..shape }
    })
}

impl Shape {
    fn shape(&self) -> RecurrentShape {
        RecurrentShape { cell: self.size.cell, lanes: self.lanes, rows: self.together }
    }

    fn step(&self) -> Step {
        with_rule(rates(self.rows, &self.keeps[..self.members as usize]), 1, self.rule)
    }

    fn site(&self) -> Option<RecurrentSite> {
        self.size.masks.map(|kind| RecurrentSite { mask: SiteMask { index: 1, rule: self.rule }, kind })
    }

    /// Valid steps of a sample: none, one, all, some.
    fn length(&self, member: u32, sample: u32) -> u32 {
        let steps = self.size.steps;
        if self.ragged {
            [steps, 1, 0, steps / 2, steps.div_ceil(2) + 1][(sample + member) as usize % 5].min(steps)
        } else {
            steps
        }
    }

    fn params(&self) -> RecurrentParams {
        let stream_and_site = rng::stream_and_site(Stream::TrainingMask, SITE);
        let params = RecurrentParams { stream_and_site, ..RecurrentParams::new(&self.size) };
        params.at(self.t, self.reverse, self.truncation)
    }

    fn samples(&self) -> Slot<'static> {
        let rows = self.rows;
        match self.rule.words() {
            1 => Slot::own("samples", self.size.batch, move |member| words(rows as usize, seed("samples", member))),
            _ => draws(rows),
        }
    }

    fn lengths(&self) -> Slot<'_> {
        Slot::own("lengths", self.size.batch, |member| (0..self.rows).map(|sample| self.length(member, sample)).collect())
    }

    /// W, with zeros in its padding but for what is beyond a quad, and b.
    fn weight(&self) -> Slot<'_> {
        let RecurrentSize { cell, hidden, .. } = self.size;
        let (row, room) = (self.size.hidden_words(), hidden.next_multiple_of(4));
        let len = self.size.bias_words() + self.size.columns();
        Slot::own("weight", len, move |member| {
            let mut weight = vec![POISON; len as usize];
            let random = numbers((cell.gates() * hidden * (hidden + 1)) as usize, seed("weight", member));
            let mut random = random.into_iter().map(|v| v / f32::sqrt(hidden as f32));
            for (gate, unit) in (0..cell.gates()).flat_map(|gate| (0..room).map(move |unit| (gate, unit))) {
                let mut number = |real: bool| if real { random.next().unwrap().to_bits() } else { 0 };
                for column in 0..room {
                    weight[((gate * room + unit) * row + column) as usize] = number(unit < hidden && column < hidden);
                }
                weight[(self.size.bias_words() + gate * room + unit) as usize] = number(unit < hidden);
            }
            weight
        })
    }

    /// Poison but for what `fill` sets, which gets a place: member, sample, word of the tensor.
    fn tensor<'a>(&'a self, name: &'static str, len: u32, fill: impl Fn(&mut Plane, u32, u32) + 'a) -> Slot<'a> {
        Slot::own(name, len, move |member| {
            let mut plane = Plane { words: vec![POISON; len as usize], numbers: numbers(1 << 12, seed(name, member)), drawn: 0 };
            (0..self.rows).for_each(|sample| fill(&mut plane, member, sample));
            plane.words
        })
    }

    fn gates<'a>(&'a self, fill: impl Fn(&mut Plane, u32, u32) + 'a) -> Slot<'a> {
        self.tensor("gates", self.size.batch * self.size.steps * self.size.gates_words(), fill)
    }

    fn sequence<'a>(&'a self, fill: impl Fn(&mut Plane, u32, u32) + 'a) -> Slot<'a> {
        self.tensor("sequence", self.size.planes().words as u32, fill)
    }

    /// The first word of a row with the units of a gate, from a plane with rows of gates.
    fn gate(&self, plane: u64, (sample, t): (u32, u32), gate: u32) -> u32 {
        plane as u32 + (sample * self.size.steps + t) * self.size.gates_words() + gate * self.size.hidden.next_multiple_of(4)
    }

    /// Of a row of a plane with rows of hidden units.
    fn row(&self, plane: u64, (sample, t): (u32, u32)) -> u32 {
        plane as u32 + (sample * self.size.steps + t) * self.size.hidden_words()
    }
}

/// Words of a tensor, and random numbers for them.
struct Plane {
    words: Vec<u32>,
    numbers: Vec<f32>,
    drawn: usize,
}

impl Plane {
    fn number(&mut self) -> f32 {
        self.drawn += 1;
        self.numbers[self.drawn % self.numbers.len()]
    }

    /// Puts random numbers from `of` at the units there are, and 0 in the padding of the last quad.
    fn fill(&mut self, at: u32, hidden: u32, of: impl Fn(f32) -> f32) {
        for unit in 0..hidden.next_multiple_of(4) {
            let number = of(self.number());
            self.words[(at + unit) as usize] = if unit < hidden { number.to_bits() } else { 0 };
        }
    }

    /// Leaves the padding as it is.
    fn fill_units(&mut self, at: u32, hidden: u32, of: impl Fn(f32) -> f32) {
        for unit in 0..hidden {
            self.words[(at + unit) as usize] = of(self.number()).to_bits();
        }
    }
}

pub(super) fn recurrent_forward(case: &mut Case) {
    forward_cases(case, shapes());
}

pub(super) fn recurrent_forward_shuffle(case: &mut Case) {
    forward_cases(case, shuffled());
}

fn forward_cases(case: &mut Case, shapes: impl Iterator<Item = Shape>) {
    for shape in shapes {
        let (size, params, planes) = (shape.size, shape.params(), shape.size.planes());
        let (cell, hidden) = (size.cell, size.hidden);
        let gates = shape.gates(|gates, member, sample| {
            let padded = shape.t >= shape.length(member, sample);
            for gate in 0..cell.gates() {
                gates.fill_units(shape.gate(0, (sample, shape.t), gate), hidden, |v| if padded { f32::NAN } else { 3.0 * v });
            }
        });
        let sequence = shape.sequence(|sequence, member, sample| {
            if params.first == 0 {
                for input in 0..u64::from(planes.inputs) {
                    let at = shape.row(planes.input + input * planes.input_plane, (sample, shape.t));
                    sequence.fill(at, hidden, |v| 2.0 * v);
                }
                let state = if cell == Cell::Gru { planes.y } else { planes.cell };
                if matches!(cell, Cell::Gru | Cell::Lstm) {
                    let padded = params.before >= shape.length(member, sample);
                    sequence.fill_units(shape.row(state, (sample, params.before)), hidden, |v| if padded { 0.0 } else { v });
                }
            }
        });
        let slots = [shape.samples(), shape.lengths(), shape.weight(), gates, sequence];
        case.check(&shape.step(), slots, |[samples, lengths, weight, gates, sequence]: [Tensor; 5]| {
            let params = RecurrentParams {
                samples_stride: samples.stride,
                lengths_stride: lengths.stride,
                weight_stride: weight.stride,
                gates_stride: gates.stride,
                sequence_stride: sequence.stride,
                ..params
            };
            RecurrentForward { params, site: shape.site(), shape: shape.shape(), samples, lengths, weight, gates, sequence }
        });
    }
}

/// Gates as the forward pass stores them: those of a step past the length have no slope.
fn activated(cell: Cell, gate: u32, v: f32, padded: bool) -> f32 {
    match (cell, gate) {
        (Cell::RnnTanh, _) | (Cell::Gru, 2) if padded => 1.0,
        _ if padded => 0.0,
        (Cell::RnnTanh, _) | (Cell::Gru | Cell::Lstm, 2) => v,
        (Cell::RnnRelu, _) => (2.0 * v).max(0.0),
        _ => 0.5 + 0.5 * v,
    }
}

pub(super) fn recurrent_backward(case: &mut Case) {
    backward_cases(case, shapes());
}

pub(super) fn recurrent_backward_shuffle(case: &mut Case) {
    backward_cases(case, shuffled());
}

fn backward_cases(case: &mut Case, shapes: impl Iterator<Item = Shape>) {
    for shape in shapes {
        let (size, params, planes) = (shape.size, shape.params(), shape.size.planes());
        let (cell, hidden, t) = (size.cell, size.hidden, shape.t);
        let gates = shape.gates(|gates, member, sample| {
            let padded = t >= shape.length(member, sample);
            for gate in 0..cell.gates() {
                gates.fill_units(shape.gate(0, (sample, t), gate), hidden, |v| activated(cell, gate, v, padded));
                if params.carried == 1 && cell != Cell::Gru {
                    gates.fill(shape.gate(0, (sample, params.after), gate), hidden, |v| v);
                }
            }
        });
        let sequence = shape.sequence(|sequence, _, sample| {
            if cell == Cell::Gru {
                sequence.fill_units(shape.gate(planes.hidden, (sample, t), 2), hidden, |v| v);
                if params.first == 0 {
                    sequence.fill_units(shape.row(planes.y, (sample, params.before)), hidden, |v| v);
                }
                for gate in (0..3).filter(|_| params.carried == 1) {
                    sequence.fill(shape.gate(planes.hidden, (sample, params.after), gate), hidden, |v| v);
                }
            }
            if cell == Cell::Lstm {
                sequence.fill_units(shape.row(planes.cell, (sample, t)), hidden, |v| 2.0 * v);
                if params.first == 0 {
                    sequence.fill_units(shape.row(planes.cell, (sample, params.before)), hidden, |v| 2.0 * v);
                }
            }
            if params.carried == 1 && matches!(cell, Cell::Gru | Cell::Lstm) {
                sequence.fill_units(shape.row(planes.cell, (sample, params.after)), hidden, |v| v);
            }
        });
        let dy = shape.tensor("dy", size.batch * size.steps * size.hidden_words(), |dy, member, sample| {
            let padded = t >= shape.length(member, sample);
            dy.fill_units(shape.row(0, (sample, t)), hidden, |v| if padded { f32::NAN } else { v });
        });
        let slots = [shape.samples(), dy, shape.weight(), gates, sequence];
        case.check(&shape.step(), slots, |[samples, dy, weight, gates, sequence]: [Tensor; 5]| {
            let params = RecurrentParams {
                samples_stride: samples.stride,
                dy_stride: dy.stride,
                weight_stride: weight.stride,
                gates_stride: gates.stride,
                sequence_stride: sequence.stride,
                ..params
            };
            RecurrentBackward { params, site: shape.site(), shape: shape.shape(), samples, dy, weight, gates, sequence }
        });
    }
}
