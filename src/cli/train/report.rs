//! What `thinnet train` says and draws of a training.

use std::fmt::Write as _;
use std::io::Write;

use thinnet::config::Config;
use thinnet::data::Sets;
use thinnet::{Device, Epoch, LearnedRate, Metrics, Network};

use super::left::after;
use super::run::Run;
use crate::cli::Failure;
use crate::cli::output::CHECKPOINT;
use crate::cli::plot::{self, BLUE, Curve, ORANGE, Picture};

/// What is about to be trained, on what.
pub(super) fn introduce(
    out: &mut impl Write,
    config: &Config,
    network: &Network,
    sets: &Sets,
    device: &Device,
) -> Result<(), Failure> {
    let rows = |data: &Option<thinnet::Dataset>| data.as_ref().map_or(0, |data| data.rows());
    let (valid, test) = (rows(&sets.valid), rows(&sets.test));
    writeln!(
        out,
        "{} rows to learn from, {valid} to validate, {test} to test; {} epochs of {} in batches of {}, seed {}, on {}, matrix products: {}.",
        sets.train.rows(),
        config.train.epochs,
        thinnet::checkpoint::sequential(network)?,
        config.train.batch,
        config.seed,
        device.caps().adapter,
        device.caps().matmul
    )?;
    if let Some(lengths) = sets.train.inputs().lengths() {
        writeln!(out, "{}", crate::cli::data::sequences(lengths, sets.train.inputs().features()))?;
    }
    if device.gpu().is_none() {
        writeln!(out, "The adapter `cpu` is thinnet's own CPU code, made for checking: slow.")?;
    }
    Ok(())
}

/// What concrete dropout has learned, and whether a rate has run to an end.
pub(super) fn learned(out: &mut impl Write, rates: &[LearnedRate]) -> Result<(), Failure> {
    for LearnedRate { place, drop_prob, collapsed, .. } in rates {
        let note = match (collapsed, *drop_prob < 0.5) {
            (false, _) => "",
            (true, true) => ": it has collapsed, for the data leave no room for dropout, or weight_regularizer is too small",
            (true, false) => ": it has collapsed, for weight_regularizer is too large, or dropout_regularizer too small",
        };
        writeln!(out, "{place} has learned to drop {drop_prob:.5}{note}.")?;
    }
    Ok(())
}

/// One line an epoch, counted from 1; a figure that does not exist is empty.
pub(super) fn history_csv(history: &[Epoch]) -> String {
    let mut csv = String::from("epoch,train_loss,train_accuracy,valid_loss,valid_accuracy\n");
    for epoch in history {
        let [train, valid] = [Some(epoch.running), epoch.valid].map(|metrics| {
            // The shortest number that is exactly this one.
            let loss = metrics.map_or(String::new(), |m| m.loss.to_string());
            let accuracy = metrics.and_then(|m| m.accuracy).map_or(String::new(), |a| a.to_string());
            format!("{loss},{accuracy}")
        });
        writeln!(csv, "{},{train},{valid}", epoch.epoch + 1).expect("a String takes everything");
    }
    csv
}

/// Accuracy over epochs, or the loss where no row is right or wrong.
pub(super) fn curves(name: &str, history: &[Epoch]) -> Result<String, Failure> {
    let accuracies = history.iter().all(|e| e.running.accuracy.is_some());
    let figure = |metrics: Option<Metrics>| match (metrics, accuracies) {
        (Some(m), true) => 100.0 * m.accuracy.unwrap_or(f64::NAN),
        (Some(m), false) => m.loss,
        (None, _) => f64::NAN,
    };
    let line = |name: &str, color, values: Vec<f64>| Curve {
        name: name.into(),
        color,
        dashed: color == ORANGE,
        points: plot::by_epoch(values),
        band: Vec::new(),
    };
    let mut curves = vec![line("training, dropout on", ORANGE, history.iter().map(|e| figure(Some(e.running))).collect())];
    if history.iter().any(|e| e.train.is_some()) {
        curves.push(line("training, dropout off", plot::ordered(1, 3), history.iter().map(|e| figure(e.train)).collect()));
    }
    if history.iter().any(|e| e.valid.is_some()) {
        curves.push(line("validation", BLUE, history.iter().map(|e| figure(e.valid)).collect()));
    }
    let y = if accuracies { "accuracy, %" } else { "loss" };
    plot::training(Picture { title: name, x: "epoch", y, curves }, history)
}

