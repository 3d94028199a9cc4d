//! burn on its wgpu backend, with fusion and autotuning, doing what `benches/peers.rs` does: see `benches/peers/run.py`.

#![allow(dead_code, reason = "what is shared has more than this program uses")]

#[path = "../../../../src/cli/bench/measure.rs"]
mod measure;
#[path = "../../serve.rs"]
mod serve;

use std::hint::black_box;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig, Lstm, LstmConfig};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData, activation};
use measure::Timed;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Inputs, hidden layers, batch, batches of the data set, and the drop probabilities of the input and after hidden layers.
type Case = (usize, [usize; 2], usize, usize, [f64; 2]);

const MLP: Case = (784, [1024, 1024], 128, 2, [0.2, 0.5]);
const DIGITS: Case = (64, [128, 64], 32, 16, [0.0, 0.5]);
/// Draws of a call of Monte-Carlo dropout: a tenth of the others', since each takes as much longer.
const DRAWS: u32 = 10;

/// Batch and batches of the data set of the convolutional network.
const CNN: (usize, usize) = (64, 4);

/// Batch, batches of the data set, steps, features and hidden units of the LSTM.
const LSTM: (usize, usize, usize, usize, usize) = (64, 2, 32, 64, 256);

/// conv 20 (5 x 5), pool, conv 50 (5 x 5), pool, 500, 10, with dropout of elements behind both pools; burn has no other of maps.
#[derive(Module, Debug)]
struct Convolutional {
    convolutions: Vec<Conv2d>,
    pool: MaxPool2d,
    drop: Dropout,
    layers: Vec<Linear>,
}

impl Convolutional {
    fn new(dropout: bool, device: &Device) -> Self {
        let convolution = |channels| Conv2dConfig::new(channels, [5, 5]).init(device);
        Self {
            convolutions: vec![convolution([1, 20]), convolution([20, 50])],
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            drop: DropoutConfig::new(if dropout { 0.1 } else { 0.0 }).init(),
            layers: vec![LinearConfig::new(800, 500).init(device), LinearConfig::new(500, 10).init(device)],
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = x;
        for convolution in &self.convolutions {
            x = self.drop.forward(self.pool.forward(activation::relu(convolution.forward(x))));
        }
        let x: Tensor<2> = x.flatten(1, 3);
        self.layers[1].forward(activation::relu(self.layers[0].forward(x)))
    }
}

#[derive(Module, Debug)]
struct Net {
    layers: Vec<Linear>,
    input: Dropout,
    hidden: Dropout,
}

impl Net {
    fn new((inputs, [first, second], _, _, drop): Case, dropout: bool, device: &Device) -> Self {
        let [input, hidden] = drop.map(|p| DropoutConfig::new(if dropout { p } else { 0.0 }).init());
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        Self { layers: vec![linear(inputs, first), linear(first, second), linear(second, 10)], input, hidden }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let [hidden @ .., last] = &self.layers[..] else { unreachable!("a network has layers") };
        let mut x = self.input.forward(x);
        for layer in hidden {
            x = self.hidden.forward(activation::relu(layer.forward(x)));
        }
        last.forward(x)
    }
}

/// Training steps of a network over samples of this shape, in batches, with SGD and momentum.
fn training<const D: usize, M: Module + 'static>(
    net: M,
    (shape, batches): ([usize; D], usize),
    device: Device,
    forward: fn(&M, Tensor<D>) -> Tensor<2>,
) -> Timed<'static> {
    let mut net = Some(net);
    let momentum = MomentumConfig { momentum: 0.9, dampening: 0.0, nesterov: false };
    let mut optimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
    let loss = CrossEntropyLossConfig::new().init(&device);
    let data = |_| {
        let x: Tensor<D> = Tensor::random(shape, Distribution::Default, &device);
        let labels: Vec<i32> = (0..shape[0] as i32).map(|row| row % 10).collect();
        let y: Tensor<1, Int> = Tensor::from_data(TensorData::new(labels, [shape[0]]), &device);
        (x, y)
    };
    let data: Vec<_> = (0..batches).map(data).collect();
    Timed::new(batches as u32, move |epochs| {
        for _ in 0..epochs {
            for (x, y) in &data {
                let before = net.take().expect("it is put back");
                let gradients = loss.forward(forward(&before, x.clone()), y.clone()).backward();
                let gradients = GradientsParams::from_grads(gradients, &before);
                net = Some(optimizer.step(0.01, before, gradients));
            }
        }
        device.sync().map_err(|error| format!("{error:?}").into())
    })
}

