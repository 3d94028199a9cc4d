//! `shaders/layout.wgsl`: feature maps from one row a sample to one row a pixel, and back.
//!
//! planar: `[batch, C H W]`, element `(c H + y) W + x` of a sample's row: the data set, the network's outputs, dense layers.
//! pixels: `[batch H W, C]`, row `(n H + y) W + x`: what convolutions, pools and batch norm take and make.

use super::division::Division;
use super::{Constants, Kernel, MAX_GROUPS, kernel, linear_grid, params};
use crate::memory::{Memory, Tensor};
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/division.wgsl"),
    include_str!("../../shaders/lib/words.wgsl"),
    include_str!("../../shaders/layout.wgsl")
);

params! {
    /// `params` of `layout.wgsl`.
    LayoutParams {
        channels: u32, pixels: u32, planar_row: u32, pixel_row: u32, x_stride: u32, y_stride: u32,
        by_blocks: Division, by_quads: Division, by_pixels: Division, by_planar: Division, pad0: u32, pad1: u32,
    }
}

impl LayoutParams {
    /// Maps `[channels, height, width]`, the rows of both layouts padded to `row_words`, without strides.
    pub fn new([channels, height, width]: [u32; 3], row_words: u32) -> Self {
        let (pixels, row) = (height * width, |columns: u32| columns.next_multiple_of(row_words) / 4);
        Self {
            channels,
            pixels,
            planar_row: row(channels * pixels),
            pixel_row: row(channels),
            by_blocks: Division::by(pixels.div_ceil(4)),
            by_quads: Division::by(channels.div_ceil(4)),
            by_pixels: Division::by(pixels),
            by_planar: Division::by((channels * pixels).div_ceil(4)),
            ..Self::default()
        }
    }

    fn aligned(&self) -> bool {
        self.pixels.is_multiple_of(4)
    }

    fn constants(&self) -> Constants {
        vec![("ALIGNED", self.aligned().into())]
    }

    /// Blocks of four channels by four pixels of a sample.
    fn blocks(&self) -> u32 {
        self.by_blocks.divisor * self.by_quads.divisor
    }

    /// Samples that a tensor of planar rows has room for.
    fn samples(&self, planar: Tensor) -> u32 {
        planar.len / (4 * self.planar_row)
    }

    /// Calls `f(word in the planar rows, word in the rows of pixels)` for every element.
    fn for_each_element(&self, samples: u32, mut f: impl FnMut(usize, usize)) {
        let [channels, pixels, planar, row] =
            [self.channels, self.pixels, 4 * self.planar_row, 4 * self.pixel_row].map(|n| n as usize);
        for sample in 0..samples as usize {
            for channel in 0..channels {
                for pixel in 0..pixels {
                    f(sample * planar + channel * pixels + pixel, (sample * pixels + pixel) * row + channel);
                }
            }
        }
    }
}

fn variants() -> Vec<Constants> {
    [0, 1].map(|aligned| vec![("ALIGNED", aligned)]).to_vec()
}

kernel! {
    /// Rows of pixels from planar rows.
    PlanarToPixels = "planar_to_pixels" in "layout.wgsl", SOURCE;
    params LayoutParams; sections [step];
    read [x: 2]; write [y: 3]; variants variants
}

kernel! {
    /// Planar rows from rows of pixels.
    PixelsToPlanar = "pixels_to_planar" in "layout.wgsl", SOURCE;
    params LayoutParams; sections [step];
    read [x: 2]; write [y: 3]; variants variants
}

/// Zeros the quads in use of the first rows of a matrix.
pub(super) fn clear(words: &mut [u32], rows: u32, row_quads: u32, quads: u32) {
    for row in words.chunks_mut(4 * row_quads as usize).take(rows as usize) {
        row[..4 * quads as usize].fill(0);
    }
}

impl Kernel for PlanarToPixels {
    fn constants(&self) -> Constants {
        self.params.constants()
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(self.params.samples(self.x) * self.params.blocks(), MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (x, mut y) = (memory.u32(self.x, member), memory.u32_mut(self.y, member));
        clear(&mut y, step.rows * self.params.pixels, self.params.pixel_row, self.params.by_quads.divisor);
        self.params.for_each_element(step.rows, |planar, pixels| y[pixels] = x[planar]);
    }
}

impl Kernel for PixelsToPlanar {
    fn constants(&self) -> Constants {
        self.params.constants()
    }

    fn grid(&self) -> [u32; 2] {
        let invocations = if self.params.aligned() { self.params.blocks() } else { self.params.by_planar.divisor };
        linear_grid(self.params.samples(self.y) * invocations, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (x, mut y) = (memory.u32(self.x, member), memory.u32_mut(self.y, member));
        clear(&mut y, step.rows, self.params.planar_row, self.params.by_planar.divisor);
        self.params.for_each_element(step.rows, |planar, pixels| y[planar] = x[pixels]);
    }
}
