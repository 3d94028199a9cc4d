//! The only test binary: one link of wgpu, one shared device. One sentence per module.

/// The harness and the tests of the harness.
mod common;

/// Every kernel on the device against its twin, for ragged shapes and two members.
mod kernels;

/// Data sets: digits, ranges, noisy labels.
mod data;

/// A host program with a device of its own, and the mask contract unit by unit.
mod host;

/// Dropout bit for bit: the mask contract, what a mask depends on, the rates.
mod dropout;

/// Masks as random variables: rate, mean, independence, each test with its false-alarm rate and its power.
mod mask_statistics;

/// The order of the rows: known orders, permutations, statistics.
mod shuffle;

/// Single operations on the device, the buffers and the encoder of a host program.
mod ops;
