//! The twins of the recurrent kernels: every number in f64 with what bounds the device's error.

use std::ops::{Add, Mul, Sub};

use super::{RecurrentBackward, RecurrentForward, RecurrentMask, RecurrentParams, RecurrentSite, inputs};
use crate::kernels::columns::UNIT;
use crate::kernels::sums::Sum;
use crate::kernels::{EPS, FLUSH, Tolerance, activation};
use crate::memory::{Memory, Tensor};
use crate::network::Cell;
use crate::step::{MemberStep, Step};

/// What a step writes into a tensor: where, what and how far the device may be from it. It is little of a sequence.
pub(super) type Written = Vec<(usize, (f64, f64))>;

/// Stores them, each rounded once.
pub(super) fn store(memory: &Memory, tensor: Tensor, member: usize, written: &Written) {
    let mut words = memory.f32_mut(tensor, member);
    written.iter().for_each(|&(at, (value, _))| words[at] = value as f32);
}

/// Their bounds. No difference is below -1: what is left alone has the same bits.
pub(super) fn bounds(tensor: Tensor, written: &Written) -> Tolerance {
    let mut bounds = vec![-1.0; tensor.len as usize];
    written.iter().for_each(|&(at, (_, bound))| bounds[at] = bound);
    Tolerance::Bounds(bounds)
}

/// A number, and how far the device may be from it.
#[derive(Debug, Clone, Copy, Default)]
struct Near {
    value: f64,
    error: f64,
}

const ZERO: Near = Near { value: 0.0, error: 0.0 };
const ONE: Near = Near { value: 1.0, error: 0.0 };

impl Near {
    /// A number of memory.
    fn exact(value: f32) -> Self {
        Self { value: f64::from(value), error: 0.0 }
    }

    /// The result of an operation: rounded to either side, 2 EPS of what the device may have; it or its operands may be flushed.
    fn rounded(value: f64, error: f64) -> Self {
        Self { value, error: error + UNIT * (value.abs() + error) + 3.0 * FLUSH }
    }

    fn of_sum(sum: Sum, factor: f64, more: usize) -> Self {
        let (value, error) = sum.times(factor, more).unwrap_or_default();
        Self { value, error }
    }

    fn activated(self, kind: u32) -> Self {
        let (value, error) = activation::after(kind, (self.value, self.error));
        Self { value, error }
    }

    /// Through a slope; where that is 0, nothing.
    fn through(self, slope: Near) -> Self {
        if slope.value == 0.0 { ZERO } else { self * slope }
    }

    /// The twin rounds once.
    fn at(self, place: usize) -> (usize, (f64, f64)) {
        (place, (self.value, self.error + EPS * self.value.abs()))
    }
}

impl Add for Near {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::rounded(self.value + other.value, self.error + other.error)
    }
}

impl Sub for Near {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self::rounded(self.value - other.value, self.error + other.error)
    }
}

impl Mul for Near {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        // A flushed operand takes FLUSH times the other with it.
        let (a, b) = (self.error + FLUSH, other.error + FLUSH);
        Self::rounded(self.value * other.value, self.value.abs() * b + other.value.abs() * a + a * b)
    }
}

const RELU: u32 = 1;
const TANH: u32 = 2;
const SIGMOID: u32 = 3;

/// Where a step of a layer finds its numbers, in words.
impl RecurrentParams {
    fn row(&self, sample: usize, t: u32) -> usize {
        sample * self.steps as usize + t as usize
    }

    /// In `gates`.
    fn gate(&self, (sample, t): (usize, u32), gate: usize, unit: usize) -> usize {
        4 * (self.row(sample, t) * self.gates_row as usize + gate * self.hidden_quads as usize) + unit
    }

    /// In a plane of `sequence` with rows of hidden units.
    fn plane(&self, at: u32, (sample, t): (usize, u32), unit: usize) -> usize {
        4 * (at as usize + self.row(sample, t) * self.hidden_row as usize) + unit
    }

    /// In the hidden plane.
    fn hidden(&self, place: (usize, u32), gate: usize, unit: usize) -> usize {
        4 * self.hidden_at as usize + self.gate(place, gate, unit)
    }

