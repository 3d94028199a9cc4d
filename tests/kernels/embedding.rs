//! Cases of embeddings and of dropout of words: every rule, ragged lengths, words that do not occur, ids that are no words.

use thinnet::kernels::embedding::{EmbeddingBackward, EmbeddingForward, EmbeddingLists, EmbeddingParams};
use thinnet::mask_rule::{MaskRule, SiteMask};
use thinnet::rng::{Coordinates, Stream};
use thinnet::step::Step;

use super::draws::{draws, rules, with_rule};
use super::dropout::{SITE, rates};
use super::layout::{apart, matrix};
use super::{Case, Slot, bits, on_device, seed};
use crate::common::{step, words};

/// A table and the sequences that are looked up in it.
#[derive(Clone, Copy, Debug)]
struct Table {
    words: u32,
    columns: u32,
    steps: u32,
    rows: u32,
    batch: u32,
    row_words: u32,
    rule: Option<MaskRule>,
}

impl Table {
    fn site(&self) -> Option<SiteMask> {
        self.rule.map(|rule| SiteMask { index: 1, rule })
    }

    /// Two members where `i` is odd; among the rates 0 and 1.
    fn step(&self, i: usize) -> Step {
        let keeps = [vec![0.5], vec![0.6, 0.8], vec![0.0], vec![1.0, 0.3]];
        let step = rates(self.rows, &keeps[i % 4]);
        self.rule.map_or(step.clone(), |rule| with_rule(step, 1, rule))
    }

    fn params(&self) -> EmbeddingParams {
        EmbeddingParams::new(self.steps, [self.words, self.columns], self.row_words, (Stream::TrainingMask, SITE))
    }

    fn samples(&self) -> Slot<'static> {
        let (rows, batch) = (self.rows, self.batch);
        match self.rule {
            Some(MaskRule::Pass) => Slot::own("samples", batch, move |m| words(rows as usize, seed("samples", m))),
            None | Some(MaskRule::Batch) => Slot::own("samples", batch, |_| Vec::new()),
            Some(_) => draws(rows),
        }
    }

    /// From 0 to more than all steps.
    fn lengths(&self) -> Slot<'static> {
        let Self { rows, steps, .. } = *self;
        Slot::own("lengths", self.batch, move |m| (0..rows).map(|n| (7 * n + 3 * m + steps) % (steps + 2)).collect())
    }

    /// Words of the table, the last always among them; some are no words.
    fn ids(&self) -> Slot<'static> {
        let Self { words: count, steps, rows, row_words, .. } = *self;
        let row = steps.next_multiple_of(row_words);
        Slot::own("ids", self.batch * row, move |m| {
            let of = |(i, word): (usize, u32)| match i % 23 {
                7 => f32::NAN,
                11 => -3.0,
                13 => 3e10,
                17 => (count - 1) as f32,
                19 => f32::INFINITY,
                _ => (word % count) as f32,
            };
            let ids = words((rows * steps) as usize, seed("ids", m)).into_iter().enumerate().map(of).collect::<Vec<_>>();
            let mut padded = vec![0; (rows * row) as usize];
            for (line, ids) in padded.chunks_mut(row as usize).zip(ids.chunks(steps as usize)) {
                line.iter_mut().zip(ids).for_each(|(word, id)| *word = id.to_bits());
            }
            apart(padded, steps, row)
        })
    }

    /// Lists as the first kernel makes them: rows with a word of their own, or with none.
    fn lists(&self, member: u32) -> [Vec<u32>; 2] {
        let (rows, mut heads) = (self.rows * self.steps, vec![u32::MAX; self.words as usize]);
        let (mut lasts, mut links) = (heads.clone(), vec![u32::MAX; rows as usize]);
        for (row, word) in (0..rows).zip(words(rows as usize, seed("lists", member))).filter(|(_, word)| word % 5 > 0) {
            // Half of the rows are of the first words.
            let word = (if word % 2 == 0 { word / 64 % self.words.min(3) } else { word / 64 % self.words }) as usize;
            match lasts[word] {
                u32::MAX => heads[word] = row,
                last => links[last as usize] = row,
            }
            lasts[word] = row;
        }
        [heads, links]
    }
}

