//! Every kernel of `kernels::ALL` on the device against its twin. A kernel without a case fails `every_kernel_has_a_case`.
//!
//! What makes a case sharp: every tensor has a stride and an offset of its own, so a stride that is taken for another shows;
//! what no kernel may read is poison (NaN): rows past the valid ones, gaps between members and tensors.

use std::collections::BTreeSet;

use thinnet::executor::Executor;
use thinnet::kernels::{self, Kernel, MAX_GROUPS, WORKGROUP, linear_grid};
use thinnet::memory::{Memory, Tensor};
use thinnet::plan::Plans;
use thinnet::rng::Stream;
use thinnet::step::Step;

use crate::common::{POISON, check_kernel, device, padded_to, single, step};

mod activation;
mod augment;
mod batch_norm;
mod concrete;
mod dense;
mod dense_dropped;
mod draws;
mod drop_block;
mod drop_connect;
mod dropout;
mod embedding;
mod gaussian;
mod gradients;
mod grouped;
mod layer_norm;
mod layout;
mod loss;
mod map_dropout;
mod noise;
mod norm;
mod optimizer;
mod pool;
mod recurrent;
mod recurrent_weight;
mod residual;
mod rows;
mod sequence;
mod states;
mod targets;
mod unfold;
mod units;

/// One test per kernel, named after it, and the list of these names.
macro_rules! cases {
    ($($family:ident: $($kernel:ident),+;)+) => {
        /// The names of the kernels that have cases.
        const TESTED: &[&str] = &[$($(stringify!($kernel)),+),+];

        mod equals_its_twin {
            $($(
                #[test]
                fn $kernel() {
                    let mut case = super::Case::new(stringify!($kernel));
                    super::$family::$kernel(&mut case);
                    case.finish();
                }
            )+)+
        }
    };
}

cases! {
    activation: activation_forward, activation_backward, gelu_forward, gelu_backward, scale;
    batch_norm: batch_norm_statistics, batch_norm_finish, batch_norm_moments, batch_norm_forward, batch_norm_backward,
        batch_norm_gradients, norm_gradients_finish;
    augment: augment, mixup_partners;
    concrete: concrete_forward, concrete_gradient, concrete_finish, concrete_decay;
    dense: dense_forward, dense_backward_input, dense_backward_weight, dense_update,
        dense_forward_shuffle, dense_backward_input_shuffle, dense_backward_weight_shuffle, dense_update_shuffle,
        dense_forward_tile, dense_backward_input_tile, dense_backward_weight_tile, dense_update_tile, sum_splits;
    dense_dropped: dense_of_dropped;
    draws: draw_rows, draw_outputs, merge_draws, keep_draws;
    drop_block: drop_block_rows, drop_block_columns, drop_block_forward, drop_block_backward;
    drop_connect: drop_weights, drop_weight_gradient, drop_connect_rows, drop_connect_gaussian;
    dropout: dropout_forward, dropout_backward, dropout_mask, dropout_ragged, dropout_mask_ragged;
    embedding: embedding_forward, embedding_lists, embedding_backward;
    gaussian: gaussian_nll, gaussian_nll_forward;
    gradients: accumulate_gradients, gradient_norm, clip_gradient, max_norm;
    grouped: grouped_forward, grouped_backward_input, grouped_backward_weight;
    layout: planar_to_pixels, pixels_to_planar;
    layer_norm: layer_norm_forward, layer_norm_backward, layer_norm_gradients;
    loss: cross_entropy, cross_entropy_forward, metrics;
    map_dropout: map_dropout_forward, map_dropout_backward;
    noise: gaussian_noise, alpha_dropout;
    optimizer: sgd, adam, rmsprop;
    pool: max_pool_forward, max_pool_backward, average_pool_forward, average_pool_backward;
    recurrent: recurrent_forward, recurrent_backward, recurrent_forward_shuffle, recurrent_backward_shuffle;
    recurrent_weight: recurrent_weight;
    residual: add, path_gather, path_samples, path_add;
    rows: batch_rows, gather_f32, gather_u8, store_output, philox_words;
    sequence: planar_to_steps, steps_to_planar, batch_lengths;
    states: states_forward, states_backward;
    targets: binary_cross_entropy, binary_cross_entropy_forward, squared_error, squared_error_forward;
    unfold: unfold, unfold_quads, fold, fold_quads;
    units: gather_weight, scatter_gradient, gather_columns, thinned_update, idle_update;
}

