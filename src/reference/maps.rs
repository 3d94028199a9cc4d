//! Convolutions and pools over feature maps `[C, H, W]`, as loops over every place of the window and every element in it.

use crate::network::{Conv2d, Pool2d, PoolKind, Shape, Window};

/// Channels, height and width of a map.
fn extents(shape: &Shape) -> [usize; 3] {
    [shape.0[0], shape.0[1], shape.0[2]].map(|extent| extent as usize)
}

/// Places of a window over a map of a checked network.
fn places(window: &Window, shape: &Shape) -> [usize; 2] {
    window.places(shape.map()).expect("the network's shapes are checked").map(|places| places as usize)
}

/// Calls `f(place, element of the window, pixel)` for every pixel under every place of the window over one map; all three are
/// row-major. Padding is no pixel.
fn slide(window: &Window, shape: &Shape, mut f: impl FnMut(usize, usize, usize)) {
    let [_, height, width] = extents(shape);
    let ([rows, columns], [kernel_rows, kernel_columns]) = (places(window, shape), window.kernel.map(|n| n as usize));
    let pixel = |axis: usize, place: usize, element: usize, extent: usize| {
        let padded = place * window.stride[axis] as usize + element * window.dilation[axis] as usize;
        padded.checked_sub(window.padding[axis] as usize).filter(|&pixel| pixel < extent)
    };
    for i in 0..rows {
        for k in 0..kernel_rows {
            let Some(y) = pixel(0, i, k, height) else { continue };
            for j in 0..columns {
                for l in 0..kernel_columns {
                    if let Some(x) = pixel(1, j, l, width) {
                        f(i * columns + j, k * kernel_columns + l, y * width + x);
                    }
                }
            }
        }
    }
}

/// Calls `f(z, W, x)` with the indices of every product of a convolution, [`Conv2d`]'s formula.
fn products(conv: &Conv2d, shape: &Shape, rows: usize, mut f: impl FnMut(usize, usize, usize)) {
    let [channels, height, width] = extents(shape);
    let ([places_y, places_x], [kernel_y, kernel_x]) = (places(&conv.window, shape), conv.window.kernel.map(|n| n as usize));
    let (outputs, groups) = (conv.channels as usize, conv.groups as usize);
    let (of_group, maps) = (channels / groups, rows * outputs);
    slide(&conv.window, shape, |place, element, pixel| {
        for map in 0..maps {
            let (n, o) = (map / outputs, map % outputs);
            let first = n * channels + o / (outputs / groups) * of_group;
            for c in 0..of_group {
                let z = map * places_y * places_x + place;
                f(z, (o * of_group + c) * kernel_y * kernel_x + element, (first + c) * height * width + pixel);
            }
        }
    });
}

/// Rows of a batch.
fn rows(shape: &Shape, x: &[f64]) -> usize {
    x.len() / shape.elements() as usize
}

/// z = W * x + b, `[rows, channels, places]`.
pub(super) fn conv_forward(conv: &Conv2d, shape: &Shape, weight: &[f64], bias: &[f64], x: &[f64]) -> Vec<f64> {
    let [rows_of, columns_of] = places(&conv.window, shape);
    let of_row = bias.iter().flat_map(|&b| vec![b; rows_of * columns_of]).collect::<Vec<_>>();
    let mut z = of_row.repeat(rows(shape, x));
    products(conv, shape, rows(shape, x), |at, w, pixel| z[at] += weight[w] * x[pixel]);
    z
}

/// (dL/dW, dL/db, dL/dx) from g = dL/dz.
pub(super) fn conv_backward(
    conv: &Conv2d,
    shape: &Shape,
    weight: &[f64],
    x: &[f64],
    g: &[f64],
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let [rows_of, columns_of] = places(&conv.window, shape);
    let channels = conv.channels as usize;
    let (mut dw, mut db, mut dx) = (vec![0.0; weight.len()], vec![0.0; channels], vec![0.0; x.len()]);
    g.chunks(rows_of * columns_of).enumerate().for_each(|(i, map)| db[i % channels] += map.iter().sum::<f64>());
    products(conv, shape, rows(shape, x), |at, w, pixel| {
        dw[w] += g[at] * x[pixel];
        dx[pixel] += g[at] * weight[w];
    });
    (dw, db, dx)
}