/// Every shape without dropout and in training; every other rule with one shape.
fn tables() -> Vec<(usize, Table)> {
    let shapes = [
        [1, 1, 1, 1, 1, 4],
        [2, 5, 7, 3, 5, 4],
        [27, 16, 12, 31, 33, 4],
        [257, 33, 5, 7, 7, 64],
        [70, 3, 29, 2, 4, 64],
        [5, 64, 4, 33, 34, 4],
    ];
    let table = |[words, columns, steps, rows, batch, row_words]: [u32; 6], rule| Table {
        words,
        columns,
        steps,
        rows,
        batch,
        row_words,
        rule,
    };
    let of_shapes =
        shapes.iter().flat_map(|&shape| [None, Some(MaskRule::Pass), Some(MaskRule::Pass)].map(|rule| table(shape, rule)));
    let others = rules().chain([MaskRule::All]).map(|rule| table(shapes[2], Some(rule)));
    // A step of one member and one of two for each of the two in training.
    of_shapes.chain(others.flat_map(|table| [table; 2])).enumerate().collect()
}

pub(super) fn embedding_forward(case: &mut Case) {
    for (i, table) in tables() {
        let Table { words, columns, steps, rows, batch, row_words, .. } = table;
        // What is surely dropped is no number.
        let never = table.rule == Some(MaskRule::Pass) && table.step(i).members[0].sites[1].scale == 0.0;
        let nothing = |_| vec![f32::NAN.to_bits(); (words * columns.next_multiple_of(row_words)) as usize];
        let weight = match never {
            true => Slot::own("weight", words * columns.next_multiple_of(row_words), nothing),
            false => matrix("weight", words, words, columns, row_words),
        };
        let y = Slot::out_rows("y", batch * steps, rows * steps, columns, row_words);
        let slots = [table.samples(), table.ids(), table.lengths(), weight, y];
        case.check(&table.step(i), slots, |[samples, ids, lengths, weight, y]| {
            let params = EmbeddingParams {
                samples_stride: samples.stride,
                ids_stride: ids.stride,
                lengths_stride: lengths.stride,
                weight_stride: weight.stride,
                y_stride: y.stride,
                ..table.params()
            };
            EmbeddingForward { params, site: table.site(), samples, ids, lengths, weight, y }
        });
    }
}

pub(super) fn embedding_lists(case: &mut Case) {
    for (i, table) in tables() {
        let heads = Slot::out("heads", table.words, table.words);
        // Of the links, those of the rows in lists alone are written.
        let links = Slot::out("links", table.batch * table.steps, 0);
        let slots = [table.samples(), table.ids(), table.lengths(), heads, links];
        case.check(&table.step(i), slots, |[samples, ids, lengths, heads, links]| {
            let params = EmbeddingParams {
                samples_stride: samples.stride,
                ids_stride: ids.stride,
                lengths_stride: lengths.stride,
                heads_stride: heads.stride,
                links_stride: links.stride,
                ..table.params()
            };
            EmbeddingLists { params, site: table.site(), samples, ids, lengths, heads, links }
        });
    }
}

pub(super) fn embedding_backward(case: &mut Case) {
    for (i, table) in tables() {
        let Table { words, columns, steps, rows, batch, row_words, .. } = table;
        let slots = [
            Slot::own("heads", words, move |m| table.lists(m)[0].clone()),
            Slot::own("links", batch * steps, move |m| table.lists(m)[1].clone()),
            matrix("dy", batch * steps, rows * steps, columns, row_words),
            Slot::out_rows("dweight", words, words, columns, row_words),
        ];
        case.check(&table.step(i), slots, |[first_rows, next_rows, dy, dweight]| {
            let params = EmbeddingParams {
                heads_stride: first_rows.stride,
                links_stride: next_rows.stride,
                y_stride: dy.stride,
                weight_stride: dweight.stride,
                ..table.params()
            };
            EmbeddingBackward { params, site: table.site(), first_rows, next_rows, dy, dweight }
        });
    }
}

