//! Gradients of every layer and every dropout variant, with dropout on: the f64 reference against finite differences, a device
//! against the reference.
//!
//! ```text
//! reference   max |g - d| / max |d|     g: the reference's gradient of the loss, d: its central differences in f64;
//!                                       by all parameters and by inputs that are no words; at most TOLERANCE
//! device      max |a - g| / (c eps max |g|)     a: the device's gradient, eps = 2^-24; at most 1
//! ```
//!
//! The loss is what a training step minimises, with the regularizers of concrete dropout. Sequences are ragged. Truncated
//! backpropagation gives no gradient of anything: there d stands against g of the same network without truncation, and a against
//! g of the network as it is.
//!
//! Both maxima are over the tensors of one layer together; the largest ratio of a network counts. Together, because a bias in
//! front of a batch norm has gradient 0, as a sum of terms that cancel: their size shows in the gradient of the layer's weight,
//! which sums the same terms times inputs near 1.
//!
//! `c` is the number of rounded operations one after the other, in both directions: for each layer the terms of its longest sum
//! (gamma_n of Higham 2002, section 3.1, holds for every order of a sum), and the accuracy that WGSL states for its functions.
//! This bounds an error against the sum of absolute values, which cancellation makes larger than the sum. No theorem covers that,
//! but rounding errors that do not conspire grow with the root of n only, and pay for it. What the bound is worth the tests show:
//! other masks are thousands of bounds away, weights that are off by 1 % tens of them.

use std::fmt;

use crate::data::{self, Dataset, Inputs};
use crate::network::{Activation, Dropout, Layer, Loss, Network, Noise, Shape};
use crate::reference::{self, Batch, Masks, Targets};
use crate::rng::{self, Coordinates, Stream};
use crate::{Device, Model, Result, TrainOptions};

mod cases;
mod step;

pub use cases::cases;
pub(crate) use step::GradientStep;

/// The step of the central differences: near the root of the rounding of f64, 1e-16, by the truncation's order, 2.
const STEP: f64 = 1e-5;

/// The largest gradient of each layer is at least this, so that there is something to compare.
const LEAST: f64 = 1e-4;

/// The largest relative error of the reference: a loss near 1 is rounded to some 1e-16, which by 2 steps is 1e-11, and by a
/// largest gradient of 1e-4 is 1e-7. Truncation, of the order of the step's square, is less.
pub const TOLERANCE: f64 = 1e-6;

/// How far a case stays away from kinks and ties: 50 steps, and hundreds of roundings on a device.
const DISTANCE: f64 = 50.0 * STEP;

/// A network to check.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What is special about it.
    pub name: String,
    /// The network.
    pub network: Network,
    /// Rows of its batch.
    pub rows: u32,
}

/// A case with numbers: weights, inputs, targets, sample numbers and the seed of its masks, in pass 0 and update 0.
#[derive(Debug, Clone)]
pub struct Numbers {
    /// The network and its weights: none is 0.
    pub model: Model,
    /// One batch.
    pub batch: Dataset,
    /// The seed of the masks.
    pub seed: u64,
}

/// Numbers in (-1, 1), others for every `number`.
fn random(count: usize, number: u32, seed: u64) -> impl Iterator<Item = f64> {
    let at = Coordinates { stream: Stream::ContinuousNoise, site: number, pass: 0, sample: 0 };
    (0..count as u32).map(move |i| 2.0 * rng::uniform(at.word(i, rng::key(seed))) - 1.0)
}

impl Numbers {
    /// The first numbers from a seed that stay away from kinks and give every layer a gradient.
    ///
    /// # Errors
    /// A network that does not fit together.
    pub fn new(case: &Case, seed: u64) -> Result<Self> {
        for attempt in 0..100 {
            let numbers = Self::draw(case, seed.wrapping_add(attempt << 32))?;
            let (weights, inputs) = (numbers.weights(), numbers.inputs());
            let distance = reference::kink_distance(&case.network, &weights, numbers.rows_of(&inputs), &numbers.masks())?;
            if distance > DISTANCE && largest(&case.network, &numbers.gradients()?)?.iter().all(|&largest| largest > LEAST) {
                return Ok(numbers);
            }
        }
        let problem = "100 draws of weights are all at a kink, or leave a layer without gradient".into();
        Err(crate::Error::Network { place: case.name.clone(), problem })
    }