    /// In the input plane of a gate.
    fn input(&self, place: (usize, u32), input: usize, unit: usize) -> usize {
        self.plane(self.input_at + input as u32 * self.input_plane, place, unit)
    }

    fn weight(&self, gate: usize, row: usize, column: usize) -> usize {
        4 * (4 * gate * self.hidden_quads as usize + row) * self.weight_row as usize + column
    }

    fn bias(&self, gate: usize, unit: usize) -> usize {
        4 * (self.bias_at as usize + gate * self.hidden_quads as usize) + unit
    }

    /// Units with those of the padding.
    fn units(&self) -> usize {
        4 * self.hidden_quads as usize
    }

    /// Whether the step `after` takes in a unit of the output, and the scale.
    fn kept(
        &self,
        site: Option<RecurrentSite>,
        (values, samples): (&MemberStep, &[u32]),
        sample: usize,
        (input, unit): (usize, usize),
    ) -> (bool, f32) {
        let Some(RecurrentSite { mask, kind }) = site else { return (true, 1.0) };
        let rate = &values.sites[mask.index];
        let place = match kind {
            RecurrentMask::Tied => unit as u32,
            RecurrentMask::Step => self.after * self.hidden + unit as u32,
            RecurrentMask::Untied => input as u32 * self.hidden + unit as u32,
        };
        let at = mask.rule.address(rate, samples, sample);
        (mask.rule.kept(rate, values.key, self.stream_and_site, at, place / 4)[place as usize % 4], rate.scale)
    }
}

/// What a unit has after a step.
#[derive(Default)]
struct Forward {
    gates: [Near; 4],
    y: Near,
    cell: Near,
    hidden: Near,
}

impl Forward {
    fn new(cell: Cell, a: [Near; 4], h: [Near; 4], before: Near) -> Self {
        let gate = |g: usize, kind| (a[g] + h[g]).activated(kind);
        match cell {
            Cell::RnnTanh | Cell::RnnRelu => {
                let y = gate(0, if cell == Cell::RnnRelu { RELU } else { TANH });
                Self { gates: [y, ZERO, ZERO, ZERO], y, ..Self::default() }
            }
            Cell::Gru => {
                let (r, z) = (gate(0, SIGMOID), gate(1, SIGMOID));
                let n = (a[2] + r * h[2]).activated(TANH);
                Self { gates: [r, z, n, ZERO], y: (ONE - z) * n + z * before, hidden: h[2], ..Self::default() }
            }
            Cell::Lstm => {
                let gates @ [i, f, g, o] = [gate(0, SIGMOID), gate(1, SIGMOID), gate(2, TANH), gate(3, SIGMOID)];
                let cell = f * before + i * g;
                Self { gates, y: o * cell.activated(TANH), cell, ..Self::default() }
            }
        }
    }

    /// Past the length of a sample.
    fn padded(cell: Cell) -> Self {
        let gates = match cell {
            Cell::RnnTanh => [ONE, ZERO, ZERO, ZERO],
            Cell::Gru => [ZERO, ZERO, ONE, ZERO],
            Cell::RnnRelu | Cell::Lstm => [ZERO; 4],
        };
        Self { gates, ..Self::default() }
    }
}

impl RecurrentForward {
    /// Of gates and of sequence.
    pub(super) fn results(&self, memory: &Memory, step: &Step, member: usize) -> [Written; 2] {
        let (p, cell) = (&self.params, self.shape.cell);
        let (samples, lengths) = (memory.u32(self.samples, member), memory.u32(self.lengths, member));
        let mut results = [Written::new(), Written::new()];
        for sample in 0..step.rows as usize {
            let length = lengths[sample];
            for unit in 0..p.units() {
                let real = unit < p.hidden as usize;
                let out = match () {
                    () if !real => Forward::default(),
                    () if p.t >= length => Forward::padded(cell),
                    () => self.unit((memory, member), sample, unit),
                };
                let next = |input: usize| {
                    let (kept, scale) = p.kept(self.site, (&step.members[member], &samples), sample, (input, unit));
                    match () {
                        () if !(real && kept && p.after < length) || p.t >= length => ZERO,
                        () if self.site.is_none() => out.y,
                        () => out.y * Near::exact(scale),
                    }
                };
                self.put(&mut results, (sample, unit), &out, next);
            }
        }
        results
    }

