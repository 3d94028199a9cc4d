//! [`Predictor`]: a model that stays on a device, for answers again and again.

use std::collections::VecDeque;
use std::time::Instant;

use super::{
    BATCH, Metrics, Model, Outputs, check_data, check_inputs, evaluation, evaluation_batch, evaluation_steps, ranges, source,
    upload_data, upload_weights,
};
use crate::data::{Dataset, Inputs, Targets};
use crate::executor::Executor;
use crate::pacer::Pacer;
use crate::plan::{Plans, Source};
use crate::stream::{Need, Streams, windows};
use crate::work::{Snapshot, Work};
use crate::{Device, Result};

/// A model on a device, for many calls: weights are uploaded and kernels bound once, where [`Model::predict`] does both in every call.
///
/// What a call has made serves the next one if that has as many rows of the same kind (bytes of one scale, or f32), so ask for the same
/// number at a time; for another number it is made anew. The answers are the model's, bit for bit.
///
/// ```
/// use thinnet::{Dense, Device, Model, Network, Predictor, data};
///
/// let network = Network::new(64).dense(Dense::new(10));
/// let mut predictor = Predictor::new(Model::initial(&network, 1)?, &Device::open()?);
/// for row in 0..3 {
///     let digit = data::digits().slice(row..row + 1)?;
///     println!("{:?}", predictor.predict(digit.inputs())?.labels());
/// }
/// # Ok::<(), thinnet::Error>(())
/// ```
#[derive(Debug)]
pub struct Predictor {
    model: Model,
    device: Device,
    prepared: Prepared,
}

impl Predictor {
    /// Nothing is made before the first call.
    pub fn new(model: Model, device: &Device) -> Self {
        Self { model, device: device.clone(), prepared: Prepared::default() }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// [`Model::logits`].
    ///
    /// # Errors
    /// As [`Model::logits`].
    pub fn logits(&mut self, inputs: &Inputs) -> Result<Outputs> {
        self.prepared.logits(&self.model, &self.device, inputs)
    }

    /// [`Model::predict`].
    ///
    /// # Errors
    /// As [`Model::predict`].
    pub fn predict(&mut self, inputs: &Inputs) -> Result<Outputs> {
        let logits = self.logits(inputs)?;
        Ok(self.model.answers(logits))
    }

    /// [`Model::evaluate`].
    ///
    /// # Errors
    /// As [`Model::evaluate`].
    pub fn evaluate(&mut self, data: &Dataset) -> Result<Metrics> {
        self.prepared.evaluate(&self.model, &self.device, data)
    }
}

/// What a call has made and the next may use: of one model, on one device.
#[derive(Debug, Default)]
pub(super) struct Prepared(Option<(Source, Executor)>);

impl Prepared {
    pub(super) fn logits(&mut self, model: &Model, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        check_inputs(model.network(), inputs)?;
        let outputs = self.logits_by(rows_at_once(model, device)?, model, device, inputs)?;
        model.check_outputs(inputs, outputs)
    }

    /// The outputs, `most` rows at once.
    fn logits_by(&mut self, most: u32, model: &Model, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        let columns = model.network().outputs()? as usize;
        let mut values = Vec::with_capacity(inputs.rows() as usize * columns);
        for range in ranges(inputs.rows(), most) {
            let part = inputs.slice(range)?;
            let (executor, _) = self.run(model, device, &part, None)?;
            let padded = executor.read(executor.plans().plans[0].tensor("eval.outputs"), 0)?;
            let rows = bytemuck::cast_slice::<u32, f32>(&padded).chunks(columns.next_multiple_of(4));
            values.extend(rows.flat_map(|row| &row[..columns]));
        }
        Ok(Outputs::of(columns, values))
    }

    pub(super) fn evaluate(&mut self, model: &Model, device: &Device, data: &Dataset) -> Result<Metrics> {
        check_data(model.network(), data)?;
        self.evaluate_by(rows_at_once(model, device)?, model, device, data)
    }

    /// Mean loss and accuracy, `most` rows at once.
    fn evaluate_by(&mut self, most: u32, model: &Model, device: &Device, data: &Dataset) -> Result<Metrics> {
        let (mut loss, mut hits) = (0.0, 0);
        for range in ranges(data.rows(), most) {
            let part = data.slice(range)?;
            let (_, snapshot) = self.run(model, device, part.inputs(), Some(part.targets()))?;
            let sums = snapshot.sums(0, 0, 0);
            (loss, hits) = (loss + f64::from(sums.0), hits + sums.1);
        }
        Ok(Metrics::of((loss, hits), data.rows(), model.network().loss))
    }

    /// An executor of an evaluation plan for such rows, with the model's weights: that of the call before, if it is of their kind.
    fn take(&mut self, model: &Model, device: &Device, inputs: &Inputs, labelled: bool) -> Result<(Source, Executor)> {
        let mut plans = Plans::new(device.caps());
        let batch = evaluation_batch(model.network(), inputs.rows())?;
        let windows = windows(&plans.caps, None, &[Need::new("given", inputs, batch)])?;
        let source = Source { window: windows[0], ..source("inputs", inputs, labelled) };
        // What is taken is not there any more if this call fails.
        if let Some(kept) = self.0.take().filter(|(of, _)| *of == source) {
            return Ok(kept);
        }
        let plan = plans.add(model.network(), evaluation(model.network(), "eval", source.clone(), !labelled)?)?;
        let executor = Executor::new(device, plans)?;
        upload_weights(&executor, plan, 0, model)?;
        Ok((source, executor))
    }

