//! Cases of the activation kernels, and of the one that scales.

use thinnet::Activation;
use thinnet::kernels::activation::{ActivationBackward, ActivationForward, ActivationParams, GeluBackward, GeluForward};
use thinnet::kernels::scale::{Scale, ScaleParams};
use thinnet::memory::Tensor;

use super::{Case, Slot, bits, on_device, seed};
use crate::common::{POISON, numbers, padded, step};

/// The activations whose derivative follows from their output.
const KINDS: [Activation; 6] =
    [Activation::Identity, Activation::Relu, Activation::Tanh, Activation::Sigmoid, Activation::LeakyRelu, Activation::Selu];

/// What breaks activations: overflow of exp, tanh past 89, both zeros, infinities, NaN, the edges of the clamps and of the
/// series, where it cancels.
const EXTREMES: [f32; 28] = [
    300.0,
    -300.0,
    89.0,
    -89.0,
    0.0,
    -0.0,
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    80.0,
    -80.0,
    80.5,
    -80.5,
    15.0,
    -15.0,
    15.5,
    1e-30,
    -1e-30,
    f32::MAX,
    -0.25,
    -0.249_999_99,
    -1e-3,
    -1e-7,
    10.0,
    -10.0,
    -10.001,
    -9.999,
    -1e20,
];

/// (valid rows, rows of the batch, units, members)
fn shapes() -> impl Iterator<Item = (u32, u32, u32, u32)> {
    let units = [1, 3, 5, 31, 33, 257];
    let sizes = [1, 31, 33].into_iter().flat_map(move |rows| units.map(|units| (rows, units)));
    sizes.flat_map(|(rows, units)| [(rows, rows, units, 1), (rows, rows + 2, units, 2)])
}

/// Random numbers in (-scale, scale) in padded rows.
fn scaled(name: &str, member: u32, rows: u32, units: u32, scale: f32) -> Vec<u32> {
    bits(padded(rows, units, seed(name, member)).into_iter().map(|word| scale * f32::from_bits(word)))
}

/// Overwrites units from the front with the extremes, in another order in each member; the padding stays 0.
fn with_extremes(mut words: Vec<u32>, member: u32, units: u32) -> Vec<u32> {
    let columns = units.next_multiple_of(4) as usize;
    let places = (0..words.len()).filter(|i| i % columns < units as usize);
    let extremes = EXTREMES.iter().cycle().skip(7 * member as usize).take(EXTREMES.len());
    places.zip(extremes).for_each(|(i, extreme)| words[i] = extreme.to_bits());
    words
}

/// Gradients of every size, down to products that are denormal.
fn gradients(member: u32, rows: u32, units: u32) -> Vec<u32> {
    let values = padded(rows, units, seed("dy", member)).into_iter().map(f32::from_bits);
    bits(values.zip([1.0, 1e-37, 1e30].into_iter().cycle()).map(|(v, scale)| v * scale))
}

fn forward(kind: Activation, units: u32) -> impl Fn([Tensor; 2]) -> ActivationForward {
    move |[x, y]| {
        let params = ActivationParams { x_stride: x.stride, y_stride: y.stride, ..ActivationParams::new(kind, units, 4) };
        ActivationForward { params, x, y }
    }
}

fn backward(kind: Activation, units: u32) -> impl Fn([Tensor; 3]) -> ActivationBackward {
    move |[dy, output, dx]| {
        let params = ActivationParams {
            y_stride: output.stride,
            dy_stride: dy.stride,
            dx_stride: dx.stride,
            ..ActivationParams::new(kind, units, 4)
        };
        ActivationBackward { params, dy, output, dx }
    }
}

fn gelu(units: u32) -> ActivationParams {
    ActivationParams::new(Activation::Gelu, units, 4)
}

fn gelu_ahead(units: u32) -> impl Fn([Tensor; 2]) -> GeluForward {
    move |[x, y]| GeluForward { params: ActivationParams { x_stride: x.stride, y_stride: y.stride, ..gelu(units) }, x, y }
}

