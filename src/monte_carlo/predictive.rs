//! [`Predictive`]: what the draws of some inputs say together, from sums that the device made.

use super::intervals::Mixture;
use crate::data::Standardization;
use crate::kernels::draws::{FIELDS, Readout};
use crate::{Error, Outputs, Result};

/// The predictive distribution of a Monte-Carlo call, row by row of its inputs. All figures are computed in f64 from sums over the
/// draws; T is the number of draws of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictive {
    readout: Readout,
    outputs: usize,
    precision: Option<f64>,
    /// Draws of each row: one number, unless a call that may stop early had to divide its inputs.
    draws: Vec<u32>,
    columns: usize,
    moments: Vec<Moments>,
    /// The single draws, block after block of rows, if they were stored.
    kept: Option<Vec<Block>>,
}

/// The mean of a column over the draws of a row, their variance, the variance of the mean, and the share that the column won.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moments {
    pub(super) mean: f64,
    pub(super) variance: f64,
    pub(super) error: f64,
    pub(super) won: f64,
}

/// Rows whose draws were stored together.
#[derive(Debug, Clone, PartialEq)]
struct Block {
    first: usize,
    rows: usize,
    columns: usize,
    /// `[draws, rows, columns]`.
    values: Vec<f32>,
}

/// Sums over the draws of some rows, as `merge_draws` leaves them.
pub(super) struct Sums {
    pub(super) readout: Readout,
    pub(super) outputs: u32,
    pub(super) draws: u32,
    /// Whether draws come in antithetic pairs.
    pub(super) pairs: bool,
    pub(super) state: Vec<f32>,
}

/// Single draws, `[draws, rows, columns]`; none if they were not stored.
pub(super) struct Kept {
    pub(super) columns: u32,
    pub(super) values: Vec<f32>,
}

impl Sums {
    /// With s1, s2 the sums of x - c and its square: mean = c + s1 / T, variance = (s2 - s1^2 / T) / (T - 1). The mean of
    /// independent draws has variance / T; that of pairs the same of the T / 2 means of pairs.
    fn moments(&self) -> impl Iterator<Item = Moments> {
        let n = f64::from(self.draws);
        self.state.as_chunks::<FIELDS>().0.iter().map(move |fields| {
            let [center, sum, squares, pairs, won, _] = fields.map(f64::from);
            let spread = |squares: f64, sum: f64, n: f64| ((squares - sum * sum / n) / (n - 1.0)).max(0.0);
            let variance = spread(squares, sum, n);
            let error = match self.pairs {
                true => spread(pairs / 4.0, sum / 2.0, n / 2.0) / (n / 2.0),
                false => variance / n,
            };
            Moments { mean: center + sum / n, variance, error: error.sqrt(), won: won / n }
        })
    }

    /// The largest standard error of a mean answer.
    pub(super) fn largest_standard_error(&self) -> f64 {
        let columns = self.readout.columns(self.outputs) as usize;
        let answers = self.readout.answers(columns);
        let moments = self.moments().enumerate().filter(|(i, _)| i % columns < answers);
        // A NaN is larger than any number: it must not look like a small error.
        moments.map(|(_, moments)| moments.error).fold(0.0, |largest, error| if error <= largest { largest } else { error })
    }
}

impl Predictive {
    pub(super) fn none(readout: Readout, outputs: u32, precision: Option<f64>, kept: bool) -> Self {
        let columns = readout.columns(outputs) as usize;
        let outputs = readout.answers(columns);
        Self { readout, outputs, precision, draws: Vec::new(), columns, moments: Vec::new(), kept: kept.then(Vec::new) }
    }

    pub(super) fn append(&mut self, sums: &Sums, kept: Kept) -> Result<()> {
        let (first, columns) = (self.draws.len(), kept.columns as usize);
        self.moments.extend(sums.moments());
        let rows = self.moments.len() / self.columns - first;
        self.draws.resize(first + rows, sums.draws);
        if let Some(blocks) = &mut self.kept {
            blocks.push(Block { first, rows, columns, values: kept.values });
        }
        let finite = |moments: &Moments| moments.mean.is_finite() && moments.variance.is_finite() && moments.error.is_finite();
        match self.moments[first * self.columns..].iter().position(|moments| !finite(moments)) {
            None => Ok(()),
            Some(at) => Err(Error::Data(format!(
                "the network's answer to row {} of these inputs, or its square, is no finite number in some draw; its weights or that row are too \
                 large",
                first + at / self.columns
            ))),
        }
    }

    /// How many inputs there are.
    pub fn rows(&self) -> usize {
        self.draws.len()
    }

