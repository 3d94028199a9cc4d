//! Masks of recurrent layers, read off the device: weights are chosen so that every state shows whether one unit was kept.
//!
//! ```text
//! input       candidate weights W_ih = 1, x = 1, nothing else      a state is 0 where its input was dropped
//! recurrent   candidate = 0.2 + 2 h                                a state is that of 0.2 where h was dropped, else larger
//! output      candidate = 1                                        0 where it was dropped
//! ```
//!
//! Other gates are wide open, or shut, by biases of 20: h = o tanh(i g) of an LSTM, h = n of a GRU.

use thinnet::monte_carlo::MonteCarlo;
use thinnet::network::{Cell, Layer, Parameter, Place, Recurrent};
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::{Dropout, DropoutMode, Inputs, Loss, Model, Network, Unit};

use super::{Runner, SEED};
use crate::common::device;
use crate::mask_statistics::{SIGMAS, agreement, deviation};

/// What is read: one place of the last layer, in both directions.
#[derive(Debug, Clone, Copy)]
struct Reading {
    cell: Cell,
    place: Place,
    /// Layers under it.
    under: u32,
    dropout: Dropout,
    steps: u32,
    hidden: u32,
}

const PLACES: [Place; 3] = [Place::Input, Place::Recurrent, Place::Output];

/// Whether a unit is kept, `[direction][row][step][unit]`; none where a state does not show it.
type Kept = Vec<Vec<Vec<Vec<Option<bool>>>>>;

/// The gate whose activation is that of the state.
fn candidate(cell: Cell) -> usize {
    if cell.gates() == 1 { 0 } else { 2 }
}

/// A matrix of a gate after another, all zeros but for multiples of the identity in one.
pub(super) fn identity(parameter: &Parameter, hidden: u32, gate: usize, factor: f32) -> Vec<f32> {
    let (hidden, columns) = (hidden as usize, parameter.shape[1] as usize);
    let mut matrix = vec![0.0; parameter.len()];
    (0..hidden).for_each(|f| matrix[(gate * hidden + f) * columns + f] = factor);
    matrix
}

/// A bias of each gate.
fn biases(cell: Cell, hidden: u32, candidate: f32) -> Vec<f32> {
    let of_gates = match cell {
        Cell::RnnTanh | Cell::RnnRelu => vec![candidate],
        Cell::Gru => vec![20.0, -20.0, candidate],
        Cell::Lstm => vec![20.0, -20.0, candidate, 20.0],
    };
    of_gates.into_iter().flat_map(|bias| vec![bias; hidden as usize]).collect()
}

impl Reading {
    fn network(&self) -> Network {
        let layer = Recurrent::new(self.cell, self.hidden).layers(self.under + 1).bidirectional().sequence();
        let layer = match self.place {
            Place::Input => layer.input(self.dropout),
            Place::Recurrent => layer.recurrent(self.dropout),
            Place::Output => layer.output(self.dropout),
        };
        Network::new([self.steps, self.hidden]).recurrent(layer).layer(Layer::Flatten).loss(Loss::MeanSquaredError)
    }

    fn weights(&self) -> Vec<Vec<f32>> {
        let gate = candidate(self.cell);
        let of = |parameter: &Parameter| {
            let read = parameter.name.contains(&format!("_l{}", self.under));
            let (hidden, zeros) = (self.hidden, vec![0.0; parameter.len()]);
            if parameter.name.contains("weight_ih") {
                return if read && self.place == Place::Input { identity(parameter, hidden, gate, 1.0) } else { zeros };
            }
            if parameter.name.contains("weight_hh") {
                return if read && self.place == Place::Recurrent { identity(parameter, hidden, gate, 2.0) } else { zeros };
            }
            match (parameter.name.contains("bias_ih"), read, self.place) {
                (false, ..) => zeros,
                (_, true, Place::Input) => biases(self.cell, hidden, 0.0),
                (_, true, Place::Recurrent) => biases(self.cell, hidden, 0.2),
                _ => biases(self.cell, hidden, 1.0),
            }
        };
        self.network().parameters().unwrap().iter().map(of).collect()
    }

    fn inputs(&self, samples: &[u32], lengths: &[u32]) -> Inputs {
        let values = vec![1.0; samples.len() * (self.steps * self.hidden) as usize];
        let inputs = Inputs::from_f32(self.steps * self.hidden, values).unwrap();
        inputs.with_samples(samples.to_vec()).unwrap().with_lengths(self.steps, lengths.to_vec()).unwrap()
    }

    fn runner(&self, samples: &[u32], lengths: &[u32]) -> Runner {
        Runner::new(&self.network(), self.weights(), &self.inputs(samples, lengths))
    }

