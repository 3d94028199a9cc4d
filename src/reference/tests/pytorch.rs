//! Small cases with the values of PyTorch 2.15 (f64), and a convolution by hand.
//!
//! The expected values: for each operation y, then the gradients of sum(u y) by the input and by each parameter, printed by
//!
//! ```python
//! import torch
//! from torch.nn import functional as F
//! torch.set_default_dtype(torch.float64)
//! def ints(*shape, a, m):
//!     return ((torch.arange(torch.Size(shape).numel()) * a % m - m // 2) / 1.0).reshape(shape)
//! def run(name, f, x, *p):
//!     x, *p = [t.clone().requires_grad_() for t in (x, *p)]
//!     y = f(x, *p)
//!     (y * ints(*y.shape, a=5, m=13)).sum().backward()
//!     print(name, [t.flatten().tolist() for t in (y, x.grad, *[t.grad for t in p])])
//! run('CONV', lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2),
//!     ints(1, 2, 4, 5, a=7, m=11), ints(4, 1, 3, 2, a=5, m=7), ints(4, a=3, m=5))
//! run('FULL', lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1),
//!     ints(2, 2, 3, 3, a=7, m=11), ints(3, 2, 2, 2, a=5, m=7), ints(3, a=3, m=5))
//! p = ints(1, 1, 3, 5, a=4, m=16)
//! run('MAX', lambda x: F.max_pool2d(x, (2, 3), (1, 2), (1, 1)), p)
//! run('AVERAGE', lambda x: F.avg_pool2d(x, (2, 3), (1, 2), (1, 1)), p)
//! run('MAX2', lambda x: F.max_pool2d(x, 2), p)
//! run('MEAN', lambda x: x.mean((2, 3)), ints(1, 2, 2, 3, a=7, m=11))
//! x = ints(2, 2, 1, 3, a=7, m=11)
//! w, b = ints(2, a=3, m=5) - 0.5, ints(2, a=3, m=7)
//! mean, var = torch.zeros(2), torch.ones(2)
//! run('BATCH', lambda x, w, b: F.batch_norm(x, mean, var, w, b, True, 0.25, 0.5), x, w, b)
//! print('RUNNING', mean.tolist(), var.tolist())
//! mean, var = torch.tensor([1.0, -2.0]), torch.tensor([0.25, 3.5])
//! run('EVALUATION', lambda x, w, b: F.batch_norm(x, mean, var, w, b, False, 0.25, 0.5), x, w, b)
//! run('LAYER', lambda x, w, b: F.layer_norm(x, (2, 1, 3), w, b, 0.5), x, ints(2, 1, 3, a=2, m=5) - 0.5, ints(2, 1, 3, a=3, m=7))
//! ```

use super::*;
use crate::network::{BatchNorm, Conv2d, Layer, LayerNorm, Pool2d, PoolKind, Shape, Window};

/// `i a mod m - m / 2` for i from 0.
fn ints(count: usize, a: usize, m: usize) -> Vec<f64> {
    (0..count).map(|i| (i * a % m) as f64 - (m / 2) as f64).collect()
}

/// One layer in front of an identity, and the gradients that come back through it: y, dx, and those of its parameters.
fn run(shape: &[u32], layer: Layer, x: &[f64], parameters: Vec<Vec<f64>>, masks: &Masks) -> Vec<Vec<f64>> {
    let own = Network { input: Shape(shape.to_vec()), ..Network::new(1).layer(layer).layer(Layer::Flatten) };
    let network = |units| own.clone().dense(Dense::new(units));
    // A network needs an output: as many units as elements, each weight 0 or 1.
    let outputs = network(1).shapes().unwrap()[2].elements() as usize;
    let network = network(outputs as u32);
    let identity = (0..outputs * outputs).map(|i| f64::from(i / outputs == i % outputs)).collect();
    let weights = [parameters, vec![identity, vec![0.0; outputs]]].concat();
    let y = forward(&network, &weights, x, masks).unwrap().remove(0);
    let (gradients, dx) = backward(&network, &weights, x, &ints(y.len(), 5, 13), masks).unwrap();
    let own = network.parameters().unwrap().into_iter().filter(|p| p.trained && p.layer == 0).count();
    [vec![y, dx], gradients[..own].to_vec()].concat()
}

