//! The only test binary: one link of wgpu, one shared device. One sentence per module.

// What the tests are made of.

/// The harness and the tests of the harness.
mod common;

/// A training step with a bound on the error of every number: where the tolerances come from.
mod balls;

/// Plans driven by hand, with any number of members.
mod drive;

/// A host program with a device of its own, and the mask contract unit by unit.
mod host;

// Kernels and random numbers.

/// The shaders against their declarations, translated for every backend, without a GPU.
mod shaders;

/// The generator of the mask contract: known answers, masks, shuffles, moments.
mod philox;

/// Every kernel on the device against its twin, for ragged shapes and two members.
mod kernels;

/// Dropout bit for bit: the mask contract, what a mask depends on, the rates.
mod dropout;

/// Masks as random variables: rate, mean, independence, each test with its false-alarm rate and its power.
mod mask_statistics;

/// Masks of feature maps: every unit and DropBlock against the contract unit by unit, and as random variables.
mod maps;

/// Dropout of sequences, weights and noise, read off the device and as random variables.
mod variants;

/// The order of the rows: known orders, permutations, statistics.
mod shuffle;

// Whole networks.

/// Networks as plain data: shapes, sites, parameters, initial weights, JSON.
mod network;

/// Masks of any framework: what is wrong with them is named.
#[cfg(feature = "audit")]
mod audit;

/// Which units were off, from the coordinates alone.
mod explain;

/// What `thinnet check` runs on a user's adapter.
mod check;

/// The wiring of a plan: every kernel in place, whole gradients against the reference.
mod gradients;

/// Every layer and every dropout variant: the reference against finite differences, the device against the reference.
mod gradient_check;

/// Which kernels a plan has, in which order and over which buffers.
mod wiring;

/// Evaluation without masks, and what a plan leaves out.
mod evaluation;

/// The training loop: what changes no bit, and what it costs.
mod training;

/// What kernels read from textures is up to date.
mod textures;

/// Training against a training loop on the reference, and what dropout is for.
mod learning;

/// Small networks of a sweep that are trained in the same dispatches.
mod together;

/// Rates that move during a training: every step's, going on, and that a new rate costs nothing.
mod schedules;

/// Training that stops and goes on.
mod going_on;

/// Checkpoints: going on in another process, bit for bit, and what is refused.
mod resume;

/// Data sets that are streamed instead of resident.
mod streaming;

/// Augmented rows against the reference, wherever a row stands; their statistics; what cannot be augmented.
mod augmentation;

/// Accumulated gradients, rates that change, early stopping.
mod control;

/// Vanilla dropout, its exact mean, and what saving makes of it.
mod vanilla;

/// Per-batch unit dropout: its sets and their statistics, and where the mode shows.
mod units;

/// Monte-Carlo draws: exact averages, replays, what the statistics are worth, what they cost.
mod monte_carlo;

/// Optimizers, schedules, activations and losses against PyTorch.
mod pytorch;

/// The time of every kernel: what is listed, that it adds up, and that it changes no training.
mod profile;

/// What training refuses, and what it says.
mod refusals;

/// Loops that an adapter would end early.
mod long_loops;

// What a user touches.

/// Figures of certainty: against sums by hand, brute force and grids.
mod calibration;

/// Data sets: digits, ranges, noisy labels.
mod data;

/// Data sets from files: every format, how rows are shared out, what is done to values, what is refused.
#[cfg(feature = "files")]
mod data_files;

/// Models as files.
mod checkpoint;

/// Single operations on the device, the buffers and the encoder of a host program.
mod ops;

/// Residual blocks whose branch is computed for some samples alone.
mod paths;

/// Devices: which are found, what is said when none is, what happens when one is lost.
mod device;

/// A network and its training as one TOML file: defaults, round trips, what is refused and in which words.
#[cfg(feature = "files")]
mod config;

/// The command line: what it prints, what it writes, how it ends.
#[cfg(feature = "cli")]
mod cli;

/// Training, evaluation, prediction and sweeps from the command line: what is written, and that it is the same again.
#[cfg(feature = "cli")]
mod runs;

/// Bad input on the command line: one message with file, place and remedy, and nothing written.
#[cfg(feature = "cli")]
mod bad_input;

/// The checks before a long training: six planted mistakes, each caught by its own check, and no false alarms.
#[cfg(feature = "cli")]
mod preflight;
