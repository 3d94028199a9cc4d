//! `shaders/unfold.wgsl`: convolution as a product of matrices.

use super::division::Division;
use super::{Constants, FLUSH, Kernel, MAX_GROUPS, Tolerance, gamma, kernel, linear_grid, params};
use crate::memory::{Memory, Tensor};
use crate::network::Window;
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/division.wgsl"),
    include_str!("../../shaders/unfold.wgsl")
);

params! {
    /// `params` of `unfold.wgsl`.
    UnfoldParams {
        channels: u32, kernel_height: u32, kernel_width: u32,
        stride_height: u32, stride_width: u32, padding_height: u32, padding_width: u32, dilation_height: u32, dilation_width: u32,
        height: u32, width: u32, places_height: u32, places_width: u32,
        quads: u32, row: u32, u_row: u32, x_sample: u32, x_pixel: u32, x_channel: u32, read_stride: u32, write_stride: u32,
        by_quads: Division, by_width: Division, by_height: Division, by_channels: Division,
        by_kernel_width: Division, by_stride_height: Division, by_stride_width: Division,
        pad0: u32, pad1: u32,
    }
}

/// Maps in memory: words from one sample, pixel and channel to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapStrides {
    /// Words from one sample to the next.
    pub sample: u32,
    /// Words from one pixel to the next.
    pub pixel: u32,
    /// Words from one channel to the next.
    pub channel: u32,
}

impl MapStrides {
    /// A row for each sample, `[C, H, W]`, in rows of `row_words`.
    pub fn planar(row_words: u32, [height, width]: [u32; 2]) -> Self {
        Self { sample: row_words, pixel: 1, channel: height * width }
    }

    /// A row for each pixel, `[C]`, in rows of `row_words`.
    pub fn pixels(row_words: u32, [height, width]: [u32; 2]) -> Self {
        Self { sample: height * width * row_words, pixel: row_words, channel: 1 }
    }
}

impl UnfoldParams {
    /// What both directions share: a window over maps of `[height, width]`, which has `places` there.
    fn new(window: &Window, channels: u32, map: [u32; 2], places: [u32; 2]) -> Self {
        Self {
            channels,
            kernel_height: window.kernel[0],
            kernel_width: window.kernel[1],
            stride_height: window.stride[0],
            stride_width: window.stride[1],
            padding_height: window.padding[0],
            padding_width: window.padding[1],
            dilation_height: window.dilation[0],
            dilation_width: window.dilation[1],
            height: map[0],
            width: map[1],
            places_height: places[0],
            places_width: places[1],
            by_kernel_width: Division::by(window.kernel[1]),
            by_stride_height: Division::by(window.stride[0]),
            by_stride_width: Division::by(window.stride[1]),
            by_channels: Division::by(channels),
            ..Self::default()
        }
    }

    /// For u in rows of `row` quads, from x in this layout, without strides of members.
    pub fn unfold(window: &Window, channels: u32, map: [u32; 2], places: [u32; 2], layout: MapStrides, row: u32) -> Self {
        let quads = (window.kernel[0] * window.kernel[1] * channels).div_ceil(4);
        Self {
            quads,
            row,
            x_sample: layout.sample,
            x_pixel: layout.pixel,
            x_channel: layout.channel,
            by_quads: Division::by(quads),
            by_width: Division::by(places[1]),
            by_height: Division::by(places[0]),
            ..Self::new(window, channels, map, places)
        }
    }

    /// For dx, a row for each pixel, in rows of `row` quads, from du in rows of `u_row` quads, without strides of members.
    pub fn fold(window: &Window, channels: u32, map: [u32; 2], places: [u32; 2], u_row: u32, row: u32) -> Self {
        let quads = channels.div_ceil(4);
        Self {
            quads,
            row,
            u_row,
            by_quads: Division::by(quads),
            by_width: Division::by(map[1]),
            by_height: Division::by(map[0]),
            ..Self::new(window, channels, map, places)
        }
    }

    /// The same for the kernels of quads.
    ///
    /// # Panics
    /// Channels that are no multiple of 4.
    pub fn of_quads(self) -> Self {
        assert!(self.channels.is_multiple_of(4), "{} channels are no quads", self.channels);
        self
    }

    /// The pixel that the window's element `tap` sees from its place.
    fn pixel(&self, place: [u32; 2], tap: u32) -> Option<u32> {
        let [k, l] = [tap / self.kernel_width, tap % self.kernel_width];
        let y = (place[0] * self.stride_height + k * self.dilation_height).checked_sub(self.padding_height)?;
        let x = (place[1] * self.stride_width + l * self.dilation_width).checked_sub(self.padding_width)?;
        (y < self.height && x < self.width).then_some(y * self.width + x)
    }

    fn taps(&self) -> u32 {
        self.kernel_height * self.kernel_width
    }

    /// Rows of u, and of dx, of some samples.
    fn rows(&self, samples: u32) -> [u32; 2] {
        [samples * self.places_height * self.places_width, samples * self.height * self.width]
    }
}

/// Rows of u that an invocation writes.
const RUN: u32 = 8;

fn runs() -> Vec<Constants> {
    vec![vec![("RUN", RUN)]]
}

kernel! {
    /// `u`, of any layout of x.
    Unfold = "unfold" in "unfold.wgsl", SOURCE;
    params UnfoldParams; sections [step];
    read [x: 2]; write [u: 3]; variants runs
}

