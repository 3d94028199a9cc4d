//! Which file a data set is in, and which of its rows are for what.

use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where the data are and how they are divided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataOptions {
    /// A folder of idx files, a file, or `digits`.
    pub path: PathBuf,
    /// Rows to learn from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<Rows>,
    /// Rows to be judged by after each epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid: Option<Rows>,
    /// The share of the rows that is drawn for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_fraction: Option<f64>,
    /// Rows to be judged by in the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Rows>,
    /// What is to be predicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Whether columns are shifted and scaled to mean 0 and deviation 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standardize: Option<bool>,
}

impl Default for DataOptions {
    fn default() -> Self {
        let path = PathBuf::from("digits");
        Self { path, train: None, valid: None, valid_fraction: None, test: None, target: None, standardize: None }
    }
}

/// Rows as in `"0..55000"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows(pub Range<u32>);

impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}..{}", self.0.start, self.0.end))
    }
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let ends = text.split_once("..").and_then(|(a, b)| Some(a.trim().parse().ok()?..b.trim().parse().ok()?));
        match ends {
            Some(rows) if rows.start < rows.end => Ok(Self(rows)),
            _ => Err(de::Error::custom(format!("{text:?} is no range of rows, such as \"0..55000\""))),
        }
    }
}

/// The column or columns to be predicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Target {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}
