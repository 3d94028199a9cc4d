//! Against PyTorch: 20 steps of every optimizer, schedule and bound, activations and losses.
//!
//! `scripts/pytorch/fixtures.py` made `tests/fixtures/pytorch.json` with torch in f64. The reference must agree with it to the last
//! digits; the device within what its own rounding makes of 20 steps, which `sensitivity` measures on the reference.

use serde_json::Value;
use thinnet::data::{Dataset, Inputs};
use thinnet::optimizer::{LrSchedule, MomentumRamp};
use thinnet::reference::{self, Masks};
use thinnet::{Activation, Dense, Loss, Model, Network, Optimizer, TrainOptions, Trainer, rng};

use crate::balls::{self, Ball};
use crate::common::{device, words};

mod network;
mod recurrent;

fn fixtures() -> Value {
    serde_json::from_str(include_str!("fixtures/pytorch.json")).unwrap()
}

fn list(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(list).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

/// The problem that all cases share.
struct Problem {
    network: Network,
    inputs: Vec<f64>,
    labels: Vec<u32>,
    initial: Vec<Vec<f64>>,
    steps: u32,
    cases: Vec<Value>,
}

impl Problem {
    fn new() -> Self {
        let training = fixtures()["training"].clone();
        let network = Network::new(6).dense(Dense::new(8).activation(Activation::Tanh)).dense(Dense::new(4));
        assert_eq!(thinnet::checkpoint::sequential(&network).unwrap(), training["sequential"].as_str().unwrap());
        let tensors = |of: &Value| network.parameters().unwrap().iter().map(|p| list(&of[&p.name])).collect();
        Self {
            initial: tensors(&training["initial"]),
            inputs: list(&training["inputs"]),
            labels: list(&training["labels"]).into_iter().map(|label| label as u32).collect(),
            steps: training["steps"].as_u64().unwrap() as u32,
            cases: training["cases"].as_array().unwrap().clone(),
            network,
        }
    }

    fn tensors(&self, of: &Value) -> Vec<Vec<f64>> {
        self.network.parameters().unwrap().iter().map(|p| list(&of[&p.name])).collect()
    }

    fn data(&self) -> Dataset {
        let inputs = Inputs::from_f32(6, self.inputs.iter().map(|&x| x as f32).collect()).unwrap();
        Dataset::new(inputs, self.labels.clone(), 4).unwrap()
    }

    fn gradients(&self, weights: &[Vec<f64>]) -> Vec<Vec<f64>> {
        reference::gradients(&self.network, weights, &self.inputs, &self.labels, &Masks::None).unwrap()
    }

    /// The weights after every step, by the reference's optimizers; `disturb(step, weights, gradients)` comes before the update.
    fn reference(
        &self,
        options: &TrainOptions,
        mut disturb: impl FnMut(u32, &mut [Vec<f64>], &mut [Vec<f64>]),
    ) -> Vec<Vec<Vec<f64>>> {
        let mut weights = self.initial.clone();
        let zeros: Vec<Vec<f64>> = weights.iter().map(|w| vec![0.0; w.len()]).collect();
        let (mut m, mut v) = (zeros.clone(), zeros);
        let mut history = Vec::new();
        for step in 0..self.steps {
            let mut gradients = self.gradients(&weights);
            disturb(step, &mut weights, &mut gradients);
            if let Some(norm) = options.clip_norm {
                let factor = reference::clip_factor(norm, &gradients);
                gradients.iter_mut().flatten().for_each(|g| *g *= factor);
            }
            let (lr, momentum) = rates(options, f64::from(step));
            for t in 0..weights.len() {
                let (w, m, v, g) = (&mut weights[t], &mut m[t], &mut v[t], &gradients[t]);
                update(options, (lr, momentum), step as i32 + 1, w, m, v, g);
                if let (Some(norm), true) = (options.max_norm, t % 2 == 0) {
                    let columns = w.len() / if t == 0 { 8 } else { 4 };
                    reference::max_norm(norm, w, columns);
                }
            }
            history.push(weights.clone());
        }
        history
    }

    /// How far the weights may end from the exact ones on a device: the largest deviation of eight trainings whose gradients are
    /// off by as much as the device's may be (balls), and whose weights are rounded to f32 in either direction, times four.
    fn sensitivity(&self, options: &TrainOptions) -> f64 {
        let exact = self.reference(options, |_, _, _| {});
        let mut largest = 0.0f64;
        for run in 0..8 {
            let disturbed = self.reference(options, |step, weights, gradients| {
                let balls: Vec<Vec<Ball>> = weights.iter().map(|w| w.iter().copied().map(Ball::exact).collect()).collect();
                let (network, labels, inputs) = (&self.network, self.labels.as_slice(), self.inputs.as_slice());
                let outcome = balls::Step { network, weights: &balls, inputs, targets: labels.into(), masks: Masks::None }.run();
                for t in 0..weights.len() {
                    let noise = words(2 * weights[t].len(), u64::from(1000 * run + 10 * step) + t as u64);
                    for (i, pair) in noise.chunks(2).enumerate() {
                        gradients[t][i] += (2.0 * rng::uniform(pair[0]) - 1.0) * outcome.gradients[t][i].rad;
                        weights[t][i] += (2.0 * rng::uniform(pair[1]) - 1.0) * 4.0 * thinnet::kernels::EPS * weights[t][i].abs();
                    }
                }
            });
            largest = largest.max(distance(&disturbed[disturbed.len() - 1], &exact[exact.len() - 1]));
        }
        4.0 * largest
    }
}

/// Learning rate and momentum at the beginning of an epoch, by the formulas of the fixtures' script and not by `optimizer::rates`.
fn rates(options: &TrainOptions, epoch: f64) -> (f64, f64) {
    let (lr, momentum) = match options.optimizer {
        Optimizer::Sgd { lr, momentum, .. } | Optimizer::RmsProp { lr, momentum, .. } => (lr, momentum),
        other => (other.lr(), 0.0),
    };
    let factor = match options.schedule {
        LrSchedule::Constant => 1.0,
        LrSchedule::Step { every, factor } => factor.powi((epoch / every) as i32),
        LrSchedule::Exponential { factor } => factor.powf(epoch),
        LrSchedule::Cosine { epochs, floor } => {
            floor + (1.0 - floor) * (1.0 + (std::f64::consts::PI * epoch / epochs).cos()) / 2.0
        }
        LrSchedule::InverseTime { decay } => 1.0 / (1.0 + decay * epoch),
        other => panic!("{other:?}"),
    };
    let warm = if options.warmup > 0.0 { ((epoch + 1.0) / options.warmup).min(1.0) } else { 1.0 };
    let ramp = options.momentum_ramp.map_or(momentum, |r| r.from + (momentum - r.from) * (epoch / r.epochs).min(1.0));
    (lr * factor * warm, ramp)
}

fn update(
    options: &TrainOptions,
    (learning_rate, momentum): (f64, f64),
    t: i32,
    w: &mut [f64],
    m: &mut [f64],
    v: &mut [f64],
    g: &[f64],
) {
    let weight_decay = options.weight_decay;
    match options.optimizer {
        Optimizer::Sgd { nesterov, .. } => {
            reference::sgd_step(&reference::Sgd { learning_rate, momentum, nesterov, weight_decay }, w, m, g);
        }
        Optimizer::Adam { beta1, beta2, epsilon, .. } => {
            let adam = reference::Adam { learning_rate, beta1, beta2, epsilon, weight_decay, decoupled: false };
            reference::adam_step(&adam, t, w, m, v, g);
        }
        Optimizer::AdamW { beta1, beta2, epsilon, .. } => {
            let adam = reference::Adam { learning_rate, beta1, beta2, epsilon, weight_decay, decoupled: true };
            reference::adam_step(&adam, t, w, m, v, g);
        }
        Optimizer::RmsProp { alpha, epsilon, .. } => {
            let rmsprop = reference::RmsProp { learning_rate, alpha, epsilon, momentum, weight_decay };
            reference::rmsprop_step(&rmsprop, w, m, v, g);
        }
        other => panic!("{other:?}"),
    }
}

/// torch's arguments as options of a training.
fn options(case: &Value) -> TrainOptions {
    let o = &case["options"];
    let number = |name: &str| o[name].as_f64();
    let (lr, momentum) = (number("lr").unwrap(), number("momentum").unwrap_or(0.0));
    let optimizer = match o["optimizer"].as_str().unwrap() {
        "SGD" => Optimizer::Sgd { lr, momentum, nesterov: o["nesterov"].as_bool().unwrap_or(false) },
        "Adam" => Optimizer::adam(lr),
        "AdamW" => Optimizer::adamw(lr),
        "RMSprop" => Optimizer::RmsProp { lr, alpha: number("alpha").unwrap(), epsilon: number("eps").unwrap(), momentum },
        other => panic!("{other}"),
    };
    let mut options = TrainOptions {
        optimizer,
        batch: 16,
        weight_decay: number("weight_decay").unwrap_or(0.0),
        clip_norm: number("clip_grad_norm"),
        max_norm: number("max_norm"),
        ..Default::default()
    };
    let schedule = &o["schedule"];
    let number = |name: &str| schedule[name].as_f64().unwrap();
    let Some(kind) = schedule["kind"].as_str() else { return options };
    match kind {
        "StepLR" => options.schedule = LrSchedule::Step { every: number("step_size"), factor: number("gamma") },
        "ExponentialLR" => options.schedule = LrSchedule::Exponential { factor: number("gamma") },
        "CosineAnnealingLR" => {
            options.schedule = LrSchedule::Cosine { epochs: number("T_max"), floor: number("eta_min") / lr };
        }
        "inverse_time" => options.schedule = LrSchedule::InverseTime { decay: number("decay") },
        "warm_up" => options.warmup = number("updates"),
        "warm_up_cosine" => {
            options.warmup = number("updates");
            options.schedule = LrSchedule::Cosine { epochs: number("epochs"), floor: 0.0 };
        }
        "momentum_ramp" => {
            options.optimizer = Optimizer::momentum(lr, number("final"));
            options.momentum_ramp = Some(MomentumRamp { from: number("start"), epochs: number("epochs") });
        }
        other => panic!("{other}"),
    }
    options
}

/// The largest difference of two sets of weights; NaN counts as infinite.
fn distance(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    let differences = a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |largest: f64, d| if d.is_nan() { f64::INFINITY } else { largest.max(d) })
}