kernel! {
    /// `u`, of channels that are quads.
    UnfoldQuads = "unfold_quads" in "unfold.wgsl", SOURCE;
    params UnfoldParams; sections [step];
    read [x_quads: 2]; write [u: 3]; variants runs
}

kernel! {
    /// `dx` of any number of channels.
    Fold = "fold" in "unfold.wgsl", SOURCE;
    params UnfoldParams; sections [step];
    read [du: 2]; write [dx: 3]; variants runs
}

kernel! {
    /// `dx` of channels that are quads.
    FoldQuads = "fold_quads" in "unfold.wgsl", SOURCE;
    params UnfoldParams; sections [step];
    read [du_quads: 2]; write [dx: 3]; variants runs
}

fn unfold(p: &UnfoldParams, (x, u): (Tensor, Tensor), memory: &Memory, step: &Step, member: usize) {
    let (x, mut u) = (memory.f32(x, member), memory.f32_mut(u, member));
    for row in 0..p.rows(step.rows)[0] {
        let (line, column) = (row / p.places_width, row % p.places_width);
        let (sample, place) = (line / p.places_height, [line % p.places_height, column]);
        for element in 0..4 * p.quads {
            let (tap, channel) = (element / p.channels, element % p.channels);
            let pixel = if tap < p.taps() { p.pixel(place, tap) } else { None };
            let at = |pixel| (sample * p.x_sample + pixel * p.x_pixel + channel * p.x_channel) as usize;
            u[(row * 4 * p.row + element) as usize] = pixel.map_or(0.0, |pixel| x[at(pixel)]);
        }
    }
}

/// Every element of dx with how many terms it has and the sum of their magnitudes; `None` is left alone.
fn folded(
    p: &UnfoldParams,
    (du, dx): (Tensor, Tensor),
    memory: &Memory,
    step: &Step,
    member: usize,
) -> Vec<Option<(f64, f64, usize)>> {
    let du = memory.f32(du, member);
    let mut sums = vec![None; dx.len as usize];
    let [rows, pixels] = p.rows(step.rows);
    for pixel in 0..pixels {
        let at = (pixel * 4 * p.row) as usize;
        sums[at..at + 4 * p.quads as usize].fill(Some((0.0, 0.0, 0)));
    }
    for row in 0..rows {
        let (line, column) = (row / p.places_width, row % p.places_width);
        let (sample, place) = (line / p.places_height, [line % p.places_height, column]);
        for tap in 0..p.taps() {
            let Some(pixel) = p.pixel(place, tap) else { continue };
            for channel in 0..p.channels {
                let d = f64::from(du[(row * 4 * p.u_row + tap * p.channels + channel) as usize]);
                let at = ((sample * p.height * p.width + pixel) * 4 * p.row + channel) as usize;
                if let Some((sum, size, terms)) = &mut sums[at] {
                    (*sum, *size, *terms) = (*sum + d, *size + d.abs(), *terms + 1);
                }
            }
        }
    }
    sums
}

fn fold(p: &UnfoldParams, tensors: (Tensor, Tensor), memory: &Memory, step: &Step, member: usize) {
    let sums = folded(p, tensors, memory, step, member);
    let mut dx = memory.f32_mut(tensors.1, member);
    for (dx, sum) in dx.iter_mut().zip(sums) {
        if let Some((sum, ..)) = sum {
            *dx = sum as f32;
        }
    }
}

/// A sum of n terms has an error of at most gamma_n times the sum of their magnitudes, and each addition may be flushed; a single term
/// is added to 0, which is exact, but for the flush.
fn fold_tolerance(p: &UnfoldParams, tensors: (Tensor, Tensor), memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
    let bound = |sum: Option<(f64, f64, usize)>| match sum {
        None => -1.0,
        Some((_, 0.0, _)) => 0.0,
        Some((_, size, terms)) => gamma(terms + 1) * size + (terms + 1) as f64 * FLUSH,
    };
    vec![Tolerance::Bounds(folded(p, tensors, memory, step, member).into_iter().map(bound).collect())]
}

macro_rules! unfold_kernel {
    ($kernel:ident, $x:ident) => {
        impl Kernel for $kernel {
            fn constants(&self) -> Constants {
                runs().remove(0)
            }

            fn grid(&self) -> [u32; 2] {
                let rows = self.u.len / (4 * self.params.row);
                linear_grid(rows.div_ceil(RUN) * self.params.quads, MAX_GROUPS)
            }

            fn twin(&self, memory: &Memory, step: &Step, member: usize) {
                unfold(&self.params, (self.$x, self.u), memory, step, member);
            }
        }
    };
}

unfold_kernel!(Unfold, x);
unfold_kernel!(UnfoldQuads, x_quads);

macro_rules! fold_kernel {
    ($kernel:ident, $du:ident) => {
        impl Kernel for $kernel {
            fn constants(&self) -> Constants {
                runs().remove(0)
            }

            fn grid(&self) -> [u32; 2] {
                linear_grid(self.dx.len / 4 / self.params.row * self.params.quads, MAX_GROUPS)
            }

            fn iterations(&self) -> u64 {
                u64::from(self.params.kernel_height) * u64::from(self.params.kernel_width + 2) + 2
            }

            fn twin(&self, memory: &Memory, step: &Step, member: usize) {
                fold(&self.params, (self.$du, self.dx), memory, step, member);
            }

            fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
                fold_tolerance(&self.params, (self.$du, self.dx), memory, step, member)
            }
        }
    };
}

fold_kernel!(Fold, du);
fold_kernel!(FoldQuads, du_quads);
