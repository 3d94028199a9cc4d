//! TEMPORARY, replaced by the data branch.
use serde::{Deserialize, Serialize};
/// What was done to the source's values before the network saw them, and what its outputs are called; kept with the weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output_names: Vec<String>,
}

impl Preprocessing {
    /// Whether nothing was done.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