    fn draw(case: &Case, seed: u64) -> Result<Self> {
        let Case { network, rows, .. } = case;
        let mut weights = Vec::new();
        for (number, parameter) in (0..).zip(network.parameters()?) {
            let size = (3.0 / f64::from(parameter.fans.0)).sqrt();
            let value = |value: f64| match parameter.name.rsplit('.').next() {
                // A normalisation's scale, which has no fans, and a variance are near 1.
                Some("weight") if parameter.fans == (1, 1) => 1.0 + 0.5 * value,
                Some("running_var") => 1.0 + 0.5 * value,
                Some("weight") => size * value,
                _ => 0.5 * value,
            };
            weights.push(random(parameter.len(), number, seed).map(|v| value(v) as f32).collect());
        }
        let columns = network.input.elements();
        let value = |v: f64| match network.layers.first() {
            Some(Layer::Embedding(table)) => ((v + 1.0) / 2.0 * f64::from(table.vocabulary)).floor() as f32,
            _ => v as f32,
        };
        let values = random((rows * columns) as usize, 1000, seed).map(value).collect();
        // Sample numbers of all sizes.
        let samples = (0..*rows).map(|row| row + 1000 * (row % 2) + 4_000_000_000 * u32::from(row == 3)).collect();
        let mut inputs = Inputs::from_f32(columns, values)?.with_samples(samples)?;
        if network.walk().into_iter().any(|layer| matches!(layer, Layer::Recurrent(_) | Layer::Embedding(_))) {
            // Of 5 steps: 5, 2, 4, 1, 3, 5.
            let steps = network.input.0[0];
            inputs = inputs.with_lengths(steps, (0..*rows).map(|row| steps - row * (steps / 2 + 1) % steps).collect())?;
        }
        let targets = random((rows * network.targets()?) as usize, 1001, seed).map(|v| v as f32);
        let batch = match network.loss {
            Loss::SoftmaxCrossEntropy => {
                let classes = network.outputs()?;
                let label = |v: f64| ((v + 1.0) / 2.0 * f64::from(classes)) as u32;
                Dataset::new(inputs, random(*rows as usize, 1001, seed).map(label).collect(), classes)?
            }
            Loss::BinaryCrossEntropy => Dataset::with_values(inputs, network.targets()?, targets.map(|v| v.abs()).collect())?,
            _ => Dataset::with_values(inputs, network.targets()?, targets.collect())?,
        };
        Ok(Self { model: Model::new(network.clone(), weights)?, batch, seed })
    }

    fn weights(&self) -> Vec<Vec<f64>> {
        self.model.weights().iter().map(|w| w.iter().copied().map(f64::from).collect()).collect()
    }

    fn inputs(&self) -> Vec<f64> {
        (0..self.batch.rows()).flat_map(|row| self.batch.inputs().row_f32(row)).map(f64::from).collect()
    }

    /// Rows of inputs with the lengths of these.
    fn rows_of<'a>(&'a self, inputs: &'a [f64]) -> Batch<'a> {
        Batch { inputs, lengths: self.batch.inputs().lengths().map(|lengths| lengths.of_rows.as_slice()) }
    }

    /// Whether the inputs are numbers of words, which have no gradient.
    fn has_words(&self) -> bool {
        matches!(self.model.network().layers.first(), Some(Layer::Embedding(_)))
    }