/// A tensor of a case and what it holds before the dispatch.
pub(crate) struct Slot<'a> {
    name: &'static str,
    len: u32,
    layout: Layout,
    /// The first words of a member; the rest is poison.
    values: Box<dyn Fn(u32) -> Vec<u32> + 'a>,
    /// What the kernel must have written in each member: rows, words of a row, words from one row to the next.
    written: [usize; 3],
}

/// The stride of tensors of layout `Wide`: 257 rows of 320 words and a gap.
const WIDE: u32 = 64 * 1300;

/// How the members of a tensor lie in its buffer.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    /// A stride that no other tensor of the case has.
    Own,
    /// The stride that all tensors of this layout and this length have.
    Even,
    /// One stride for all lengths, larger than any.
    Wide,
    /// One copy for all members.
    Shared,
}

impl<'a> Slot<'a> {
    /// `len` words for each member, of which `values(member)` are the first.
    pub(crate) fn own(name: &'static str, len: u32, values: impl Fn(u32) -> Vec<u32> + 'a) -> Self {
        Self { name, len, layout: Layout::Own, values: Box::new(values), written: [0, 0, 1] }
    }

    /// One tensor for all members.
    pub(crate) fn shared(name: &'static str, values: Vec<u32>) -> Self {
        Self { layout: Layout::Shared, ..Self::own(name, values.len() as u32, move |_| values.clone()) }
    }

    /// `[rows, columns]` random numbers in (-1, 1) with rows padded to `row_words`, in a tensor for `batch` rows.
    pub(crate) fn rows(name: &'static str, batch: u32, rows: u32, columns: u32, row_words: u32) -> Self {
        let values = move |m| padded_to(row_words, rows, columns, seed(name, m));
        Self::own(name, batch * columns.next_multiple_of(row_words), values)
    }

    /// An output of `len` words, all poison, of which the kernel must write the first `written`.
    pub(crate) fn out(name: &'static str, len: u32, written: u32) -> Self {
        Self { written: [1, written as usize, len as usize], ..Self::own(name, len, |_| Vec::new()) }
    }

    /// An output of `batch` rows padded to `row_words`, of which the kernel must write the quads of the first `rows`.
    pub(crate) fn out_rows(name: &'static str, batch: u32, rows: u32, columns: u32, row_words: u32) -> Self {
        let row = columns.next_multiple_of(row_words);
        let written = [rows, columns.next_multiple_of(4), row].map(|n| n as usize);
        Self { written, ..Self::own(name, batch * row, |_| Vec::new()) }
    }

    /// The same with a stride that follows from the length alone.
    fn even(self) -> Self {
        Self { layout: Layout::Even, ..self }
    }

    /// The same with a stride that all such tensors of a case have, whatever their length.
    fn with_stride(self) -> Self {
        Self { layout: Layout::Wide, ..self }
    }

    fn tensor(&self, index: u32, plans: &mut Plans, members: u32) -> Tensor {
        let gap = if self.layout == Layout::Own { 64 * index } else { 0 };
        let len = if self.layout == Layout::Wide { WIDE } else { self.len.next_multiple_of(64) };
        let (offset, stride) = (64 * (index + 1), len + gap);
        let buffer = plans.buffer(self.name, u64::from(offset + stride * members)).unwrap();
        let stride = if members == 1 || self.layout == Layout::Shared { 0 } else { stride };
        Tensor { buffer, offset, len: self.len, stride }
    }
}