fn gelu_back(units: u32) -> impl Fn([Tensor; 3]) -> GeluBackward {
    move |[dy, x, dx]| {
        let params = ActivationParams { x_stride: x.stride, dy_stride: dy.stride, dx_stride: dx.stride, ..gelu(units) };
        GeluBackward { params, dy, x, dx }
    }
}

pub(super) fn activation_forward(case: &mut Case) {
    for kind in KINDS {
        for (rows, batch, units, members) in shapes() {
            let len = batch * units.next_multiple_of(4);
            let x = Slot::own("x", len, |m| with_extremes(scaled("x", m, rows, units, 9.0), m, units));
            let y = Slot::out("y", len, rows * units.next_multiple_of(4));
            case.check(&step(rows, members, &[]), [x, y], forward(kind, units));
        }
    }
}

pub(super) fn activation_backward(case: &mut Case) {
    for kind in KINDS {
        for (rows, batch, units, members) in shapes() {
            let len = batch * units.next_multiple_of(4);
            // The output of the forward pass: ReLU's is 0 in half of the places, the others lie in their ranges.
            let output = Slot::own("output", len, |m| {
                let values = padded(rows, units, seed("output", m)).into_iter().map(f32::from_bits);
                bits(values.map(|v| match kind {
                    Activation::Relu => v.max(0.0),
                    Activation::Sigmoid => v.abs(),
                    _ => v,
                }))
            });
            let dy = Slot::own("dy", len, |m| gradients(m, rows, units));
            let dx = Slot::out("dx", len, rows * units.next_multiple_of(4));
            case.check(&step(rows, members, &[]), [dy, output, dx], backward(kind, units));
        }
    }
}

pub(super) fn gelu_forward(case: &mut Case) {
    for (rows, batch, units, members) in shapes() {
        let len = batch * units.next_multiple_of(4);
        let x = Slot::own("x", len, |m| with_extremes(scaled("x", m, rows, units, 12.0), m, units));
        let y = Slot::out("y", len, rows * units.next_multiple_of(4));
        case.check(&step(rows, members, &[]), [x, y], gelu_ahead(units));
    }
}

pub(super) fn gelu_backward(case: &mut Case) {
    // What comes out of arithmetic on NaN has no defined bits.
    let number = |word: u32| if f32::from_bits(word).is_nan() { 0.7f32.to_bits() } else { word };
    for (rows, batch, units, members) in shapes() {
        let len = batch * units.next_multiple_of(4);
        let x =
            Slot::own("x", len, |m| with_extremes(scaled("x", m, rows, units, 12.0), m, units).into_iter().map(number).collect());
        let dy = Slot::own("dy", len, |m| gradients(m, rows, units));
        let dx = Slot::out("dx", len, rows * units.next_multiple_of(4));
        case.check(&step(rows, members, &[]), [dy, x, dx], gelu_back(units));
    }
}

pub(super) fn scale(case: &mut Case) {
    for (rows, batch, units, members) in shapes() {
        for factor in [0.8, 1.0, 0.0, -1e-30] {
            let quads = units.div_ceil(4);
            let y = Slot::own("y", batch * 4 * quads, |m| {
                let values = padded(rows, units, seed("y", m)).into_iter().map(f32::from_bits);
                bits(values.zip([1.0, 1e-38, 1e30, 1e-8].into_iter().cycle()).map(|(v, scale)| v * scale))
            });
            case.check(&step(rows, members, &[]), [y], |[y]| Scale {
                params: ScaleParams { quads, factor, y_stride: y.stride, pad0: 0 },
                y,
            });
        }
    }
}

#[test]
fn the_padding_of_a_row_stays_zero_where_f_of_zero_is_not() {
    let x = Slot::own("x", 8, |_| scaled("x", 0, 1, 5, 1.0));
    let [_, y] = on_device(&step(1, 1, &[]), [x, Slot::out("y", 8, 8)], forward(Activation::Sigmoid, 5));
    assert!(y[..5].iter().all(|&word| f32::from_bits(word) > 0.2), "sigmoid ran: {y:x?}");
    assert_eq!(y[5..8], [0; 3]);
}

