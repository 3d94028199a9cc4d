//! The order of the rows: known orders, permutations of every length on the host and the device, and statistics.

use thinnet::compare::whole;
use thinnet::executor::Executor;
use thinnet::kernels::rows::{BatchRows, RowsParams};
use thinnet::memory::Tensor;
use thinnet::plan::{Plan, Plans};
use thinnet::rng::{self, Shuffle};
use thinnet::step::{MemberStep, OptimizerStep, Step};
use thinnet::work::Work;

use crate::common::{POISON, device, options, words};

/// The first rows in the order of an epoch, on the host.
fn order(rows: u32, first: u32, epoch: u32, seed: u64) -> Vec<u32> {
    let shuffle = Shuffle::new(rows);
    (0..first).map(|position| shuffle.row(position, epoch, rng::key(seed))).collect()
}

fn is_permutation(order: &[u32]) -> bool {
    let mut seen = vec![false; order.len()];
    order.iter().for_each(|&row| seen[row as usize] = true);
    seen.iter().all(|&seen| seen)
}

/// A step that asks for the rows at `position` to `position + rows` of an epoch.
fn step(position: u32, rows: u32, epoch: u32, seed: u64) -> Step {
    let member = MemberStep { key: rng::key(seed), optimizer: OptimizerStep::default(), sites: Vec::new() };
    Step { position, epoch, ..Step::new(rows, vec![member]) }
}

/// An executor with a plan of one kernel [`BatchRows`] for each length, for batches of `batch` rows, and where the rows and
/// the samples of each go. The sample of row i is `ids[i]`.
struct Orders {
    executor: Executor,
    /// Rows and samples of each plan.
    tensors: Vec<[Tensor; 2]>,
    ids: Vec<u32>,
}

impl Orders {
    fn new(lengths: &[u32], batch: u32) -> Self {
        let mut plans = Plans::new(device().caps());
        let longest = *lengths.iter().max().unwrap();
        let ids = plans.tensor("ids", longest.into(), 1).unwrap();
        // One tensor for every plan in one buffer each, so that all is read at once.
        let slot = batch.next_multiple_of(64);
        let space = u64::from(slot) * lengths.len() as u64;
        let all = ["rows", "samples"].map(|name| plans.tensor(name, space, 1).unwrap());
        let mut tensors = Vec::new();
        for (i, &length) in lengths.iter().enumerate() {
            let [rows, samples] = all.map(|all| Tensor { offset: i as u32 * slot, len: batch, ..all });
            let half_bits = Shuffle::new(length).half_bits;
            let params = RowsParams { rows: length, half_bits, shuffled: 1, ..RowsParams::default() };
            let kernels: Vec<Box<dyn thinnet::kernels::Kernel>> = vec![Box::new(BatchRows { params, ids, rows, samples })];
            let options = options(batch, 1);
            plans.push(Plan {
                options,
                kernels,
                sites: Vec::new(),
                scopes: Vec::new(),
                metrics: None,
                tensors: Default::default(),
            });
            tensors.push([rows, samples]);
        }
        let executor = Executor::new(device(), plans).unwrap();
        for tensor in all {
            executor.write(tensor, 0, &vec![POISON; tensor.len as usize]).unwrap();
        }
        let values = words(longest as usize, 5);
        executor.write(ids, 0, &values).unwrap();
        Self { executor, tensors, ids: values }
    }

    /// Runs steps of plans and returns all rows and all samples.
    fn run(&mut self, work: &[Work]) -> [Vec<u32>; 2] {
        let submission = self.executor.submit(work).unwrap();
        self.executor.wait(submission).unwrap();
        self.tensors[0].map(|tensor| self.executor.read(whole(self.executor.plans(), tensor.buffer), 0).unwrap())
    }
}

