//! Recurrent layers and embeddings, with every kind of dropout in them; rows of 5 steps, of which each has another length.

use super::{Named, named};
use crate::network::{Cell, Dense, Dropout, Embedding, Layer, Network, Recurrent, Unit};

pub(super) fn all() -> Vec<Named> {
    let mut all = cells();
    all.extend(stacks());
    all.extend(embeddings());
    all
}

/// Three in five of the units.
fn dropped(unit: Unit) -> Dropout {
    Dropout::keep(0.6).expect("0.6 is a probability").unit(unit)
}

/// The same mask at all steps, in all three places.
fn variational(recurrent: Recurrent) -> Recurrent {
    let dropout = dropped(Unit::STEPS);
    recurrent.input(dropout).recurrent(dropout).output(dropout)
}

fn per_step(recurrent: Recurrent) -> Recurrent {
    let dropout = dropped(Unit::Element);
    recurrent.input(dropout).recurrent(dropout).output(dropout)
}

fn cell_name(cell: Cell) -> &'static str {
    match cell {
        Cell::RnnTanh => "rnn, tanh",
        Cell::RnnRelu => "rnn, relu",
        Cell::Gru => "gru",
        Cell::Lstm => "lstm",
    }
}

/// A layer behind another that trains, and in front of a dense layer.
fn over_steps(recurrent: Recurrent) -> Network {
    let network = Network::new([5, 2]).recurrent(Recurrent::rnn(3).sequence());
    if recurrent.sequence {
        return network.recurrent(recurrent).layer(Layer::Flatten).dense(Dense::new(3));
    }
    network.recurrent(recurrent).dense(Dense::new(3))
}

/// Every cell with every kind of mask; the last state, and the sequence.
fn cells() -> Vec<Named> {
    type Masks = fn(Recurrent) -> Recurrent;
    let masks: [(&str, Masks); 4] = [
        ("no dropout", |recurrent| recurrent),
        ("variational", variational),
        ("per step", per_step),
        ("untied gates", |recurrent| variational(recurrent.untied())),
    ];
    let mut all = Vec::new();
    for cell in Cell::ALL {
        for (what, mask) in masks {
            let recurrent = || mask(Recurrent::new(cell, 3));
            // One gate has nothing to be untied from.
            if recurrent().untied && cell.gates() == 1 {
                continue;
            }
            all.push(named(format!("{}, {what}, last state", cell_name(cell)), over_steps(recurrent())));
            all.push(named(format!("{}, {what}, sequence", cell_name(cell)), over_steps(recurrent().sequence())));
        }
    }
    all
}

fn stacks() -> Vec<Named> {
    let mut all = Vec::new();
    for cell in Cell::ALL {
        let both = || Recurrent::new(cell, 3).bidirectional();
        let name = cell_name(cell);
        all.push(named(format!("{name}, both directions, last state"), over_steps(variational(both()))));
        all.push(named(format!("{name}, both directions, sequence"), over_steps(per_step(both()).sequence())));
        all.push(named(format!("{name}, 2 layers"), over_steps(variational(Recurrent::new(cell, 2)).layers(2))));
        all.push(named(format!("{name}, truncated to 3 steps"), over_steps(variational(both()).truncate(3).sequence())));
    }
    let dropout = dropped(Unit::STEPS).batch();
    let of_batch = Recurrent::lstm(3).input(dropout).recurrent(dropout).output(dropout);
    let both = Recurrent::gru(2).bidirectional().layers(2);
    let untied = dropped(Unit::STEPS).batch();
    let first = Recurrent::lstm(3).input(dropped(Unit::STEPS)).recurrent(dropped(Unit::STEPS));
    all.push(named("lstm, a mask for the batch", over_steps(of_batch)));
    all.push(named(
        "gru, a mask for the batch, per step",
        over_steps(Recurrent::gru(3).recurrent(dropped(Unit::Element).batch())),
    ));
    all.push(named("lstm, a mask for the batch, untied gates", over_steps(Recurrent::lstm(3).untied().recurrent(untied))));
    all.push(named("gru, 2 layers, both directions", over_steps(variational(both.clone()).untied())));
    all.push(named("gru, 2 layers, both directions, sequence", over_steps(per_step(both).sequence())));
    all.push(named("lstm as the first layer", Network::new([5, 3]).recurrent(first).dense(Dense::new(3))));
    all.push(named("lstm as the only layer", Network::new([5, 3]).recurrent(Recurrent::lstm(3))));
    all.push(named("rnn, 5 features to 9", Network::new([5, 5]).recurrent(variational(Recurrent::rnn(9))).dense(Dense::new(3))));
    all
}

fn embeddings() -> Vec<Named> {
    let words = |table: Embedding| Network::new(5).embedding(table);
    let table = || Embedding::new(7, 3);
    let end = |network: Network| network.layer(Layer::Flatten).dense(Dense::new(3));
    let dropout = dropped(Unit::Element);
    vec![
        named("embedding", end(words(table()))),
        named("embedding, dropped words", end(words(table().dropout(dropout)))),
        named("embedding, dropped words of the batch", end(words(table().dropout(dropout.batch())))),
        named(
            "embedding, dropped words, variational lstm",
            words(table().dropout(dropout)).recurrent(variational(Recurrent::lstm(3))).dense(Dense::new(3)),
        ),
        named(
            "embedding, gru in both directions",
            words(table()).recurrent(Recurrent::gru(3).bidirectional()).dense(Dense::new(3)),
        ),
    ]
}