    /// How many answers a row has: classes, independent outputs, or the targets of a regression.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// How many draws the row with the most of them has: all rows have as many, unless a call that may stop early had to divide its
    /// inputs.
    pub fn draws(&self) -> u32 {
        self.draws.iter().copied().max().unwrap_or(0)
    }

    pub(super) fn moments(&self, row: usize) -> &[Moments] {
        &self.moments[row * self.columns..][..self.columns]
    }

    fn each(&self, f: impl Fn(&Moments) -> f64) -> Outputs {
        let values = (0..self.rows()).flat_map(|row| &self.moments(row)[..self.outputs]).map(|moments| f(moments) as f32);
        Outputs::of(self.outputs, values.collect())
    }

    fn rowwise(&self, f: impl Fn(&[Moments]) -> f64) -> Vec<f64> {
        (0..self.rows()).map(|row| f(self.moments(row))).collect()
    }

    /// Whether the answers are probabilities; otherwise they are numbers.
    pub fn is_probability(&self) -> bool {
        matches!(self.readout, Readout::Softmax | Readout::Sigmoid)
    }

    /// The mean answer, `[rows, outputs]`: probabilities (equation 6 of Gal and Ghahramani), or the numbers of a regression.
    pub fn mean(&self) -> Outputs {
        self.each(|moments| moments.mean)
    }

    /// How far the answers of single draws are apart, `sqrt(sum (x - mean)^2 / (T - 1))`, `[rows, outputs]`: the epistemic standard
    /// deviation of a regression.
    pub fn std(&self) -> Outputs {
        self.each(|moments| moments.variance.sqrt())
    }

    /// The standard error of each mean, `std / sqrt(T)`, for antithetic draws that of T / 2 means of pairs; for Latin hypercube draws an
    /// estimate that is too large where they help.
    pub fn standard_error(&self) -> Outputs {
        self.each(|moments| moments.error)
    }

    /// The largest of all standard errors: what the call has reached.
    pub fn largest_standard_error(&self) -> f64 {
        let all = (0..self.rows()).flat_map(|row| &self.moments(row)[..self.outputs]);
        all.map(|moments| moments.error).fold(0.0, f64::max)
    }

    /// The entropy of the mean answer in nats: `-sum_c p_c log p_c`, for independent outputs the sum of theirs; 0 for a regression.
    pub fn predictive_entropy(&self) -> Vec<f64> {
        let term = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
        self.rowwise(|row| {
            let answers = row[..self.outputs].iter();
            match self.readout {
                Readout::Softmax => answers.map(|moments| term(moments.mean)).sum(),
                Readout::Sigmoid => answers.map(|moments| term(moments.mean) + term(1.0 - moments.mean)).sum(),
                Readout::Values | Readout::Gaussian => 0.0,
            }
        })
    }

    /// The mean entropy of the single draws: doubt that every thinned network shares, of the data (aleatoric).
    pub fn expected_entropy(&self) -> Vec<f64> {
        self.rowwise(|row| if self.is_probability() { row[self.outputs].mean } else { 0.0 })
    }

    /// The mutual information of answer and mask, predictive entropy - expected entropy, at least 0: doubt of the network itself
    /// (epistemic), about which its draws disagree. Known as BALD (Houlsby et al. 2011, equation 2).
    pub fn mutual_information(&self) -> Vec<f64> {
        let parts = self.predictive_entropy().into_iter().zip(self.expected_entropy());
        parts.map(|(predictive, expected)| (predictive - expected).max(0.0)).collect()
    }

    /// The share of draws that do not name the class that most draws name (Gal 2016, section 3.3.1); for independent outputs the
    /// mean of theirs; 0 for a regression.
    pub fn variation_ratio(&self) -> Vec<f64> {
        self.rowwise(|row| {
            let won = row[..self.outputs].iter().map(|moments| moments.won);
            match self.readout {
                Readout::Softmax => 1.0 - won.fold(0.0, f64::max),
                Readout::Sigmoid => won.map(|won| won.min(1.0 - won)).sum::<f64>() / self.outputs as f64,
                Readout::Values | Readout::Gaussian => 0.0,
            }
        })
    }

    /// What one draw says, `[rows, outputs]`, if the draws were stored.
    pub fn draw(&self, draw: u32) -> Option<Outputs> {
        let blocks = self.kept.as_ref().filter(|_| self.draws.iter().all(|&draws| draw < draws))?;
        let rows = blocks.iter().flat_map(|block| {
            let all = &block.values[draw as usize * block.rows * block.columns..][..block.rows * block.columns];
            all.chunks(block.columns).flat_map(|row| &row[..self.outputs])
        });
        Some(Outputs::of(self.outputs, rows.copied().collect()))
    }