/// The values are printed to 15 decimals, and some are sums of a dozen terms of up to 40.
#[track_caller]
fn assert_near(found: &[Vec<f64>], expected: &[&[f64]]) {
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), expected.iter().map(|e| e.len()).collect::<Vec<_>>());
    for (found, expected) in found.iter().zip(expected) {
        let near = found.iter().zip(*expected).all(|(f, e)| (f - e).abs() <= 1e-13);
        assert!(near, "{found:?} instead of {expected:?}");
    }
}

const TRAINING: Masks = Masks::Drawn { seed: 0, pass: 0, update: 0, samples: &[0, 1] };

/// One output by hand: 2 x 2 pixels, padding 1, stride 2 make 2 x 2 places that see one pixel each.
#[test]
fn a_convolution_by_hand() {
    let conv = Conv2d::new(1, 2).stride(2).padding(1);
    let weights = vec![vec![1.0, 10.0, 100.0, 1000.0], vec![0.5]];
    let found = run(&[1, 2, 2], Layer::Conv2d(conv), &[1.0, 2.0, 3.0, 4.0], weights, &Masks::None);
    assert_eq!(found[0], [1000.5, 200.5, 30.5, 4.5]);
    // Upstream -6, -1, 4, -4 reach one pixel and one weight each.
    assert_eq!(found[1], [-6000.0, -100.0, 40.0, -4.0]);
    assert_eq!(found[2..], [vec![-16.0, 12.0, -2.0, -6.0], vec![-7.0]]);
}

#[test]
fn convolutions_are_those_of_pytorch() {
    let window = Window { kernel: [3, 2], stride: [2, 1], padding: [1, 0], dilation: [1, 2] };
    let conv = Conv2d::new(4, 1).window(window).groups(2);
    let parameters = vec![ints(24, 5, 7), ints(4, 3, 5)];
    assert_near(&run(&[2, 4, 5], Layer::Conv2d(conv), &ints(40, 7, 11), parameters, &Masks::None), &CONV);
    let conv = Conv2d::new(3, 2).stride(2).padding(1);
    let parameters = vec![ints(24, 5, 7), ints(3, 3, 5)];
    assert_near(&run(&[2, 3, 3], Layer::Conv2d(conv), &ints(36, 7, 11), parameters, &Masks::None), &FULL);
}

/// The maximum has ties: the first of a window gets the gradient.
#[test]
fn pools_are_those_of_pytorch() {
    let window = Window { kernel: [2, 3], stride: [1, 2], padding: [1, 1], dilation: [1, 1] };
    let of = |pool| run(&[1, 3, 5], Layer::Pool(pool), &ints(15, 4, 16), Vec::new(), &Masks::None);
    assert_near(&of(Pool2d { kind: PoolKind::Max, window }), &MAX);
    assert_near(&of(Pool2d { kind: PoolKind::Average, window }), &AVERAGE);
    assert_near(&of(Pool2d::new(PoolKind::Max, 2)), &MAX2);
    assert_near(&run(&[2, 2, 3], Layer::GlobalAveragePool, &ints(12, 7, 11), Vec::new(), &Masks::None), &MEAN);
}