    /// One that there is, of a sample that goes on.
    fn unit(&self, (memory, member): (&Memory, usize), sample: usize, unit: usize) -> Forward {
        let (p, cell, site) = (&self.params, self.shape.cell, self.site);
        let (weight, gates) = (memory.f32(self.weight, member), memory.f32(self.gates, member));
        let sequence = memory.f32(self.sequence, member);
        let (mut a, mut h) = ([ZERO; 4], [ZERO; 4]);
        let taken = if p.first == 1 { 0 } else { p.units() };
        for gate in 0..cell.gates() as usize {
            let input = gate % inputs(cell, site.map(|site| site.kind)) as usize;
            let mut sum = Sum::default();
            sum.add(f64::from(weight[p.bias(gate, unit)]));
            for k in 0..taken {
                let product = (sequence[p.input((sample, p.t), input, k)], weight[p.weight(gate, unit, k)]);
                sum.add(f64::from(product.0) * f64::from(product.1));
            }
            a[gate] = Near::exact(gates[p.gate((sample, p.t), gate, unit)]);
            h[gate] = Near::of_sum(sum, 1.0, 1);
        }
        let before = match cell {
            Cell::Gru if p.first == 0 => Near::exact(sequence[p.plane(p.y_at, (sample, p.before), unit)]),
            Cell::Lstm if p.first == 0 => Near::exact(sequence[p.plane(p.cell_at, (sample, p.before), unit)]),
            _ => ZERO,
        };
        Forward::new(cell, a, h, before)
    }

    fn put(
        &self,
        [gates, sequence]: &mut [Written; 2],
        (sample, unit): (usize, usize),
        out: &Forward,
        next: impl Fn(usize) -> Near,
    ) {
        let (p, cell, here) = (&self.params, self.shape.cell, (sample, self.params.t));
        for gate in 0..cell.gates() as usize {
            gates.push(out.gates[gate].at(p.gate(here, gate, unit)));
        }
        sequence.push(out.y.at(p.plane(p.y_at, here, unit)));
        match cell {
            Cell::Lstm => sequence.push(out.cell.at(p.plane(p.cell_at, here, unit))),
            Cell::Gru => sequence.push(out.hidden.at(p.hidden(here, 2, unit))),
            Cell::RnnTanh | Cell::RnnRelu => {}
        }
        for input in 0..inputs(cell, self.site.map(|site| site.kind)) as usize {
            if p.first == 1 {
                sequence.push(ZERO.at(p.input(here, input, unit)));
            }
            if p.last == 0 {
                sequence.push(next(input).at(p.input((sample, p.after), input, unit)));
            }
        }
    }
}

/// What a unit has after a step backward.
#[derive(Default)]
struct Backward {
    gates: [Near; 4],
    /// dn r of the GRU.
    by_u: Near,
    carry: Near,
}

impl Backward {
    /// From the activated gates and dh; `carried` is dc of the LSTM, `own` its c or u of the GRU, `before` its c' or h' of the GRU.
    fn new(cell: Cell, gates: [Near; 4], dh: Near, [carried, own, before]: [Near; 3]) -> Self {
        let [i, f, g, o] = gates;
        match cell {
            Cell::RnnTanh => Self { gates: [dh.through(ONE - i * i), ZERO, ZERO, ZERO], ..Self::default() },
            Cell::RnnRelu => Self { gates: [if i.value > 0.0 { dh } else { ZERO }, ZERO, ZERO, ZERO], ..Self::default() },
            Cell::Gru => {
                let [r, z, n, _] = gates;
                let dn = dh.through((ONE - z) * (ONE - n * n));
                let (dr, dz) = ((dn * own).through(r * (ONE - r)), (dh * (before - n)).through(z * (ONE - z)));
                Self { gates: [dr, dz, dn, ZERO], by_u: dn * r, carry: dh.through(z) }
            }
            Cell::Lstm => {
                let tanh_c = own.activated(TANH);
                let dc = carried + dh * (o * (ONE - tanh_c * tanh_c));
                let (di, df) = ((dc * g).through(i * (ONE - i)), (dc * before).through(f * (ONE - f)));
                let (dg, d_o) = (dc.through(i * (ONE - g * g)), (dh * tanh_c).through(o * (ONE - o)));
                Self { gates: [di, df, dg, d_o], carry: dc.through(f), ..Self::default() }
            }
        }
    }
}

