//! Untied gates: recurrent masks of their own, read off the device one gate at a time.

use thinnet::network::{Cell, Layer, Parameter, Recurrent};
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::{Dropout, Inputs, KeepProb, Loss, Network};

use super::recurrent::identity;
use super::{Runner, SEED};
use crate::mask_statistics::{SIGMAS, agreement};

/// Which units of the recurrent input each gate has, `[gate][row][unit]`: its weights alone are not 0, so that the second state
/// differs from that without them where h was kept.
fn of_gates(cell: Cell, untied: bool, rows: u32, hidden: u32) -> Vec<Vec<Vec<bool>>> {
    let dropout = Dropout::keep(0.5).unwrap().variational();
    let layer = Recurrent::new(cell, hidden).sequence().recurrent(dropout);
    let layer = if untied { layer.untied() } else { layer };
    let network = Network::new([2, 4]).recurrent(layer).layer(Layer::Flatten).loss(Loss::MeanSquaredError);
    let inputs = Inputs::from_f32(8, vec![0.0; 8 * rows as usize]).unwrap();
    let states = |gate: usize, factor: f32| {
        let of = |parameter: &Parameter| match parameter.shape.len() {
            2 if parameter.name.contains("weight_hh") => identity(parameter, hidden, gate, factor),
            2 => vec![0.0; parameter.len()],
            _ => vec![0.5; parameter.len()],
        };
        let weights = network.parameters().unwrap().iter().map(of).collect();
        Runner::new(&network, weights, &inputs).outputs([1, 0])
    };
    let width = hidden as usize;
    let gate = |gate: usize| {
        let differs = |(with, without): (&Vec<f32>, &Vec<f32>)| -> Vec<bool> {
            assert_eq!(with[..width], without[..width], "the first state has no mask");
            with[width..].iter().zip(&without[width..]).map(|(a, b)| (a - b).abs() > 1e-3).collect()
        };
        states(gate, 2.0).iter().zip(&states(gate, 0.0)).map(differs).collect()
    };
    (0..cell.gates() as usize).map(gate).collect()
}

#[test]
fn untied_gates_have_masks_of_their_own_and_tied_ones_have_one() {
    let (rows, hidden) = (64, 64);
    for cell in [Cell::Gru, Cell::Lstm] {
        let contract = |gate: u32, row: u32, f: u32| {
            let at = Coordinates { stream: Stream::TrainingMask, site: 1, pass: 1, sample: row };
            KeepProb::new(0.5).unwrap().keeps(at.word(gate * hidden + f, rng::key(SEED)))
        };
        for untied in [true, false] {
            let found = of_gates(cell, untied, rows, hidden);
            let expected = |gate: u32, row: u32| -> Vec<bool> {
                (0..hidden).map(|f| contract(if untied { gate } else { 0 }, row, f)).collect()
            };
            for (gate, rows) in (0..).zip(&found) {
                for (row, kept) in (0..).zip(rows) {
                    assert_eq!(*kept, expected(gate, row), "{cell:?}, untied {untied}, gate {gate}, row {row}");
                }
            }
            // 4096 units: those of two gates agree in a half of them within 5 standard deviations of 32, or in all.
            let mask = |gate: usize| found[gate].iter().flatten().map(|&kept| u32::from(kept)).collect::<Vec<_>>();
            for gate in 1..found.len() {
                let z = agreement(&mask(0), &mask(gate), 0.5);
                assert_eq!(z.abs() <= SIGMAS, untied, "{cell:?}, gates 0 and {gate}: {z} standard deviations");
            }
        }
    }
}