#[test]
fn the_references_optimizers_are_pytorchs() {
    let problem = Problem::new();
    assert_eq!(problem.cases.len(), 19);
    for case in &problem.cases {
        let history = problem.reference(&options(case), |_, _, _| {});
        for (step, key) in [(0, "weights_after_first"), (problem.steps as usize - 1, "weights_after_last")] {
            let off = distance(&history[step], &problem.tensors(&case[key]));
            assert!(off < 1e-12, "{}: step {step} is off by {off:e}", case["name"]);
        }
    }
}

/// Every case on the device, trained by the trainer; and the bound of each case admits no other case.
#[test]
fn twenty_steps_on_the_device_end_where_pytorchs_do() {
    let problem = Problem::new();
    let data = problem.data();
    let weights = problem.initial.iter().map(|w| w.iter().map(|&w| w as f32).collect()).collect();
    let model = Model::new(problem.network.clone(), weights).unwrap();
    for case in &problem.cases {
        let (name, options) = (case["name"].as_str().unwrap(), options(case));
        let expected = problem.tensors(&case["weights_after_last"]);
        let bound = problem.sensitivity(&options);
        let mut trainer = Trainer::from_model(device(), &model, &data, options).unwrap();
        trainer.fit(problem.steps).unwrap();
        let got: Vec<Vec<f64>> =
            trainer.model().unwrap().weights().iter().map(|w| w.iter().copied().map(f64::from).collect()).collect();
        let off = distance(&got, &expected);
        println!("{name:30} off by {off:.1e}, bound {bound:.1e}");
        assert!(off <= bound, "{name}: off by {off:e}, bound {bound:e}");
        for other in problem.cases.iter().filter(|other| other["name"] != case["name"]) {
            let apart = distance(&expected, &problem.tensors(&other["weights_after_last"]));
            assert!(
                apart > 2.0 * bound,
                "{name} and {} are {apart:e} apart, no more than the bound {bound:e} allows",
                other["name"]
            );
        }
        for (epoch, loss) in trainer.history().iter().zip(list(&case["losses"])) {
            assert!((epoch.running.loss - loss).abs() <= 10.0 * bound + 1e-5, "{name}: loss {} for {loss}", epoch.running.loss);
        }
    }
}