    /// Runs an evaluation plan over all rows: with targets for its metrics, without for its outputs.
    fn run(
        &mut self,
        model: &Model,
        device: &Device,
        inputs: &Inputs,
        targets: Option<&Targets>,
    ) -> Result<(&Executor, Snapshot)> {
        let (source, mut executor) = self.take(model, device, inputs, targets.is_some())?;
        let (plan, mut streams) = (0, Streams::default());
        upload_data(&executor, plan, model.network(), inputs, targets)?;
        streams.add(executor.plans(), plan, inputs);
        let mut steps = evaluation_steps(inputs.rows(), executor.plans().plans[plan].options.batch, 0).peekable();
        let mut pacer = Pacer::new(executor.plans().max_steps());
        let (mut snapshot, mut in_flight) = (Snapshot::default(), VecDeque::new());
        loop {
            if in_flight.len() < pacer.room() && steps.peek().is_some() {
                streams.begin();
                let mut work = Vec::new();
                while work.len() < pacer.next()
                    && streams.have_room()
                    && let Some(step) = steps.next()
                {
                    let mut next = Work { plan, step };
                    streams.place(executor.plans(), &mut next);
                    work.push(next);
                }
                let submitted = Instant::now();
                streams.upload(&executor)?;
                in_flight.push_back((executor.submit(&work)?, work.len(), submitted));
                continue;
            }
            let Some((submission, work, submitted)) = in_flight.pop_front() else { break };
            snapshot = executor.wait(submission)?;
            pacer.completed(work, submitted);
        }
        let (_, executor) = self.0.insert((source, executor));
        Ok((executor, snapshot))
    }
}

/// How many rows of outputs, or of targets, fit a binding of the device; inputs that do not are streamed.
fn rows_at_once(model: &Model, device: &Device) -> Result<u32> {
    let output = 4 * u64::from(model.network().outputs()?).next_multiple_of(4);
    let caps = device.caps();
    let rows = caps.max_binding.min(caps.max_buffer) / output;
    // A multiple of the batch, so that no batch but the last is ragged; a row too large is named by the plan.
    Ok(u32::try_from(rows / u64::from(BATCH) * u64::from(BATCH)).unwrap_or(u32::MAX / BATCH * BATCH).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Activation, Dense, Network};

    fn network() -> Network {
        Network::new(64).dense(Dense::new(9).activation(Activation::Tanh)).dense(Dense::new(10))
    }

    #[test]
    fn rows_in_parts_give_the_same_outputs_and_metrics() {
        let digits = crate::data::digits().slice(0..70).unwrap();
        let (model, device) = (Model::initial(&network(), 3).unwrap(), Device::cpu());
        let whole = model.logits(&device, digits.inputs()).unwrap();
        for most in [1, 23, 69, 70, 1000] {
            let mut prepared = Prepared::default();
            assert_eq!(prepared.logits_by(most, &model, &device, digits.inputs()).unwrap(), whole);
            let parts = prepared.evaluate_by(most, &model, &device, &digits).unwrap();
            let all = model.evaluate(&device, &digits).unwrap();
            assert_eq!(parts.accuracy, all.accuracy);
            // Each part rounds its sum of losses once.
            assert!((parts.loss - all.loss).abs() <= 70.0 * 1.2e-7 * all.loss, "{} {}", parts.loss, all.loss);
        }
    }

    /// Whoever uses what a call has made answers with NaN here, because its weights are spoilt: calls of its kind do, others do not.
    #[test]
    fn what_a_call_has_made_serves_calls_of_its_kind() {
        let digits = crate::data::digits();
        let numbers = Inputs::from_f32(64, vec![0.5; 3 * 64]).unwrap();
        let mut predictor = Predictor::new(Model::initial(&network(), 4).unwrap(), &Device::cpu());
        let mut uses_what_is_there = |call: &mut dyn FnMut(&mut Predictor) -> Result<f64>| {
            predictor.logits(digits.slice(0..3).unwrap().inputs()).unwrap();
            let (_, executor) = predictor.prepared.0.as_ref().unwrap();
            let weight = executor.plans().plans[0].tensor("0.weight");
            executor.write(weight, 0, &vec![f32::NAN.to_bits(); weight.len as usize]).unwrap();
            let found = call(&mut predictor);
            predictor.prepared = Prepared::default();
            !found.is_ok_and(f64::is_finite)
        };
        let rows = |rows| digits.slice(rows).unwrap();
        let first = |outputs: Outputs| f64::from(outputs.row(0)[0]);
        assert!(uses_what_is_there(&mut |it| it.logits(rows(5..8).inputs()).map(first)));
        assert!(uses_what_is_there(&mut |it| it.predict(rows(0..3).inputs()).map(first)));
        assert!(!uses_what_is_there(&mut |it| it.logits(rows(5..9).inputs()).map(first)), "more rows");
        assert!(!uses_what_is_there(&mut |it| it.logits(&numbers).map(first)), "numbers, not bytes");
        assert!(!uses_what_is_there(&mut |it| it.evaluate(&rows(0..3)).map(|metrics| metrics.loss)), "with targets");
    }
}