/// A seed for the values of a tensor.
pub(crate) fn seed(name: &str, member: u32) -> u64 {
    name.bytes().fold(u64::from(member), |seed, byte| 31 * seed + u64::from(byte))
}

fn tensors<const N: usize>(slots: &[Slot; N], plans: &mut Plans, members: u32) -> [Tensor; N] {
    std::array::from_fn(|i| slots[i].tensor(i as u32, plans, members))
}

fn fill<const N: usize>(slots: &[Slot; N], tensors: [Tensor; N], members: u32, memory: &Memory) {
    for (slot, tensor) in slots.iter().zip(tensors) {
        for member in 0..members {
            let values = (slot.values)(member);
            memory.u32_mut(tensor, member as usize)[..values.len()].copy_from_slice(&values);
        }
    }
}

/// Says which case failed.
struct Described(String);

impl Drop for Described {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the case of {}", self.0);
        }
    }
}

/// The cases of one kernel.
pub(crate) struct Case {
    kernel: &'static str,
    compared: usize,
}

impl Case {
    pub(crate) fn new(kernel: &'static str) -> Self {
        Self { kernel, compared: 0 }
    }

    /// Compares device and twin in one case: its tensors, and the kernel over them.
    #[track_caller]
    pub(crate) fn check<const N: usize, K: Kernel + 'static>(
        &mut self,
        step: &Step,
        slots: [Slot; N],
        kernel: impl Fn([Tensor; N]) -> K,
    ) {
        let members = step.members.len() as u32;
        let build = |plans: &mut Plans| -> Box<dyn Kernel> { Box::new(kernel(tensors(&slots, plans, members))) };
        let addresses = tensors(&slots, &mut Plans::new(device().caps()), members);
        let kernel = kernel(addresses);
        assert_eq!(kernel.entry().name, self.kernel, "the case of another kernel");
        let _described = Described(format!("{members} members, {} rows, {kernel:?}", step.rows));
        self.compared += check_kernel(step, &build, &|memory| fill(&slots, addresses, members, memory));

        // Device and twin agree. That both left the output alone would be agreement, too.
        let twin = thinnet::cpu::Executor::new(single(step, &build));
        for (slot, tensor) in slots.iter().zip(addresses) {
            twin.memory().buffer_mut(tensor.buffer).fill(POISON);
            assert!(slot.written[0] == 0 || (slot.values)(0).is_empty(), "{}: an output starts as poison", slot.name);
        }
        fill(&slots, addresses, members, twin.memory());
        twin.run_kernel(0, 0, step);
        for (slot, tensor) in slots.iter().zip(addresses) {
            for member in 0..members as usize {
                let [rows, used, row] = slot.written;
                let words = twin.memory().u32(tensor, member);
                let mut expected = words.chunks(row).take(rows).flat_map(|row| &row[..used]);
                assert!(expected.all(|&word| word != POISON), "{}: {} of member {member} is not written", self.kernel, slot.name);
            }
        }
    }

    fn finish(self) {
        assert!(self.compared > 0, "{}: no case was checked", self.kernel);
    }
}

/// The first member's tensors after a kernel ran on the device.
pub(crate) fn on_device<const N: usize, K: Kernel + 'static>(
    step: &Step,
    slots: [Slot; N],
    kernel: impl Fn([Tensor; N]) -> K,
) -> [Vec<u32>; N] {
    let members = step.members.len() as u32;
    let plans = single(step, &|plans| Box::new(kernel(tensors(&slots, plans, members))));
    let mut executor = Executor::new(device(), plans).unwrap();
    let addresses = tensors(&slots, &mut Plans::new(device().caps()), members);
    for (slot, tensor) in slots.iter().zip(addresses) {
        for member in 0..members {
            let mut words = (slot.values)(member);
            words.resize(slot.len as usize, POISON);
            executor.write(tensor, member, &words).unwrap();
        }
    }
    executor.run_kernel(0, 0, step).unwrap();
    addresses.map(|tensor| executor.read(tensor, 0).unwrap())
}