    /// The variance of the observation noise of each output of a row of a regression: what the network says of it on average, or
    /// 1 / tau; `None` where nothing is known of it.
    pub(super) fn noise(&self, row: usize) -> Option<Vec<f64>> {
        match self.readout {
            Readout::Gaussian => Some(self.moments(row)[self.outputs..].iter().map(|moments| moments.mean).collect()),
            _ => self.precision.map(|tau| vec![1.0 / tau; self.outputs]),
        }
    }

    /// The distribution of one number of a regression: the draws one by one where they were stored, otherwise a normal one.
    pub(super) fn mixture(&self, row: usize, output: usize) -> Mixture {
        let noise = self.noise(row).map_or(0.0, |noise| noise[output]);
        let block = self.kept.iter().flatten().find(|block| (block.first..block.first + block.rows).contains(&row));
        match block {
            Some(block) => {
                let at = (row - block.first) * block.columns + output;
                let draws = block.values[at..].iter().step_by(block.rows * block.columns).map(|&mean| f64::from(mean));
                match self.readout {
                    Readout::Gaussian => {
                        let variances = block.values[at + self.outputs..].iter().step_by(block.rows * block.columns);
                        Mixture::new(draws.zip(variances.map(|&variance| f64::from(variance))))
                    }
                    _ => Mixture::new(draws.map(|mean| (mean, noise))),
                }
            }
            None => {
                let moments = self.moments(row)[output];
                Mixture::new([(moments.mean, moments.variance + noise)])
            }
        }
    }

    pub(super) fn readout(&self) -> Readout {
        self.readout
    }

    /// The same with observation noise of another precision.
    pub(super) fn noisy(self, precision: Option<f64>) -> Self {
        Self { precision, ..self }
    }

    /// The answers of one output of a regression alone, with its noise.
    ///
    /// # Errors
    /// Probabilities, which belong together; an output that there is not.
    pub fn only(&self, output: usize) -> Result<Self> {
        let outputs = self.outputs;
        if self.is_probability() || output >= outputs {
            let what = if self.is_probability() { "probabilities" } else { "outputs" };
            return Err(Error::Data(format!(
                "output {output} of {outputs} {what} cannot stand alone; choose one of a regression's"
            )));
        }
        let own = |column: usize| column % outputs == output;
        let moments =
            self.moments.iter().enumerate().filter(|(i, _)| own(i % self.columns)).map(|(_, moments)| *moments).collect();
        let alone = |block: &Block| {
            let values =
                block.values.iter().enumerate().filter(|(i, _)| own(i % block.columns)).map(|(_, &value)| value).collect();
            Block { columns: block.columns / outputs, values, ..*block }
        };
        let kept = self.kept.as_ref().map(|blocks| blocks.iter().map(alone).collect());
        Ok(Self { outputs: 1, columns: self.columns / outputs, draws: self.draws.clone(), moments, kept, ..*self })
    }

    /// Whether single draws were stored, so that quantiles and likelihoods are those of the draws, not of a normal distribution.
    pub fn is_exact(&self) -> bool {
        self.kept.is_some()
    }

    /// The same in the units that the targets of a regression had before they were standardised: means move and are scaled, deviations
    /// are scaled.
    ///
    /// # Errors
    /// Probabilities, which have no units; a standardisation of another number of columns.
    pub fn in_units(mut self, units: &Standardization) -> Result<Self> {
        let (outputs, columns) = (self.outputs, units.mean.len());
        if self.is_probability() || columns != outputs || units.deviation.len() != outputs {
            return Err(Error::Data(format!(
                "a standardisation of {columns} columns does not belong to {outputs} {}",
                if self.is_probability() { "probabilities" } else { "outputs" }
            )));
        }
        if let (Some(tau), true) = (self.precision, outputs > 1) {
            let equal = units.deviation.iter().all(|deviation| *deviation == units.deviation[0]);
            if !equal {
                return Err(Error::Data(format!(
                    "one precision, {tau}, cannot stand for {outputs} outputs in units of their own; ask for quantiles before their units"
                )));
            }
        }
        self.precision = self.precision.map(|tau| tau / (units.deviation[0] * units.deviation[0]));
        // A column is a number, or the variance of one.
        let columns = self.columns;
        let unit = |i: usize| match i % columns {
            column if column < outputs => (units.mean[column], units.deviation[column]),
            column => (0.0, units.deviation[column - outputs] * units.deviation[column - outputs]),
        };
        for (i, moments) in self.moments.iter_mut().enumerate() {
            let (mean, factor) = unit(i);
            moments.mean = moments.mean * factor + mean;
            moments.variance *= factor * factor;
            moments.error *= factor;
        }
        for block in self.kept.iter_mut().flatten() {
            for (i, value) in block.values.iter_mut().enumerate() {
                let (mean, factor) = unit(i);
                *value = (f64::from(*value) * factor + mean) as f32;
            }
        }
        Ok(self)
    }
}
