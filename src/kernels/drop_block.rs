//! `shaders/drop_block.wgsl`: DropBlock on maps of one row a pixel.

use super::dropout::{constants, division};
use super::{Constants, Kernel, MAX_GROUPS, kernel, linear_grid, params};
use crate::mask_rule::{MaskRule, SiteMask};
use crate::memory::Memory;
use crate::rng::{self, Stream};
use crate::step::{Section, Step};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/division.wgsl"),
    include_str!("../../shaders/lib/philox.wgsl"),
    include_str!("../../shaders/lib/dropout.wgsl"),
    include_str!("../../shaders/lib/kept_bits.wgsl"),
    include_str!("../../shaders/drop_block.wgsl")
);

const RUN: u32 = 8; // of drop_block.wgsl

params! {
    /// `params` of `drop_block.wgsl`.
    DropBlockParams {
        channels: u32, channel_quads: u32, quads_factor: u32, quads_shift: u32,
        height: u32, height_factor: u32, height_shift: u32, width: u32,
        words: u32, words_factor: u32, words_shift: u32, size: u32,
        runs: u32, runs_factor: u32, runs_shift: u32, stream_and_site: u32,
        in_row: u32, out_row: u32, samples_stride: u32, seeded_stride: u32,
        covered_stride: u32, in_stride: u32, out_stride: u32, pad0: u32,
    }
}

impl DropBlockParams {
    /// Squares of `size` x `size` pixels of maps `[channels, height, width]`, without strides of members. `rows` are the quads
    /// from one row of the input, and of the output, to the next.
    ///
    /// # Panics
    /// On a square that does not fit into the map, which a network refuses.
    pub fn new([channels, height, width]: [u32; 3], size: u32, rows: [u32; 2], at: (Stream, u32)) -> Self {
        assert!((1..=height.min(width)).contains(&size), "squares of {size} on maps of {height} x {width}");
        let (channel_quads, words, runs) = (channels.div_ceil(4), width.div_ceil(32), width.div_ceil(RUN));
        let divisions = [channel_quads, height, words, runs].map(division);
        let [(quads_factor, quads_shift), (height_factor, height_shift), (words_factor, words_shift), (runs_factor, runs_shift)] =
            divisions;
        let stream_and_site = rng::stream_and_site(at.0, at.1);
        #[rustfmt::skip]
        let params = Self {
            channels, channel_quads, quads_factor, quads_shift, height, height_factor, height_shift, width,
            words, words_factor, words_shift, size, runs, runs_factor, runs_shift, stream_and_site,
            in_row: rows[0], out_row: rows[1], ..Self::default()
        };
        params
    }

    /// Words of the bits of one sample, a multiple of 4.
    pub fn bits(&self) -> u32 {
        self.height * self.words * 4 * self.channel_quads
    }

    /// Where the word with pixel x of a row lies.
    fn word(&self, sample: u32, y: u32, x: u32, channel: u32) -> usize {
        (((sample * self.height + y) * self.words + x / 32) * 4 * self.channel_quads + channel) as usize
    }
}

fn every_rule() -> Vec<Constants> {
    MaskRule::ALL.map(constants).to_vec()
}

/// Any rule: what follows on the bits draws nothing.
fn no_rule() -> Vec<Constants> {
    vec![constants(MaskRule::Pass)]
}

kernel! {
    /// `seeded(c, y, x)`: whether a square begins in this row and reaches pixel x.
    DropBlockRows = "drop_block_rows" in "drop_block.wgsl", SOURCE;
    params DropBlockParams; sections [step, sites]; site site: SiteMask;
    read [samples: 3]; write [seeded_words: 4]; variants every_rule
}

kernel! {
    /// `covered(c, y, x)`: whether one that reaches pixel x begins in this row or in one of the `size - 1` above it.
    DropBlockColumns = "drop_block_columns" in "drop_block.wgsl", SOURCE;
    params DropBlockParams; sections [step];
    read [seeded: 2]; write [covered: 3]; variants no_rule
}

kernel! {
    /// `y = covered ? 0 : x * scale`.
    DropBlockForward = "drop_block_forward" in "drop_block.wgsl", SOURCE;
    params DropBlockParams; sections [step, sites]; site site;
    read [hidden: 3, x: 4]; write [y: 5]; variants no_rule
}

kernel! {
    /// `dx = covered ? 0 : dy * scale`.
    DropBlockBackward = "drop_block_backward" in "drop_block.wgsl", SOURCE;
    params DropBlockParams; sections [step, sites]; site site;
    read [hidden: 3, dy: 4]; write [dx: 5]; variants no_rule
}

