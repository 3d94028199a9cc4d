//! Augmentation: rows changed at random while the network is trained, on the device, with nothing stored.
//!
//! ```text
//! image x[c, y, x] of C x H x W, in this order, each a decision of the row in this epoch:
//! shift   y[c, y, x] = x[c, y - dy, x - dx], 0 outside the image      dx, dy uniform in -shift ..= shift: the same as a random crop
//!                                                                     of H x W pixels after padding by `shift` zeros on all sides
//! flip    y[c, y, x] = x[c, y, W - 1 - x] in half of the cases
//! cutout  y[c, y, x] = 0 in a square of `cutout` x `cutout` pixels of all channels: columns left .. left + cutout,
//!         left = cx - cutout / 2 (rounded down), cx uniform in 0 .. W; rows alike. It may hang over the edge.
//! noise   y[i] = x[i] + noise z[i], z[i] normal, on every element, also those that were set to 0
//! mixup   y = lambda a(r) + (1 - lambda) a(s), a(r) the row as changed so far, s a row drawn from the data set, changed as it is itself
//!         in this epoch; lambda = max(l, 1 - l), l from Beta(mixup, mixup);  loss = lambda L(targets of r) + (1 - lambda) L(targets of s)
//! ```
//!
//! Cutout: DeVries and Taylor 2017, arXiv:1708.04552, section 3.2. Mixup: Zhang et al., ICLR 2018, equation 1; the paper pairs the rows
//! of a batch, here the partner comes from the whole data set, so that it does not depend on the batch. That `r` has the larger share
//! changes nothing in the pair (l and 1 - l have one distribution), but says which row counts as right and whose masks are drawn: r.
//!
//! **Coordinates** in the mask contract ([`crate::rng`]); pass = epoch, sample = the row's sample number:
//!
//! | stream | site | unit | decides |
//! | --- | --- | --- | --- |
//! | 4 augmentation | 0 | 0, 1 | dx, dy = (word (2 shift + 1) >> 32) - shift |
//! | | 0 | 2, 3 | cx, cy = word W >> 32, word H >> 32 |
//! | | 0 | 4 | flip where the word is at least 2^31 |
//! | | 1 | 0 | s = word rows >> 32, a row of the data set as it was given to the trainer |
//! | | 1 | 1 | lambda, see [`mixup_quantiles`] |
//! | 5 continuous noise | 2^24 - 1 | 2i, 2i + 1 | z\[i\] by Box and Muller, see [`crate::rng::normal`] |
//!
//! A place `word n >> 32` is uniform but for n / 2^32. Every decision is a pure function of (seed, epoch, row): it does not depend on
//! the batch, its size, its order, or on what was trained before. All but the noise and the sum of mixup are the same bit for bit on
//! every device. 0 is the value of the input as the network sees it: after standardisation it is the mean.

use serde::{Deserialize, Serialize};

use crate::network::{Layer, Loss, Network};
use crate::rng;
use crate::{Error, Result};

/// Site of the decisions on an image in [`rng::Stream::Augmentation`].
pub const IMAGE_SITE: u32 = 0;

/// Site of the partner and its share in [`rng::Stream::Augmentation`].
pub const MIXUP_SITE: u32 = 1;

/// Site of the noise in [`rng::Stream::ContinuousNoise`].
pub const NOISE_SITE: u32 = rng::MAX_SITE;

/// How rows are changed in training, see [the module](self). The default changes nothing; evaluation never does.
///
/// ```
/// use thinnet::{Augmentation, TrainOptions};
/// let augment = Augmentation { shift: 2, flip: true, cutout: 8, ..Default::default() };
/// let options = TrainOptions { augment, ..Default::default() };
/// options.check()?;
/// # Ok::<(), thinnet::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Augmentation {
    /// The farthest shift along each axis, in pixels. Default 0.
    pub shift: u32,
    /// Whether half of the images are mirrored left to right. Default false.
    pub flip: bool,
    /// Standard deviation of the noise, in units of the input as the network sees it. Default 0.
    pub noise: f64,
    /// Side of the square that is set to 0, in pixels. Default 0.
    pub cutout: u32,
    /// alpha of Beta(alpha, alpha), from which mixup draws the shares of a pair; Zhang et al. use 0.1 to 0.4. Default 0: no pairs.
    pub mixup: f64,
}

/// The largest alpha: shares within 1 % of one half.
const MAX_ALPHA: f64 = 1000.0;

impl Augmentation {
    /// Whether it changes nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it changes pixels by their place, for which the input has to be an image.
    pub fn is_of_images(&self) -> bool {
        self.shift > 0 || self.flip || self.cutout > 0
    }

    /// Checks what can be judged without a network.
    ///
    /// # Errors
    /// Noise that is no finite number from 0 up, an alpha outside 0 ..= 1000.
    pub fn check(&self) -> Result<()> {
        let bad = |option, value: f64, problem: String| Err(Error::Option { option, value: value.to_string(), problem });
        if !(self.noise >= 0.0 && (self.noise as f32).is_finite()) {
            return bad("augment.noise", self.noise, "is a standard deviation, a number from 0 up".into());
        }
        if !(0.0..=MAX_ALPHA).contains(&self.mixup) {
            let problem = format!("is the alpha of Beta(alpha, alpha), from 0 (off) to {MAX_ALPHA}");
            return bad("augment.mixup", self.mixup, problem);
        }
        Ok(())
    }

