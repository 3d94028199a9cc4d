//! How many steps share a submission, by time. The choice changes no result.

use std::time::{Duration, Instant};

/// Chooses how many steps a submission has, so that it takes about [`TARGET`]: long enough that the host costs nothing,
/// short enough for Ctrl-C and for drivers that reset a device after two seconds.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// The most steps of a submission.
    most: usize,
    /// Submissions completed; the first compiles the kernels too, so it takes longer than its step.
    completed: u64,
    /// Seconds of one step, from the last submission.
    step: f64,
    last: usize,
    last_completed: Option<Instant>,
}

/// Seconds of a submission. At 0.1 a hundred steps of the demo with its evaluations took up to eight submissions, at 0.2 five
/// at most; where evaluation steps are slower than the steps that were timed, it stays below half a second.
const TARGET: f64 = 0.2;

impl Pacer {
    /// For submissions of at most so many steps, see [`crate::plan::Plans::max_steps`].
    pub(crate) fn new(most: usize) -> Self {
        Self { most, completed: 0, step: 0.0, last: 0, last_completed: None }
    }

    /// How many submissions may be under way: one until a step has been timed, then two, which keep the device busy.
    pub(crate) fn room(&self) -> usize {
        if self.completed < 2 { 1 } else { 2 }
    }

    /// Steps of the next submission.
    pub(crate) fn next(&self) -> usize {
        if self.completed == 0 {
            return 1;
        }
        // One slow measurement is made good soon, one fast measurement is not trusted too far.
        ((TARGET / self.step) as usize).clamp(1, (64 * self.last).min(self.most))
    }

    /// Notes that the oldest submission, of `work` steps, is done.
    pub(crate) fn completed(&mut self, work: usize, submitted: Instant) {
        let now = Instant::now();
        let began = self.last_completed.map_or(submitted, |last| last.max(submitted));
        let seconds = now.saturating_duration_since(began).max(Duration::from_micros(1)).as_secs_f64();
        self.note(seconds, work);
        self.last_completed = Some(now);
    }

    fn note(&mut self, seconds: f64, work: usize) {
        (self.step, self.last) = (seconds / work as f64, work);
        self.completed += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::MAX_STEPS;

    /// The sizes of the submissions of steps that take `step` seconds each, the first of them `compile` seconds longer.
    fn sizes(compile: f64, step: f64, submissions: usize) -> Vec<usize> {
        let mut pacer = Pacer::new(MAX_STEPS);
        let sizes = (0..submissions).map(|i| {
            let work = pacer.next();
            pacer.note(step * work as f64 + if i == 0 { compile } else { 0.0 }, work);
            work
        });
        sizes.collect()
    }

    #[test]
    fn slow_steps_are_submitted_one_by_one_and_fast_ones_by_the_fifth_of_a_second() {
        assert_eq!(sizes(2.0, 0.25, 6), [1; 6]);
        assert_eq!(sizes(2.0, 0.03, 5), [1, 1, 6, 6, 6]);
        assert_eq!(sizes(2.0, 0.001, 5), [1, 1, 64, 200, 200]);
        assert_eq!(sizes(0.03, 0.001, 4), [1, 6, 200, 200]);
        assert_eq!(sizes(0.0, 1e-6, 4), [1, 64, MAX_STEPS, MAX_STEPS]);
        let mut few = Pacer::new(34);
        few.note(1e-6, 1);
        assert_eq!(few.next(), 34);
    }

    #[test]
    fn a_hundred_steps_of_a_millisecond_take_five_submissions_at_most() {
        assert!(sizes(2.0, 0.001, 5).iter().sum::<usize>() >= 100);
    }
}
