//! Masks as bits, 64 units to a word.

/// Rows of units, 1 where the rarer thing happens: dropped where most are kept, kept where most are dropped.
#[derive(Debug)]
pub(super) struct Bits {
    units: usize,
    words: Vec<u64>,
    /// Whether 1 is dropped.
    dropped: bool,
    ones: u64,
}

impl Bits {
    /// Of whole rows of values, 0 where a unit is dropped.
    pub(super) fn rarer(units: usize, values: &[f32], dropped: bool) -> Self {
        let word = |values: &[f32]| {
            values.iter().enumerate().fold(0, |word, (place, &value)| word | u64::from((value == 0.0) == dropped) << place)
        };
        let words: Vec<u64> = values.chunks_exact(units).flat_map(|row| row.chunks(64).map(word)).collect();
        let ones = count(&words);
        Self { units, words, dropped, ones }
    }

    pub(super) fn units(&self) -> usize {
        self.units
    }

    pub(super) fn rows(&self) -> usize {
        self.words.len() / self.units.div_ceil(64)
    }

    pub(super) fn row(&self, row: usize) -> &[u64] {
        let words = self.units.div_ceil(64);
        &self.words[row * words..][..words]
    }

    /// The share of ones.
    pub(super) fn rate(&self) -> f64 {
        self.ones as f64 / (self.rows() as f64 * self.units as f64)
    }

    /// How many are kept where `count` of `all` are ones.
    pub(super) fn kept(&self, count: u32, all: u64) -> u64 {
        if self.dropped { all - u64::from(count) } else { count.into() }
    }

    /// Ones of every row.
    pub(super) fn by_row(&self) -> Vec<u32> {
        (0..self.rows()).map(|row| count(self.row(row)) as u32).collect()
    }

    /// Row after row, of at most so many places.
    pub(super) fn sequence(&self, most: usize) -> Vec<bool> {
        let places = (0..self.rows()).flat_map(|row| (0..self.units).map(move |unit| (row, unit)));
        places.take(most).map(|(row, unit)| self.row(row)[unit / 64] >> (unit % 64) & 1 == 1).collect()
    }

    /// Ones of every unit.
    pub(super) fn by_unit(&self) -> Vec<u32> {
        let mut counts = vec![0; self.units];
        for row in 0..self.rows() {
            for (unit, count) in counts.iter_mut().enumerate() {
                *count += (self.row(row)[unit / 64] >> (unit % 64)) as u32 & 1;
            }
        }
        counts
    }
}

fn count(words: &[u64]) -> u64 {
    words.iter().map(|word| u64::from(word.count_ones())).sum()
}
