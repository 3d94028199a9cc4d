//! Every kernel of a plan in place: on the device and through its twin, from the same words.

use thinnet::compare::{take_over, whole};
use thinnet::cpu;
use thinnet::data::Dataset;
use thinnet::executor::Executor;
use thinnet::kernels::matmul::Matmul;
use thinnet::memory::BufferId;
use thinnet::network::Network;
use thinnet::plan::{Caps, Gradient, Training, Update};
use thinnet::work::Work;
use thinnet::{Augmentation, Optimizer};

use super::networks::{ADAM, Case, SGD, members, mixed, networks};
use crate::common::{POISON, compare_kernel, device};
use crate::drive::{self, Member, TRAIN};

/// What is run: one training and the batches of its updates.
#[derive(Debug, Clone)]
struct Run {
    network: Network,
    members: Vec<Member>,
    data: Dataset,
    training: Training,
    /// Steps of an update.
    steps: u32,
    caps: Caps,
}

impl Run {
    fn new(network: &Network, members: Vec<Member>, data: Dataset) -> Self {
        let training = members[0].optimizer.update().into();
        Self { network: network.clone(), members, data, training, steps: 1, caps: device().caps() }
    }

    /// Compares after every kernel of three epochs of training, each followed by an evaluation. Returns the kernels compared.
    fn compare_every_kernel(&self) -> usize {
        let Self { network, members, data, training, steps, .. } = self;
        let (rows, batch) = (data.rows(), 7); // the last of three batches has 3 rows
        let plans = || drive::plans(self.caps.clone(), network, data, batch, *training, members.len() as u32);
        let twin = cpu::Executor::new(plans());
        let memory = twin.memory();
        let train = &twin.plans().plans[TRAIN];
        // What a kernel has to write before another reads it starts poisoned; the rest starts at 0 and is part of the program.
        let written_first = ["batch.", "activation.", "preactivation.", "gradient.", "gradient sums"];
        for (i, buffer) in twin.plans().buffers.iter().enumerate() {
            if written_first.iter().any(|start| buffer.name.starts_with(start)) {
                memory.buffer_mut(BufferId(i)).fill(POISON);
            }
        }
        for parameter in network.parameters().unwrap() {
            let (tensor, columns) =
                (train.tensor(&format!("{}.grad", parameter.name)), *parameter.shape.last().unwrap() as usize);
            let row = tensor.len as usize / (parameter.len() / columns);
            for m in 0..members.len() {
                // What is past the last quad of a row is never written; it is 0 for ever.
                memory.u32_mut(tensor, m).chunks_mut(row).for_each(|row| row[..columns.next_multiple_of(4)].fill(POISON));
            }
        }
        drive::fill(train, data, members, |tensor, member, words| {
            memory.u32_mut(tensor, member as usize)[..words.len()].copy_from_slice(words);
        });
        let mut executor = Executor::new(device(), plans()).unwrap();
        for i in 0..twin.plans().buffers.len() {
            executor.write(whole(twin.plans(), BufferId(i)), 0, &memory.buffer(BufferId(i))).unwrap();
        }
        let mut compared = 0;
        for epoch in 0..3 {
            let evaluation = drive::evaluation(members, rows, batch);
            let training = drive::accumulating(members, rows, (batch, *steps), epoch..epoch + 1);
            for Work { plan, step } in training.iter().chain(&evaluation) {
                for kernel in 0..twin.plans().plans[*plan].kernels.len() {
                    take_over(&compare_kernel(&mut executor, &twin, (*plan, kernel), step), &twin);
                    compared += 1;
                }
            }
        }
        compared
    }
}

/// Seventeen rows of random numbers with five labels, or of random bytes.
fn labelled(bytes: bool) -> Dataset {
    let make = if bytes { drive::random_bytes } else { drive::random_data };
    make(17, 13, 5, 3)
}

#[test]
fn every_kernel_of_a_step_agrees_with_its_twin() {
    for (i, network) in networks().iter().enumerate() {
        let optimizer = [ADAM, SGD, ADAM][i];
        let compared = Run::new(network, members(network, 1, optimizer), labelled(i == 1)).compare_every_kernel();
        assert!(compared > 9 * 20, "{compared} kernels were compared");
    }
}

