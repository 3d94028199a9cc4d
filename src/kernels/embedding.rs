//! `shaders/embedding.wgsl`: a row of a table for every word of a sequence, and dropout of whole words.

use super::division::Division;
use super::sums::{Number, Sum, bounds, store};
use super::{Constants, Kernel, MAX_GROUPS, Tolerance, kernel, linear_grid, params};
use crate::mask_rule::{MaskRule, SiteMask};
use crate::memory::{Memory, Tensor};
use crate::rng::{self, Stream};
use crate::step::{Section, Step};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/division.wgsl"),
    include_str!("../../shaders/lib/columns.wgsl"),
    include_str!("../../shaders/lib/philox.wgsl"),
    include_str!("../../shaders/lib/dropout.wgsl"),
    include_str!("../../shaders/lib/kept_bits.wgsl"),
    include_str!("../../shaders/embedding.wgsl")
);

/// The most words of a vocabulary: all f32 up to here are whole numbers apart.
pub const MAX_WORDS: u32 = 1 << 24;

/// The row that follows the last of a list.
const NONE: u32 = u32::MAX;

params! {
    /// `params` of `embedding.wgsl`.
    EmbeddingParams {
        words: u32, columns: u32, ids_row: u32, weight_row: u32,
        y_row: u32, stream_and_site: u32, samples_stride: u32, ids_stride: u32,
        lengths_stride: u32, weight_stride: u32, y_stride: u32, heads_stride: u32, links_stride: u32,
        by_steps: Division, by_quads: Division, pad0: u32,
    }
}

impl EmbeddingParams {
    /// Sequences of `steps` words of a table `[words, columns]`, all rows padded to `row_words`, without strides. Its masks are
    /// at a stream and a site.
    pub fn new(steps: u32, [words, columns]: [u32; 2], row_words: u32, at: (Stream, u32)) -> Self {
        let row = |columns: u32| columns.next_multiple_of(row_words) / 4;
        Self {
            words,
            columns,
            ids_row: row(steps),
            weight_row: row(columns),
            y_row: row(columns),
            stream_and_site: rng::stream_and_site(at.0, at.1),
            by_steps: Division::by(steps),
            by_quads: Division::by(columns.div_ceil(4)),
            ..Self::default()
        }
    }

    /// The word of an id.
    fn word(&self, id: f32) -> u32 {
        // A NaN and what is below 0 become 0.
        (id as u32).min(self.words - 1)
    }

    /// Calls `f(row of y, word, whether it is kept)` for every row of the valid samples; past the length of one there is no word.
    fn for_each_row(
        &self,
        (site, samples, ids, lengths): (Option<SiteMask>, Tensor, Tensor, Tensor),
        (memory, step, member): (&Memory, &Step, usize),
        mut f: impl FnMut(usize, Option<usize>, bool),
    ) {
        let (samples, lengths) = (memory.u32(samples, member), memory.u32(lengths, member));
        let (ids, values) = (memory.f32(ids, member), &step.members[member]);
        let steps = self.by_steps.divisor as usize;
        for sample in 0..step.rows as usize {
            let keeps = |word: u32| {
                site.is_none_or(|SiteMask { index, rule }| {
                    let rate = &values.sites[index];
                    let at = rule.address(rate, &samples, sample);
                    rule.kept(rate, values.key, self.stream_and_site, at, word / 4)[(word % 4) as usize]
                })
            };
            for at in 0..steps {
                let there = at < lengths[sample] as usize;
                let word = there.then(|| self.word(ids[4 * sample * self.ids_row as usize + at]));
                f(sample * steps + at, word.map(|word| word as usize), word.is_some_and(keeps));
            }
        }
    }
}

fn constants(site: Option<SiteMask>) -> Constants {
    vec![("DROPOUT", site.map_or(0, |site| site.rule.constant()))]
}

fn variants() -> Vec<Constants> {
    let rules = MaskRule::ALL.into_iter().map(|rule| Some(SiteMask { index: 0, rule }));
    std::iter::once(None).chain(rules).map(constants).collect()
}

/// The sections of a kernel with or without a site.
fn sections(site: Option<SiteMask>) -> Vec<Section> {
    vec![Section::Step, site.map_or(Section::Unused, |site| Section::Site(site.index))]
}

kernel! {
    /// `y[n T + t] = keep(n, v) ? weight[v] * scale : 0`, v = `ids[n, t]`; 0 past the length of a sample.
    EmbeddingForward = "embedding_forward" in "embedding.wgsl", SOURCE;
    params EmbeddingParams; sections [step, sites]; site site: Option<SiteMask>;
    read [samples: 3, ids: 4, lengths: 5, weight: 6]; write [y: 7]; variants variants
}

