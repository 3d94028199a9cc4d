//! Recurrent layers: the product with W_ih for all steps at once, then one kernel for each step; backward the other way round.

use super::build::{Builder, Linear, Value};
use super::forward::Trace;
use super::{Mode, Options};
use crate::Result;
use crate::kernels::dense::{DenseBackwardInput, DenseForward, Epilogue};
use crate::kernels::recurrent::{
    RecurrentBackward, RecurrentForward, RecurrentMask, RecurrentParams, RecurrentShape, RecurrentSite, RecurrentSize,
};
use crate::kernels::recurrent_weight::{RecurrentWeight, RecurrentWeightParams};
use crate::kernels::residual::{Add, ResidualParams};
use crate::kernels::sequence::{BatchLengths, PlanarToSteps, SequenceParams, StepsToPlanar};
use crate::kernels::states::{StatesBackward, StatesForward, StatesParams, StatesVariant};
use crate::kernels::units::Sides;
use crate::memory::Tensor;
use crate::network::{self, Cell, Place, Shape, Unit};

/// A sequence `[steps, features]` in the other layout.
#[derive(Clone, Copy)]
pub(super) struct Stepped {
    shape: [u32; 2],
    to_steps: bool,
}

/// One of the layers of a recurrent layer, in all its directions.
pub(super) struct Recurrent {
    directions: Vec<Direction>,
    variant: StatesVariant,
    steps: u32,
    hidden: u32,
    inputs: u32,
    lengths: Tensor,
    truncate: Option<u32>,
}

/// A layer in one direction.
struct Direction {
    reverse: bool,
    /// Dropout of its input, and of its output.
    before: Vec<Trace>,
    after: Vec<Trace>,
    /// The products with W_ih and W_hh, whose x are the inputs of all steps, and the recurrent ones.
    ih: Linear,
    hh: Linear,
    /// The names of its weights and biases.
    names: [String; 4],
    gates: Tensor,
    sequence: Tensor,
    /// Where the gradients are that W_hh takes part in: those of the gates, but for the GRU.
    dhidden: Tensor,
    params: RecurrentParams,
    shape: RecurrentShape,
    site: Option<RecurrentSite>,
    /// Words from the recurrent input of one gate to the next.
    input_plane: u32,
}

