//! Training steps of an LSTM over sequences, with and without masks that all steps share.

use thinnet::{Dataset, Dense, Device, Dropout, Inputs, Network, Optimizer, Recurrent, Result, TrainOptions, Trainer};

use crate::measure::Timed;
use crate::probe;

/// Samples of a step, and steps of an epoch.
const BATCH: u32 = 64;
const BATCHES: u32 = 2;

/// Whether input, recurrent input and output are dropped, at keep_prob 0.75, and whether every step has masks of its own.
pub(crate) const DROPS: [(&str, Option<bool>); 3] =
    [("lstm", None), ("lstm-variational", Some(false)), ("lstm-step", Some(true))];

/// LSTM of 256 units over 32 steps of 64 features, 10 outputs; a small one for a test.
pub(crate) fn lstm(each_step: Option<bool>, test: bool) -> Result<Network> {
    let [steps, features, hidden] = if test { [3, 5, 6] } else { [32, 64, 256] };
    let mut lstm = Recurrent::lstm(hidden);
    if let Some(each_step) = each_step {
        let dropout = Dropout::keep(0.75)?;
        let dropout = if each_step { dropout } else { dropout.variational() };
        lstm = lstm.input(dropout).recurrent(dropout).output(dropout);
    }
    Ok(Network::new([steps, features]).recurrent(lstm).dense(Dense::new(10)))
}

/// Training steps with SGD and momentum over sequences that mean nothing, all of the same length.
pub(crate) fn training(device: &Device, network: &Network) -> Result<Timed<'static>> {
    let (rows, columns) = (BATCH * BATCHES, network.input.elements());
    let inputs = probe::counted(rows * columns).into_iter().map(|word| (word >> 8) as f32 / (1 << 24) as f32);
    let data = Dataset::new(Inputs::from_f32(columns, inputs.collect())?, (0..rows).map(|row| row % 10).collect(), 10)?;
    let options = TrainOptions { batch: BATCH, optimizer: Optimizer::momentum(0.01, 0.9), ..Default::default() };
    let mut trainer = Trainer::new(device, network, &data, options)?;
    Ok(Timed::new(BATCHES, move |epochs| trainer.fit(epochs).map(|_| ())))
}