    fn masks(&self) -> Masks<'_> {
        Masks::Drawn { seed: self.seed, pass: 0, update: 0, samples: self.batch.inputs().samples() }
    }

    /// Runs `f` with the targets as the reference takes them.
    fn with_targets<T>(&self, f: impl FnOnce(Targets) -> T) -> T {
        match self.batch.targets() {
            data::Targets::Classes { labels, .. } => f(Targets::Labels(labels)),
            data::Targets::Values { values, .. } => {
                f(Targets::Values(&values.iter().copied().map(f64::from).collect::<Vec<_>>()))
            }
        }
    }

    /// The reference's gradients of the loss: of every parameter tensor and, last, of the inputs if they are no words.
    ///
    /// # Errors
    /// As [`reference::gradients`].
    pub fn gradients(&self) -> Result<Vec<Vec<f64>>> {
        self.gradients_of(self.model.network())
    }

    fn gradients_of(&self, network: &Network) -> Result<Vec<Vec<f64>>> {
        let (weights, inputs) = (self.weights(), self.inputs());
        let of =
            |targets: Targets| reference::objective_gradients(network, &weights, self.rows_of(&inputs), targets, &self.masks());
        let (mut gradients, dx) = self.with_targets(of)?;
        if !self.has_words() {
            gradients.push(dx);
        }
        Ok(gradients)
    }

    /// The same by central differences of the reference's loss.
    fn differences(&self) -> Result<Vec<Vec<f64>>> {
        let (network, mut at, inputs) = (self.model.network(), self.weights(), self.inputs());
        let tensors = at.len();
        if !self.has_words() {
            at.push(inputs.clone());
        }
        self.with_targets(|targets| {
            reference::central_differences(&at, STEP, |moved| {
                let inputs = self.rows_of(moved.get(tensors).unwrap_or(&inputs));
                reference::objective(network, &moved[..tensors], inputs, targets, &self.masks())
            })
        })
    }

    /// The relative error of the reference's gradients against finite differences.
    ///
    /// # Errors
    /// As [`reference::gradients`].
    pub fn reference_error(&self) -> Result<f64> {
        let differences = self.differences()?;
        let network = self.model.network();
        ratio(network, &self.gradients_of(&network.without_truncation())?, &differences)
    }

    /// The device's gradients of every parameter tensor, after a training step without update.
    ///
    /// # Errors
    /// A network that does not fit the device.
    pub fn on_device(&self, device: &Device) -> Result<Vec<Vec<f64>>> {
        let (gradients, _) = self.step().gradients(device)?;
        Ok(gradients.into_iter().map(|g| g.into_iter().map(f64::from).collect()).collect())
    }

    /// That step, or with `options` two passes that update the weights and an evaluation, kernel by kernel, each beside its CPU twin: the largest distance from a
    /// twin in units of the kernel's own bound, which is much closer than that of a whole network; or else the first kernel that is outside
    /// of it, by name and with numbers.
    ///
    /// # Errors
    /// A network that does not fit the device.
    pub fn beside_twins(&self, device: &Device, options: Option<&TrainOptions>) -> Result<std::result::Result<f64, String>> {
        self.step().beside_twins(device, options)
    }

    fn step(&self) -> GradientStep<'_> {
        GradientStep { model: &self.model, batch: &self.batch, seed: self.seed }
    }

    /// How far gradients are from the reference's, in units of the bound; the inputs' may be left out.
    ///
    /// # Errors
    /// As [`reference::gradients`].
    pub fn bounds(&self, found: &[Vec<f64>]) -> Result<f64> {
        let network = self.model.network();
        let bound = crate::kernels::EPS * f64::from(roundings(network, self.batch.rows())?);
        Ok(ratio(network, found, &self.gradients()?)? / bound)
    }
}

/// For every tensor the largest element of its layer's tensors together; and, last, that of the inputs.
fn largest(network: &Network, gradients: &[Vec<f64>]) -> Result<Vec<f64>> {
    let parameters = network.parameters()?;
    let of = |layer: usize| {
        let own = parameters.iter().zip(gradients).filter(|(parameter, _)| parameter.layer == layer);
        own.flat_map(|(_, gradient)| gradient).fold(0.0, |a: f64, g| a.max(g.abs()))
    };
    let mut largest: Vec<f64> = parameters.iter().map(|parameter| of(parameter.layer)).collect();
    largest.extend(gradients.get(parameters.len()).map(|dx| dx.iter().fold(0.0, |a: f64, g| a.max(g.abs()))));
    Ok(largest)
}

/// The largest difference by the largest element that is expected, over all that is trained (and the inputs, if found); infinite
/// where it is not a number, or something is missing.
fn ratio(network: &Network, found: &[Vec<f64>], expected: &[Vec<f64>]) -> Result<f64> {
    let parameters = network.parameters()?;
    let mut worst = 0.0f64;
    for (tensor, ((found, expected), largest)) in found.iter().zip(expected).zip(largest(network, expected)?).enumerate() {
        if parameters.get(tensor).is_some_and(|parameter| !parameter.trained) {
            continue;
        }
        if found.len() != expected.len() {
            return Ok(f64::INFINITY);
        }
        for (found, expected) in found.iter().zip(expected) {
            let error = (found - expected).abs() / largest;
            if error.is_nan() {
                return Ok(f64::INFINITY);
            }
            worst = worst.max(error);
        }
    }
    Ok(if found.len() < parameters.len() { f64::INFINITY } else { worst })
}

