//! Cases of the dropout kernels. Units are contiguous: no row is padded; the ragged kernels take any number of them.

use thinnet::KeepProb;
use thinnet::kernels::dropout::{DropoutBackward, DropoutForward, DropoutMask, DropoutMaskRagged, DropoutParams, DropoutRagged};
use thinnet::kernels::{Kernel, WORKGROUP};
use thinnet::mask_rule::{MaskRule, SiteMask};
use thinnet::memory::Tensor;
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::step::{SiteStep, Step};

use super::draws::{draws, rules, with_rule};
use super::{Case, Slot, bits, on_device, seed};
use crate::common::{numbers, step, words};

pub(super) const SITE: u32 = 0xAB_CDEF;

/// The site of the cases, with the strides of its tensors.
pub(super) fn params(units: u32, stream: Stream, samples: Tensor, input: Tensor, output: Tensor) -> DropoutParams {
    DropoutParams {
        samples_stride: samples.stride,
        in_stride: input.stride,
        out_stride: output.stride,
        ..DropoutParams::new(units, stream, SITE)
    }
}

/// A step whose kernel is that of site 1 of two, with a rate and a pass of each member's own.
pub(super) fn rates(rows: u32, keeps: &[f64]) -> Step {
    let mut step = step(rows, keeps.len() as u32, &[0.3, 0.3]);
    for ((member, &keep), pass) in step.members.iter_mut().zip(keeps).zip(7..) {
        member.sites[1] = SiteStep::new(KeepProb::new(keep).unwrap(), pass);
    }
    step
}

/// Words of the units of all rows, from (member, row, unit).
fn units_of(rows: u32, units: u32, mut word: impl FnMut(u32, u32) -> u32) -> Vec<u32> {
    (0..rows * units).map(|i| word(i / units, i % units)).collect()
}

/// One shape and set of rates with which each dropout kernel is checked.
struct Site {
    rows: u32,
    batch: u32,
    units: u32,
    keeps: Vec<f64>,
    /// Sample numbers are listed, or count from this one.
    first_sample: Option<u32>,
    /// Where the rows begin in the mask, in quads of units.
    first_quad: u32,
    rule: MaskRule,
}

impl Site {
    fn all(units: impl IntoIterator<Item = u32>) -> impl Iterator<Item = Site> {
        let keeps = [vec![0.0], vec![1.0], vec![0.5, 0.8], vec![0.8, 1.0, 0.0]];
        let sizes = units.into_iter().flat_map(|units| [1, 31, 33].map(|rows| (rows, units)));
        sizes.zip((0..).cycle()).flat_map(move |((rows, units), i)| {
            // Every shape with two of the four sets of rates, listed and counted, and with a third where the rows share a mask.
            let site = |which: usize, first_sample, first_quad, rule| {
                let keeps = keeps[which % 4].clone();
                Site { rows, batch: rows + keeps.len() as u32 - 1, units, keeps, first_sample, first_quad, rule }
            };
            let counted = site(i + 2, Some(u32::MAX - 400), 0x3FFF_FF00, MaskRule::Pass);
            [site(i, None, 0, MaskRule::Pass), counted, site(i + 3, None, 0, MaskRule::Batch)]
        })
    }

    fn ragged() -> impl Iterator<Item = Site> {
        Self::all((1..=9).chain([31, 33, 257]))
    }

    /// Rows of whole quads: of one, of a power of two and of others, whose rows end inside a workgroup.
    fn quads() -> impl Iterator<Item = Site> {
        Self::all([4, 8, 12, 20, 28, 256, 260, 516])
    }

    fn step(&self) -> Step {
        rates(self.rows, &self.keeps)
    }

    fn len(&self) -> u32 {
        self.batch * self.units
    }