/// f(x) of one unit with weight 1 and its derivative, by the reference; every activation of the fixtures, and no other is left out.
#[test]
fn the_references_activations_are_pytorchs() {
    let activations = fixtures()["activations"].clone();
    let entries: Vec<Value> = match activations {
        Value::Array(entries) => entries,
        Value::Object(map) => map
            .into_iter()
            .map(|(name, mut entry)| {
                entry["name"] = name.into();
                entry
            })
            .collect(),
        other => panic!("{other}"),
    };
    assert_eq!(entries.len(), 6);
    for entry in entries {
        let activation: Activation = serde_json::from_value(entry["name"].clone()).unwrap();
        let network = Network::new(1).dense(Dense::new(1).activation(activation));
        let weights = [vec![1.0], vec![0.0]];
        for ((x, y), slope) in list(&entry["x"]).into_iter().zip(list(&entry["y"])).zip(list(&entry["dy_dx"])) {
            let got = reference::forward(&network, &weights, &[x], &Masks::None).unwrap()[0][0];
            let (_, dx) = reference::backward(&network, &weights, &[x], &[1.0], &Masks::None).unwrap();
            assert!((got - y).abs() <= 1e-14 * (1.0 + y.abs()), "{activation:?}({x}) = {got}, torch {y}");
            assert!((dx[0] - slope).abs() <= 1e-13 * (1.0 + slope.abs()), "{activation:?}'({x}) = {}, torch {slope}", dx[0]);
        }
    }
}