#[test]
fn every_kernel_of_a_step_of_two_members_agrees_with_its_twin() {
    for (i, network) in networks().iter().enumerate() {
        let optimizer = [SGD, ADAM, SGD][i];
        let compared = Run::new(network, members(network, 2, optimizer), labelled(i != 1)).compare_every_kernel();
        assert!(compared > 9 * 20, "{compared} kernels were compared");
    }
}

const RMSPROP: [Optimizer; 2] = [
    Optimizer::RmsProp { lr: 0.01, alpha: 0.9, epsilon: 1e-6, momentum: 0.5 },
    Optimizer::RmsProp { lr: 0.02, alpha: 0.99, epsilon: 1e-4, momentum: 0.0 },
];
const ADAMW: [Optimizer; 2] = [
    Optimizer::AdamW { lr: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
    Optimizer::AdamW { lr: 0.03, beta1: 0.8, beta2: 0.99, epsilon: 1e-6 },
];
const NESTEROV: [Optimizer; 2] =
    [Optimizer::Sgd { lr: 0.1, momentum: 0.9, nesterov: true }, Optimizer::Sgd { lr: 0.03, momentum: 0.5, nesterov: true }];

/// Everything that a training plan may have, over networks of every loss.
fn everything(case: &Case, count: u64, optimizer: [Optimizer; 2], gradient: Gradient) -> Run {
    let (network, soft) = case;
    // Two members bound differently, and one of them one of the norms not at all.
    let norms = if count == 1 { vec![(0.1, 0.9)] } else { vec![(f64::INFINITY, 0.7), (0.05, f64::INFINITY)] };
    let members = members(network, count, optimizer).into_iter().zip(norms).map(|(m, (clip, max))| m.norms(clip, max)).collect();
    let training =
        Training { clip_norm: true, max_norm: true, gradient, augment: Augmentation::default(), update: optimizer[0].update() };
    let steps = if gradient == Gradient::Accumulated { 2 } else { 1 };
    Run { training, steps, ..Run::new(network, members, drive::data_for(network, 17, *soft, 5)) }
}

#[test]
fn every_kernel_of_a_plan_with_everything_agrees_with_its_twin() {
    for (case, optimizer) in mixed().iter().zip([RMSPROP, ADAMW, NESTEROV, RMSPROP, ADAM]) {
        let compared = everything(case, 1, optimizer, Gradient::Accumulated).compare_every_kernel();
        assert!(compared > 9 * 20, "{compared} kernels were compared");
    }
}

#[test]
fn every_kernel_of_a_plan_with_everything_of_two_members_agrees_with_its_twin() {
    for (case, optimizer) in mixed().iter().zip([ADAM, NESTEROV, RMSPROP, ADAMW, SGD]) {
        let compared = everything(case, 2, optimizer, Gradient::Accumulated).compare_every_kernel();
        assert!(compared > 9 * 20, "{compared} kernels were compared");
    }
}

#[test]
fn every_kernel_of_a_step_that_bounds_norms_agrees_with_its_twin() {
    for (case, optimizer) in mixed().iter().zip([SGD, RMSPROP, ADAM, NESTEROV, ADAMW]) {
        let compared = everything(case, 2, optimizer, Gradient::Step).compare_every_kernel();
        assert!(compared > 9 * 20, "{compared} kernels were compared");
    }
}

/// Weights that exceed a binding are trained in parts.
#[test]
fn every_kernel_over_weights_in_parts_agrees_with_its_twin() {
    for members in [1, 2] {
        let mut run = everything(&mixed()[2], members, RMSPROP, Gradient::Accumulated);
        run.caps.matmul = Matmul::Plain;
        let plans = drive::plans(run.caps.clone(), &run.network, &run.data, 7, Update::Adam, members as u32);
        let kernels = plans.plans[TRAIN].kernels.iter().filter(|kernel| kernel.entry().name == "dense_backward_weight");
        let layer = kernels.map(|kernel| kernel.tensors()[2].len).max().unwrap();
        // Room for all members but the last and the largest layer of the last.
        let whole = plans.plans[TRAIN].tensor("weights");
        assert!(layer < whole.len);
        run.caps.max_binding = 4 * u64::from(whole.stride * (members as u32 - 1) + layer.max(whole.len / 2));
        assert!(run.compare_every_kernel() > 9 * 20);
    }
}