/// Rounded operations one after the other in a training step: for each layer the terms of its longest sum, over its inputs, its
/// outputs, or the rows (and pixels), and what its function may be off by in units of 2^-24; all of it in each direction.
fn roundings(network: &Network, rows: u32) -> Result<u32> {
    let shapes = network.shapes()?;
    let mut sum = network.outputs()? + accuracy(Activation::Sigmoid);
    for (number, layer) in network.walk().into_iter().enumerate() {
        let shape = &shapes[number];
        let pixels = |shape: &Shape| shape.0[1..].iter().product::<u32>();
        sum += match layer {
            Layer::Dense(dense) => shape.elements().max(dense.units).max(rows) + accuracy(dense.activation),
            Layer::Conv2d(conv) => {
                let window = conv.window.kernel[0] * conv.window.kernel[1];
                let (forward, backward) = (window * shape.0[0] / conv.groups, window * conv.channels / conv.groups);
                // As many places as pixels, or fewer, but for padding.
                forward.max(backward).max(rows * (pixels(shape) + 2 * window)) + accuracy(conv.activation)
            }
            Layer::Pool(pool) => pool.window.kernel[0] * pool.window.kernel[1],
            Layer::GlobalAveragePool => pixels(shape),
            Layer::Activation(activation) => accuracy(*activation),
            // Mean, then variance; the root and the quotient have 4.5 ULP.
            Layer::BatchNorm(_) => 2 * rows * pixels(shape) + 16,
            Layer::LayerNorm(_) => 2 * shape.elements().max(rows) + 16,
            // Step after step, each with its gates.
            Layer::Recurrent(recurrent) => {
                let sum = recurrent.cell.gates() * recurrent.hidden + recurrent.inputs(1, 0).max(shape.0[1]);
                recurrent.layer_count() * shape.0[0] * (sum + rows + 4 * accuracy(Activation::Tanh))
            }
            Layer::Embedding(_) => rows * shape.0[0],
            Layer::Dropout(dropout) => of_noise(dropout),
            Layer::Residual(_) => 1,
            Layer::Flatten => 0,
        };
    }
    Ok(2 * sum)
}

/// The same of what a dropout site multiplies with.
fn of_noise(dropout: &Dropout) -> u32 {
    match dropout.noise {
        Noise::Bernoulli => 1,
        // Two factors and two sums.
        Noise::Alpha => 4,
        // cos is within 2^-11, 2^13 units, and the root of -2 log u, which stands in front of it, at most 5.8.
        Noise::Gaussian => {
            let p = dropout.at(0).keep.get();
            4 + (((1.0 - p) / p).sqrt() * 5.8 * 8192.0) as u32
        }
        // The logarithms are within 2^-21, or 3 ULP of what is below 2 where the slope of z is not small: together 24 units, by
        // the temperature, the argument of s.
        Noise::Concrete(concrete) => accuracy(Activation::Sigmoid) + (24.0 / concrete.temperature) as u32,
    }
}

/// What WGSL lets a function be off by, in units of 2^-24: 1e-5 for tanh, (3 + 2 |x|) ULP for exp with |x| up to 6.
fn accuracy(activation: Activation) -> u32 {
    match activation {
        Activation::Identity | Activation::Relu | Activation::LeakyRelu => 1,
        Activation::Sigmoid | Activation::Selu => 32,
        Activation::Tanh | Activation::Gelu => 168,
    }
}

/// How one case came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The case.
    pub name: String,
    /// The relative error of the reference against finite differences.
    pub reference: f64,
    /// c of the bound.
    pub roundings: u32,
    /// The device's error in units of the bound.
    pub device: f64,
}

impl Row {
    /// Whether the reference is right, and the device agrees with it.
    pub fn passed(&self) -> bool {
        self.reference <= TOLERANCE && self.device <= 1.0
    }
}

/// A row for every case.
#[derive(Debug, Clone, PartialEq)]
pub struct Table(pub Vec<Row>);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:56}  {:>9}  {:>6}  {:>8}", "case", "reference", "c", "device")?;
        for row in &self.0 {
            let verdict = if row.passed() { "" } else { "  FAILED" };
            writeln!(f, "{:56}  {:9.1e}  {:6}  {:8.4}{verdict}", row.name, row.reference, row.roundings, row.device)?;
        }
        let passed = self.0.iter().filter(|row| row.passed()).count();
        writeln!(f, "{passed} of {} passed", self.0.len())
    }
}

/// The error of the reference's gradients against finite differences, with the numbers of a seed.
///
/// # Errors
/// A network that does not fit together.
pub fn reference_errors(case: &Case, seed: u64) -> Result<f64> {
    Numbers::new(case, seed)?.reference_error()
}

impl Row {
    /// Checks a case, on this device too, with the numbers of a seed.
    ///
    /// # Errors
    /// A device that cannot run it. A wrong gradient is no error but a row that has not passed.
    pub fn of(case: &Case, device: &Device, seed: u64) -> Result<Self> {
        let numbers = Numbers::new(case, seed)?;
        let bounds = numbers.bounds(&numbers.on_device(device)?)?;
        let (reference, roundings) = (numbers.reference_error()?, roundings(&case.network, case.rows)?);
        Ok(Self { name: case.name.clone(), reference, roundings, device: bounds })
    }
}

/// Checks every case, on this device too, with the numbers of a seed.
///
/// # Errors
/// As [`Row::of`].
pub fn check(device: &Device, seed: u64) -> Result<Table> {
    Ok(Table(cases().iter().map(|case| Row::of(case, device, seed)).collect::<Result<_>>()?))
}