/// The first member's tensors after a kernel's twin ran.
pub(crate) fn on_twin<const N: usize, K: Kernel + 'static>(
    step: &Step,
    slots: [Slot; N],
    kernel: impl Fn([Tensor; N]) -> K,
) -> [Vec<u32>; N] {
    let members = step.members.len() as u32;
    let twin = thinnet::cpu::Executor::new(single(step, &|plans| Box::new(kernel(tensors(&slots, plans, members)))));
    let addresses = tensors(&slots, &mut Plans::new(device().caps()), members);
    for tensor in addresses {
        twin.memory().buffer_mut(tensor.buffer).fill(POISON);
    }
    fill(&slots, addresses, members, twin.memory());
    twin.run_kernel(0, 0, step);
    addresses.map(|tensor| twin.memory().u32(tensor, 0).to_vec())
}

/// Numbers as words.
pub(crate) fn bits(values: impl IntoIterator<Item = f32>) -> Vec<u32> {
    values.into_iter().map(f32::to_bits).collect()
}

#[test]
fn every_kernel_has_a_case() {
    let all: BTreeSet<_> = kernels::ALL.iter().map(|entry| entry.name).collect();
    assert_eq!(all.len(), kernels::ALL.len(), "two kernels have one name");
    assert_eq!(TESTED.iter().copied().collect::<BTreeSet<_>>(), all);
}

#[test]
fn a_grid_covers_all_invocations_within_its_limit_and_wastes_less_than_a_row() {
    for max in [1, 2, 3, 7, 100, MAX_GROUPS] {
        for n in (0..300).chain([65 * 64, 6_399, 6_400, 6_401, 4_194_239, 4_194_240, 4_194_241, u32::MAX - 1, u32::MAX]) {
            let needed = n.div_ceil(WORKGROUP).max(1);
            if u64::from(needed) > u64::from(max) * u64::from(max) {
                continue; // No fold into two dimensions fits.
            }
            let [x, y] = linear_grid(n, max);
            assert!((1..=max).contains(&x) && (1..=max).contains(&y), "{n} in {x} x {y}, at most {max}");
            let groups = u64::from(x) * u64::from(y);
            assert!(groups >= u64::from(needed) && groups - u64::from(needed) < u64::from(y), "{n} in {x} x {y}");
            assert!(needed > max || y == 1, "{n} is folded into {x} x {y} without need");
        }
    }
    assert_eq!(linear_grid(10 * WORKGROUP, 4), [4, 3]);
}

#[test]
fn a_grid_past_65535_workgroups_reaches_every_row() {
    let rows = MAX_GROUPS * WORKGROUP + 100;
    let samples = || Slot::shared("samples", vec![POISON]);
    let mut case = Case::new("dropout_mask_ragged");
    case.check(&step(rows, 1, &[0.5]), [samples(), Slot::out("mask", rows, rows)], |[samples, mask_units]| {
        let params = dropout::params(1, Stream::TrainingMask, samples, samples, mask_units).from_first_sample(5);
        let kernel = kernels::dropout::DropoutMaskRagged { params, site: 0.into(), samples, mask_units };
        assert_eq!(kernel.grid()[1], 2, "the dispatch is folded");
        kernel
    });
    case.finish();

    // 33 quads a row, so that rows end inside workgroups on both sides of the fold.
    let (rows, units) = (rows / 33 + 1, 4 * 33);
    let mut case = Case::new("dropout_mask");
    let slots = [samples(), Slot::out("mask", rows * units, rows * units)];
    case.check(&step(rows, 1, &[0.5]), slots, |[samples, mask]| {
        let params = dropout::params(units, Stream::TrainingMask, samples, samples, mask).from_first_sample(5);
        let kernel = kernels::dropout::DropoutMask { params, site: 0.into(), samples, mask };
        assert_eq!(kernel.grid()[1], 2, "the dispatch is folded");
        kernel
    });
    case.finish();
}
