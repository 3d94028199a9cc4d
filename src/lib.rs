#![doc = include_str!("../README.md")]
//!
//! # Modules in reading order

// The mission in one line each: data, what is done with it, where it runs, what checks it.
pub mod network;
pub mod rng;

pub mod mask_rule;
pub mod plan;
pub mod step;

pub mod idle;
pub mod kernels;
pub mod memory;

pub mod cpu;
pub mod executor;
pub mod gpu;
pub mod work;

pub mod calibration;
pub mod model;
pub mod monte_carlo;
pub mod optimizer;
pub mod preflight;
pub mod profile;
pub mod sweep;
pub mod trainer;

pub mod checkpoint;
#[cfg(feature = "files")]
pub mod config;
pub mod data;
pub mod explain;
pub mod masks;
pub mod ops;

#[cfg(feature = "audit")]
pub mod audit;
pub mod check;
pub mod compare;
pub mod gradient_check;
pub mod reference;

mod error;
mod pacer;
mod stream;

pub use checkpoint::Checkpoint;
#[cfg(feature = "files")]
pub use config::{Config, NetworkOptions, TrainTable};
pub use data::{Augmentation, Dataset, Inputs, Preprocessing, Targets};
pub use error::{Error, Result};
pub use executor::Device;
pub use model::{LearnedRate, Metrics, Model, Outputs, Predictor};
pub use monte_carlo::{MonteCarlo, Predictive, Sampling};
pub use network::{
    Activation, Cell, Conv2d, Dense, Dropout, DropoutMode, Embedding, Init, KeepProb, Layer, Loss, Network, Noise,
};
pub use network::{Recurrent, Residual, Schedule, Shape, Unit};
pub use optimizer::{LrSchedule, MomentumRamp, Optimizer};
pub use trainer::{Best, Data, EarlyStopping, Epoch, Progress, TrainOptions, Trainer};
pub use wgpu;
