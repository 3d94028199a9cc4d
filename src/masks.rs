//! Masks and random words drawn on a device and read back: what the command `thinnet mask` prints.

use std::ops::Range;

use crate::executor::Executor;
use crate::kernels::Kernel;
use crate::kernels::dropout::{DropoutMaskRagged, DropoutParams};
use crate::kernels::philox::{PhiloxParams, PhiloxWords};
use crate::mask_rule::SiteMask;
use crate::memory::Tensor;
use crate::ops::Site;
use crate::plan::{Mode, Options, Plan, PlannedSite, Plans, Source};
use crate::step::{MemberStep, OptimizerStep, SiteLayout, SiteStep, Step};
use crate::{Device, Error, Result, rng};

/// Most units of all samples together that one call draws.
const MOST: u64 = 1 << 28;

/// The mask of some samples and units, drawn by the device: one row per sample, an entry per unit, true where it is kept.
///
/// ```
/// use thinnet::{Device, KeepProb, masks, ops::Site, rng::Stream};
/// let site = Site { keep: KeepProb::new(0.5)?, seed: 42, stream: Stream::TrainingMask, site: 0, pass: 0 };
/// let mask = masks::draw(&Device::cpu(), &site, 0..4, 0..16)?;
/// let first: String = mask[0].iter().map(|&kept| if kept { '1' } else { '0' }).collect();
/// assert_eq!(first, "0111010100000001"); // the contract's first test vector
/// # Ok::<(), thinnet::Error>(())
/// ```
///
/// # Errors
/// An empty or too large range, a site above 24 bits, a lost device.
pub fn draw(device: &Device, site: &Site, samples: Range<u32>, units: Range<u32>) -> Result<Vec<Vec<bool>>> {
    rng::check_site(site.site)?;
    // A Philox call serves four units, so the device draws from the quad in which the range begins.
    let first_quad = units.start / 4;
    let (rows, width) = (samples.len() as u32, units.end.saturating_sub(4 * first_quad));
    for (option, range) in [("samples", &samples), ("units", &units)] {
        if range.is_empty() {
            let (value, problem) = (format!("{range:?}"), "the range is empty; it goes from its start to below its end".into());
            return Err(Error::Option { option, value, problem });
        }
    }
    if u64::from(rows) * u64::from(width) > MOST {
        let (value, problem) =
            (format!("{rows} samples x {width} units"), format!("at most {MOST} units are drawn at once; ask for fewer"));
        return Err(Error::Option { option: "samples and units", value, problem });
    }
    let mut params = DropoutParams::new(width, site.stream, site.site).from_first_sample(samples.start);
    params.first_quad = first_quad;
    let member = MemberStep {
        key: rng::key(site.seed),
        optimizer: OptimizerStep::default(),
        sites: vec![SiteStep::new(site.keep, site.pass)],
    };
    let layout = SiteLayout { units: width, ..SiteLayout::default() };
    let planned = PlannedSite { layer: 0, site: site.site, keep: site.keep, map: [1, 1], path: None, layout };
    let words = run(device, rows, member, vec![planned], |plans| {
        let (listed, mask) = (plans.tensor("samples", 1, 1)?, plans.tensor("mask", u64::from(rows) * u64::from(width), 1)?);
        Ok((Box::new(DropoutMaskRagged { params, site: SiteMask::from(0), samples: listed, mask_units: mask }), mask, Vec::new()))
    })?;
    let skip = (units.start - 4 * first_quad) as usize;
    Ok(words.chunks(width as usize).map(|row| row[skip..].iter().map(|&word| word == 1).collect()).collect())
}

/// Four Philox4x32-10 words for each counter, computed by the device; none of none.
///
/// # Errors
/// A lost device.
pub fn philox_words(device: &Device, counters: &[[u32; 4]], key: [u32; 2]) -> Result<Vec<[u32; 4]>> {
    if counters.is_empty() {
        return Ok(Vec::new());
    }
    let n = counters.len() as u32;
    let member = MemberStep { key, optimizer: OptimizerStep::default(), sites: Vec::new() };
    let words = run(device, n, member, Vec::new(), |plans| {
        let (c, k) = (plans.tensor("counters", 4 * u64::from(n), 1)?, plans.tensor("keys", 2 * u64::from(n), 1)?);
        let words = plans.tensor("words", 4 * u64::from(n), 1)?;
        let params = PhiloxParams { len: n, ..PhiloxParams::default() };
        let inputs = vec![(c, counters.concat()), (k, key.repeat(counters.len()))];
        Ok((Box::new(PhiloxWords { params, counters: c, keys: k, words }), words, inputs))
    })?;
    Ok(words.chunks(4).map(|w| [w[0], w[1], w[2], w[3]]).collect())
}

/// A kernel, the tensor to read back, and what to write before.
type Built = (Box<dyn Kernel>, Tensor, Vec<(Tensor, Vec<u32>)>);

/// Runs one kernel on a plan of its own.
fn run(
    device: &Device,
    rows: u32,
    member: MemberStep,
    sites: Vec<PlannedSite>,
    build: impl FnOnce(&mut Plans) -> Result<Built>,
) -> Result<Vec<u32>> {
    let mut plans = Plans::new(device.caps());
    let (kernel, output, inputs) = build(&mut plans)?;
    let source = Source { name: "none".into(), rows, byte_scale: None, labelled: false, window: None };
    let options = Options {
        name: "mask".into(),
        mode: Mode::Eval,
        batch: rows,
        members: 1,
        source,
        variable_rates: false,
        store_output: false,
        store_gradient: false,
    };
    let plan = Plan { options, kernels: vec![kernel], sites, scopes: Vec::new(), metrics: None, tensors: Default::default() };
    plans.check_limits(&plan).map_err(|error| match error {
        Error::Limit { what, needed, available, .. } => {
            Error::Limit { what, needed, available, remedy: "ask for fewer samples or units at once" }
        }
        other => other,
    })?;
    plans.push(plan);
    let mut executor = Executor::new(device, plans)?;
    for (tensor, words) in inputs {
        executor.write(tensor, 0, &words)?;
    }
    executor.run_kernel(0, 0, &Step::new(rows, vec![member]))?;
    executor.read(output, 0)
}
