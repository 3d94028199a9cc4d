//! One [`Error`] for the crate; every message names the value, the place and the remedy.

/// What went wrong, with the values that caused it and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A keep_prob (or drop probability) that is not a probability.
    #[error("{option} {value} is not usable: {reason}")]
    KeepProb {
        /// `keep_prob` or `drop_prob`, whichever was given.
        option: &'static str,
        /// The value as given.
        value: f64,
        /// Why it cannot be used and what can.
        reason: &'static str,
    },
    /// A network whose layers do not fit together.
    #[error("{place}: {problem}")]
    Network {
        /// The layer, as `layer 2 (dense)`, or `network`.
        place: String,
        /// What does not fit, with both values.
        problem: String,
    },
    /// An option of training or evaluation that cannot be used.
    #[error("option `{option}` = {value}: {problem}")]
    Option {
        /// The option's name in the API.
        option: &'static str,
        /// The value as given.
        value: String,
        /// Why it cannot be used and what can.
        problem: String,
    },
    /// Data that do not fit the network or themselves.
    #[error("data: {0}")]
    Data(String),
    /// A file that could not be read or written, or whose content is not what it should be.
    #[error("{path}: {problem}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No adapter could be opened.
    #[error("{0}")]
    NoAdapter(String),
    /// The device cannot hold or run what was asked.
    #[error("{what} needs {needed}, but the device allows {available}; {remedy}")]
    Limit {
        /// What is too large.
        what: String,
        /// What it needs.
        needed: u64,
        /// What the device allows.
        available: u64,
        /// What to do.
        remedy: &'static str,
    },
    /// The device ran out of memory; it can still be used.
    #[error("out of device memory while creating {what} ({bytes} bytes); use a smaller batch or network, or another adapter")]
    OutOfMemory {
        /// The label of the allocation.
        what: String,
        /// Its size.
        bytes: u64,
    },
    /// The device was lost (driver reset, unplugged, destroyed); everything on it is gone.
    #[error("the device was lost ({0}); open it again and go on from the last checkpoint")]
    DeviceLost(String),
    /// wgpu refused a call. This is a defect of thinnet or of the driver, or a caller's buffer without the usages that are needed.
    #[error("wgpu refused {place}: {message}")]
    Gpu {
        /// What was being done.
        place: String,
        /// wgpu's own message.
        message: String,
    },
    /// The loss stopped being a finite number.
    #[error(
        "the loss is {loss} in epoch {} (the first is 1): training diverged; use a smaller learning rate, or look for NaN and very large values in the data",
        epoch + 1
    )]
    Diverged {
        /// The epoch, counted from 0.
        epoch: u32,
        /// The mean loss of that epoch.
        loss: f32,
    },
}

/// A `Result` with the crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
