//! `shaders/augment.wgsl`: shift, flip, cutout, noise and the sum of mixup over a gathered batch.

use super::dropout::division;
use super::mixup::MIX;
use super::normal::{Near, normal};
use super::{Constants, EPS, FLUSH, Kernel, Tolerance, WORKGROUP, kernel, params};
use crate::data::Augmentation;
use crate::data::augmentation::{IMAGE_SITE, NOISE_SITE};
use crate::memory::Memory;
use crate::network::Shape;
use crate::rng::{Coordinates, Stream};
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/philox.wgsl"),
    include_str!("../../shaders/lib/normal.wgsl"),
    include_str!("../../shaders/augment.wgsl")
);

params! {
    /// `params` of `augment.wgsl`.
    AugmentParams {
        columns: u32, quads: u32, x_row: u32, other_row: u32, y_row: u32, height: u32, width: u32,
        width_factor: u32, width_shift: u32, height_factor: u32, height_shift: u32,
        shift: u32, flip: u32, cutout: u32, noise: f32,
        samples_stride: u32, mix_stride: u32, x_stride: u32, other_stride: u32, y_stride: u32,
    }
}

impl AugmentParams {
    /// Samples of a shape whose rows are `row_quads` quads apart in all matrices, without strides.
    pub fn new(augment: &Augmentation, shape: &Shape, row_quads: u32) -> Self {
        let (columns, [height, width]) = (shape.elements(), shape.map());
        let ((width_factor, width_shift), (height_factor, height_shift)) = (division(width), division(height));
        Self {
            columns,
            quads: columns.div_ceil(4),
            x_row: row_quads,
            other_row: row_quads,
            y_row: row_quads,
            height,
            width,
            width_factor,
            width_shift,
            height_factor,
            height_shift,
            shift: augment.shift,
            flip: augment.flip.into(),
            cutout: augment.cutout,
            noise: augment.noise as f32,
            ..Self::default()
        }
    }
}

/// What there is to do, so that the module has nothing else in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changes {
    /// Shift, flip or cutout.
    pub image: bool,
    /// Noise.
    pub noise: bool,
    /// Mixup; without it `mix` and `other` are bound, but not read.
    pub mixup: bool,
}

impl Changes {
    /// What an augmentation does.
    pub fn of(augment: &Augmentation) -> Self {
        Self { image: augment.is_of_images(), noise: augment.noise > 0.0, mixup: augment.mixup > 0.0 }
    }

    fn constants(self) -> Constants {
        vec![("IMAGE", self.image.into()), ("NOISE", self.noise.into()), ("MIXUP", self.mixup.into())]
    }

    /// Every kind of change.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..8).map(|bits| Self { image: bits & 1 != 0, noise: bits & 2 != 0, mixup: bits & 4 != 0 })
    }
}

kernel! {
    /// `y[i] = lambda a(x[i]) + (1 - lambda) a(other[i])`, a the change of a row.
    Augment = "augment" in "augment.wgsl", SOURCE;
    params AugmentParams; sections [step]; sides changes: Changes;
    read [samples: 2, mix: 3, x: 4, other: 5]; write [y: 6]; variants || Changes::all().map(Changes::constants).collect()
}

/// Quads that an invocation of a long row changes.
const STEPS: u32 = 4;

/// The decisions of one row.
struct Change {
    at: Coordinates,
    shift: [i64; 2],
    corner: [i64; 2],
    flip: bool,
}

impl Augment {
    fn change(&self, sample: u32, step: &Step, key: [u32; 2]) -> Change {
        let p = &self.params;
        let at = Coordinates { stream: Stream::Augmentation, site: IMAGE_SITE, pass: step.epoch, sample };
        let place = |word: u32, n: u32| ((u64::from(word) * u64::from(n)) >> 32) as i64;
        let words = at.quad(0, key);
        let shift = |word| place(word, 2 * p.shift + 1) - i64::from(p.shift);
        let corner = |word, n| place(word, n) - i64::from(p.cutout / 2);
        Change {
            at: Coordinates { stream: Stream::ContinuousNoise, site: NOISE_SITE, ..at },
            shift: [shift(words[0]), shift(words[1])],
            corner: [corner(words[2], p.width), corner(words[3], p.height)],
            flip: p.flip == 1 && at.word(4, key) >> 31 == 1,
        }
    }