#[test]
fn normalisations_are_those_of_pytorch() {
    let half = |count, a, m| ints(count, a, m).into_iter().map(|v| v - 0.5).collect::<Vec<_>>();
    let norm = BatchNorm { epsilon: 0.5, momentum: 0.25 };
    let (x, shape) = (ints(12, 7, 11), [2, 1, 3]);
    let parameters = |mean: [f64; 2], variance: [f64; 2]| vec![half(2, 3, 5), ints(2, 3, 7), mean.into(), variance.into()];
    let (start, later) = (parameters([0.0; 2], [1.0; 2]), parameters([1.0, -2.0], [0.25, 3.5]));
    let batch = || Layer::BatchNorm(norm);
    let network = Network::new(shape).layer(batch()).layer(Layer::Flatten).dense(Dense::new(1));
    let followed = running_statistics(&network, &[start.clone(), vec![vec![0.0; 6], vec![0.0]]].concat(), &x, &TRAINING);
    assert_near(&followed.unwrap(), &RUNNING);
    let trained = |masks, parameters| {
        let mut found = run(&shape, batch(), &x, parameters, masks);
        found.truncate(4);
        found
    };
    assert_near(&trained(&TRAINING, start), &BATCH);
    assert_near(&trained(&Masks::None, later), &EVALUATION);
    let parameters = vec![half(6, 2, 5), ints(6, 3, 7)];
    assert_near(&run(&shape, Layer::LayerNorm(LayerNorm { epsilon: 0.5 }), &x, parameters, &TRAINING), &LAYER);
}

/// As PyTorch's, a pool lets a number that is none through.
#[test]
fn the_largest_of_a_window_with_nan_is_nan() {
    let x = [1.0, f64::NAN, 3.0, 4.0];
    let network = Network::new([1, 2, 2]).max_pool(2).layer(Layer::Flatten).dense(Dense::new(1));
    let y = forward(&network, &[vec![1.0], vec![0.0]], &x, &Masks::None).unwrap();
    assert!(y[0][0].is_nan());
}

