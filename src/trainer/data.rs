//! What a training learns from and is judged by.

use super::TrainOptions;
use crate::Result;
use crate::data::Dataset;
use crate::model::{evaluation_batch, source};
use crate::network::Network;
use crate::plan::{Caps, Source};
use crate::stream::{Need, windows};

/// The data of a training: `&train`, or `(&train, &valid)`.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a> {
    /// What the network learns from.
    pub train: &'a Dataset,
    /// What it is judged by after each epoch.
    pub valid: Option<&'a Dataset>,
}

impl<'a> From<&'a Dataset> for Data<'a> {
    fn from(train: &'a Dataset) -> Self {
        Self { train, valid: None }
    }
}

impl<'a> From<(&'a Dataset, &'a Dataset)> for Data<'a> {
    fn from((train, valid): (&'a Dataset, &'a Dataset)) -> Self {
        Self { train, valid: Some(valid) }
    }
}

/// The training and the validation data, resident or streamed; without validation data the second is never used.
pub(super) fn sources(caps: &Caps, network: &Network, data: Data<'_>, options: &TrainOptions) -> Result<[Source; 2]> {
    let (train, valid) = (data.train.inputs(), data.valid.map(Dataset::inputs));
    let judged = if options.evaluate_train { evaluation_batch(network, train.rows())? } else { 0 };
    let mut needs = vec![Need::new("train", train, options.batch.min(train.rows()).max(judged))];
    if let Some(valid) = valid {
        needs.push(Need::new("valid", valid, evaluation_batch(network, valid.rows())?));
    }
    let windows = windows(caps, options.data_budget, &needs)?;
    let sources = [("train", train), ("valid", valid.unwrap_or(train))].map(|(name, inputs)| source(name, inputs, true));
    let mut windows = windows.into_iter();
    Ok(sources.map(|source| Source { window: windows.next().flatten(), ..source }))
}