#[test]
fn orders_are_those_of_the_contract() {
    // The test vectors of the mask contract, version 1, with seed 42.
    let vectors: [(u32, u32, &[u32]); 6] = [
        (2, 0, &[1, 0]),
        (3, 0, &[1, 0, 2]),
        (10, 0, &[1, 5, 7, 9, 4, 2, 8, 0, 6, 3]),
        (270, 0, &[128, 132, 223, 112, 153, 166, 209, 22]),
        (10, 1, &[1, 9, 0, 4, 6, 7, 2, 3, 5, 8]),
        (60_000, 3, &[46_570, 47_357, 44_506, 8357, 25_223, 45_045, 47_365, 13_564]),
    ];
    let mut orders = Orders::new(&vectors.map(|(rows, ..)| rows), 10);
    let works = vectors.iter().enumerate();
    let work: Vec<Work> = works.map(|(plan, v)| Work { plan, step: step(0, v.2.len() as u32, v.1, 42) }).collect();
    let [rows, _] = orders.run(&work);
    for (i, (n, epoch, expected)) in vectors.into_iter().enumerate() {
        assert_eq!(order(n, expected.len() as u32, epoch, 42), expected, "host, {n} rows, epoch {epoch}");
        let offset = orders.tensors[i][0].offset as usize;
        assert_eq!(rows[offset..][..expected.len()], *expected, "device, {n} rows, epoch {epoch}");
    }
}

#[test]
fn every_length_up_to_1000_is_permuted_on_the_host_as_on_the_device() {
    let lengths: Vec<u32> = (1..=1000).collect();
    let mut orders = Orders::new(&lengths, 1000);
    for (epoch, seed) in [(0, 42), (u32::MAX, u64::MAX - 7)] {
        let works = lengths.iter().enumerate();
        let work: Vec<Work> = works.map(|(plan, &n)| Work { plan, step: step(0, n, epoch, seed) }).collect();
        let [rows, samples] = orders.run(&work);
        for (i, &n) in lengths.iter().enumerate() {
            let expected = order(n, n, epoch, seed);
            assert!(is_permutation(&expected), "{n} rows, epoch {epoch}");
            let from = orders.tensors[i][0].offset as usize;
            assert!(rows[from..][..n as usize] == expected, "{n} rows, epoch {epoch}");
            let ids: Vec<u32> = expected.iter().map(|&row| orders.ids[row as usize]).collect();
            assert!(samples[from..][..n as usize] == ids, "samples of {n} rows, epoch {epoch}");
            // Rows past those of the step are left alone.
            assert!(rows[from + n as usize..from + 1000].iter().all(|&word| word == POISON), "{n} rows");
        }
    }
}

#[test]
fn batches_of_an_epoch_make_up_one_permutation() {
    let lengths = [60_000, 65_537];
    let batch = 4096;
    let mut orders = Orders::new(&lengths, batch);
    for (plan, rows) in lengths.into_iter().enumerate() {
        assert_ne!(rows % batch, 0, "the last batch is to be ragged");
        let mut drawn = Vec::new();
        for position in (0..rows).step_by(batch as usize) {
            let valid = batch.min(rows - position);
            let [all, samples] = orders.run(&[Work { plan, step: step(position, valid, 9, 42) }]);
            let from = orders.tensors[plan][0].offset as usize;
            let (all, samples) = (&all[from..][..valid as usize], &samples[from..][..valid as usize]);
            assert!(all.iter().zip(samples).all(|(&row, &sample)| orders.ids[row as usize] == sample));
            drawn.extend_from_slice(all);
        }
        assert!(is_permutation(&drawn) && drawn.len() == rows as usize, "{rows} rows");
        assert!(drawn == order(rows, rows, 9, 42), "{rows} rows: the device and the host differ");
    }
}

#[test]
fn the_longest_data_set_is_shuffled_without_overflow() {
    let shuffle = Shuffle::new(u32::MAX);
    assert_eq!(shuffle.half_bits, 16);
    let rows: std::collections::BTreeSet<u32> =
        (0..1000).chain(u32::MAX - 1000..u32::MAX).map(|position| shuffle.row(position, 0, rng::key(42))).collect();
    assert_eq!(rows.len(), 2000);
}

#[test]
fn epochs_and_seeds_have_orders_of_their_own() {
    let first: Vec<Vec<u32>> = (0..50).map(|epoch| order(100, 100, epoch, 42)).collect();
    let seeds: Vec<Vec<u32>> = (1..=50).map(|seed| order(100, 100, 0, 42 + (seed << 31))).collect();
    let all: std::collections::BTreeSet<&Vec<u32>> = first.iter().chain(&seeds).collect();
    assert_eq!(all.len(), 100, "two orders are the same");
    assert!(!all.contains(&(0..100).collect::<Vec<_>>()), "an order is that of the file");
}