/// Training and validation figures of an epoch; NaN where there is no validation.
fn figures(epoch: &Epoch) -> [Metrics; 2] {
    [epoch.running, epoch.valid.unwrap_or(Metrics { loss: f64::NAN, accuracy: None })]
}

/// A line for each epoch, for the training as a whole, for each rate that concrete dropout has learned, and for the test, which `eval`
/// repeats; `what` says which.
pub(super) fn report_json(
    out: &mut impl Write,
    run: &Run,
    rates: &[LearnedRate],
    test: Option<(Metrics, u32)>,
) -> Result<(), Failure> {
    for epoch in run.trainer.history() {
        let [train, valid] = figures(epoch);
        let row = serde_json::json!({
            "what": "epoch", "epoch": epoch.epoch + 1, "train_loss": train.loss, "train_accuracy": train.accuracy,
            "valid_loss": epoch.valid.map(|valid| valid.loss), "valid_accuracy": valid.accuracy,
        });
        writeln!(out, "{row}")?;
    }
    // Without early stopping none is the best, and the last weights are kept.
    let best = run.best().map(|best| best + 1);
    writeln!(out, "{}", serde_json::json!({ "what": "training", "best": best, "diverged": run.diverged }))?;
    for LearnedRate { place, drop_prob, collapsed, .. } in rates {
        let row = serde_json::json!({ "what": "learned_rate", "place": place, "drop_prob": drop_prob, "collapsed": collapsed });
        writeln!(out, "{row}")?;
    }
    if let Some((test, rows)) = test {
        let row = serde_json::json!({ "what": "evaluation", "loss": test.loss, "accuracy": test.accuracy, "rows": rows });
        writeln!(out, "{row}")?;
    }
    Ok(())
}

pub(super) fn report(out: &mut impl Write, run: &Run, test: Option<(Metrics, u32)>) -> Result<(), Failure> {
    let (history, best, place) = (run.trainer.history(), run.best(), run.place.display());
    writeln!(
        out,
        "\n{:>5} {:>11} {:>10} {:>11} {:>10} {:>9}",
        "epoch", "train loss", "accuracy", "valid loss", "accuracy", "seconds"
    )?;
    let percent = |accuracy: Option<f64>| accuracy.map_or("-".into(), |a| format!("{:.2} %", 100.0 * a));
    let shown = |i: usize| i < 3 || i + 5 > history.len() || Some(history[i].epoch) == best;
    for (i, epoch) in history.iter().enumerate() {
        if !shown(i) {
            if shown(i - 1) {
                writeln!(out, "{:>5}", "...")?;
            }
            continue;
        }
        let [train, valid] = figures(epoch);
        let loss = epoch.valid.map_or("-".into(), |valid| format!("{:.4}", valid.loss));
        let mark = if Some(epoch.epoch) == best { "  best, kept" } else { "" };
        writeln!(
            out,
            "{:>5} {:>11.4} {:>10} {loss:>11} {:>10} {:>9.1}{mark}",
            epoch.epoch + 1,
            train.loss,
            percent(train.accuracy),
            percent(valid.accuracy),
            epoch.seconds
        )?;
    }
    if let Some((test, rows)) = test {
        let accuracy = test.accuracy.map_or(String::new(), |a| format!(", accuracy {:.2} %", 100.0 * a));
        writeln!(out, "\nOn the {rows} test rows: loss {:.4}{accuracy}.", test.loss)?;
    }
    if run.diverged {
        let checkpoint = match run.held.get().checkpoint {
            Some(epochs) => format!("{CHECKPOINT} was written before that ({})", after(epochs)),
            None => "there is no checkpoint to go on from".into(),
        };
        writeln!(
            out,
            "\nThe training diverged, and ended with its best epoch before; {checkpoint}. A smaller learning rate may go farther."
        )?;
    }
    writeln!(out, "\nWritten to {place}: {}. Next: thinnet eval {place}, thinnet predict {place}", run.files().join(", "))?;
    Ok(())
}