    /// The masks in a step.
    fn kept(&self, runner: &mut Runner, at: [u32; 2], lengths: &[u32]) -> Kept {
        self.kept_of(&runner.outputs(at), lengths)
    }

    /// The masks that outputs show.
    fn kept_of(&self, outputs: &[Vec<f32>], lengths: &[u32]) -> Kept {
        let hidden = self.hidden as usize;
        let least = if self.place == Place::Input { 0.1 } else { 0.3 };
        let unit = |direction: usize, row: usize, t: u32, f: usize| {
            let first = if direction == 0 { 0 } else { lengths[row] - 1 };
            let shows = t < lengths[row] && (self.place != Place::Recurrent || t != first);
            let state = outputs[row][t as usize * 2 * hidden + direction * hidden + f];
            assert!(state.is_finite() && (t < lengths[row] || state == 0.0), "{self:?}, row {row}, step {t}: {state}");
            shows.then_some(state > least)
        };
        let row = |d: usize, row: usize| (0..self.steps).map(|t| (0..hidden).map(|f| unit(d, row, t, f)).collect()).collect();
        (0..2).map(|d| (0..lengths.len()).map(|r| row(d, r)).collect()).collect()
    }

    /// What the mask contract says of a unit.
    fn contract(&self, unit: [u32; 3], sample: u32, [epoch, update]: [u32; 2]) -> bool {
        self.contract_at(
            unit,
            match self.dropout.mode {
                DropoutMode::Batch => (Stream::BatchMask, update, 0),
                _ => (Stream::TrainingMask, epoch, sample),
            },
        )
    }

    /// The same by stream, pass and sample.
    fn contract_at(&self, [direction, t, f]: [u32; 3], (stream, pass, sample): (Stream, u32, u32)) -> bool {
        let features = if self.place == Place::Input && self.under > 0 { 2 * self.hidden } else { self.hidden };
        let unit = if self.dropout.unit == Unit::Element { t * features + f } else { f };
        let site = 3 * (2 * self.under + direction) + self.place as u32;
        self.dropout.keep.keeps(Coordinates { stream, site, pass, sample }.word(unit, rng::key(SEED)))
    }
}

/// Units that show a mask, and those of them that are another's than the contract's, found by `word_of` of (row, step, unit).
fn compare(kept: &Kept, word_of: impl Fn([u32; 3], usize) -> bool) -> [usize; 2] {
    let (mut shown, mut wrong) = (0, 0);
    for (direction, rows) in (0..).zip(kept) {
        for (row, steps) in rows.iter().enumerate() {
            for (t, units) in (0..).zip(steps) {
                for (f, kept) in (0..).zip(units).filter_map(|(f, kept)| Some((f, (*kept)?))) {
                    shown += 1;
                    wrong += usize::from(kept != word_of([direction, t, f], row));
                }
            }
        }
    }
    [shown, wrong]
}

/// Every cell, place and direction, in the first layer and in the second, for rows of every length.
#[test]
fn masks_of_every_place_direction_and_layer_are_those_of_the_contract() {
    let samples: Vec<u32> = (0..10).map(|row| 4_000_000_000 + 7 * row).collect();
    let lengths: Vec<u32> = (0..10).map(|row| 1 + row % 5).collect();
    let half = Dropout::keep(0.6).unwrap();
    for dropout in [half.variational(), half, half.variational().batch()] {
        for cell in Cell::ALL {
            for (place, under) in PLACES.into_iter().flat_map(|place| [(place, 0), (place, 1)]) {
                let reading = Reading { cell, place, under, dropout, steps: 5, hidden: 32 };
                let mut runner = reading.runner(&samples, &lengths);
                for at in [[0, 0], [3, 11]] {
                    let kept = reading.kept(&mut runner, at, &lengths);
                    let [shown, wrong] = compare(&kept, |unit, row| reading.contract(unit, samples[row], at));
                    // 30 steps in two directions, but the first of each of 10 rows where the state before is read.
                    assert_eq!(shown, 2 * 32 * if place == Place::Recurrent { 20 } else { 30 });
                    assert_eq!(wrong, 0, "{reading:?}, {at:?}: {wrong} of {shown}");
                    // Another pass, and the units of the next step or feature: a half of the units is no agreement.
                    let [_, other] = compare(&kept, |unit, row| reading.contract(unit, samples[row], [at[0] + 1, at[1] + 1]));
                    let [_, moved] = compare(&kept, |[d, t, f], row| reading.contract([d, t, f + 1], samples[row], at));
                    assert!(other > shown / 4 && moved > shown / 4, "{reading:?}: {other} and {moved} of {shown}");
                }
            }
        }
    }
}

