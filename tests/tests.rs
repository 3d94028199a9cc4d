//! The only test binary: one link of wgpu, one shared device. One sentence per module.

/// The harness and the tests of the harness.
mod common;

/// Every kernel on the device against its twin, for ragged shapes and two members.
mod kernels;

/// Data sets: digits, ranges, noisy labels.
mod data;