    /// Checks it against the network whose input it changes; `streamed`: whether the data set is not resident on the device.
    ///
    /// # Errors
    /// As [`Augmentation::check`]; changes of images where the input is no `[channels, height, width]`; a shift that may leave nothing of
    /// an image; a square larger than the image; mixup of a data set that is streamed, or with [`Loss::GaussianNll`]; what has no
    /// meaning for sequences: noise on numbers of words, mixup in front of a recurrent layer, which would mix the steps of one sequence
    /// with what is behind the end of another.
    pub fn check_for(&self, network: &Network, streamed: bool) -> Result<()> {
        self.check()?;
        let bad = |option, value: String, problem: String| Err(Error::Option { option, value, problem });
        let shape = &network.input;
        let image = match *shape.0.as_slice() {
            [_, height, width] => Some([height, width]),
            _ => None,
        };
        match image {
            None if self.is_of_images() => {
                let what =
                    [("augment.shift", self.shift.to_string(), self.shift > 0), ("augment.flip", "true".into(), self.flip)];
                let cutout = ("augment.cutout", self.cutout.to_string(), true);
                let (option, value, _) = what.into_iter().find(|what| what.2).unwrap_or(cutout);
                let problem = format!(
                    "changes images, but the input has shape {shape}; give the network an input of [channels, height, width], \
                     followed by flatten where its first layer is dense"
                );
                return bad(option, value, problem);
            }
            Some([height, width]) if self.shift >= height.min(width) => {
                let problem = format!("may leave nothing of images of {height} x {width}; use a smaller one");
                return bad("augment.shift", self.shift.to_string(), problem);
            }
            Some([height, width]) if self.cutout > height.max(width) => {
                let problem = format!("is larger than images of {height} x {width}; use a smaller square");
                return bad("augment.cutout", self.cutout.to_string(), problem);
            }
            _ => {}
        }
        if self.noise > 0.0 && shape.elements() > 1 << 31 {
            return bad("augment.noise", self.noise.to_string(), "takes two words an element, at most 2^31 elements".into());
        }
        self.check_sequences(network)?;
        if self.mixup > 0.0 && streamed {
            let problem = "needs every row at hand, but the data set is streamed; raise data_budget so that it is resident, use bytes \
                           instead of f32, or leave mixup out";
            return bad("augment.mixup", self.mixup.to_string(), problem.into());
        }
        if self.mixup > 0.0 && network.loss == Loss::GaussianNll {
            let problem = "mixes the losses of two targets, which would teach gaussian_nll the distance of the two as noise of the data; \
                           use mean_squared_error, or leave mixup out";
            return bad("augment.mixup", self.mixup.to_string(), problem.into());
        }
        Ok(())
    }
}

impl Augmentation {
    fn check_sequences(&self, network: &Network) -> Result<()> {
        let bad =
            |option, value: f64, problem: &str| Err(Error::Option { option, value: value.to_string(), problem: problem.into() });
        let words = matches!(network.layers.first(), Some(Layer::Embedding(_)));
        if self.noise > 0.0 && words {
            return bad("augment.noise", self.noise, "would make other words, or none, of numbers of words; leave it out");
        }
        if self.mixup > 0.0 && network.walk().into_iter().any(|layer| matches!(layer, Layer::Recurrent(_) | Layer::Embedding(_)))
        {
            let problem =
                "mixes rows value by value, but sequences end at steps of their own, and words have no mean; leave it out";
            return bad("augment.mixup", self.mixup, problem);
        }
        Ok(())
    }
}

/// Knots of [`mixup_quantiles`].
pub const QUANTILES: usize = 512;

/// Quantiles of the smaller share m = min(l, 1 - l) of Beta(alpha, alpha), alpha above 0, at probabilities i / 512, in units of 2^-32,
/// rounded up; the last, at probability 1, is one half and left out.
///
/// ```text
/// i = word >> 23,  f = word << 9 mod 2^32,  m = q[i] + ((q[i + 1] - q[i]) f >> 32),  lambda = 1 - (m >> 8) 2^-24
/// ```
///
/// lambda is a multiple of 2^-24 and so exact in f32. The distribution that this draws from agrees with Beta's at every knot, so that
/// the probability of no interval differs by more than 2 / 512; between two knots it is uniform.
///
/// With F the distribution function and a = alpha, P(m <= x) = 2 F(x) = (4 x (1 - x))^a S(x) / S(1/2), where
/// S(x) = sum over n of (2a)_n / (a + 1)_n x^n (DLMF 8.17.8), all of its terms positive.
pub fn mixup_quantiles(alpha: f64) -> Vec<u32> {
    let half = series(alpha, 0.5);
    let probability = |m: u32| {
        let x = f64::from(m) / (1u64 << 32) as f64;
        libm::pow(4.0 * x * (1.0 - x), alpha) * series(alpha, x) / half
    };
    let quantile = |i: usize| {
        let wanted = i as f64 / QUANTILES as f64;
        // The smallest m with at least this probability, by bisection over the whole numbers.
        let (mut below, mut at) = (0u32, 1u32 << 31);
        while below < at {
            let middle = below + (at - below) / 2;
            match probability(middle) < wanted {
                true => below = middle + 1,
                false => at = middle,
            }
        }
        at
    };
    (0..QUANTILES).map(quantile).collect()
}

/// S of [`mixup_quantiles`], for x up to 1/2. The ratio of two terms falls below x in the end, so what is left out is at most a term.
fn series(a: f64, x: f64) -> f64 {
    let (mut sum, mut term, mut n) = (0.0, 1.0, 0.0);
    while term > 1e-16 * sum {
        sum += term;
        term *= x * (2.0 * a + n) / (a + 1.0 + n);
        n += 1.0;
    }
    sum
}