impl RecurrentBackward {
    /// Of gates and of sequence.
    pub(super) fn results(&self, memory: &Memory, step: &Step, member: usize) -> [Written; 2] {
        let (p, cell) = (&self.params, self.shape.cell);
        let samples = memory.u32(self.samples, member);
        let mut results = [Written::new(), Written::new()];
        let [gates, sequence] = &mut results;
        for sample in 0..step.rows as usize {
            let here = (sample, p.t);
            for unit in 0..p.units() {
                let out = match unit < p.hidden as usize {
                    true => self.unit((memory, member), (&step.members[member], &samples), sample, unit),
                    false => Backward::default(),
                };
                for gate in 0..cell.gates() as usize {
                    gates.push(out.gates[gate].at(p.gate(here, gate, unit)));
                }
                if matches!(cell, Cell::Gru | Cell::Lstm) {
                    sequence.push(out.carry.at(p.plane(p.cell_at, here, unit)));
                }
                if cell == Cell::Gru {
                    for (gate, d) in [out.gates[0], out.gates[1], out.by_u].into_iter().enumerate() {
                        sequence.push(d.at(p.hidden(here, gate, unit)));
                    }
                }
            }
        }
        results
    }

    /// One that there is.
    fn unit(&self, (memory, member): (&Memory, usize), draw: (&MemberStep, &[u32]), sample: usize, unit: usize) -> Backward {
        let (p, cell, here) = (&self.params, self.shape.cell, (sample, self.params.t));
        let (gates, sequence) = (memory.f32(self.gates, member), memory.f32(self.sequence, member));
        let dy = Near::exact(memory.f32(self.dy, member)[p.plane(0, here, unit)]);
        let mut dh = dy + self.recurrent((memory, member), draw, sample, unit);
        let at = |there: bool, place: usize| if there { Near::exact(sequence[place]) } else { ZERO };
        let stateful = matches!(cell, Cell::Gru | Cell::Lstm);
        let carried = at(stateful && p.carried == 1, p.plane(p.cell_at, (sample, p.after), unit));
        if cell == Cell::Gru {
            dh = dh + carried;
        }
        let state = if cell == Cell::Gru { p.y_at } else { p.cell_at };
        let before = at(stateful && p.first == 0, p.plane(state, (sample, p.before), unit));
        let own = match cell {
            Cell::Gru => at(true, p.hidden(here, 2, unit)),
            _ => at(stateful, p.plane(p.cell_at, here, unit)),
        };
        let mut activated = [ZERO; 4];
        for (gate, activated) in activated.iter_mut().enumerate().take(cell.gates() as usize) {
            *activated = Near::exact(gates[p.gate(here, gate, unit)]);
        }
        Backward::new(cell, activated, dh, [carried, own, before])
    }

    /// What comes through W from the following step.
    fn recurrent(&self, (memory, member): (&Memory, usize), draw: (&MemberStep, &[u32]), sample: usize, unit: usize) -> Near {
        let (p, cell, site) = (&self.params, self.shape.cell, self.site);
        let (gates, sequence) = (memory.f32(self.gates, member), memory.f32(self.sequence, member));
        let weight = memory.f32(self.weight, member);
        let taken = if p.carried == 1 { p.units() } else { 0 };
        let mut sums = [Sum::default(); 4];
        let inputs = inputs(cell, site.map(|site| site.kind)) as usize;
        for (gate, k) in (0..cell.gates() as usize).flat_map(|gate| (0..taken).map(move |k| (gate, k))) {
            let place = (sample, p.after);
            let d = if cell == Cell::Gru { sequence[p.hidden(place, gate, k)] } else { gates[p.gate(place, gate, k)] };
            sums[gate % inputs].add(f64::from(d) * f64::from(weight[p.weight(gate, k, unit)]));
        }
        let through = |(input, sum): (usize, &Sum)| {
            let (kept, scale) = p.kept(site, draw, sample, (input, unit));
            if kept { Near::of_sum(*sum, f64::from(scale), 2) } else { ZERO }
        };
        sums.iter().enumerate().take(inputs).map(through).fold(ZERO, |all, d| all + d)
    }
}
