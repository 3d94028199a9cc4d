//! The only test binary: one link of wgpu, one shared device. One sentence per module.

/// The harness and the tests of the harness.
mod common;

/// The shaders against their declarations, translated for every backend, without a GPU.
mod shaders;

/// The generator of the mask contract: known answers, masks, shuffles, moments.
mod philox;

/// Every kernel on the device against its twin, for ragged shapes and two members.
mod kernels;

/// Data sets: digits, ranges, noisy labels.
mod data;

/// Devices: which are found, what is said when none is, what happens when one is lost.
mod device;

/// The command line: what it prints, what it writes, how it ends.
#[cfg(feature = "cli")]
mod cli;