const N: usize = 20;
const EPOCHS: u32 = 4000;

/// Whether each of 400 pairs of numbers below 20 is met equally often, as a pair (a, b) is in `count` independent uniform
/// permutations that send a to b.
///
/// The counts have 19 x 19 degrees of freedom, and `19 / 20 sum (count - E)^2 / E` tends to chi-square with 361 of them: the
/// covariance of a random permutation matrix is 1 / 19 of the identity on the matrices whose rows and columns sum to 0. The
/// bounds are at 4.9 standard deviations of Wilson and Hilferty's transformation (PNAS 17, 1931), a false alarm of 9.6e-7 on
/// both sides together: counts that are too even are as wrong as those that are not.
fn is_uniform(pairs: impl IntoIterator<Item = (u32, u32)>, count: u32) -> Result<(), f64> {
    let mut counts = [0.0f64; N * N];
    pairs.into_iter().for_each(|(a, b)| counts[a as usize * N + b as usize] += 1.0);
    assert_eq!(counts.iter().sum::<f64>(), f64::from(count) * N as f64);
    let (freedom, expected) = (((N - 1) * (N - 1)) as f64, f64::from(count) / N as f64);
    let sum: f64 = counts.iter().map(|c| (c - expected) * (c - expected) / expected).sum();
    let statistic = sum * (N - 1) as f64 / N as f64;
    let spread = 2.0 / (9.0 * freedom);
    let z = ((statistic / freedom).cbrt() - (1.0 - spread)) / spread.sqrt();
    if z.abs() <= 4.9 { Ok(()) } else { Err(z) }
}

/// Pairs (position, row) of orders.
fn placed(orders: &[Vec<u32>]) -> impl Iterator<Item = (u32, u32)> {
    orders.iter().flat_map(|order| (0..).zip(order.iter().copied()))
}

/// Pairs (row, row at the same position one epoch later).
fn successive(orders: &[Vec<u32>]) -> impl Iterator<Item = (u32, u32)> {
    orders.windows(2).flat_map(|pair| pair[0].iter().copied().zip(pair[1].iter().copied()))
}

#[test]
fn every_row_stands_at_every_position_equally_often() {
    let orders: Vec<Vec<u32>> = (0..EPOCHS).map(|epoch| order(N as u32, N as u32, epoch, 42)).collect();
    assert_eq!(is_uniform(placed(&orders), EPOCHS), Ok(()));

    // Power: no shuffle at all, a rotation (too even by far), the same order twice in a row, and the well-known biased
    // shuffle that exchanges every position with any other must all be rejected.
    let identity = vec![(0..N as u32).collect::<Vec<_>>(); EPOCHS as usize];
    assert!(is_uniform(placed(&identity), EPOCHS).is_err(), "the test accepts the identity");
    let rotation = |epoch| (0..N as u32).map(|i| (i + epoch) % N as u32).collect::<Vec<_>>();
    let rotations: Vec<_> = (0..EPOCHS).map(rotation).collect();
    assert!(is_uniform(placed(&rotations), EPOCHS).is_err(), "the test accepts rotations");
    let twice: Vec<_> = (0..EPOCHS as usize).map(|epoch| orders[epoch / 2].clone()).collect();
    assert!(is_uniform(placed(&twice), EPOCHS).is_err(), "the test accepts every order twice");
    let random = words(EPOCHS as usize * N, 3);
    let biased = random.chunks(N).map(|random| {
        let mut order: Vec<u32> = (0..N as u32).collect();
        (0..N).for_each(|i| order.swap(i, random[i] as usize % N));
        order
    });
    assert!(is_uniform(placed(&biased.collect::<Vec<_>>()), EPOCHS).is_err(), "the test accepts the biased shuffle");
}

#[test]
fn successive_epochs_are_uncorrelated() {
    let mut orders: Vec<Vec<u32>> = (0..=EPOCHS).map(|epoch| order(N as u32, N as u32, epoch, 42)).collect();
    assert_eq!(is_uniform(successive(&orders), EPOCHS), Ok(()));
    // Power: one epoch in ten repeats the order before it.
    (10..orders.len()).step_by(10).for_each(|epoch| orders[epoch] = orders[epoch - 1].clone());
    assert!(is_uniform(successive(&orders), EPOCHS).is_err(), "the test accepts epochs that repeat");
}