/// The same of Monte-Carlo draws: in stream 1, the pass is the draw, the sample the input, or 0 where all inputs share the masks.
#[test]
fn masks_of_draws_are_those_of_the_contract() {
    let lengths: Vec<u32> = (0..6).map(|row| 1 + row % 5).collect();
    let half = Dropout::keep(0.6).unwrap();
    for (place, dropout) in PLACES.into_iter().flat_map(|place| [half.variational(), half, half.batch()].map(|d| (place, d))) {
        let reading = Reading { cell: Cell::Lstm, place, under: 1, dropout, steps: 5, hidden: 16 };
        let model = Model::new(reading.network(), reading.weights()).unwrap();
        let inputs = reading.inputs(&[0, 1, 2, 3, 4, 5], &lengths);
        for one_network in [false, true] {
            let options =
                MonteCarlo { draws: 4, seed: SEED, one_network, first_sample: 70, keep_draws: true, ..Default::default() };
            let drawn = model.monte_carlo(device(), &inputs, &options).unwrap();
            for draw in 0..4 {
                let outputs = drawn.draw(draw).unwrap();
                let rows: Vec<Vec<f32>> = (0..6).map(|row| outputs.row(row).to_vec()).collect();
                let kept = reading.kept_of(&rows, &lengths);
                let sample = |row: usize| if one_network { 0 } else { 70 + row as u32 };
                let of = |draw: u32| {
                    compare(&kept, |unit, row| reading.contract_at(unit, (Stream::MonteCarloMask, draw, sample(row))))
                };
                let ([shown, wrong], [_, next]) = (of(draw), of(draw + 1));
                assert_eq!(wrong, 0, "{reading:?}, one network {one_network}, draw {draw}: {wrong} of {shown}");
                assert!(next > shown / 4, "{reading:?}: the masks of another draw agree but for {next} of {shown}");
            }
        }
    }
}

fn shown(kept: &[Vec<Option<bool>>]) -> Vec<&Vec<Option<bool>>> {
    kept.iter().filter(|units| units.iter().all(Option::is_some)).collect()
}

/// Rows whose steps have one mask, and rows whose steps do not.
fn steps_alike(kept: &Kept) -> [usize; 2] {
    let mut counts = [0, 0];
    for steps in kept.iter().flatten().map(|steps| shown(steps)).filter(|steps| steps.len() > 1) {
        counts[usize::from(steps.windows(2).any(|pair| pair[0] != pair[1]))] += 1;
    }
    counts
}

#[test]
fn a_variational_mask_is_the_same_at_all_steps_and_one_per_step_is_another_at_each() {
    let lengths = vec![6; 16];
    for place in PLACES {
        for (dropout, alike) in [(Dropout::keep(0.5).unwrap().variational(), true), (Dropout::keep(0.5).unwrap(), false)] {
            let reading = Reading { cell: Cell::Lstm, place, under: 0, dropout, steps: 6, hidden: 64 };
            let mut runner = reading.runner(&(0..16).collect::<Vec<_>>(), &lengths);
            let kept = reading.kept(&mut runner, [0, 0], &lengths);
            assert_eq!(steps_alike(&kept), if alike { [32, 0] } else { [0, 32] }, "{place:?}");
            if !alike {
                // Neighbouring steps of different pairs, so that no unit is counted twice: 16 rows, 2 directions, 64 units and 2
                // pairs of steps. Bound of 5 standard deviations, 32 of 4096 units.
                let pairs = |which: usize| -> Vec<u32> {
                    let of = |steps: &Vec<Vec<Option<bool>>>| -> Vec<u32> {
                        let steps = shown(steps);
                        (0..2).flat_map(|i| steps[2 * i + which].iter().map(|kept| u32::from(kept.unwrap()))).collect()
                    };
                    kept.iter().flatten().flat_map(of).collect()
                };
                let (a, mut b) = (pairs(0), pairs(1));
                let z = agreement(&a, &b, 0.5);
                assert!(z.abs() <= SIGMAS, "{place:?}: {z} standard deviations");
                // A fifth of the units in common are 410 more that agree, 12.8 standard deviations.
                b.iter_mut().zip(&a).step_by(5).for_each(|(b, &a)| *b = a);
                assert!(agreement(&a, &b, 0.5) > SIGMAS, "{place:?}: steps with common units pass");
            }
        }
    }
}