    fn samples(&self) -> Slot<'static> {
        let (rows, batch) = (self.rows as usize, self.batch);
        match self.rule {
            MaskRule::Batch => Slot::own("samples", batch, |_| Vec::new()),
            _ => Slot::own("samples", batch, move |member| words(rows, seed("samples", member))),
        }
    }

    fn site(&self) -> SiteMask {
        SiteMask { index: 1, rule: self.rule }
    }

    fn place(&self, params: DropoutParams) -> DropoutParams {
        let params = DropoutParams { first_quad: self.first_quad, ..params };
        self.first_sample.map_or(params, |first| params.from_first_sample(first))
    }

    /// What is dropped or kept on its own: numbers, and NaN where the unit is dropped, infinity now and then.
    fn input(&self, name: &'static str) -> Slot<'_> {
        let step = self.step();
        Slot::own(name, self.len(), move |m| {
            let member = &step.members[m as usize];
            let samples = words(self.rows as usize, seed("samples", m));
            let values = numbers((self.rows * self.units) as usize, seed(name, m));
            units_of(self.rows, self.units, |row, unit| {
                let sample = match self.rule {
                    MaskRule::Batch => 0,
                    _ => self.first_sample.map_or(samples[row as usize], |first| first + row),
                };
                let at = Coordinates { stream: Stream::TrainingMask, site: SITE, pass: member.sites[1].pass, sample };
                match (row + unit) % 5 {
                    3 if !member.sites[1].keeps(at.word(4 * self.first_quad + unit, member.key)) => f32::NAN.to_bits(),
                    4 => f32::INFINITY.to_bits(),
                    _ => values[(row * self.units + unit) as usize].to_bits(),
                }
            })
        })
    }
}

pub(super) fn dropout_forward(case: &mut Case) {
    for site in Site::quads() {
        let slots = [site.samples(), site.input("x"), Slot::out("y", site.len(), site.rows * site.units)];
        case.check(&site.step(), slots, |[samples, x, y]| {
            let params = site.place(params(site.units, Stream::TrainingMask, samples, x, y));
            DropoutForward { params, site: site.site(), samples, x, y }
        });
    }
    for (rule, rows, units) in rules().flat_map(|rule| [(rule, 33, 20), (rule, 7, 260)]) {
        let step = with_rule(step(rows, 2, &[0.3, 0.6]), 1, rule);
        let x = Slot::rows("x", rows + 2, rows, units, 4);
        let slots = [draws(rows), x, Slot::out("y", (rows + 2) * units, rows * units)];
        case.check(&step, slots, |[samples, x, y]| DropoutForward {
            params: params(units, Stream::MonteCarloMask, samples, x, y),
            site: SiteMask { index: 1, rule },
            samples,
            x,
            y,
        });
    }
}

pub(super) fn dropout_backward(case: &mut Case) {
    for site in Site::quads() {
        let slots = [site.samples(), site.input("dy"), Slot::out("dx", site.len(), site.rows * site.units)];
        case.check(&site.step(), slots, |[samples, dy, dx]| {
            let params = site.place(params(site.units, Stream::TrainingMask, samples, dy, dx));
            DropoutBackward { params, site: site.site(), samples, dy, dx }
        });
    }
}

pub(super) fn dropout_mask(case: &mut Case) {
    for site in Site::quads() {
        let slots = [site.samples(), Slot::out("mask", site.len(), site.rows * site.units)];
        case.check(&site.step(), slots, |[samples, mask]| {
            let params = site.place(params(site.units, Stream::MonteCarloMask, samples, samples, mask));
            DropoutMask { params, site: site.site(), samples, mask }
        });
    }
}

pub(super) fn dropout_ragged(case: &mut Case) {
    for site in Site::ragged() {
        let slots = [site.samples(), site.input("x_units"), Slot::out("y_units", site.len(), site.rows * site.units)];
        case.check(&site.step(), slots, |[samples, x_units, y_units]| {
            let params = site.place(params(site.units, Stream::TrainingMask, samples, x_units, y_units));
            DropoutRagged { params, site: site.site(), samples, x_units, y_units }
        });
    }
}

pub(super) fn dropout_mask_ragged(case: &mut Case) {
    for site in Site::ragged() {
        let slots = [site.samples(), Slot::out("mask_units", site.len(), site.rows * site.units)];
        case.check(&site.step(), slots, |[samples, mask_units]| {
            let params = site.place(params(site.units, Stream::MonteCarloMask, samples, samples, mask_units));
            DropoutMaskRagged { params, site: site.site(), samples, mask_units }
        });
    }
}

