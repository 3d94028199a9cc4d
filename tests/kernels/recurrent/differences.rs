//! Whole sequences, forward and backward through the twins, against a recurrence that knows nothing of them and is differentiated
//! by differences: what catches a formula that is wrong in shader and twin alike.

use thinnet::kernels::Kernel;
use thinnet::kernels::recurrent::{
    RecurrentBackward, RecurrentForward, RecurrentMask, RecurrentParams, RecurrentShape, RecurrentSite, RecurrentSize,
};
use thinnet::mask_rule::{MaskRule, SiteMask};
use thinnet::memory::{BufferId, Memory, Tensor};
use thinnet::network::Cell;
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::step::Step;

use super::super::dropout::{SITE, rates};
use super::super::norm::{assert_near, differences};
use super::super::{bits, seed};
use crate::common::numbers;

const SAMPLES: [u32; 4] = [7, 1000, 3, 59];

/// Valid steps of each sample.
const LENGTHS: [u32; 4] = [5, 2, 0, 4];

const STEPS: u32 = 5;
const HIDDEN: u32 = 3;
const N: usize = SAMPLES.len();
const T: usize = STEPS as usize;
const H: usize = HIDDEN as usize;

/// A layer over a batch: the numbers of its recurrence, and how it is gone through.
struct Layer {
    size: RecurrentSize,
    reverse: bool,
    truncation: Option<u32>,
    step: Step,
    /// `[N, T, gates, H]`.
    a: Vec<f32>,
    /// `[gates, H, H]`.
    w: Vec<f32>,
    /// `[gates, H]`.
    b: Vec<f32>,
    /// `[N, T, H]`.
    dy: Vec<f32>,
}

/// A state that a sample has before a step: h and c.
type State = [[f64; H]; 2];

impl Layer {
    fn new(cell: Cell, masks: Option<RecurrentMask>, reverse: bool, truncation: Option<u32>) -> Self {
        let size = RecurrentSize { cell, hidden: HIDDEN, steps: STEPS, batch: N as u32 + 1, row_words: 8, masks };
        let gates = cell.gates() as usize;
        let random = |name, n| numbers(n, seed(name, cell as u32));
        let (mut a, w, b) = (random("a", N * T * gates * H), random("w", gates * H * H), random("b", gates * H));
        if cell == Cell::RnnRelu {
            // Most units are to live on.
            a.iter_mut().for_each(|a| *a += 0.8);
        }
        Self { size, reverse, truncation, step: rates(N as u32, &[0.6]), a, w, b, dy: random("dy", N * T * H) }
    }

    fn gates(&self) -> usize {
        self.size.cell.gates() as usize
    }

    /// What h of a step before is multiplied by, where gate g of step t takes it in.
    fn mask(&self, sample: usize, t: usize, gate: usize, unit: usize) -> f64 {
        let place = match self.size.masks {
            None => return 1.0,
            Some(RecurrentMask::Tied) => unit,
            Some(RecurrentMask::Step) => t * H + unit,
            Some(RecurrentMask::Untied) => gate * H + unit,
        };
        let (member, site) = (&self.step.members[0], &self.step.members[0].sites[1]);
        let at = Coordinates { stream: Stream::TrainingMask, site: SITE, pass: site.pass, sample: SAMPLES[sample] };
        if site.keeps(at.word(place as u32, member.key)) { f64::from(site.scale) } else { 0.0 }
    }

    /// The state before each step of each sample, in the order of time, and y. Where `held` is given, it takes the place of the
    /// state at the borders of truncation: no derivative passes them.
    fn recurrence(&self, [a, w, b]: [&[f64]; 3], held: Option<&[State]>) -> (Vec<State>, Vec<f64>) {
        let (mut states, mut y) = (Vec::new(), vec![0.0; N * T * H]);
        for sample in 0..N {
            let mut state = [[0.0; H]; 2];
            for place in 0..T {
                let t = if self.reverse { T - 1 - place } else { place };
                if let (Some(held), Some(truncation)) = (held, self.truncation)
                    && (t + usize::from(self.reverse)) % truncation as usize == 0
                {
                    state = held[sample * T + place];
                }
                states.push(state);
                if t < LENGTHS[sample] as usize {
                    state = self.cell([a, w, b], (sample, t), state);
                    y[(sample * T + t) * H..][..H].copy_from_slice(&state[0]);
                } else {
                    state = [[0.0; H]; 2];
                }
            }
        }
        (states, y)
    }

