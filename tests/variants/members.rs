//! Two networks in one plan, each with weights, rates and a seed of its own, are two plans of one, bit for bit.

use thinnet::executor::Executor;
use thinnet::network::{Concrete, Recurrent};
use thinnet::step::{MemberStep, Step};
use thinnet::work::Work;
use thinnet::{Activation, Dataset, Dense, Dropout, Embedding, Inputs, Layer, Model, Network, Noise, Optimizer, rng};

use crate::common::{device, numbers, words};
use crate::drive::{self, Member, TRAIN};

const ROWS: u32 = 11;
const BATCH: u32 = 4;

fn networks() -> Vec<Network> {
    let keep = Dropout::keep(0.6).unwrap();
    let masks = |layer: Recurrent, mask: Dropout| layer.input(mask).recurrent(mask).output(mask);
    let variational = keep.variational();
    let over = |layer: Recurrent| Network::new([5, 4]).recurrent(layer).layer(Layer::Flatten).dense(Dense::new(3));
    let tanh = || Dense::new(9).activation(Activation::Tanh);
    let dense = |dropout: Dropout| Network::new(20).dense(tanh()).dropout(dropout).dense(Dense::new(3));
    let concrete = Concrete { temperature: 0.1, weight_regularizer: 1e-3, dropout_regularizer: 1e-3 };
    vec![
        over(masks(Recurrent::lstm(8).bidirectional(), variational)),
        over(masks(Recurrent::gru(4).layers(2), keep)),
        over(masks(Recurrent::rnn(4).sequence().bidirectional(), variational.batch())),
        over(Recurrent::lstm(4).untied().recurrent(variational).truncate(2)),
        Network::new(5).embedding(Embedding::new(6, 4).dropout(keep)).recurrent(Recurrent::gru(4)).dense(Dense::new(3)),
        dense(keep.noise(Noise::Gaussian)),
        dense(keep.noise(Noise::Alpha)),
        dense(keep.noise(Noise::Concrete(concrete))),
        dense(Dropout::drop_connect(0.6).unwrap()),
    ]
}

/// Rows of 20 numbers, or 5 words, of which all have lengths.
fn data(network: &Network) -> Dataset {
    let columns = network.input.elements();
    let inputs = match columns {
        5 => Inputs::from_f32(5, words(5 * ROWS as usize, 3).into_iter().map(|word| (word % 6) as f32).collect()),
        _ => Inputs::from_f32(columns, numbers((columns * ROWS) as usize, 3)),
    };
    let inputs = inputs.unwrap().with_samples((0..ROWS).map(|row| 500 + 2 * row).collect()).unwrap();
    let lengths = (0..ROWS).map(|row| 1 + row * 2 % 5).collect();
    Dataset::new(inputs.with_lengths(5, lengths).unwrap(), (0..ROWS).map(|row| row % 3).collect(), 3).unwrap()
}

/// The same weights with another rate at every site.
fn with_rate(member: Member, keep: f64) -> Member {
    let mut network = member.model.network().clone();
    network.change_layers(|_, layer| {
        if let Layer::Dropout(dropout) = layer
            && !dropout.is_none()
        {
            dropout.keep = Dropout::keep(keep).unwrap().keep;
        }
    });
    Member { model: Model::new(network, member.model.weights().to_vec()).unwrap(), ..member }
}

/// The weights of every member, in bits, after three epochs.
fn trained(data: &Dataset, members: &[Member]) -> Vec<Vec<Vec<u32>>> {
    let (network, update) = (members[0].model.network(), members[0].optimizer.update());
    let mut plans = thinnet::plan::Plans::new(device().caps());
    let options = drive::options("train", thinnet::plan::Mode::Train(update.into()), data, BATCH, members.len() as u32);
    plans.add(network, thinnet::plan::Options { variable_rates: false, ..options }).unwrap();
    let mut executor = Executor::new(device(), plans).unwrap();
    drive::upload(&executor, data, members);
    let plan = &executor.plans().plans[TRAIN];
    if plan.tensors.contains_key("batch.lengths") {
        executor.write(plan.tensor("data.lengths"), 0, &data.inputs().lengths().unwrap().of_rows).unwrap();
    }
    let mut all = Vec::new();
    for (update, at) in (0..3).flat_map(|epoch| (0..ROWS).step_by(BATCH as usize).map(move |at| (epoch, at))).enumerate() {
        let ((epoch, position), update) = (at, update as u32);
        let of = |member: &Member| {
            let key = rng::key(member.seed);
            let sites = plan.site_steps(member.model.network(), key, [epoch, update], Vec::new);
            MemberStep { key, optimizer: member.optimizer.step(u64::from(update) + 1, member.weight_decay), sites }
        };
        let step = Step::new(BATCH.min(ROWS - position), members.iter().map(of).collect());
        all.push(Work { plan: TRAIN, step: Step { position, epoch, ..step } });
    }
    let submission = executor.submit(&all).unwrap();
    executor.wait(submission).unwrap();
    let of = |member: u32| drive::parameters_of(&executor, network, "", member);
    let bits = |tensor: Vec<f32>| tensor.into_iter().map(f32::to_bits).collect();
    (0..members.len() as u32).map(|member| of(member).into_iter().map(bits).collect()).collect()
}

#[test]
fn two_members_are_two_trainings_of_one() {
    for network in networks() {
        let data = data(&network);
        let members = [
            Member::new(&network, 1 << 40 | 3, Optimizer::momentum(0.1, 0.9)),
            with_rate(Member::new(&network, 9, Optimizer::sgd(0.05)).weight_decay(0.01), 0.8),
        ];
        let both = trained(&data, &members);
        for (m, member) in members.iter().enumerate() {
            assert!(both[m] == trained(&data, std::slice::from_ref(member))[0], "member {m} of {network:?}");
            let initial: Vec<Vec<u32>> = member.model.weights().iter().map(|w| w.iter().map(|v| v.to_bits()).collect()).collect();
            assert!(both[m].iter().zip(&initial).all(|(a, b)| a != b), "every tensor is trained: {network:?}");
        }
        assert!(both[0] != both[1]);
        // What is not the member's own shows: the first rate, or the first seed.
        let [rate, seed] = [with_rate(members[1].clone(), 0.6), Member { seed: members[0].seed, ..members[1].clone() }];
        // Concrete dropout learns its rate from where the logit is.
        let learns = network.parameters().unwrap().iter().any(|parameter| parameter.name.ends_with("p_logit"));
        assert_eq!(both[1] == trained(&data, &[rate])[0], learns, "{network:?}");
        assert!(both[1] != trained(&data, &[seed])[0]);
    }
}
