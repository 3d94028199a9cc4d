//! The only test binary: one link of wgpu, one shared device. One sentence per module.

/// The harness and the tests of the harness.
mod common;

/// A training step with a bound on the error of every number: where the tolerances come from.
mod balls;

/// Plans driven by hand, with any number of members.
mod drive;

/// Every kernel on the device against its twin, for ragged shapes and two members.
mod kernels;

/// Data sets: digits, ranges, noisy labels.
mod data;

/// The wiring of a plan: every kernel in place, whole gradients against the reference.
mod gradients;

/// Evaluation without masks, and what a plan leaves out.
mod evaluation;

/// The training loop: what changes no bit, and what it costs.
mod training;

/// Training against a training loop on the reference, and what dropout is for.
mod learning;

/// What training refuses, and what it says.
mod refusals;

/// Models as files.
mod checkpoint;

/// Networks as plain data: shapes, sites, parameters, initial weights, JSON.
mod network;