/// The masks of a variational LSTM with the sites of one place, as bits of one step: `[direction][row * unit]`.
fn bits(place: Place, under: u32, keep: f64, epoch: u32) -> Vec<Vec<u32>> {
    let (rows, dropout) = (1024, Dropout::keep(keep).unwrap().variational());
    let reading = Reading { cell: Cell::Lstm, place, under, dropout, steps: 3, hidden: 64 };
    let lengths = vec![3; rows as usize];
    let kept = reading.kept(&mut reading.runner(&(0..rows).collect::<Vec<_>>(), &lengths), [epoch, 0], &lengths);
    // The step in the middle shows every place.
    let of =
        |rows: &Vec<Vec<Vec<Option<bool>>>>| rows.iter().flat_map(|row| &row[1]).map(|kept| u32::from(kept.unwrap())).collect();
    kept.iter().map(of).collect()
}

/// 1024 rows of 64 units in two directions, 131,072 at each of three places: at keep 0.8 a rate off by 1 %, 0.008, is 7.2
/// standard deviations of sqrt(0.16 / 131,072) = 0.0011 away, and missed once in 70 times at each place, never at all three.
#[test]
fn variational_masks_keep_their_rate_and_one_1_percent_off_is_noticed() {
    let places = |keep: f64| PLACES.map(|place| bits(place, 0, keep, 0).concat());
    let worst = |masks: &[Vec<u32>; 3]| {
        let z = masks.iter().map(|mask| deviation(mask.iter().map(|&kept| u64::from(kept)).sum(), mask.len(), 0.8).abs());
        z.fold(0.0, f64::max)
    };
    let right = places(0.8);
    assert!(right.iter().all(|mask| mask.len() == 131_072));
    assert!(worst(&right) <= SIGMAS, "{} standard deviations", worst(&right));
    for wrong in [0.792, 0.808] {
        let z = worst(&places(wrong));
        assert!(z > SIGMAS, "a mask drawn with {wrong} passes: {z} standard deviations");
    }
}

/// 65,536 units of each: 5 standard deviations of the agreement at keep 0.5 are 1 % of them; masks that have every twentieth
/// unit in common agree in 2.5 % more.
#[test]
fn masks_of_samples_epochs_layers_directions_and_places_are_independent() {
    let base = bits(Place::Input, 0, 0.5, 0);
    let [even, odd] = [0, 1].map(|parity| base[0].chunks(64).skip(parity).step_by(2).flatten().copied().collect::<Vec<u32>>());
    let forward = || base[0].clone();
    let pairs = [
        ("the next sample", even, odd),
        ("the next epoch", forward(), bits(Place::Input, 0, 0.5, 1).swap_remove(0)),
        ("the next layer", forward(), bits(Place::Input, 1, 0.5, 0).swap_remove(0)),
        ("the other direction", forward(), base[1].clone()),
        ("the recurrent input", forward(), bits(Place::Recurrent, 0, 0.5, 0).swap_remove(0)),
        ("the output", forward(), bits(Place::Output, 0, 0.5, 0).swap_remove(0)),
    ];
    for (what, a, mut b) in pairs {
        let z = agreement(&a, &b, 0.5);
        assert!(z.abs() <= SIGMAS, "{what}: {z} standard deviations");
        // Of the samples there are half as many pairs, for which every tenth is in common.
        let common = if a.len() == 65_536 { 20 } else { 10 };
        b.iter_mut().zip(&a).step_by(common).for_each(|(b, &a)| *b = a);
        let z = agreement(&a, &b, 0.5);
        assert!(z > SIGMAS, "{what}: common units pass, {z} standard deviations");
    }
}

/// Room for more steps behind the end changes no mask, nor any state.
#[test]
fn padding_changes_no_mask_of_the_steps_that_are_there() {
    let (samples, lengths): (Vec<u32>, Vec<u32>) = (0..12).map(|row| (row + 100, 1 + row % 5)).unzip();
    let half = Dropout::keep(0.5).unwrap();
    for (cell, place, dropout) in [
        (Cell::Lstm, Place::Input, half),
        (Cell::Lstm, Place::Recurrent, half),
        (Cell::Gru, Place::Output, half),
        (Cell::Lstm, Place::Input, half.variational()),
        (Cell::RnnRelu, Place::Recurrent, half.variational()),
    ] {
        let kept = |steps: u32, longer: u32| {
            let reading = Reading { cell, place, under: 0, dropout, steps, hidden: 8 };
            let lengths: Vec<u32> = lengths.iter().map(|length| length + longer).collect();
            let mut kept = reading.kept(&mut reading.runner(&samples, &lengths), [2, 0], &lengths);
            kept.iter_mut().flatten().for_each(|steps| steps.truncate(5));
            kept
        };
        let short = kept(5, 0);
        assert_eq!(short, kept(12, 0), "{cell:?}, {place:?}");
        // Steps that do count are seen.
        assert_ne!(short, kept(12, 1), "{cell:?}, {place:?}");
    }
}
