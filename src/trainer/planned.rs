//! The plans of a training: its steps, and its evaluations.

use super::data::sources;
use super::schedule::{Evaluation, What};
use super::{Data, TrainOptions};
use crate::kernels::Constants;
use crate::model::{check_data, evaluation, evaluation_batch};
use crate::network::Network;
use crate::plan::{Caps, Gradient, Mode, Options, Plans};
use crate::{Error, Result};

/// The plans for so many networks of the shape of this one. The first is that of the steps which update the weights; with gradient
/// accumulation the second is that of the steps before.
pub(super) fn planned(
    caps: Caps,
    network: &Network,
    members: u32,
    data: Data<'_>,
    options: &TrainOptions,
) -> Result<(Plans, Vec<Evaluation>)> {
    network.shapes()?; // before the data, which are looked at as the network takes them
    check_data(network, data.train)?;
    data.valid.map_or(Ok(()), |valid| check_data(network, valid))?;
    let (plans, evaluations) = plans(caps.clone(), network, (members, members > 1), data, options)?;
    if members > 1 {
        // Where a texture for all is too wide, for instance, another family multiplies, and adds up in another order.
        let (alone, _) = self::plans(caps, network, (1, true), data, options)?;
        if kernels(&plans) != kernels(&alone) {
            let problem =
                "so many networks run on other kernels than one alone, which round otherwise; train fewer together".into();
            return Err(Error::Option { option: "members", value: members.to_string(), problem });
        }
    }
    Ok((plans, evaluations))
}

fn plans(
    caps: Caps,
    network: &Network,
    (members, variable_rates): (u32, bool),
    data: Data<'_>,
    options: &TrainOptions,
) -> Result<(Plans, Vec<Evaluation>)> {
    let mut plans = Plans::new(caps);
    let train_rows = data.train.rows();
    let [train_source, valid_source] = sources(&plans.caps, network, data, options)?;
    let plan = |gradient| Options {
        name: "train".into(),
        mode: Mode::Train(options.training(gradient)),
        batch: options.batch.min(train_rows),
        members,
        source: train_source.clone(),
        variable_rates,
        store_output: false,
        store_gradient: false,
    };
    if options.accumulate == 1 {
        plans.add(network, plan(Gradient::Step))?;
    } else {
        // They share every buffer; the first makes the update, the second goes before it.
        plans.add(network, plan(Gradient::Accumulated))?;
        plans.add(network, plan(Gradient::Accumulate))?;
    }
    let mut evaluations = Vec::new();
    if options.evaluate_train {
        let options = Options { members, ..evaluation(network, "eval-train", train_source.clone(), false)? };
        let (plan, batch) = (plans.add(network, options)?, evaluation_batch(network, train_rows)?);
        evaluations.push(Evaluation { plan, rows: train_rows, batch, what: What::Train });
    }
    if let Some(valid) = data.valid {
        let options = Options { members, ..evaluation(network, "eval-valid", valid_source, false)? };
        let (batch, rows) = (options.batch, valid.rows());
        evaluations.push(Evaluation { plan: plans.add(network, options)?, rows, batch, what: What::Valid });
    }
    Ok((plans, evaluations))
}

/// What every dispatch runs.
fn kernels(plans: &Plans) -> Vec<(&'static str, Constants)> {
    plans.plans.iter().flat_map(|plan| &plan.kernels).map(|kernel| (kernel.entry().name, kernel.constants())).collect()
}
