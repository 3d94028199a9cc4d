//! What a training says of itself while it goes on.

use serde::{Deserialize, Serialize};

use crate::model::Metrics;

/// One epoch of a training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Its number, from 0.
    pub epoch: u32,
    /// Loss and accuracy while training: with dropout on, and over weights that change from batch to batch.
    pub running: Metrics,
    /// The training data judged in evaluation mode, if [`super::TrainOptions::evaluate_train`].
    pub train: Option<Metrics>,
    /// The validation data judged in evaluation mode, if there are any.
    pub valid: Option<Metrics>,
    /// Seconds since training began, evaluation included.
    pub seconds: f64,
}

/// Where a training stands; passed to the observer after each submission.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Steps done in this call.
    pub steps: u64,
    /// Steps of this call.
    pub total_steps: u64,
    /// The epochs completed since training began.
    pub history: &'a [Epoch],
}
