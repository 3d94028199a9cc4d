//! candle on the CPU, doing what `benches/peers.rs` does: see `benches/peers/run.py`.

#![allow(dead_code, reason = "what is shared has more than this program uses")]

#[path = "../../../../src/cli/bench/measure.rs"]
mod measure;
#[path = "../../serve.rs"]
mod serve;

use std::hint::black_box;

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{Linear, Module, VarBuilder, VarMap, loss, ops};
use measure::Timed;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Inputs, hidden layers, batch, batches of the data set, and the drop probabilities of the input and after hidden layers.
type Case = (usize, [usize; 2], usize, usize, [f32; 2]);

const MLP: Case = (784, [1024, 1024], 128, 2, [0.2, 0.5]);
const DIGITS: Case = (64, [128, 64], 32, 16, [0.0, 0.5]);
/// Draws of a call of Monte-Carlo dropout.
const DRAWS: u32 = 100;

fn logits(layers: &[Linear], x: &Tensor, drop: [f32; 2]) -> candle_core::Result<Tensor> {
    let dropped = |x: Tensor, p: f32| if p > 0.0 { ops::dropout(&x, p) } else { Ok(x) };
    let [hidden @ .., last] = layers else { unreachable!("a network has layers") };
    let mut x = dropped(x.clone(), drop[0])?;
    for layer in hidden {
        x = dropped(layer.forward(&x)?.relu()?, drop[1])?;
    }
    last.forward(&x)
}

/// SGD with momentum 0.9, as candle's own optimizer has none.
fn training((inputs, [first, second], batch, batches, drop): Case, dropout: bool) -> Result<Timed<'static>> {
    let device = Device::Cpu;
    let map = VarMap::new();
    let builder = VarBuilder::from_varmap(&map, DType::F32, &device);
    let linear = |from, to, name: &str| candle_nn::linear(from, to, builder.pp(name));
    let layers = [linear(inputs, first, "0")?, linear(first, second, "1")?, linear(second, 10, "2")?];
    let vars: Vec<Var> = map.all_vars();
    let mut velocities: Vec<Tensor> = vars.iter().map(|var| var.zeros_like()).collect::<candle_core::Result<_>>()?;
    let x = Tensor::rand(0f32, 1f32, (batch * batches, inputs), &device)?;
    let y = Tensor::from_vec((0..(batch * batches) as u32).map(|row| row % 10).collect::<Vec<_>>(), batch * batches, &device)?;
    let drop = if dropout { drop } else { [0.0; 2] };
    let mut step = move |at: usize| -> candle_core::Result<()> {
        let (x, y) = (x.narrow(0, at * batch, batch)?, y.narrow(0, at * batch, batch)?);
        let gradients = loss::cross_entropy(&logits(&layers, &x, drop)?, &y)?.backward()?;
        for (var, velocity) in vars.iter().zip(&mut velocities) {
            let gradient = gradients.get(var).expect("every parameter has a gradient");
            *velocity = ((&*velocity * 0.9)? + gradient)?.detach();
            var.set(&(var.as_tensor() - (&*velocity * 0.01)?)?.detach())?;
        }
        Ok(())
    };
    Ok(Timed::new(batches as u32, move |epochs| {
        (0..epochs).try_for_each(|_| (0..batches).try_for_each(&mut step)).map_err(Into::into)
    }))
}

/// Calls of Monte-Carlo dropout: draws of 1000 inputs, their mean and variance.
fn draws((inputs, [first, second], _, _, drop): Case) -> Result<Timed<'static>> {
    let device = Device::Cpu;
    let map = VarMap::new();
    let builder = VarBuilder::from_varmap(&map, DType::F32, &device);
    // Detached, so that no graph is kept of a draw.
    let linear = |from, to, name: &str| {
        let layer = candle_nn::linear(from, to, builder.pp(name))?;
        candle_core::Result::Ok(Linear::new(layer.weight().detach(), layer.bias().map(Tensor::detach)))
    };
    let layers = [linear(inputs, first, "0")?, linear(first, second, "1")?, linear(second, 10, "2")?];
    let x = Tensor::rand(0f32, 1f32, (1000, inputs), &device)?;
    let call = move || {
        let draw = |_| ops::softmax(&logits(&layers, &x, drop)?, D::Minus1);
        let answers = Tensor::stack(&(0..DRAWS).map(draw).collect::<candle_core::Result<Vec<_>>>()?, 0)?;
        candle_core::Result::Ok((answers.mean(0)?, answers.var(0)?))
    };
    if call()?.1.max(D::Minus1)?.min(0)?.to_scalar::<f32>()? <= 0.0 {
        return Err("the draws of an input are all the same: nothing was dropped".into());
    }
    Ok(Timed::new(DRAWS, move |calls| {
        (0..calls)
            .try_for_each(|_| {
                call().map(|answers| {
                    black_box(answers);
                })
            })
            .map_err(Into::into)
    }))
}

fn timed(work: &str) -> Result<Timed<'static>> {
    let device = Device::Cpu;
    let elements = || Tensor::randn(0f32, 1f32, (2048, 2048), &device);
    let once = |mut f: Box<dyn FnMut() -> candle_core::Result<Tensor>>| {
        Timed::new(1, move |n| {
            for _ in 0..n {
                black_box(f()?);
            }
            Ok(())
        })
    };
    Ok(match (work, serve::matmul(work)) {
        ("mlp", _) => training(MLP, false)?,
        ("mlp-dropout", _) => training(MLP, true)?,
        ("digits", _) => training(DIGITS, false)?,
        ("digits-dropout", _) => training(DIGITS, true)?,
        ("draws", _) => draws(MLP)?,
        ("dropout", _) => {
            let x = elements()?;
            once(Box::new(move || ops::dropout(&x, 0.5)))
        }
        ("copy", _) => {
            let x = elements()?;
            once(Box::new(move || x.copy()))
        }
        (_, Some([m, k, n])) => {
            let (a, b) = (Tensor::randn(0f32, 1f32, (m, k), &device)?, Tensor::randn(0f32, 1f32, (k, n), &device)?);
            once(Box::new(move || a.matmul(&b)))
        }
        _ => return Err(serve::unknown(work).into()),
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let program = serve::Program { name: "candle", version: "0.11.1".into(), adapter: "CPU".into() };
    serve::serve(&program, &arguments, timed);
}