/// Losses and their gradients with respect to logits: a network whose weight is the identity passes its inputs on.
#[test]
fn the_references_losses_are_pytorchs() {
    let losses = fixtures()["losses"].clone();
    let mut compared = 0;
    for loss in [Loss::SoftmaxCrossEntropy, Loss::BinaryCrossEntropy, Loss::MeanSquaredError, Loss::GaussianNll] {
        let name = serde_json::to_value(loss).unwrap();
        let entry = match &losses {
            Value::Array(entries) => entries.iter().find(|entry| entry["name"] == name).unwrap().clone(),
            map => map[name.as_str().unwrap()].clone(),
        };
        let shape = list(&entry["shape"]);
        let outputs = shape[1] as usize;
        let network = Network::new(outputs as u32).dense(Dense::new(outputs as u32)).loss(loss);
        let identity = (0..outputs * outputs).map(|i| if i % (outputs + 1) == 0 { 1.0 } else { 0.0 }).collect();
        let weights = [identity, vec![0.0; outputs]];
        let (logits, targets) = (list(&entry["logits"]), list(&entry["targets"]));
        let labels: Vec<u32> = targets.iter().map(|&t| t as u32).collect();
        let of = || match loss {
            Loss::SoftmaxCrossEntropy => reference::Targets::Labels(&labels),
            _ => reference::Targets::Values(&targets),
        };
        let got = reference::loss(&network, &weights, &logits, of(), &Masks::None).unwrap();
        let want = entry["loss"].as_f64().unwrap();
        assert!((got - want).abs() <= 1e-13 * want.abs(), "{loss:?}: {got} for {want}");
        // The gradient of the bias is the column sum of that of the logits; each column has one row at a time.
        let rows = logits.len() / outputs;
        let gradient = list(&entry["gradient"]);
        for row in 0..rows {
            let one = row * outputs..(row + 1) * outputs;
            let target = match loss {
                Loss::SoftmaxCrossEntropy => reference::Targets::Labels(&labels[row..=row]),
                Loss::GaussianNll => reference::Targets::Values(&targets[row * outputs / 2..][..outputs / 2]),
                _ => reference::Targets::Values(&targets[one.clone()]),
            };
            let own = reference::gradients(&network, &weights, &logits[one.clone()], target, &Masks::None).unwrap();
            for (g, want) in own[1].iter().zip(&gradient[one]) {
                let g = g / rows as f64;
                assert!((g - want).abs() <= 1e-15 * want.abs().max(1.0), "{loss:?}, row {row}: {g:e} for {want:e}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 5 * 4 + 2 * 5 * 3 + 5 * 6);
}