/// For every output of a pool the pixels of x under its window, in row-major order of the window.
fn windows(pool: &Pool2d, shape: &Shape, x: &[f64]) -> Vec<Vec<usize>> {
    let [_, height, width] = extents(shape);
    let [rows_of, columns_of] = places(&pool.window, shape);
    let maps = x.len() / (height * width);
    let mut windows = vec![Vec::new(); maps * rows_of * columns_of];
    for map in 0..maps {
        slide(&pool.window, shape, |place, _, pixel| {
            windows[map * rows_of * columns_of + place].push(map * height * width + pixel)
        });
    }
    windows
}

/// The share of every pixel in every output of a pool: (output, pixel, dy/dx).
fn shares(pool: &Pool2d, shape: &Shape, x: &[f64]) -> Vec<(usize, usize, f64)> {
    let area = f64::from(pool.window.kernel[0] * pool.window.kernel[1]);
    let mut shares = Vec::new();
    for (y, pixels) in windows(pool, shape, x).into_iter().enumerate() {
        match pool.kind {
            PoolKind::Average => shares.extend(pixels.into_iter().map(|pixel| (y, pixel, 1.0 / area))),
            PoolKind::Max => {
                // The first of the largest; a NaN counts as larger than any number, as in PyTorch.
                let larger = |best: usize, pixel: usize| match x[best].is_nan() || x[pixel] <= x[best] {
                    true => best,
                    false => pixel,
                };
                let best = pixels.into_iter().reduce(larger).expect("a window holds a pixel: padding is at most half of it");
                shares.push((y, best, 1.0));
            }
        }
    }
    shares
}

pub(super) fn pool_forward(pool: &Pool2d, shape: &Shape, x: &[f64]) -> Vec<f64> {
    let [rows_of, columns_of] = places(&pool.window, shape);
    let [channels, ..] = extents(shape);
    let mut y = vec![0.0; rows(shape, x) * channels * rows_of * columns_of];
    shares(pool, shape, x).into_iter().for_each(|(at, pixel, share)| y[at] += share * x[pixel]);
    y
}

pub(super) fn pool_backward(pool: &Pool2d, shape: &Shape, x: &[f64], dy: &[f64]) -> Vec<f64> {
    let mut dx = vec![0.0; x.len()];
    shares(pool, shape, x).into_iter().for_each(|(at, pixel, share)| dx[pixel] += share * dy[at]);
    dx
}

/// How far the largest of a window is above the next one, at the least. Pixels that are exactly equal do not count: only what is
/// dropped or rectified is, and what they depend on is the same, whichever is taken.
pub(super) fn tie_distance(pool: &Pool2d, shape: &Shape, x: &[f64]) -> f64 {
    let distance = |pixels: Vec<usize>| {
        let largest = pixels.iter().fold(f64::NEG_INFINITY, |a, &pixel| a.max(x[pixel]));
        let others = pixels.iter().map(|&pixel| largest - x[pixel]).filter(|&below| below > 0.0);
        others.fold(f64::INFINITY, f64::min)
    };
    match pool.kind {
        PoolKind::Max => windows(pool, shape, x).into_iter().map(distance).fold(f64::INFINITY, f64::min),
        PoolKind::Average => f64::INFINITY,
    }
}

/// The mean of every channel, `pixels` numbers each.
pub(super) fn mean_forward(pixels: usize, x: &[f64]) -> Vec<f64> {
    x.chunks(pixels).map(|map| map.iter().sum::<f64>() / pixels as f64).collect()
}

pub(super) fn mean_backward(pixels: usize, dy: &[f64]) -> Vec<f64> {
    dy.iter().flat_map(|dy| vec![dy / pixels as f64; pixels]).collect()
}