    /// The formulas of torch.nn.RNN, GRU and LSTM.
    fn cell(&self, [a, w, b]: [&[f64]; 3], (sample, t): (usize, usize), [h, c]: State) -> State {
        let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
        let (mut new_h, mut new_c) = ([0.0; H], [0.0; H]);
        for unit in 0..H {
            let input = |gate: usize| a[((sample * T + t) * self.gates() + gate) * H + unit];
            let recurrent = |gate: usize| {
                let product = |k: usize| self.mask(sample, t, gate, k) * h[k] * w[(gate * H + unit) * H + k];
                (0..H).map(product).sum::<f64>() + b[gate * H + unit]
            };
            let gate = |gate: usize| input(gate) + recurrent(gate);
            match self.size.cell {
                Cell::RnnTanh => new_h[unit] = gate(0).tanh(),
                Cell::RnnRelu => new_h[unit] = gate(0).max(0.0),
                Cell::Gru => {
                    let (r, z) = (sigmoid(gate(0)), sigmoid(gate(1)));
                    let n = (input(2) + r * recurrent(2)).tanh();
                    new_h[unit] = (1.0 - z) * n + z * h[unit];
                }
                Cell::Lstm => {
                    let (i, f, g, o) = (sigmoid(gate(0)), sigmoid(gate(1)), gate(2).tanh(), sigmoid(gate(3)));
                    new_c[unit] = f * c[unit] + i * g;
                    new_h[unit] = o * new_c[unit].tanh();
                }
            }
        }
        [new_h, new_c]
    }
}

/// What the kernels make of a layer: y, and the gradients by a, W and b.
struct Found {
    y: Vec<u32>,
    by_a: Vec<u32>,
    by_w: Vec<u32>,
    by_b: Vec<u32>,
}

impl Layer {
    /// Rows of gates of units as the kernels have them, in quads.
    fn place(&self, (sample, t): (usize, usize), gate: usize, unit: usize) -> usize {
        (sample * T + t) * self.size.gates_words() as usize + gate * H.next_multiple_of(4) + unit
    }

    /// Buffers for samples, lengths, weight, gates, sequence and dy. What belongs to no valid step is no number.
    fn memory(&self) -> (Memory, [Tensor; 6]) {
        let (size, rows) = (&self.size, self.size.batch * STEPS);
        let lengths = [size.batch, size.batch, size.bias_words() + size.columns(), rows * size.gates_words()];
        let lengths = lengths.into_iter().chain([size.planes().words as u32, rows * size.hidden_words()]);
        let tensor = |(buffer, len)| Tensor { buffer: BufferId(buffer), offset: 0, len, stride: 0 };
        let tensors: Vec<Tensor> = (0..).zip(lengths).map(tensor).collect();
        let memory = Memory::new(tensors.iter().map(|tensor| tensor.len));
        let (quads, row) = (H.next_multiple_of(4), size.hidden_words() as usize);
        memory.u32_mut(tensors[0], 0)[..N].copy_from_slice(&SAMPLES);
        memory.u32_mut(tensors[1], 0)[..N].copy_from_slice(&LENGTHS);
        let mut weight = memory.f32_mut(tensors[2], 0);
        for (i, w) in self.w.iter().enumerate() {
            weight[(i / (H * H) * quads + i / H % H) * row + i % H] = *w;
        }
        for (i, b) in self.b.iter().enumerate() {
            weight[size.bias_words() as usize + i / H * quads + i % H] = *b;
        }
        drop(weight);
        for tensor in [tensors[3], tensors[4], tensors[5]] {
            memory.f32_mut(tensor, 0).fill(f32::NAN);
        }
        let (mut gates, mut dy) = (memory.f32_mut(tensors[3], 0), memory.f32_mut(tensors[5], 0));
        for (sample, t) in self.valid_steps() {
            for unit in 0..H {
                dy[(sample * T + t) * row + unit] = self.dy[(sample * T + t) * H + unit];
                for gate in 0..self.gates() {
                    gates[self.place((sample, t), gate, unit)] = self.a[((sample * T + t) * self.gates() + gate) * H + unit];
                }
            }
        }
        drop((gates, dy));
        (memory, tensors.try_into().unwrap())
    }