kernel! {
    /// `heads` and `links`: for each word the rows of y where it stands and is kept, one after the other.
    EmbeddingLists = "embedding_lists" in "embedding.wgsl", SOURCE;
    params EmbeddingParams; sections [step, sites]; site site: Option<SiteMask>;
    read [samples: 3, ids: 4, lengths: 5]; write [heads: 6, links: 7]; variants variants
}

kernel! {
    /// `dweight[v]` = scale times the sum of `dy` over the rows in the list of v, which is that of [`EmbeddingLists`].
    EmbeddingBackward = "embedding_backward" in "embedding.wgsl", SOURCE;
    params EmbeddingParams; sections [step, sites]; site site: Option<SiteMask>;
    read [first_rows: 3, next_rows: 4, dy: 5]; write [dweight: 6]; variants variants
}

impl Kernel for EmbeddingForward {
    fn sections(&self) -> Vec<Section> {
        sections(self.site)
    }

    fn constants(&self) -> Constants {
        constants(self.site)
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(self.y.len / (4 * self.params.y_row) * self.params.by_quads.divisor, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (p, weight, mut y) = (&self.params, memory.f32(self.weight, member), memory.f32_mut(self.y, member));
        let scale = self.site.map(|site| step.members[member].sites[site.index].scale);
        let tensors = (self.site, self.samples, self.ids, self.lengths);
        p.for_each_row(tensors, (memory, step, member), |row, word, kept| {
            let row = &mut y[4 * row * p.y_row as usize..][..4 * p.by_quads.divisor as usize];
            row.fill(0.0);
            if let Some(word) = word.filter(|_| kept) {
                let of_word = &weight[4 * word * p.weight_row as usize..][..p.columns as usize];
                row.iter_mut().zip(of_word).for_each(|(y, w)| *y = scale.map_or(*w, |scale| w * scale));
            }
        });
    }
}

impl Kernel for EmbeddingLists {
    fn sections(&self) -> Vec<Section> {
        sections(self.site)
    }

    fn constants(&self) -> Constants {
        constants(self.site)
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(self.params.words, MAX_GROUPS)
    }

    fn iterations(&self) -> u64 {
        let steps = u64::from(self.params.by_steps.divisor);
        u64::from(self.links.len).div_ceil(steps) * (2 + steps.div_ceil(4)) + 2
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let mut lists = vec![Vec::new(); self.params.words as usize];
        let tensors = (self.site, self.samples, self.ids, self.lengths);
        self.params.for_each_row(tensors, (memory, step, member), |row, word, kept| {
            if let Some(word) = word.filter(|_| kept) {
                lists[word].push(row as u32);
            }
        });
        let (mut heads, mut links) = (memory.u32_mut(self.heads, member), memory.u32_mut(self.links, member));
        for (head, list) in heads.iter_mut().zip(lists) {
            *head = list.first().copied().unwrap_or(NONE);
            let next = list.iter().skip(1).copied().chain([NONE]);
            list.iter().zip(next).for_each(|(&row, next)| links[row as usize] = next);
        }
    }
}

impl EmbeddingBackward {
    /// The sum of a list and, where there is dropout, a product with the scale.
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let p = &self.params;
        let (heads, links) = (memory.u32(self.first_rows, member), memory.u32(self.next_rows, member));
        let dy = memory.f32(self.dy, member);
        let scale = self.site.map(|site| f64::from(step.members[member].sites[site.index].scale));
        let mut numbers = vec![None; self.dweight.len as usize];
        let row_words = 4 * p.weight_row as usize;
        for (row, &head) in numbers.chunks_mut(row_words).zip(&*heads).take(p.words as usize) {
            let next = |&row: &u32| Some(links[row as usize]).filter(|&next| next != NONE);
            let rows: Vec<u32> = std::iter::successors(Some(head).filter(|&head| head != NONE), next).collect();
            for (column, number) in row.iter_mut().take(4 * p.by_quads.divisor as usize).enumerate() {
                let mut sum = Sum::default();
                if column < p.columns as usize {
                    rows.iter().for_each(|&row| sum.add(f64::from(dy[row as usize * 4 * p.y_row as usize + column])));
                }
                *number = sum.times(scale.unwrap_or(1.0), usize::from(scale.is_some()));
            }
        }
        numbers
    }
}

impl Kernel for EmbeddingBackward {
    fn sections(&self) -> Vec<Section> {
        sections(self.site)
    }

    fn constants(&self) -> Constants {
        constants(self.site)
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(self.params.words * self.params.by_quads.divisor, MAX_GROUPS)
    }

    fn iterations(&self) -> u64 {
        u64::from(self.next_rows.len / 4) + 2
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let results = self.results(memory, step, member);
        store(memory, self.dweight, member, &results);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![bounds(&self.results(memory, step, member))]
    }
}