/// Written from the contract, not through the twin.
#[test]
fn what_is_dropped_is_zero_even_if_it_was_not_a_number() {
    let run = |keep: f64, values: [f32; 4], backward: bool| -> Vec<f32> {
        let slots = [Slot::own("samples", 1, |_| vec![12]), Slot::own("input", 4, |_| bits(values)), Slot::out("output", 4, 4)];
        let step = step(1, 1, &[keep]);
        let [_, _, output] = if backward {
            on_device(&step, slots, |[samples, dy, dx]| {
                let params = params(4, Stream::TrainingMask, samples, dy, dx);
                DropoutBackward { params, site: 0.into(), samples, dy, dx }
            })
        } else {
            on_device(&step, slots, |[samples, x, y]| {
                let params = params(4, Stream::TrainingMask, samples, x, y);
                DropoutForward { params, site: 0.into(), samples, x, y }
            })
        };
        output.into_iter().map(f32::from_bits).collect()
    };
    let not_numbers = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN];
    for backward in [false, true] {
        assert!(run(0.0, not_numbers, backward).into_iter().all(|y| y.to_bits() == 0));
        assert_eq!(run(1.0, [1.5, -2.0, 0.0, 1e30], backward), [1.5, -2.0, 0.0, 1e30]);
        let kept = |unit| {
            let at = Coordinates { stream: Stream::TrainingMask, site: SITE, pass: 3, sample: 12 };
            at.word(unit, rng::key(1000)) < 1 << 31
        };
        let output = run(0.5, not_numbers, backward);
        for unit in 0..4 {
            let got = output[unit as usize];
            assert!(if kept(unit) { !got.is_finite() } else { got.to_bits() == 0 }, "unit {unit}: {got}");
        }
        assert!((0..4).any(kept) && !(0..4).all(kept), "the mask keeps some and drops some");
    }
}

/// A word meets its threshold by chance once in 2^32, so the threshold is set to a word.
#[test]
fn a_unit_whose_word_is_the_threshold_is_dropped() {
    let at = Coordinates { stream: Stream::TrainingMask, site: SITE, pass: 3, sample: 12 };
    let words = [0, 1, 2, 3].map(|unit| at.word(unit, rng::key(1000)));
    for threshold in words {
        let mut step = step(1, 1, &[0.5]);
        step.members[0].sites[0].threshold = threshold;
        let slots = [Slot::own("samples", 1, |_| vec![12]), Slot::out("mask", 4, 4)];
        let [_, mask] = on_device(&step, slots, |[samples, mask]| {
            let params = params(4, Stream::TrainingMask, samples, samples, mask);
            DropoutMask { params, site: 0.into(), samples, mask }
        });
        assert_eq!(mask, words.map(|word| u32::from(word < threshold)));
        assert_eq!(mask, words.map(|word| u32::from(step.members[0].sites[0].keeps(word))));
    }
}

#[test]
fn the_grid_has_an_invocation_for_every_quad_of_every_row() {
    for (units, quads) in [(4, 1), (8, 2), (260, 65)] {
        let mut plans = thinnet::plan::Plans::new(crate::common::device().caps());
        let mut tensor = |name, len| plans.tensor(name, len, 1).unwrap();
        let (samples, mask) = (tensor("samples", 100), tensor("mask", 100 * u64::from(units)));
        let kernel =
            DropoutMask { params: params(units, Stream::TrainingMask, samples, samples, mask), site: 0.into(), samples, mask };
        let [x, y] = kernel.grid();
        assert_eq!((x, y), ((100 * quads as u32).div_ceil(WORKGROUP), 1));
    }
    for (units, quads) in [(1, 1), (4, 1), (5, 2), (257, 65)] {
        let mut plans = thinnet::plan::Plans::new(crate::common::device().caps());
        let mut tensor = |name, len| plans.tensor(name, len, 1).unwrap();
        let (samples, mask_units) = (tensor("samples", 100), tensor("mask", 100 * u64::from(units)));
        let params = params(units, Stream::TrainingMask, samples, samples, mask_units);
        let [x, y] = DropoutMaskRagged { params, site: 0.into(), samples, mask_units }.grid();
        assert_eq!((x, y), ((100 * quads as u32).div_ceil(WORKGROUP), 1));
    }
}

#[test]
#[should_panic(expected = "rows of 6 units need a ragged kernel")]
fn a_kernel_of_whole_quads_refuses_ragged_rows() {
    let mut plans = thinnet::plan::Plans::new(crate::common::device().caps());
    let mut tensor = |name, len| plans.tensor(name, len, 1).unwrap();
    let (samples, mask) = (tensor("samples", 2), tensor("mask", 12));
    let _ = DropoutMask { params: params(6, Stream::TrainingMask, samples, samples, mask), site: 0.into(), samples, mask }.grid();
}
