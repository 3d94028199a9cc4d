//! From a source to the sets: rows shared out, values standardised, sequences padded.

use std::path::Path;

use super::apply::{apply, check_widths, checked, keep_rows, learnable, numbered, standardized};
use super::place::Place;
use super::source::{self, Ask, Source};
use super::{DataOptions, Portion, Sets, Target, Task, scale, split, steps};
use crate::data::{Dataset, Inputs, Preprocessing, Sequences, Standardization, Targets, Values, fingerprint};
use crate::{Error, Result};

impl DataOptions {
    /// Reads the source and makes the sets. Classes are as many in all of them, whichever are in each.
    ///
    /// # Errors
    /// [`Error::File`] with the place and a remedy if the source is not what it should be, [`Error::Option`] for rows that the
    /// file has not or that are in two sets, [`Error::Data`] for data that do not fit the task.
    ///
    /// ```
    /// use thinnet::data::{DataOptions, Task};
    /// let options = DataOptions { valid_fraction: Some(0.1), test: Some("1500..1797".parse()?), ..Default::default() };
    /// let sets = options.load(Task::Classes, 0)?;
    /// assert_eq!((sets.train.rows(), sets.valid.unwrap().rows(), sets.test.unwrap().rows()), (1350, 150, 297));
    /// # Ok::<(), thinnet::Error>(())
    /// ```
    pub fn load(&self, task: Task, seed: u64) -> Result<Sets> {
        let place = Place::of(&self.path)?;
        let ask = self.ask(task, None);
        let Source { inputs, targets, input_names, output_names, target } = place.read(&ask)?;
        let data = Dataset { inputs, targets: checked(targets, task, &self.path)? };
        let rows = data.rows();
        numbered(&data, rows.into(), &self.path)?;
        let split = split::split(self, rows, seed)?;
        let held_out = |rows: &[u32]| if rows.is_empty() { Ok(None) } else { data.select(rows).map(Some) };
        let (mut valid, mut test) = (held_out(&split.valid)?, held_out(&split.test)?);
        let mut train = data;
        keep_rows(&mut train, &split.train);
        learnable(&train, &output_names, &self.path)?;

        let mut preprocessing = self.fit(&train, task)?;
        (preprocessing.input_names, preprocessing.output_names) = (input_names, output_names);
        for set in [Some(&mut train), valid.as_mut(), test.as_mut()].into_iter().flatten() {
            apply(&preprocessing, set, &self.path)?;
        }
        if test.is_none()
            && let Some(place) = place.test()?
        {
            let ask = Ask { target: target.as_ref().or(self.target.as_ref()), ..self.ask(task, Some(&preprocessing)) };
            let found = read_all(&place, &ask)?;
            numbered(&found, u64::from(rows) + u64::from(found.rows()), place.path())?;
            test = Some(found);
        }
        check_widths(&train, test.as_ref(), &self.path)?;
        let mut all: Vec<&mut Dataset> = [Some(&mut train), valid.as_mut(), test.as_mut()].into_iter().flatten().collect();
        let classes = all.iter().map(|set| set.classes()).max().unwrap_or(0);
        for set in &mut all {
            if let Targets::Classes { classes: own, .. } = &mut set.targets {
                *own = classes;
            }
        }
        if let Some(sequences) = &mut preprocessing.sequences {
            sequences.steps = steps::alike(&mut all, &self.path)?;
        }
        Ok(Sets { train, valid, test, preprocessing })
    }

    fn ask<'a>(&'a self, task: Task, known: Option<&'a Preprocessing>) -> Ask<'a> {
        let (target, sequence) = (self.target.as_ref(), self.sequence.as_deref());
        Ask { target, task, known, targets: true, sequence, words: self.words }
    }

