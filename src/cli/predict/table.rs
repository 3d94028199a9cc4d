//! Answers row by row, as CSV, as lines of JSON or as npy.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};
use thinnet::{Inputs, Loss, Model, Outputs};

use super::super::output::field;

/// What a table is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Csv,
    Json,
    Npy,
}

/// Numbers of every row, with its label where the network tells classes apart.
pub(super) struct Table {
    /// Numbers of the rows in their file, from 0.
    rows: Vec<u32>,
    /// What the file calls them, if it does.
    names: Option<Vec<String>>,
    labels: Option<Vec<String>>,
    groups: Vec<Group>,
}

/// Some columns: one key in JSON, several in CSV.
struct Group {
    key: String,
    columns: Vec<String>,
    /// `[rows, columns]`.
    values: Vec<f32>,
    /// One number for a row, not a list of one.
    single: bool,
}

impl Table {
    pub(super) fn new(inputs: &Inputs, labels: Option<Vec<String>>) -> Self {
        Self { rows: inputs.samples().into(), names: inputs.names().map(Into::into), labels, groups: Vec::new() }
    }

    /// Some of the rows, in this order; before any number is added.
    pub(super) fn select(self, order: &[usize]) -> Self {
        debug_assert!(self.groups.is_empty(), "numbers stay where they are");
        let picked = |texts: Vec<String>| order.iter().map(|&i| texts[i].clone()).collect();
        let rows = order.iter().map(|&i| self.rows[i]).collect();
        Self { rows, names: self.names.map(picked), labels: self.labels.map(picked), groups: self.groups }
    }

    /// Adds numbers of each output, `[rows, columns]`, whose columns have these names.
    pub(super) fn outputs(&mut self, key: impl Into<String>, columns: Vec<String>, values: &[f32]) {
        debug_assert_eq!(values.len(), self.rows.len() * columns.len(), "whole rows");
        self.groups.push(Group { key: key.into(), columns, values: values.into(), single: false });
    }

    /// Adds a column of its own.
    pub(super) fn column(&mut self, key: &str, values: impl IntoIterator<Item = f64>) {
        let values = values.into_iter().map(|value| value as f32).collect();
        self.groups.push(Group { key: key.into(), columns: vec![key.into()], values, single: true });
    }

    pub(super) fn content(&self, form: Form) -> Vec<u8> {
        match form {
            Form::Csv => self.csv().into_bytes(),
            Form::Json => self.json().into_bytes(),
            Form::Npy => {
                let columns = self.groups.iter().map(|group| group.columns.len()).sum();
                let values: Vec<f32> = (0..self.rows.len()).flat_map(|i| self.row(i)).collect();
                npy(&[self.rows.len(), columns], &values)
            }
        }
    }

    fn row(&self, i: usize) -> impl Iterator<Item = f32> + '_ {
        self.groups.iter().flat_map(move |group| group.row(i).iter().copied())
    }

    /// The names of all columns, each of them once: that of an output which is taken gets the key of its group before it, as the
    /// class `row` is `outputs_row`.
    fn header(&self) -> Vec<String> {
        let mut header = vec!["row".to_owned()];
        header.extend(self.names.iter().map(|_| "sequence".into()));
        header.extend(self.labels.iter().map(|_| "label".into()));
        let single = self.groups.iter().filter(|group| group.single).map(|group| group.key.clone());
        let mut taken: HashSet<String> = header.iter().cloned().chain(single).collect();
        for Group { key, columns, single, .. } in &self.groups {
            for column in columns {
                let mut name = column.clone();
                while !single && !taken.insert(name.clone()) {
                    name = format!("{key}_{name}");
                }
                header.push(name);
            }
        }
        header
    }

    /// `row,sequence,label,...`, without what is not there; each number is the shortest that is exactly this one.
    fn csv(&self) -> String {
        let mut text = self.header().iter().map(|name| field(name)).collect::<Vec<_>>().join(",");
        text.push('\n');
        for (i, row) in self.rows.iter().enumerate() {
            write!(text, "{row}").expect("a String takes everything");
            for texts in [&self.names, &self.labels].into_iter().flatten() {
                text += &format!(",{}", field(&texts[i]));
            }
            self.row(i).for_each(|value| write!(text, ",{value}").expect("a String takes everything"));
            text.push('\n');
        }
        text
    }

    fn json(&self) -> String {
        let line = |(i, row): (usize, &u32)| {
            let mut object = Map::new();
            object.insert("row".into(), Value::from(*row));
            if let Some(names) = &self.names {
                object.insert("sequence".into(), names[i].clone().into());
            }
            object.insert("label".into(), self.labels.as_ref().map(|labels| labels[i].clone()).into());
            for group in &self.groups {
                let values = group.row(i);
                object.insert(group.key.clone(), if group.single { values[0].into() } else { values.into() });
            }
            format!("{}\n", Value::Object(object))
        };
        self.rows.iter().enumerate().map(line).collect()
    }
}