    fn valid_steps(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..N).flat_map(|sample| (0..LENGTHS[sample] as usize).map(move |t| (sample, t)))
    }

    /// All steps forward, then all backward.
    fn found(&self) -> Found {
        let (memory, [samples, lengths, weight, gates, sequence, dy]) = self.memory();
        let site = self.size.masks.map(|kind| RecurrentSite { mask: SiteMask { index: 1, rule: MaskRule::Pass }, kind });
        let shape = RecurrentShape { cell: self.size.cell, lanes: 0, rows: 1 };
        let stream_and_site = rng::stream_and_site(Stream::TrainingMask, SITE);
        let params = RecurrentParams { stream_and_site, ..RecurrentParams::new(&self.size) };
        let order = |forward: bool| (0..STEPS).map(move |i| if self.reverse == forward { STEPS - 1 - i } else { i });
        for t in order(true) {
            let params = params.at(t, self.reverse, self.truncation);
            RecurrentForward { params, site, shape, samples, lengths, weight, gates, sequence }.twin(&memory, &self.step, 0);
        }
        for t in order(false) {
            let params = params.at(t, self.reverse, self.truncation);
            RecurrentBackward { params, site, shape, samples, dy, weight, gates, sequence }.twin(&memory, &self.step, 0);
        }
        let (gates, sequence) = (memory.f32(gates, 0), memory.f32(sequence, 0));
        self.gradients(&gates, &sequence)
    }

    /// The gradients of W and b from those of what W is multiplied by, over all rows, whether their step is valid or not.
    fn gradients(&self, gates: &[f32], sequence: &[f32]) -> Found {
        let (planes, row) = (self.size.planes(), self.size.hidden_words() as usize);
        let steps = || (0..N).flat_map(|sample| (0..T).map(move |t| (sample, t)));
        let (mut by_w, mut by_b) = (vec![0.0f32; self.w.len()], vec![0.0f32; self.b.len()]);
        let (mut y, mut by_a) = (Vec::new(), Vec::new());
        for (sample, t) in steps() {
            let in_plane = (sample * T + t) * row;
            y.extend(&sequence[planes.y as usize + in_plane..][..H]);
            for (gate, unit) in (0..self.gates()).flat_map(|gate| (0..H).map(move |unit| (gate, unit))) {
                let place = self.place((sample, t), gate, unit);
                by_a.push(gates[place]);
                let d = if self.size.cell == Cell::Gru { sequence[planes.hidden as usize + place] } else { gates[place] };
                let input = planes.input as usize + gate % planes.inputs as usize * planes.input_plane as usize + in_plane;
                for k in 0..H {
                    by_w[(gate * H + unit) * H + k] += d * sequence[input + k];
                }
                by_b[gate * H + unit] += d;
            }
        }
        Found { y: bits(y), by_a: bits(by_a), by_w: bits(by_w), by_b: bits(by_b) }
    }

    /// Compares with the recurrence. A step has some twenty roundings of numbers below 3, which the next ones shrink, and five
    /// follow each other: far below 2e-5, and so is what `differences` is off by.
    #[track_caller]
    fn check(&self, found: &Found) {
        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
        let (a, w, b, dy) = (wide(&self.a), wide(&self.w), wide(&self.b), wide(&self.dy));
        let (held, y) = self.recurrence([&a, &w, &b], None);
        assert_near("y", &found.y, &y);
        let y = |numbers: [&[f64]; 3]| self.recurrence(numbers, Some(&held)).1;
        assert_near("da", &found.by_a, &differences(&a, &dy, |a| y([a, &w, &b])));
        assert_near("dW", &found.by_w, &differences(&w, &dy, |w| y([&a, w, &b])));
        assert_near("db", &found.by_b, &differences(&b, &dy, |b| y([&a, &w, b])));
    }
}

#[test]
fn sequences_have_the_outputs_and_the_gradients_of_the_recurrence() {
    let kinds = || RecurrentMask::ALL.map(Some).into_iter().chain([None]);
    for (cell, masks) in Cell::ALL.into_iter().flat_map(|cell| kinds().map(move |masks| (cell, masks))) {
        for (reverse, truncation) in [(false, None), (true, None), (false, Some(2)), (true, Some(2)), (true, Some(1))] {
            eprintln!("{cell:?}, masks {masks:?}, reverse {reverse}, truncation {truncation:?}");
            let layer = Layer::new(cell, masks, reverse, truncation);
            layer.check(&layer.found());
        }
    }
}

/// The comparison would see a mask, a border or a direction that is another.
#[test]
fn a_sequence_gone_through_in_another_way_is_another() {
    for cell in Cell::ALL {
        let layer = |masks, reverse, truncation| Layer::new(cell, masks, reverse, truncation);
        let found = layer(Some(RecurrentMask::Step), false, Some(2)).found();
        let others = [
            layer(None, false, Some(2)),
            layer(Some(RecurrentMask::Tied), false, Some(2)),
            layer(Some(RecurrentMask::Step), true, Some(2)),
            layer(Some(RecurrentMask::Step), false, Some(3)),
            layer(Some(RecurrentMask::Step), false, None),
        ];
        for (i, other) in others.iter().enumerate() {
            let accepted = std::panic::catch_unwind(|| other.check(&found)).is_ok();
            assert!(!accepted, "{cell:?}: other {i} is accepted");
        }
    }
}