    /// What is to be done to all rows as the rows to learn from say it, without names.
    fn fit(&self, train: &Dataset, task: Task) -> Result<Preprocessing> {
        if self.words && self.standardize == Some(true) {
            let problem = "standardised words are no whole numbers; leave it out, or let it be false".into();
            return Err(Error::Option { option: "standardize", value: "true".into(), problem });
        }
        let floats = matches!(train.inputs.values(), Values::F32(_)) && !self.words;
        let standardize = self.standardize.unwrap_or(floats);
        let inputs = standardize.then(|| Standardization::fit(train.inputs.features(), &train.inputs.existing_f32()));
        let targets = match &train.targets {
            Targets::Values { columns, values } if self.standardize != Some(false) && task == Task::Values => {
                Some(Standardization::fit(*columns, values))
            }
            _ => None,
        };
        let sequences = train.inputs.lengths().map(|lengths| Sequences { steps: lengths.steps, column: self.sequence.clone() });
        let (scale, fingerprint) = (Some(scale::of(&train.inputs)), Some(fingerprint::of(train)));
        Ok(Preprocessing { inputs, targets, sequences, words: self.words, scale, fingerprint, ..Default::default() })
    }
}

/// The test part of a folder or an archive that has both parts, all rows of any other path.
///
/// # Errors
/// A path that is nothing, or an archive that cannot be read.
pub fn test_within(path: &Path) -> Result<Portion> {
    Ok(match Place::of(path)? {
        place @ (Place::Folder(..) | Place::Npz(..)) if place.test()?.is_some() => Portion::Test,
        _ => Portion::All,
    })
}

/// Rows with their targets for a model that is trained already, as its preprocessing makes them.
///
/// Columns of a csv file are found by the names that the model knows, in whatever order; `target` is needed where it was in
/// training. Class names become the classes they were in training.
///
/// # Errors
/// As [`DataOptions::load`], and [`Error::File`] if the columns are not those of the model, or a class is not.
pub fn load_for(
    path: &Path,
    portion: &Portion,
    target: Option<&Target>,
    preprocessing: &Preprocessing,
    task: Task,
) -> Result<Dataset> {
    let place = of_portion(path, portion)?;
    let mut data = read_all(&place, &of_model(preprocessing, target, task, true))?;
    steps::of_model(preprocessing, &mut data.inputs, path)?;
    match portion {
        Portion::Rows(rows) => data.slice(split::within("rows", rows, data.rows(), &path.display().to_string())?),
        _ => Ok(data),
    }
}

/// The same without targets, which the source may have or not.
///
/// # Errors
/// As [`load_for`], but for the targets.
pub fn inputs_for(path: &Path, portion: &Portion, target: Option<&Target>, preprocessing: &Preprocessing) -> Result<Inputs> {
    let place = of_portion(path, portion)?;
    let mut inputs = place.read(&of_model(preprocessing, target, Task::Either, false))?.inputs;
    if let Portion::Rows(rows) = portion {
        inputs = inputs.slice(split::within("rows", rows, inputs.rows(), &path.display().to_string())?)?;
    }
    standardized(preprocessing, &mut inputs, path)?;
    steps::of_model(preprocessing, &mut inputs, path)?;
    Ok(inputs)
}

/// What is asked for a model that is trained already.
fn of_model<'a>(known: &'a Preprocessing, target: Option<&'a Target>, task: Task, targets: bool) -> Ask<'a> {
    let sequence = known.sequences.as_ref().and_then(|sequences| sequences.column.as_deref());
    Ask { target, task, known: Some(known), targets, sequence, words: known.words }
}

fn of_portion(path: &Path, portion: &Portion) -> Result<Place> {
    let place = Place::of(path)?;
    if *portion != Portion::Test {
        return Ok(place);
    }
    place.test()?.ok_or_else(|| {
        let problem = "has no test set beside it; name the file of the test set, or rows of this one";
        source::bad(path, problem)
    })
}

/// Everything in a place, preprocessed.
fn read_all(place: &Place, ask: &Ask) -> Result<Dataset> {
    let (Source { inputs, targets, .. }, path) = (place.read(ask)?, place.path());
    let mut data = Dataset { inputs, targets: checked(targets, ask.task, path)? };
    apply(ask.known.unwrap_or(&Preprocessing::default()), &mut data, path)?;
    Ok(data)
}
