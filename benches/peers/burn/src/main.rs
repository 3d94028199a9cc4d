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
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
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

fn training(case: Case, dropout: bool, device: &Device) -> Timed<'static> {
    let device = device.clone().autodiff();
    let (inputs, _, batch, batches, _) = case;
    let mut net = Some(Net::new(case, dropout, &device));
    let momentum = MomentumConfig { momentum: 0.9, dampening: 0.0, nesterov: false };
    let mut optimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
    let loss = CrossEntropyLossConfig::new().init(&device);
    let data = |_| {
        let x: Tensor<2> = Tensor::random([batch, inputs], Distribution::Default, &device);
        let labels: Vec<i32> = (0..batch as i32).map(|row| row % 10).collect();
        let y: Tensor<1, Int> = Tensor::from_data(TensorData::new(labels, [batch]), &device);
        (x, y)
    };
    let data: Vec<_> = (0..batches).map(data).collect();
    Timed::new(batches as u32, move |epochs| {
        for _ in 0..epochs {
            for (x, y) in &data {
                let before = net.take().expect("it is put back");
                let gradients = loss.forward(before.forward(x.clone()), y.clone()).backward();
                let gradients = GradientsParams::from_grads(gradients, &before);
                net = Some(optimizer.step(0.01, before, gradients));
            }
        }
        device.sync().map_err(|error| format!("{error:?}").into())
    })
}

fn convolutional(dropout: bool, device: &Device) -> Timed<'static> {
    let device = device.clone().autodiff();
    let (batch, batches) = CNN;
    let mut net = Some(Convolutional::new(dropout, &device));
    let momentum = MomentumConfig { momentum: 0.9, dampening: 0.0, nesterov: false };
    let mut optimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
    let loss = CrossEntropyLossConfig::new().init(&device);
    let data = |_| {
        let x: Tensor<4> = Tensor::random([batch, 1, 28, 28], Distribution::Default, &device);
        let labels: Vec<i32> = (0..batch as i32).map(|row| row % 10).collect();
        let y: Tensor<1, Int> = Tensor::from_data(TensorData::new(labels, [batch]), &device);
        (x, y)
    };
    let data: Vec<_> = (0..batches).map(data).collect();
    Timed::new(batches as u32, move |epochs| {
        for _ in 0..epochs {
            for (x, y) in &data {
                let before = net.take().expect("it is put back");
                let gradients = loss.forward(before.forward(x.clone()), y.clone()).backward();
                let gradients = GradientsParams::from_grads(gradients, &before);
                net = Some(optimizer.step(0.01, before, gradients));
            }
        }
        device.sync().map_err(|error| format!("{error:?}").into())
    })
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
        ("mlp", _) => training(MLP, false, device),
        ("mlp-dropout", _) => training(MLP, true, device),
        ("digits", _) => training(DIGITS, false, device),
        ("digits-dropout", _) => training(DIGITS, true, device),
        ("cnn", _) => convolutional(false, device),
        ("cnn-element", _) => convolutional(true, device),
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
