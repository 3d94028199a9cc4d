//! What changes with time against the time there is: schedules that end too early, or never.

use super::Check;
use crate::network::{Layer, Network};
use crate::trainer::TrainOptions;

/// Whether what changes during a training of so many epochs over so many rows comes to its end, and not long before: warm-up, the
/// schedule of the learning rate, the ramp of the momentum, and the rates of dropout that move. Nothing runs for it.
///
/// ```
/// use thinnet::{LrSchedule, Network, TrainOptions, preflight::schedules};
/// let options = TrainOptions { schedule: LrSchedule::Cosine { epochs: 3.0, floor: 0.0 }, ..Default::default() };
/// assert!(!schedules(&Network::new(8), &options, 3, 100).failed());
/// assert!(schedules(&Network::new(8), &options, 6, 100).found.contains("0 from epoch 4 on"));
/// ```
pub fn schedules(network: &Network, options: &TrainOptions, epochs: u32, rows: u32) -> Check {
    let end = options.first_epoch.saturating_add(epochs);
    let updates = u64::from(rows.div_ceil(options.batch.saturating_mul(options.accumulate).max(1))) * u64::from(end);
    let wrong: Vec<(String, String)> = [warmup(options, end), learning_rate(options, end), momentum(options, end)]
        .into_iter()
        .flatten()
        .chain(rates(network, updates))
        .collect();
    let found = wrong.iter().map(|(found, _)| found.as_str()).collect::<Vec<_>>().join("; ");
    let found = if wrong.is_empty() { format!("what changes with time fits into {epochs} epochs") } else { found };
    Check::new("schedules", found, !wrong.is_empty(), wrong.into_iter().next().map_or_else(String::new, |(_, advice)| advice))
}

fn warmup(options: &TrainOptions, end: u32) -> Option<(String, String)> {
    let share = f64::from(end) / options.warmup;
    (share < 1.0).then(|| {
        (
            format!(
                "the warm-up of {} epochs outlasts the training, in which the learning rate comes to {:.1} % of what is set",
                options.warmup,
                100.0 * share
            ),
            format!("let the warm-up be shorter than the {end} epochs of the training, mostly a tenth of it or less"),
        )
    })
}

/// The first epoch that nothing is learned in. Factors never grow with time.
fn learning_rate(options: &TrainOptions, end: u32) -> Option<(String, String)> {
    let nothing = |epoch: u32| (options.schedule.factor(f64::from(epoch)) * options.optimizer.lr()) as f32 == 0.0;
    if end == 0 || !nothing(end - 1) {
        return None;
    }
    let (mut learns, mut zero) = (0, end - 1);
    while learns < zero {
        let middle = learns + (zero - learns) / 2;
        if nothing(middle) { zero = middle } else { learns = middle + 1 }
    }
    Some((
        format!("the schedule's learning rate is 0 from epoch {} on", zero + 1),
        format!("nothing is learned from there on: let the schedule reach to epoch {end}, or to a floor above 0"),
    ))
}

fn momentum(options: &TrainOptions, end: u32) -> Option<(String, String)> {
    let (ramp, mut optimizer) = (options.momentum_ramp?, options.optimizer);
    let most = *optimizer.momentum_mut()?;
    (ramp.epochs > f64::from(end)).then(|| {
        let last = ramp.momentum(most, f64::from(end));
        (
            format!(
                "the momentum's ramp of {} epochs outlasts the training, in which it comes to {last:.3} of {most}",
                ramp.epochs
            ),
            format!("let the ramp take at most the {end} epochs of the training"),
        )
    })
}

/// The rates of dropout that do not come to where they go.
fn rates(network: &Network, updates: u64) -> Vec<(String, String)> {
    let places = network.places();
    let late = |(number, layer): (usize, &Layer)| {
        let Layer::Dropout(dropout) = layer else { return None };
        let schedule = dropout.schedule.filter(|schedule| u64::from(schedule.over) > updates)?;
        let last = schedule.at(dropout.keep, updates.saturating_sub(1) as u32).get();
        let found = format!(
            "{}: keep_prob comes to {} in {} optimizer steps, and to {last:.3} in the {updates} of the training",
            places[number],
            dropout.keep.get(),
            schedule.over
        );
        Some((found, format!("let the rate of {} move in at most {updates} optimizer steps", places[number])))
    };
    network.walk().into_iter().enumerate().filter_map(late).collect()
}