/// Two samples of 6 steps, the first 5 long, of a table of 9 words whose row v holds v + 1 and 2 v + 2: what every kernel writes,
/// written out from the formulas and the mask contract.
#[test]
fn a_dropped_word_is_gone_wherever_it_stands_in_its_sample() {
    let step = rates(2, &[0.5]);
    let (rate, key) = (&step.members[0].sites[1], step.members[0].key);
    let lists = [[3u32, 7, 3, 8, 3, 4], [7, 8, 0, 3, 7, 8]];
    let (lengths, samples) = ([5u32, 6], [11u32, 59_999]);
    let at = |n: usize| Coordinates { stream: Stream::TrainingMask, site: SITE, pass: rate.pass, sample: samples[n] };
    let keeps = |n: usize, t: usize| t < lengths[n] as usize && rate.keeps(at(n).word(lists[n][t], key));
    let places: Vec<(usize, usize)> = (0..2).flat_map(|n| (0..6).map(move |t| (n, t))).collect();
    let kept = places.iter().filter(|&&(n, t)| keeps(n, t)).count();
    assert!((2..10).contains(&kept), "{kept} of 11 kept: another pass would show more");

    let (params, site) =
        (EmbeddingParams::new(6, [9, 2], 4, (Stream::TrainingMask, SITE)), Some(SiteMask { index: 1, rule: MaskRule::Pass }));
    let ids = || bits(lists.iter().flat_map(|list| list.map(|word| word as f32).into_iter().chain([0.0; 2])));
    let inputs = || {
        [
            Slot::own("samples", 2, |_| samples.to_vec()),
            Slot::own("ids", 16, |_| ids()),
            Slot::own("lengths", 2, |_| lengths.to_vec()),
        ]
    };
    let weight = Slot::own("weight", 36, |_| bits((0..9).flat_map(|v| [v as f32 + 1.0, 2.0 * v as f32 + 2.0, 0.0, 0.0])));
    let [samples, of_ids, of_lengths] = inputs();
    let slots = [samples, of_ids, of_lengths, weight, Slot::out("y", 48, 48)];
    let [.., y] = on_device(&step, slots, |[samples, ids, lengths, weight, y]| EmbeddingForward {
        params,
        site,
        samples,
        ids,
        lengths,
        weight,
        y,
    });
    let of_place = |&(n, t): &(usize, usize)| if keeps(n, t) { 2.0 * (lists[n][t] + 1) as f32 } else { 0.0 };
    assert_eq!(y, bits(places.iter().flat_map(|place| [of_place(place), 2.0 * of_place(place), 0.0, 0.0])));

    let [samples, of_ids, of_lengths] = inputs();
    let slots = [samples, of_ids, of_lengths, Slot::out("heads", 9, 9), Slot::out("links", 12, 0)];
    let [.., heads, links] = on_device(&step, slots, |[samples, ids, lengths, heads, links]| EmbeddingLists {
        params,
        site,
        samples,
        ids,
        lengths,
        heads,
        links,
    });
    // Each row's gradient is a power of two of its own, so that a sum says which rows it is of.
    let dy = || bits((0..12).flat_map(|row| [(1 << row) as f32, -((1 << row) as f32), 0.0, 0.0]));
    let slots = [
        Slot::own("heads", 9, |_| heads.clone()),
        Slot::own("links", 12, |_| links.clone()),
        Slot::own("dy", 48, |_| dy()),
        Slot::out("dweight", 36, 36),
    ];
    let [.., dweight] = on_device(&step, slots, |[first_rows, next_rows, dy, dweight]| EmbeddingBackward {
        params,
        site,
        first_rows,
        next_rows,
        dy,
        dweight,
    });
    let of_word = |word: u32| -> f32 {
        let rows = places.iter().enumerate().filter(|&(_, &(n, t))| lists[n][t] == word && keeps(n, t));
        // The sum of no numbers is -0 to the iterator.
        rows.fold(0.0, |sum, (row, _)| sum + 2.0 * (1 << row) as f32)
    };
    assert_eq!(dweight, bits((0..9).flat_map(|word| [of_word(word), 0.0 - of_word(word), 0.0, 0.0])));
}

#[test]
fn the_gradient_of_a_word_that_nothing_is_left_of_is_0_in_an_empty_batch_too() {
    let params = EmbeddingParams::new(6, [9, 2], 4, (Stream::TrainingMask, SITE));
    // Heads of a batch before, which are no rows of this one.
    let slots = [
        Slot::own("heads", 9, |_| (0..9).collect()),
        Slot::own("links", 12, |_| vec![0; 12]),
        Slot::own("dy", 48, |_| Vec::new()),
        Slot::out("dweight", 36, 36),
    ];
    let [.., dweight] = on_device(&step(0, 1, &[0.5]), slots, |[first_rows, next_rows, dy, dweight]| EmbeddingBackward {
        params,
        site: None,
        first_rows,
        next_rows,
        dy,
        dweight,
    });
    assert_eq!(dweight, [0; 36]);
}
