//! The only test binary: one link of wgpu, one shared device. One sentence per module.

/// Data sets: digits, ranges, noisy labels.
mod data;
