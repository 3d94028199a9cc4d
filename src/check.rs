//! Whether a device does what thinnet promises of every device: what `thinnet check` runs, for hardware and drivers that nobody has tried.
//!
//! ```text
//! words      Philox words are Random123's known answers, and those of the CPU at the edges: equal bits
//! masks      masks of every stream, at all kinds of rates, sites, passes, samples and units, are those of the CPU: equal bits
//! kernels    every kernel of two training steps and an evaluation, dropout on, is within its bound of its CPU twin: each network of the gradient
//!            check, and four with the shapes of real trainings
//! gradients  every network of the gradient check, dropout on: against finite differences and the f64 reference, within a bound
//! training   trained again, in parts, resumed, or together with others, a network ends at the same weights and losses: equal bits
//! draws      Monte-Carlo draws, replayed, are the same: equal bits
//! ```
//!
//! Bounds count the roundings of a device that rounds to the nearest number, and what WGSL lets its functions be off by; one that truncates is
//! outside of some. These are not all the kernels that there are, nor all shapes: the crate's own tests compare every one. What they need
//! is the source; this needs the program alone.
//!
//! ```
//! use thinnet::{Device, check};
//!
//! let device = Device::cpu();
//! for check in check::all(1).iter().filter(|check| check.group() == check::Group::Words) {
//!     assert!(check.run(&device)?.passed());
//! }
//! # Ok::<(), thinnet::Error>(())
//! ```

use std::fmt;

use serde::Serialize;

use crate::gradient_check::{self, Case, Numbers, Row};
use crate::{Device, Result};

mod draws;
mod kernels;
mod masks;
mod training;

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Random words.
    Words,
    /// Masks.
    Masks,
    /// Single kernels.
    Kernels,
    /// Gradients with dropout on.
    Gradients,
    /// Whole trainings.
    Training,
    /// Monte-Carlo draws.
    Draws,
}

impl Group {
    /// All of them, in the order in which they are checked: each rests on those before.
    pub const ALL: [Self; 6] = [Self::Words, Self::Masks, Self::Kernels, Self::Gradients, Self::Training, Self::Draws];

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Masks => "masks",
            Self::Kernels => "kernels",
            Self::Gradients => "gradients",
            Self::Training => "training",
            Self::Draws => "draws",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One thing to check.
#[derive(Debug, Clone)]
pub struct Check {
    what: What,
    seed: u64,
}

#[derive(Debug, Clone)]
enum What {
    Words,
    Mask(masks::Drawn),
    Kernels(kernels::Stepped),
    Gradients(Case),
    Training(training::Trained),
    Draws(draws::Call),
}

/// How a check came out.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// The bits are equal.
    Equal,
    /// The error in units of its bound, at most 1.
    Within(f64),
    /// What is wrong, with numbers.
    Wrong(String),
}

impl Finding {
    /// Whether nothing is wrong.
    pub fn passed(&self) -> bool {
        !matches!(self, Self::Wrong(_))
    }

    fn equal(difference: Option<String>) -> Self {
        difference.map_or(Self::Equal, Self::Wrong)
    }
}

/// Every check, with the numbers of a seed.
pub fn all(seed: u64) -> Vec<Check> {
    let words = std::iter::once(What::Words);
    let masks = masks::all(seed).into_iter().map(What::Mask);
    let kernels = kernels::all().into_iter().map(What::Kernels);
    let gradients = gradient_check::cases().into_iter().map(What::Gradients);
    let training = training::all().into_iter().map(What::Training);
    let draws = draws::all(seed).into_iter().map(What::Draws);
    words.chain(masks).chain(kernels).chain(gradients).chain(training).chain(draws).map(|what| Check { what, seed }).collect()
}

impl Check {
    /// What it is about.
    pub fn group(&self) -> Group {
        match self.what {
            What::Words => Group::Words,
            What::Mask(_) => Group::Masks,
            What::Kernels(_) => Group::Kernels,
            What::Gradients(_) => Group::Gradients,
            What::Training(_) => Group::Training,
            What::Draws(_) => Group::Draws,
        }
    }

    /// What is checked; within its group there is no other of this name.
    pub fn name(&self) -> String {
        match &self.what {
            What::Words => "Philox4x32-10".into(),
            What::Mask(drawn) => drawn.name(),
            What::Kernels(stepped) => stepped.name(),
            What::Gradients(case) => case.name.clone(),
            What::Training(trained) => trained.name(),
            What::Draws(call) => call.name(),
        }
    }

    /// Checks it on a device.
    ///
    /// # Errors
    /// A device that cannot run it, as when the driver refuses a shader. What is computed wrongly is no error but a [`Finding`].
    pub fn run(&self, device: &Device) -> Result<Finding> {
        match &self.what {
            What::Words => masks::words(device).map(Finding::equal),
            What::Mask(drawn) => drawn.difference(device).map(Finding::equal),
            What::Kernels(stepped) => stepped.beside_twins(device, self.seed),
            What::Gradients(case) => gradients(case, device, self.seed),
            What::Training(trained) => trained.difference(device, self.seed).map(Finding::equal),
            What::Draws(call) => call.difference(device).map(Finding::equal),
        }
    }
}

fn gradients(case: &Case, device: &Device, seed: u64) -> Result<Finding> {
    let row = Row::of(case, device, seed)?;
    if row.reference > gradient_check::TOLERANCE {
        let error = row.reference;
        return Ok(Finding::Wrong(format!(
            "the reference itself is {error:.1e} from finite differences; this is no fault of the device"
        )));
    }
    if row.passed() {
        return Ok(Finding::Within(row.device));
    }
    let why = match Numbers::new(case, seed)?.beside_twins(device, None)? {
        Ok(_) => "yet each of its kernels is within its bound, so they do not fit together on this device".into(),
        Err(kernel) => kernel,
    };
    Ok(Finding::Wrong(format!("the gradients are {:.3e} bounds from the reference's: {why}", row.device)))
}