fn dense(case: Case, dropout: bool, device: &Device) -> Timed<'static> {
    let device = device.clone().autodiff();
    let (inputs, _, batch, batches, _) = case;
    training(Net::new(case, dropout, &device), ([batch, inputs], batches), device, Net::forward)
}

fn convolutional(dropout: bool, device: &Device) -> Timed<'static> {
    let device = device.clone().autodiff();
    let (batch, batches) = CNN;
    training(Convolutional::new(dropout, &device), ([batch, 1, 28, 28], batches), device, Convolutional::forward)
}

/// The last state of an LSTM, and a layer; burn has no dropout of recurrent inputs.
#[derive(Module, Debug)]
struct Sequences {
    lstm: Lstm,
    last: Linear,
}

impl Sequences {
    fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        self.last.forward(self.lstm.forward(x, None).1.hidden)
    }
}

fn recurrent(device: &Device) -> Timed<'static> {
    let device = device.clone().autodiff();
    let (batch, batches, steps, features, hidden) = LSTM;
    let (lstm, last) = (LstmConfig::new(features, hidden, true).init(&device), LinearConfig::new(hidden, 10).init(&device));
    training(Sequences { lstm, last }, ([batch, steps, features], batches), device, Sequences::forward)
}

/// Calls of Monte-Carlo dropout: draws of 1000 inputs, their mean and variance. burn drops on a device with gradients only; each
/// answer leaves it, so that no graph is kept of a draw.
fn draws(case: Case, device: &Device) -> Result<Timed<'static>> {
    let with_gradients = device.clone().autodiff();
    let net = Net::new(case, true, &with_gradients);
    let x: Tensor<2> = Tensor::random([1000, case.0], Distribution::Default, &with_gradients);
    let device = device.clone();
    let call = move || {
        let draw = |_| activation::softmax(net.forward(x.clone()), 1).inner();
        let answers: Tensor<3> = Tensor::stack((0..DRAWS).map(draw).collect(), 0);
        (answers.clone().mean_dim(0), answers.var(0))
    };
    let apart: f32 = call().1.max_dim(2).min().into_scalar();
    if apart <= 0.0 {
        return Err("the draws of an input are all the same: nothing was dropped".into());
    }
    Ok(Timed::new(DRAWS, move |calls| {
        for _ in 0..calls {
            let result = black_box(call());
            device.flush().map_err(|error| format!("{error:?}"))?;
            drop(result);
        }
        device.sync().map_err(|error| format!("{error:?}").into())
    }))
}

/// Does it so many times, and waits for the device.
fn once(device: &Device, mut f: impl FnMut() -> Tensor<2> + 'static) -> Timed<'static> {
    let device = device.clone();
    Timed::new(1, move |n| {
        for _ in 0..n {
            // Fusion computes what is queued when it is asked to, and only what somebody still holds.
            let result = black_box(f());
            device.flush().map_err(|error| format!("{error:?}"))?;
            drop(result);
        }
        device.sync().map_err(|error| format!("{error:?}").into())
    })
}

fn timed(device: &Device, work: &str) -> Result<Timed<'static>> {
    let random = |shape: [usize; 2], device: &Device| Tensor::<2>::random(shape, Distribution::Default, device);
    Ok(match (work, serve::matmul(work)) {
        ("mlp", _) => dense(MLP, false, device),
        ("mlp-dropout", _) => dense(MLP, true, device),
        ("digits", _) => dense(DIGITS, false, device),
        ("digits-dropout", _) => dense(DIGITS, true, device),
        ("cnn", _) => convolutional(false, device),
        ("cnn-element", _) => convolutional(true, device),
        ("lstm", _) => recurrent(device),
        ("draws", _) => draws(MLP, device)?,
        ("dropout", _) => {
            // A dropout layer of burn drops on a device with gradients only.
            let device = device.clone().autodiff();
            let (x, dropout) = (random([2048, 2048], &device), DropoutConfig::new(0.5).init());
            once(&device.clone(), move || dropout.forward(x.clone()))
        }
        ("copy", _) => {
            // burn has no operation that copies; one that scales reads and writes as much.
            let x = random([2048, 2048], device);
            once(device, move || x.clone() * 1.5)
        }
        (_, Some([m, k, n])) => {
            let (a, b) = (random([m, k], device), random([k, n], device));
            once(device, move || a.clone().matmul(b.clone()))
        }
        _ => return Err(serve::unknown(work).into()),
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let device = Device::wgpu(Default::default());
    let program = serve::Program { name: "burn", version: "0.22.1".into(), adapter: format!("{device:?}") };
    serve::serve(&program, &arguments, |work| timed(&device, work));
}