/// Known answers, so that twin and shader are not wrong together. GELU and SELU are PyTorch's numbers.
#[test]
fn the_activations_of_a_few_numbers() {
    let run = |kind| {
        let x = Slot::own("x", 4, |_| bits([2.0, -1.0, -1e-6, 0.5]));
        let [_, y] = on_device(&step(1, 1, &[]), [x, Slot::out("y", 4, 4)], forward(kind, 4));
        y.into_iter().map(f32::from_bits).collect::<Vec<_>>()
    };
    let close = |got: &[f32], expected: [f32; 4]| {
        let near = got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() <= 3e-6 * expected.abs());
        assert!(near, "{got:?}, expected {expected:?}");
    };
    close(&run(Activation::LeakyRelu), [2.0, -0.01, -1e-8, 0.5]);
    close(&run(Activation::Selu), [2.101_402, -1.111_330_7, -1.758_098_5e-6, 0.525_350_5]);
    let x = || Slot::own("x", 4, |_| bits([2.0, -1.0, -1e-6, 0.5]));
    let [_, y] = on_device(&step(1, 1, &[]), [x(), Slot::out("y", 4, 4)], gelu_ahead(4));
    close(&y.into_iter().map(f32::from_bits).collect::<Vec<_>>(), [1.954_597_7, -0.158_808, -4.999_996e-7, 0.345_714]);
    let dy = Slot::own("dy", 4, |_| bits([1.0, 1.0, 2.0, -1.0]));
    let [.., dx] = on_device(&step(1, 1, &[]), [dy, x(), Slot::out("dx", 4, 4)], gelu_back(4));
    close(&dx.into_iter().map(f32::from_bits).collect::<Vec<_>>(), [1.086_099, -0.082_964, 0.999_998_4, -0.867_370]);
}

#[test]
fn a_nan_that_reaches_gelu_or_is_scaled_stays_one() {
    let nan = |words: &[u32]| words.iter().map(|&word| f32::from_bits(word).is_nan()).collect::<Vec<bool>>();
    let broken = |name| Slot::own(name, 4, |_| bits([f32::NAN, 0.5, f32::from_bits(POISON), -f32::NAN]));
    let whole = |name| Slot::own(name, 4, |_| bits([0.5; 4]));
    let step = step(1, 1, &[]);
    let [_, y] = on_device(&step, [broken("x"), Slot::out("y", 4, 4)], gelu_ahead(4));
    assert_eq!(nan(&y), [true, false, true, true], "{y:x?}");
    for (dy, x) in [(broken("dy"), whole("x")), (whole("dy"), broken("x"))] {
        let [_, _, dx] = on_device(&step, [dy, x, Slot::out("dx", 4, 4)], gelu_back(4));
        assert_eq!(nan(&dx), [true, false, true, true], "{dx:x?}");
    }
    let params = ScaleParams { quads: 1, factor: 0.0, ..ScaleParams::default() };
    let [y] = on_device(&step, [broken("y")], |[y]| Scale { params, y });
    assert_eq!(nan(&y), [true, false, true, true], "{y:x?}");
}

/// Arithmetic on NaN has no defined bits, so this asks for NaN and not for the twin's.
#[test]
fn a_nan_that_reaches_an_activation_leaves_it() {
    for kind in KINDS {
        let x = Slot::own("x", 4, |_| bits([f32::NAN, 0.5, f32::from_bits(POISON), -f32::NAN]));
        let [_, y] = on_device(&step(1, 1, &[]), [x, Slot::out("y", 4, 4)], forward(kind, 4));
        let nan: Vec<bool> = y.iter().map(|&word| f32::from_bits(word).is_nan()).collect();
        assert_eq!(nan, [true, false, true, true], "{kind:?} forward: {y:x?}");

        let dy = Slot::own("dy", 4, |_| bits([f32::NAN, 0.5, f32::from_bits(POISON), -f32::NAN]));
        let output = Slot::own("output", 4, |_| bits(numbers(4, 1).into_iter().map(f32::abs)));
        let [_, _, dx] = on_device(&step(1, 1, &[]), [dy, output, Slot::out("dx", 4, 4)], backward(kind, 4));
        let nan: Vec<bool> = dx.iter().map(|&word| f32::from_bits(word).is_nan()).collect();
        assert_eq!(nan, [true, false, true, true], "{kind:?} backward: {dx:x?}");
    }
}
