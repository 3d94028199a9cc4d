//! Cases of the activation kernels.

use thinnet::Activation;
use thinnet::kernels::activation::{ActivationBackward, ActivationForward, ActivationParams};
use thinnet::memory::Tensor;

use super::{Case, Slot, bits, on_device, seed};
use crate::common::{POISON, numbers, padded, step};

const KINDS: [Activation; 4] = [Activation::Identity, Activation::Relu, Activation::Tanh, Activation::Sigmoid];

/// What breaks activations: overflow of exp, tanh past 89, both zeros, infinities, NaN, the edges of the clamps.
const EXTREMES: [f32; 19] = [
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

fn forward(kind: Activation, units: u32) -> impl Fn([Tensor; 1]) -> ActivationForward {
    move |[y]| ActivationForward { params: ActivationParams { y_stride: y.stride, ..ActivationParams::new(kind, units) }, y }
}

fn backward(kind: Activation, units: u32) -> impl Fn([Tensor; 3]) -> ActivationBackward {
    move |[dy, output, dx]| {
        let params = ActivationParams {
            y_stride: output.stride,
            dy_stride: dy.stride,
            dx_stride: dx.stride,
            ..ActivationParams::new(kind, units)
        };
        ActivationBackward { params, dy, output, dx }
    }
}

pub(super) fn activation_forward(case: &mut Case) {
    for kind in KINDS {
        for (rows, batch, units, members) in shapes() {
            let len = batch * units.next_multiple_of(4);
            let y = Slot::own("y", len, |m| with_extremes(scaled("y", m, rows, units, 9.0), m, units));
            case.check(&step(rows, members, &[]), [y], forward(kind, units));
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
            // Gradients of every size, down to products that are denormal.
            let dy = Slot::own("dy", len, |m| {
                let values = padded(rows, units, seed("dy", m)).into_iter().map(f32::from_bits);
                bits(values.zip([1.0, 1e-37, 1e30].into_iter().cycle()).map(|(v, scale)| v * scale))
            });
            let dx = Slot::out("dx", len, rows * units.next_multiple_of(4));
            case.check(&step(rows, members, &[]), [dy, output, dx], backward(kind, units));
        }
    }
}

#[test]
fn the_padding_of_a_row_stays_zero_where_f_of_zero_is_not() {
    let y = Slot::own("y", 8, |_| scaled("y", 0, 1, 5, 1.0));
    let [y] = on_device(&step(1, 1, &[]), [y], forward(Activation::Sigmoid, 5));
    assert!(y[..5].iter().all(|&word| f32::from_bits(word) > 0.2), "sigmoid ran: {y:x?}");
    assert_eq!(y[5..8], [0; 3]);
}

/// Arithmetic on NaN has no defined bits, so this asks for NaN and not for the twin's.
#[test]
fn a_nan_that_reaches_an_activation_leaves_it() {
    for kind in KINDS {
        let y = Slot::own("y", 4, |_| bits([f32::NAN, 0.5, f32::from_bits(POISON), -f32::NAN]));
        let [y] = on_device(&step(1, 1, &[]), [y], forward(kind, 4));
        let nan: Vec<bool> = y.iter().map(|&word| f32::from_bits(word).is_nan()).collect();
        assert_eq!(nan, [true, false, true, true], "{kind:?} forward: {y:x?}");

        let dy = Slot::own("dy", 4, |_| bits([f32::NAN, 0.5, f32::from_bits(POISON), -f32::NAN]));
        let output = Slot::own("output", 4, |_| bits(numbers(4, 1).into_iter().map(f32::abs)));
        let [_, _, dx] = on_device(&step(1, 1, &[]), [dy, output, Slot::out("dx", 4, 4)], backward(kind, 4));
        let nan: Vec<bool> = dx.iter().map(|&word| f32::from_bits(word).is_nan()).collect();
        assert_eq!(nan, [true, false, true, true], "{kind:?} backward: {dx:x?}");
    }
}