const CONV: [&[f64]; 4] = [
    &[
        -7.0, -4.0, -1.0, 10.0, -27.0, 2.0, -3.0, -15.0, 6.0, 12.0, 5.0, -24.0, -14.0, -2.0, 10.0, 15.0, -17.0, -5.0, 24.0, -1.0,
        7.0, 17.0, 31.0, -10.0,
    ],
    &[
        -4.0, 6.0, 2.0, 2.0, -8.0, -2.0, -17.0, -13.0, -5.0, 10.0, 0.0, 10.0, 2.0, -2.0, -12.0, -12.0, -7.0, 20.0, 16.0, -3.0,
        -12.0, 20.0, -14.0, -6.0, -11.0, 1.0, -8.0, 9.0, 16.0, 6.0, -7.0, 12.0, 15.0, -8.0, -13.0, -10.0, 0.0, 2.0, 8.0, -2.0,
    ],
    &[
        16.0, 14.0, 31.0, 31.0, 31.0, -24.0, 20.0, -29.0, -5.0, -11.0, -9.0, -15.0, 13.0, -28.0, -12.0, -2.0, -20.0, -10.0,
        -40.0, 15.0, 20.0, -25.0, 34.0, -11.0,
    ],
    &[0.0, -2.0, -4.0, 7.0],
];
const FULL: [&[f64]; 4] = [
    &[
        -1.0, 18.0, -1.0, -13.0, -8.0, -16.0, 13.0, 1.0, -6.0, 1.0, -13.0, -18.0, 7.0, -12.0, 11.0, 27.0, -5.0, 6.0, -11.0,
        -22.0, -1.0, -2.0, 11.0, 15.0,
    ],
    &[
        10.0, -12.0, 20.0, -2.0, 18.0, -2.0, -9.0, -15.0, 14.0, 20.0, -17.0, 15.0, -9.0, -6.0, 2.0, -16.0, -11.0, 18.0, -13.0,
        -17.0, 10.0, -2.0, -16.0, -2.0, 20.0, 19.0, -9.0, -14.0, -7.0, 20.0, -7.0, 5.0, -9.0, 15.0, 12.0, -16.0,
    ],
    &[
        -24.0, 41.0, 42.0, 52.0, 20.0, -12.0, -3.0, -34.0, 13.0, -29.0, -2.0, -48.0, -12.0, -11.0, -15.0, -31.0, -28.0, 44.0,
        45.0, 47.0, 21.0, -10.0, -1.0, -41.0,
    ],
    &[-8.0, 9.0, 0.0],
];
const MAX: [&[f64]; 2] = [
    &[-4.0, 4.0, 4.0, 0.0, 4.0, 4.0, 4.0, 4.0, 0.0, 4.0, 4.0, 0.0],
    &[0.0, -6.0, 0.0, 10.0, 0.0, 0.0, -4.0, 3.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, -8.0],
];
const AVERAGE: [&[f64]; 2] = [
    &[
        -2.0,
        0.0,
        -0.666666666666667,
        -2.666666666666667,
        -0.666666666666667,
        -2.666666666666667,
        0.0,
        -2.0,
        -2.666666666666667,
        0.666666666666667,
        -1.333333333333333,
        -0.666666666666667,
    ],
    &[
        -1.666666666666667,
        -1.666666666666667,
        0.0,
        1.666666666666667,
        1.666666666666667,
        -1.0,
        -0.333333333333333,
        0.666666666666667,
        0.833333333333333,
        0.166666666666667,
        -0.333333333333333,
        1.0,
        1.333333333333333,
        0.0,
        -1.333333333333333,
    ],
];
const MAX2: [&[f64]; 2] = [&[0.0, 4.0], &[0.0, 0.0, 0.0, -1.0, 0.0, 0.0, -6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]];
const MEAN: [&[f64]; 2] = [
    &[-0.333333333333333, -0.5],
    &[
        -1.0,
        -1.0,
        -1.0,
        -1.0,
        -1.0,
        -1.0,
        -0.166666666666667,
        -0.166666666666667,
        -0.166666666666667,
        -0.166666666666667,
        -0.166666666666667,
        -0.166666666666667,
    ],
];
const BATCH: [&[f64]; 4] = [
    &[
        0.193600814422475,
        -5.171648553807283,
        -2.105791771961707,
        0.716727723851245,
        0.143345544770249,
        -0.430036634310747,
        -6.704576944730071,
        -3.638720162884495,
        -0.572863381038919,
        0.430036634310747,
        -0.143345544770249,
        -0.716727723851245,
    ],
    &[
        2.39545076231668,
        0.762461771464207,
        -4.326620340959619,
        -0.427745723777889,
        0.076909139317371,
        0.581564002412631,
        2.157306534484029,
        -2.931775577939797,
        1.9431768506345,
        0.039600024925114,
        0.544254888020374,
        -0.814582330897602,
    ],
    &[8.022325245829258, -7.740659417593444],
    &[-7.0, 5.0],
];
const RUNNING: [&[f64]; 2] = [&[-0.208333333333333, 0.0], &[3.791666666666667, 4.25]];
const EVALUATION: [&[f64]; 4] = [
    &[
        14.320508075688775,
        -5.886751345948129,
        5.660254037844387,
        1.75,
        0.75,
        -0.25,
        -11.660254037844387,
        -0.113248654051871,
        11.433756729740645,
        1.25,
        0.25,
        -0.75,
    ],
    &[
        17.320508075688778,
        2.886751345948129,
        -11.547005383792516,
        -1.0,
        0.25,
        1.5,
        5.773502691896258,
        -8.660254037844389,
        14.433756729740645,
        0.0,
        1.25,
        -0.75,
    ],
    &[45.03332099679081, -8.5],
    &[-7.0, 5.0],
];
const LAYER: [&[f64]; 4] = [
    &[
        0.407546684578649,
        -0.340754668457865,
        2.269811424733147,
        -3.33660344085393,
        2.194716953404494,
        -0.052830465955058,
        -6.329529459752183,
        -0.073989543550048,
        1.446219585448981,
        -2.553780414551019,
        1.926010456449951,
        1.329529459752183,
    ],
    &[
        3.628794976420959,
        -0.427039195203458,
        1.076941633284572,
        1.256201198207904,
        -0.45264770447822,
        -5.082250908231758,
        0.931080095476523,
        -0.767979057869847,
        -2.319059124116119,
        -0.492543530785724,
        0.472020883669653,
        2.176480733625515,
    ],
    &[5.51448847518701, -0.237572075615439, 3.232098514458453, -6.230942508943815, -0.350461528691497, -0.677771530005241],
    &[-8.0, 2.0, -1.0, -4.0, 6.0, 3.0],
];