impl Kernel for DropBlockRows {
    fn sections(&self) -> Vec<Section> {
        vec![Section::Step, Section::Site(self.site.index)]
    }

    fn constants(&self) -> Constants {
        constants(self.site.rule)
    }

    fn grid(&self) -> [u32; 2] {
        let DropBlockParams { seeded_stride, covered_stride, in_stride, out_stride, .. } = self.params;
        assert!([seeded_stride, covered_stride, in_stride, out_stride].iter().all(|n| n % 4 == 0), "members lie in whole quads");
        linear_grid(self.seeded_words.len, MAX_GROUPS)
    }

    fn iterations(&self) -> u64 {
        6 * u64::from(self.params.size / 4 + 10)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (p, SiteMask { index, rule }) = (&self.params, self.site);
        let (samples, mut seeded) = (memory.u32(self.samples, member), memory.u32_mut(self.seeded_words, member));
        seeded[..(step.rows * p.bits()) as usize].fill(0);
        let values = &step.members[member];
        for (sample, channel) in (0..step.rows).flat_map(|sample| (0..p.channels).map(move |channel| (sample, channel))) {
            let at = rule.address(&values.sites[index], &samples, sample as usize);
            let [rows, columns] = [p.height, p.width].map(|extent| extent - p.size + 1);
            for (y, x) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
                let unit = (channel * p.height + y) * p.width + x;
                let kept = rule.kept(&values.sites[index], values.key, p.stream_and_site, at, unit / 4);
                for x in (x..x + p.size).filter(|_| !kept[(unit % 4) as usize]) {
                    seeded[p.word(sample, y, x, channel)] |= 1 << (x % 32);
                }
            }
        }
    }
}

impl Kernel for DropBlockColumns {
    fn constants(&self) -> Constants {
        constants(MaskRule::Pass)
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(self.covered.len / 4, MAX_GROUPS)
    }

    fn iterations(&self) -> u64 {
        u64::from(self.params.size + 1)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let p = &self.params;
        let (seeded, mut covered) = (memory.u32(self.seeded, member), memory.u32_mut(self.covered, member));
        let row = (4 * p.channel_quads * p.words) as usize;
        for (y, words) in covered.chunks_mut(row).take((step.rows * p.height) as usize).enumerate() {
            let above = (y % p.height as usize + 1).min(p.size as usize);
            for (i, word) in words.iter_mut().enumerate() {
                *word = (0..above).fold(0, |bits, j| bits | seeded[(y - j) * row + i]);
            }
        }
    }
}

/// Calls `f(place in the input, place in the output, covered)` for every number that is written.
fn for_each_number(p: &DropBlockParams, covered: &[u32], samples: u32, mut f: impl FnMut(usize, usize, bool)) {
    for pixel in 0..samples * p.height * p.width {
        let (row, x) = (pixel / p.width, pixel % p.width);
        for channel in 0..4 * p.channel_quads {
            let bits = covered[p.word(row / p.height, row % p.height, x, channel)];
            let place = |row_quads: u32| (4 * row_quads * pixel + channel) as usize;
            f(place(p.in_row), place(p.out_row), bits >> (x % 32) & 1 == 1);
        }
    }
}

macro_rules! drop_block_kernel {
    ($kernel:ident, $in:ident, $out:ident) => {
        impl Kernel for $kernel {
            fn sections(&self) -> Vec<Section> {
                vec![Section::Step, Section::Site(self.site)]
            }

            fn constants(&self) -> Constants {
                constants(MaskRule::Pass)
            }

            fn grid(&self) -> [u32; 2] {
                let p = &self.params;
                let rows = self.$out.len / (4 * p.out_row) / p.width;
                linear_grid(rows * p.runs * p.channel_quads, MAX_GROUPS)
            }

            fn twin(&self, memory: &Memory, step: &Step, member: usize) {
                let (input, mut output) = (memory.f32(self.$in, member), memory.f32_mut(self.$out, member));
                let scale = step.members[member].sites[self.site].scale;
                for_each_number(&self.params, &memory.u32(self.hidden, member), step.rows, |from, to, covered| {
                    output[to] = if covered { 0.0 } else { input[from] * scale };
                });
            }
        }
    };
}

drop_block_kernel!(DropBlockForward, x, y);
drop_block_kernel!(DropBlockBackward, dy, dx);
