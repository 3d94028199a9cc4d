//! The classes of a data set: which of them no row has, and labels replaced at random.

use super::{Dataset, Targets};
use crate::rng::{self, Coordinates, Stream};
use crate::{Error, Result};

impl Dataset {
    /// The classes that no row has, ascending; none where the targets are numbers.
    ///
    /// Of the rows that a network learns from these are the classes that it cannot learn: rows of them in a validation or test set are
    /// always wrong.
    ///
    /// ```
    /// let digits = thinnet::data::digits();
    /// assert!(digits.classes_without_rows().is_empty());
    /// assert_eq!(digits.slice(0..7)?.classes_without_rows(), [7, 8, 9]);
    /// # Ok::<(), thinnet::Error>(())
    /// ```
    pub fn classes_without_rows(&self) -> Vec<u32> {
        let mut found = self.labels().to_vec();
        found.sort_unstable();
        found.dedup();
        (0..self.classes()).filter(|class| found.binary_search(class).is_err()).collect()
    }

    /// A copy in which exactly `k = round(fraction * rows)` labels are replaced at random (a half rounds up), and the rows of
    /// those labels, ascending.
    ///
    /// The new class is drawn uniformly from all classes, so one in `classes` of the replaced labels is right by chance. Both
    /// draws are words of the mask contract ([`Stream::Augmentation`], site [`rng::MAX_SITE`], unit 0, the row's sample number):
    ///
    /// ```text
    /// rows   the k rows with the smallest (word in pass 0, row)
    /// class  (word in pass 1 * classes) >> 32
    /// ```
    ///
    /// so a seed replaces the same labels on every machine, and a larger fraction replaces those of a smaller one and more.
    ///
    /// # Errors
    /// [`Error::Option`] if `fraction` is not in 0..=1; [`Error::Data`] if the targets are numbers.
    pub fn with_noisy_labels(&self, fraction: f64, seed: u64) -> Result<(Self, Vec<u32>)> {
        if !(0.0..=1.0).contains(&fraction) {
            let problem = "the share of labels to replace must be in 0..=1".into();
            return Err(Error::Option { option: "fraction", value: fraction.to_string(), problem });
        }
        let word = |row: u32, pass: u32| {
            let sample = self.inputs.samples[row as usize];
            Coordinates { stream: Stream::Augmentation, site: rng::MAX_SITE, pass, sample }.word(0, rng::key(seed))
        };
        let mut order: Vec<(u32, u32)> = (0..self.rows()).map(|row| (word(row, 0), row)).collect();
        order.sort_unstable();
        order.truncate((fraction * f64::from(self.rows())).round() as usize);
        let mut replaced: Vec<u32> = order.into_iter().map(|(_, row)| row).collect();
        replaced.sort_unstable();
        let Targets::Classes { mut labels, classes } = self.targets.clone() else {
            return Err(Error::Data("the targets are numbers, so there are no labels to replace".into()));
        };
        for &row in &replaced {
            labels[row as usize] = ((u64::from(word(row, 1)) * u64::from(classes)) >> 32) as u32;
        }
        Ok((Self { inputs: self.inputs.clone(), targets: Targets::Classes { labels, classes } }, replaced))
    }
}
