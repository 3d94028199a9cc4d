//! Monte-Carlo answers: whether there are any, and how they are drawn.

use thinnet::data::Inputs;
use thinnet::monte_carlo::MonteCarlo;
use thinnet::{Device, Dropout, DropoutMode, Layer, Model, Predictive};

use super::super::Failure;
use super::super::output::Bar;

pub(super) const NAME: &str = "Monte-Carlo";

/// Why there are no draws, if they were asked for.
pub(super) type Undrawn = Option<&'static str>;

/// Whether there will be draws.
pub(super) fn asked(model: &Model, draws: u32) -> Result<(), Undrawn> {
    let drops = |dropout: &Dropout| dropout.keep.threshold() < 1 << 32;
    match model.network().walk().into_iter().any(|layer| matches!(layer, Layer::Dropout(dropout) if drops(dropout))) {
        _ if draws == 0 => Err(None),
        true => Ok(()),
        false => Err(Some("the network drops nothing, so that all draws would be the same; train one with dropout")),
    }
}

/// Some rows drawn; `first` is the number of the first, so that no two rows of a calibration have the same masks.
pub(super) fn drawn(
    model: &Model,
    device: &Device,
    (what, inputs): (&str, &Inputs),
    options: &MonteCarlo,
    first: u32,
) -> Result<Predictive, Failure> {
    let bar = Bar::counting("draws", what);
    // Networks trained with sets of units for a whole batch are drawn one for all rows.
    let units = |layer: &Layer| matches!(layer, Layer::Dropout(dropout) if dropout.mode == DropoutMode::Units);
    let one_network = model.network().walk().into_iter().any(units);
    let options = MonteCarlo { first_sample: first, one_network, ..options.clone() };
    let rows = u64::from(inputs.rows());
    let drawn = model.monte_carlo_with(device, inputs, &options, |done, _| bar.at((done / rows) as u32, options.draws));
    bar.finish();
    Ok(drawn?)
}

/// How exact the means of the judged rows are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exactness {
    pub(super) draws: u32,
    /// Standard errors of a mean: the largest, and the mean of all.
    pub(super) largest: f64,
    pub(super) mean: f64,
}

impl Exactness {
    pub(super) fn of(predictive: &Predictive) -> Self {
        let errors = predictive.standard_error();
        let mean = errors.values().iter().map(|&error| f64::from(error)).sum::<f64>() / errors.values().len() as f64;
        Self { draws: predictive.draws(), largest: predictive.largest_standard_error(), mean }
    }

    /// A sentence; `of` are the means of what.
    pub(super) fn text(&self, of: &str) -> String {
        let Self { draws, largest, mean } = self;
        format!(
            "Monte-Carlo: {draws} draws of each row with dropout on. The standard error of {of} is at most {largest:.2e}, {mean:.2e} \
             on average.\n"
        )
    }
}
