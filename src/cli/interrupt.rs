//! Ctrl-C, and requests to terminate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::{Failure, INTERRUPTED};

/// Whether the user wants the training to end: Ctrl-C or a request to terminate sets this flag, too; a second one ends the program.
pub(super) fn interruptible(flag: Arc<AtomicBool>) -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let seen = interrupted.clone();
    let handler = move || {
        if seen.swap(true, SeqCst) {
            std::process::exit(INTERRUPTED.into());
        }
        flag.store(true, SeqCst);
    };
    ctrlc::set_handler(handler).map_err(|error| Failure::Other(format!("Ctrl-C cannot be heard: {error}")))?;
    Ok(interrupted)
}