impl Group {
    fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.columns.len()..][..self.columns.len()]
    }
}

/// The label of each row of probabilities (or logits), where the network tells classes apart.
pub(super) fn labels(model: &Model, outputs: &Outputs, logits: bool) -> Option<Vec<String>> {
    let classes = classes(model, outputs, logits)?;
    Some(classes.into_iter().map(|class| class_name(model, class, outputs.row(0).len())).collect())
}

/// The class of each row of probabilities (or logits), where the network tells classes apart.
pub(super) fn classes(model: &Model, outputs: &Outputs, logits: bool) -> Option<Vec<usize>> {
    match (model.network().loss, outputs.row(0).len()) {
        (Loss::SoftmaxCrossEntropy, _) => Some(outputs.labels().into_iter().map(|label| label as usize).collect()),
        (Loss::BinaryCrossEntropy, 1) => {
            let even = if logits { 0.0 } else { 0.5 };
            Some(outputs.values().iter().map(|&value| usize::from(value > even)).collect())
        }
        _ => None,
    }
}

/// The name of a class or of an output; numbers where there are no names, or other ones, and of outputs past the classes: a single
/// output that tells two classes apart has the names of two, or, where its targets were numbers, that of their column.
fn class_name(model: &Model, class: usize, columns: usize) -> String {
    let names = &model.preprocessing().output_names;
    let name = names.get(class).filter(|_| names.len() <= columns.max(2));
    name.map_or_else(|| class.to_string(), String::clone)
}

/// The names of the columns of an output: classes, or targets with what a column is of its target where that is not the value.
pub(super) fn names(model: &Model, columns: usize, logits: bool) -> Vec<String> {
    let loss = model.network().loss;
    let (targets, spread) = match (loss, logits) {
        (Loss::GaussianNll, true) => (columns / 2, "_log_variance"),
        (Loss::GaussianNll, false) => (columns / 2, "_deviation"),
        _ => (columns, ""),
    };
    let name = |column: usize| match (loss, columns) {
        (Loss::SoftmaxCrossEntropy, 1) | (Loss::BinaryCrossEntropy, 1) => "probability".into(),
        (Loss::SoftmaxCrossEntropy, _) => class_name(model, column, columns),
        _ if column < targets => target_name(model, column, targets),
        _ => target_name(model, column - targets, targets) + spread,
    };
    (0..columns).map(name).collect()
}

/// The name of a target of several.
pub(super) fn target_name(model: &Model, target: usize, targets: usize) -> String {
    let names = &model.preprocessing().output_names;
    if names.len() == targets { names[target].clone() } else { format!("y{target}") }
}

/// An npy file, version 1.0: magic, version, length of the header, a header padded to a multiple of 64 bytes, the values.
pub(super) fn npy(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let shape: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", shape.join(", "));
    let fill = (10 + header.len() + 1).next_multiple_of(64) - (10 + header.len() + 1);
    header.extend(std::iter::repeat_n(' ', fill));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}