    /// One element of a changed row.
    fn element(&self, row: &[f32], i: u32, change: &Change, key: [u32; 2]) -> Near {
        let value = if self.changes.image { self.moved(row, i, change) } else { row[i as usize] };
        let value = f64::from(value);
        if !self.changes.noise {
            return [value, 0.0];
        }
        let [z, error] = normal([change.at.word(2 * i, key), change.at.word(2 * i + 1, key)]);
        let noise = f64::from(self.params.noise) * z;
        // The product and the sum, either of which may be flushed; the twin rounds.
        let error = f64::from(self.params.noise) * error;
        [value + noise, error + 3.0 * EPS * (noise.abs() + error) + 3.0 * EPS * (value.abs() + noise.abs() + error) + 3.0 * FLUSH]
    }

    /// The pixel that has come to this place.
    fn moved(&self, row: &[f32], i: u32, change: &Change) -> f32 {
        let p = &self.params;
        let [width, height] = [i64::from(p.width), i64::from(p.height)];
        let (x, y, channel) = (i64::from(i) % width, i64::from(i) / width % height, i64::from(i) / width / height);
        let square = |at: i64, corner: i64| (0..i64::from(p.cutout)).contains(&(at - corner));
        let from_x = if change.flip { width - 1 - x } else { x } - change.shift[0];
        let from_y = y - change.shift[1];
        let cut = square(x, change.corner[0]) && square(y, change.corner[1]);
        match (0..width).contains(&from_x) && (0..height).contains(&from_y) && !cut {
            true => row[((channel * height + from_y) * width + from_x) as usize],
            false => 0.0,
        }
    }

    /// Calls `f` with the place in y and the value of every element, and with those of the padding.
    fn elements(&self, (memory, step, member): (&Memory, &Step, usize), mut f: impl FnMut(usize, Near)) {
        let (p, key) = (&self.params, step.members[member].key);
        let (samples, x) = (memory.u32(self.samples, member), memory.f32(self.x, member));
        let (mix, other) = (memory.u32(self.mix, member), memory.f32(self.other, member));
        for (row, &sample) in samples.iter().enumerate().take(step.rows as usize) {
            let own = (self.change(sample, step, key), &x[row * 4 * p.x_row as usize..]);
            let partner = self.changes.mixup.then(|| {
                let mix = &mix[row * MIX as usize..][..MIX as usize];
                let change = self.change(mix[3], step, key);
                (f64::from(f32::from_bits(mix[2])), change, &other[row * 4 * p.other_row as usize..])
            });
            for i in 0..4 * p.quads {
                let near = match &partner {
                    _ if i >= p.columns => [0.0; 2],
                    None => self.element(own.1, i, &own.0, key),
                    Some((share, change, values)) => {
                        let (a, b) = (self.element(own.1, i, &own.0, key), self.element(values, i, change, key));
                        mixed(*share, a, b)
                    }
                };
                f(row * 4 * p.y_row as usize + i as usize, near);
            }
        }
    }
}

/// lambda a + (1 - lambda) b: the shares are exact, the products and the sum are rounded, either of them may be flushed.
fn mixed(share: f64, a: Near, b: Near) -> Near {
    let sum = |i: usize| share * a[i].abs() + (1.0 - share) * b[i].abs();
    let error = sum(1);
    [share * a[0] + (1.0 - share) * b[0], error + 6.0 * EPS * (sum(0) + error) + 5.0 * FLUSH]
}

impl Kernel for Augment {
    fn constants(&self) -> Constants {
        self.changes.constants()
    }

    fn grid(&self) -> [u32; 2] {
        let rows = self.y.len / (4 * self.params.y_row);
        [self.params.quads.div_ceil(16 * STEPS), rows.div_ceil(WORKGROUP / 16)]
    }

    fn iterations(&self) -> u64 {
        u64::from(self.params.quads.div_ceil(16 * self.grid()[0])) + 2
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let mut y = memory.f32_mut(self.y, member);
        self.elements((memory, step, member), |at, [value, _]| y[at] = value as f32);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let mut bounds = vec![-1.0; self.y.len as usize];
        self.elements((memory, step, member), |at, [_, error]| bounds[at] = error);
        vec![Tolerance::Bounds(bounds)]
    }
}
