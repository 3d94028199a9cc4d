//! The matrix product as everybody writes it first: one invocation an element, 16 x 16 of them a workgroup, nothing shared.

use thinnet::gpu::Gpu;
use thinnet::kernels::gamma;
use thinnet::{Error, Result};

use super::measure::Timed;
use super::probe::{self, Probe};
use super::work::number;

/// `c = a b` for a `[m, k]`, b `[k, n]`, row-major, checked at a few elements before its time counts.
///
/// # Errors
/// A lost device, or a product that is none.
pub(crate) fn product(gpu: &Gpu, [m, k, n]: [u32; 3]) -> Result<Timed<'static>> {
    let numbers = |len: u32| (0..len).map(number).collect::<Vec<u32>>();
    let [a, b] = [probe::buffer(gpu, &numbers(m * k)), probe::buffer(gpu, &numbers(k * n))];
    let c = probe::buffer(gpu, &vec![0x7fc0_dead; (m * n) as usize]);
    let wgsl = format!(
        "@group(0) @binding(0) var<storage, read> a: array<f32>;
         @group(0) @binding(1) var<storage, read> b: array<f32>;
         @group(0) @binding(2) var<storage, read_write> c: array<f32>;
         @compute @workgroup_size(16, 16)
         fn naive(@builtin(global_invocation_id) at: vec3<u32>) {{
             if (at.x >= {n}u || at.y >= {m}u) {{
                 return;
             }}
             var sum = 0.0;
             for (var i = 0u; i < {k}u; i++) {{
                 sum += a[at.y * {k}u + i] * b[i * {n}u + at.x];
             }}
             c[at.y * {n}u + at.x] = sum;
         }}"
    );
    let probe = Probe::new(gpu, wgsl, &[&a, &b, &c], [n.div_ceil(16), m.div_ceil(16)]);
    probe.run(1)?;
    let found = probe::read(gpu, &c)?;
    let wanted = |at: u32| (0..k).map(move |i| (at / n * k + i, i * n + at % n));
    check("the naive product", &found, wanted)?;
    Ok(Timed::new(1, move |repetitions| probe.run(repetitions)))
}

/// Compares elements of a product of matrices that hold [`number`]s with sums in f64, within the error bound of a sum in any order.
/// `terms(at)` are the indices into both matrices that element `at` adds up.
///
/// # Errors
/// The first element that is off; NaN is.
pub(crate) fn check<I: Iterator<Item = (u32, u32)>>(place: &str, found: &[u32], terms: impl Fn(u32) -> I) -> Result<()> {
    let value = |index: u32| f64::from(f32::from_bits(number(index)));
    let step = (found.len() / 64).max(1); // 64 elements, in every row and column of a product that has fewer
    for at in (0..found.len()).step_by(step).chain([found.len() - 1]) {
        let (mut sum, mut size, mut count) = (0.0, 0.0, 0);
        for (i, j) in terms(at as u32) {
            let term = value(i) * value(j);
            (sum, size, count) = (sum + term, size + term.abs(), count + 1);
        }
        let is = f64::from(f32::from_bits(found[at]));
        let near = (is - sum).abs() <= gamma(count + 2) * size;
        if !near {
            return Err(Error::Gpu { place: place.into(), message: format!("element {at} is {is} and must be {sum}") });
        }
    }
    Ok(())
}