impl Builder<'_> {
    /// A row for each step, of sequences of a shape.
    pub(super) fn steps(&mut self, name: &str, x: Value, shape: [u32; 2], trace: &mut Vec<Trace>) -> Result<Value> {
        if x.steps {
            return Ok(x);
        }
        let (y, stepped) = (self.value(name, shape[0], shape[1])?, Stepped { shape, to_steps: true });
        self.step_rows(stepped, x.tensor, y.tensor);
        trace.push(Trace::Stepped(stepped));
        Ok(Value { steps: true, ..y })
    }

    /// A row for each sample, of a sequence with a row for each step.
    pub(super) fn joined(&mut self, name: &str, x: Value, trace: &mut Vec<Trace>) -> Result<Value> {
        let stepped = Stepped { shape: [x.pixels, x.columns], to_steps: false };
        let y = self.value(name, 1, x.pixels * x.columns)?;
        self.step_rows(stepped, x.tensor, y.tensor);
        trace.push(Trace::Stepped(stepped));
        Ok(y)
    }

    fn step_rows(&mut self, Stepped { shape, to_steps }: Stepped, x: Tensor, y: Tensor) {
        let params =
            SequenceParams { x_stride: x.stride, y_stride: y.stride, ..SequenceParams::new(shape, self.plans.row_words()) };
        match to_steps {
            true => self.push(PlanarToSteps { params, x, y }),
            false => self.push(StepsToPlanar { params, x, y }),
        }
    }

    pub(super) fn stepped_backward(&mut self, stepped: Stepped, dy: Value) -> Result<Value> {
        let [steps, features] = stepped.shape;
        let dx = match stepped.to_steps {
            true => self.gradient(1, steps * features)?,
            false => self.gradient(steps, features)?,
        };
        self.step_rows(Stepped { to_steps: !stepped.to_steps, ..stepped }, dy.tensor, dx.tensor);
        self.release(dy);
        Ok(dx)
    }

    /// How long the samples of the batch are.
    pub(super) fn lengths(&mut self, steps: u32) -> Result<Tensor> {
        if let Some(&lengths) = self.plan.tensors.get("batch.lengths") {
            return Ok(lengths);
        }
        let Options { batch, source, .. } = self.plan.options.clone();
        let (data, rows) = (self.data("lengths", source.rows.into())?, self.named("batch.rows"));
        let lengths = self.tensor("batch.lengths", batch.into())?;
        let params = SequenceParams {
            data_lengths_stride: data.stride,
            rows_stride: rows.stride,
            lengths_stride: lengths.stride,
            ..SequenceParams::new([steps, 1], self.plans.row_words())
        };
        self.push(BatchLengths { params, data_lengths: data, rows, lengths });
        Ok(lengths)
    }

    pub(super) fn recurrent(
        &mut self,
        layer: usize,
        recurrent: &network::Recurrent,
        x: Value,
        trace: &mut Vec<Trace>,
    ) -> Result<Value> {
        let Shape(shape) = self.network.shapes()?.swap_remove(layer);
        let steps = shape[0];
        let mut x = self.steps(&format!("steps.{layer}"), x, [steps, shape[1]], trace)?;
        let lengths = self.lengths(steps)?;
        for number in 0..recurrent.layer_count() {
            let last = number + 1 == recurrent.layer_count() && !recurrent.sequence;
            let directions =
                (0..recurrent.directions()).map(|direction| self.direction(layer, recurrent, [number, direction], (x, lengths)));
            let (states, directions): (Vec<Value>, Vec<Direction>) = directions.collect::<Result<Vec<_>>>()?.into_iter().unzip();
            let variant = StatesVariant { both: states.len() == 2, last, reverse: false };
            let inputs = x.columns;
            x = self.states(&format!("states.{layer}.{number}"), &states, variant, lengths)?;
            trace.push(Trace::Recurrent(Recurrent {
                directions,
                variant,
                steps,
                hidden: recurrent.hidden,
                inputs,
                lengths,
                truncate: recurrent.truncate,
            }));
        }
        Ok(x)
    }

    /// The states of all directions, side by side; all of them, or the last.
    fn states(&mut self, name: &str, states: &[Value], variant: StatesVariant, lengths: Tensor) -> Result<Value> {
        let (a, b) = (states[0], states[states.len() - 1]);
        if !variant.both && !variant.last {
            return Ok(a);
        }
        let y = self.value(name, if variant.last { 1 } else { a.pixels }, a.columns * states.len() as u32)?;
        let params = StatesParams {
            a_stride: a.tensor.stride,
            b_stride: b.tensor.stride,
            y_stride: y.tensor.stride,
            lengths_stride: lengths.stride,
            ..StatesParams::new([a.pixels, a.columns], self.plans.row_words(), variant)
        };
        self.push(StatesForward { params, variant, lengths, a: a.tensor, b: b.tensor, y: y.tensor });
        Ok(Value { steps: !variant.last, ..y })
    }

    /// A site of a recurrent layer, if it drops.
    fn site_of(
        &mut self,
        layer: usize,
        recurrent: &network::Recurrent,
        [number, direction]: [u32; 2],
        place: Place,
    ) -> Result<Option<usize>> {
        let drops = self.plan.options.mode != Mode::Eval && self.drops(recurrent.dropout(number, direction, place));
        match drops {
            true => self.plan_site(layer + 1 + recurrent.site(number, direction, place)).map(Some),
            false => Ok(None),
        }
    }

    fn direction(
        &mut self,
        layer: usize,
        recurrent: &network::Recurrent,
        at: [u32; 2],
        (x, lengths): (Value, Tensor),
    ) -> Result<(Value, Direction)> {
        let [number, direction] = at;
        let module = self.network.modules().swap_remove(layer);
        let names = network::Recurrent::tensor_names(number, direction).map(|name| format!("{module}.{name}"));
        let name = |what: &str| format!("{what}.{layer}.{number}.{direction}");
        let mut before = Vec::new();
        let x = match self.site_of(layer, recurrent, at, Place::Input)? {
            Some(index) => self.map_dropout(index, x, &mut before)?,
            None => x,
        };
        let site = self.site_of(layer, recurrent, at, Place::Recurrent)?.map(|index| RecurrentSite {
            mask: self.site_mask(index),
            kind: match self.unit(index) {
                _ if recurrent.untied => RecurrentMask::Untied,
                Unit::Element => RecurrentMask::Step,
                _ => RecurrentMask::Tied,
            },
        });
        let Options { batch, members, .. } = self.plan.options;
        let (cell, hidden, steps) = (recurrent.cell, recurrent.hidden, x.pixels);
        let size =
            RecurrentSize { cell, hidden, steps, batch, row_words: self.plans.row_words(), masks: site.map(|site| site.kind) };
        let gates = self.rows_of(&name("gates"), steps, size.columns())?;
        let planes = size.planes();
        let sequence = self.tensor(&name("sequence"), planes.words)?;
        let plane = |at: u64, words: u32| Tensor { offset: sequence.offset + at as u32, len: batch * steps * words, ..sequence };
        let [w_ih, w_hh, b_ih, b_hh] = [0, 1, 2, 3].map(|i| self.named(&names[i]));
        let (outputs, sides) = (size.columns(), Sides::default());
        let ih = Linear {
            layer,
            x: x.tensor,
            weight: w_ih,
            bias: b_ih,
            inputs: x.columns,
            outputs,
            sides,
            pixels: steps,
            dropped: None,
        };
        let hh = Linear { x: plane(planes.input, size.hidden_words()), weight: w_hh, bias: b_hh, inputs: hidden, ..ih };
        self.input_product(ih, gates);
        let params = RecurrentParams {
            bias_at: (b_hh.offset - w_hh.offset) / 4,
            stream_and_site: self.stream_and_site(site.map(|site| site.mask.index)),
            samples_stride: self.samples.stride,
            lengths_stride: lengths.stride,
            weight_stride: w_hh.stride,
            gates_stride: gates.stride,
            sequence_stride: sequence.stride,
            ..RecurrentParams::new(&size)
        };
        let shape = RecurrentShape::of(&self.plans.caps, &size, members);
        let (reverse, samples) = (direction == 1, self.samples);
        let weight = Tensor { len: b_hh.offset + b_hh.len - w_hh.offset, ..w_hh };
        for t in in_order(steps, reverse) {
            let params = params.at(t, reverse, None);
            self.push(RecurrentForward { params, site, shape, samples, lengths, weight, gates, sequence });
        }
        let states = Value { tensor: plane(planes.y, size.hidden_words()), pixels: steps, columns: hidden, steps: true };
        let mut after = Vec::new();
        let states = match self.site_of(layer, recurrent, at, Place::Output)? {
            Some(index) => self.map_dropout(index, states, &mut after)?,
            None => states,
        };
        let dhidden = if cell == Cell::Gru { plane(planes.hidden, size.gates_words()) } else { gates };
        let input_plane = planes.input_plane as u32;
        Ok((
            states,
            Direction { reverse, before, after, ih, hh, names, gates, sequence, dhidden, params, shape, site, input_plane },
        ))
    }

    /// `gates = x W_ih^T + b_ih`, for all steps.
    fn input_product(&mut self, linear: Linear, gates: Tensor) {
        let (matmul, params) = self.dense_params(None, (linear.x, gates), linear);
        let (samples, Linear { x, weight, bias, pixels, .. }) = (self.samples, linear);
        self.push_rows(pixels, DenseForward { matmul, params, epilogue: Epilogue::NONE, samples, bias, x, weight, y: gates });
    }

    /// The gradients of all weights, and that of what went in, if it is wanted. Gives `dy` back.
    pub(super) fn recurrent_backward(&mut self, layer: &Recurrent, dy: Value, wanted: bool) -> Result<Option<Value>> {
        let mut found: Option<Value> = None;
        let same = !layer.variant.both && !layer.variant.last;
        for direction in &layer.directions {
            let states = if same { dy } else { self.states_backward(layer, direction, dy)? };
            let dh = self.sequence_backward(&direction.after, states, true)?.expect("the gradient is wanted");
            self.steps_backward(layer, direction, dh);
            self.release(dh);
            self.recurrent_gradients(direction)?;
            if !wanted {
                continue;
            }
            let dx = self.input_product_backward(direction.ih, direction.gates)?;
            let dx = self.sequence_backward(&direction.before, dx, true)?.expect("the gradient is wanted");
            found = Some(match found {
                Some(other) => self.sum(other, dx)?,
                None => dx,
            });
        }
        if !same {
            self.release(dy);
        }
        debug_assert!(
            found.is_none_or(|dx| (dx.pixels, dx.columns) == (layer.steps, layer.inputs)),
            "the gradient of what went in"
        );
        Ok(found)
    }

    fn states_backward(&mut self, layer: &Recurrent, direction: &Direction, dy: Value) -> Result<Value> {
        let dx = self.gradient(layer.steps, layer.hidden)?;
        let variant = StatesVariant { reverse: direction.reverse, ..layer.variant };
        let params = StatesParams {
            a_stride: dx.tensor.stride,
            y_stride: dy.tensor.stride,
            lengths_stride: layer.lengths.stride,
            ..StatesParams::new([layer.steps, layer.hidden], self.plans.row_words(), variant)
        };
        self.push(StatesBackward { params, variant, lengths: layer.lengths, dy: dy.tensor, dx: dx.tensor });
        Ok(dx)
    }

    /// The gradients of the gates of all steps, from the last to the first.
    fn steps_backward(&mut self, layer: &Recurrent, direction: &Direction, dh: Value) {
        let Direction { reverse, hh, gates, sequence, params, shape, site, .. } = *direction;
        let samples = self.samples;
        let weight = Tensor { len: hh.bias.offset + hh.bias.len - hh.weight.offset, ..hh.weight };
        for t in in_order(layer.steps, !reverse) {
            let params = RecurrentParams { dy_stride: dh.tensor.stride, ..params.at(t, reverse, layer.truncate) };
            self.push(RecurrentBackward { params, site, shape, samples, dy: dh.tensor, weight, gates, sequence });
        }
    }

    fn recurrent_gradients(&mut self, direction: &Direction) -> Result<()> {
        let [w_ih, w_hh, b_ih, b_hh] = [0, 1, 2, 3].map(|i| self.named(&format!("{}.grad", direction.names[i])));
        self.gradient_of(Linear { weight: w_ih, bias: b_ih, ..direction.ih }, direction.gates)?;
        let hh = Linear { weight: w_hh, bias: b_hh, ..direction.hh };
        if !matches!(direction.site, Some(RecurrentSite { kind: RecurrentMask::Untied, .. })) {
            return self.gradient_of(hh, direction.dhidden);
        }
        // Each gate has an input of its own, so that no product of two matrices makes it.
        let gates = direction.shape.cell.gates();
        let params = RecurrentWeightParams {
            bias_at: (b_hh.offset - w_hh.offset) / 4,
            input_plane: direction.input_plane / 4,
            x_stride: hh.x.stride,
            dy_stride: direction.dhidden.stride,
            gradient_stride: w_hh.stride,
            ..RecurrentWeightParams::new([gates, hh.inputs], self.plans.row_words())
        };
        let x = Tensor { len: direction.input_plane * (gates - 1) + hh.x.len, ..hh.x };
        let gradient = Tensor { len: b_hh.offset + b_hh.len - w_hh.offset, ..w_hh };
        self.push_rows(hh.pixels, RecurrentWeight { params, x, dy: direction.dhidden, gradient });
        Ok(())
    }

    fn input_product_backward(&mut self, linear: Linear, dgates: Tensor) -> Result<Value> {
        let dx = self.gradient(linear.pixels, linear.inputs)?;
        let (matmul, params) = self.dense_params(None, (dx.tensor, dgates), linear);
        let (samples, weight) = (self.samples, linear.weight);
        // Without an epilogue nothing reads x; the weight is a matrix with rows of the same length.
        let epilogue = Epilogue::NONE;
        self.push_rows(
            linear.pixels,
            DenseBackwardInput { matmul, params, epilogue, samples, x: weight, weight, dy: dgates, dx: dx.tensor },
        );
        Ok(dx)
    }

    /// The sum of two gradients. Gives both back.
    fn sum(&mut self, a: Value, b: Value) -> Result<Value> {
        let y = self.gradient(a.pixels, a.columns)?;
        let params = ResidualParams {
            a_stride: a.tensor.stride,
            b_stride: b.tensor.stride,
            y_stride: y.tensor.stride,
            ..ResidualParams::new(a.columns, self.plans.row_words(), a.pixels, self.plan.options.batch)
        };
        self.push_rows(a.pixels, Add { params, a: a.tensor, b: b.tensor, y: y.tensor });
        self.release(a);
        self.release(b);
        Ok(y)
    }
}

/// The steps as a direction goes through them.
fn in_order(steps: u32, reverse: bool) -> impl Iterator<Item = u32> {
    (0..steps).map(move |t| if reverse { steps - 1 - t } else { t })
}
