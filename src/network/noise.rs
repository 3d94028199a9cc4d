//! The numbers of dropout by other noise than a mask.

use super::KeepProb;

/// SELU's lower bound, -lambda alpha (Klambauer et al., NeurIPS 2017).
pub(crate) const ALPHA: f64 = -1.758_099_340_847_376_6;

/// The deviation of Gaussian dropout, sqrt((1 - p) / p); infinite at keep_prob 0.
pub(crate) fn deviation(keep: KeepProb) -> f64 {
    ((1.0 - keep.get()) / keep.get()).sqrt()
}

/// a and b of alpha dropout, [`super::Noise::Alpha`]; 0 where nothing is kept, as in PyTorch.
pub(crate) fn alpha(keep: KeepProb) -> [f64; 2] {
    let p = keep.get();
    if p == 0.0 {
        return [0.0, 0.0];
    }
    let a = (p + ALPHA * ALPHA * p * (1.0 - p)).sqrt().recip();
    [a, -a * (1.0 - p) * ALPHA]
}
