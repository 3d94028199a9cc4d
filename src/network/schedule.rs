//! How keep_prob moves during a training: [`Schedule`].

use serde::{Deserialize, Serialize};

use super::KeepProb;

/// How keep_prob moves from one rate to the one that the site says, over the optimizer steps of a training; what comes behind the last
/// step of the way, and evaluation, Monte-Carlo draws and exports, have the site's own rate.
///
/// ```text
/// u = update, the optimizer step from 0;  s = u / over, at most 1;  a = from, b = the site's keep
/// linear       a + s (b - a)
/// cosine       b + (a - b) (1 + cos(pi s)) / 2
/// step         a for u < over, then b: early dropout (Liu et al., ICML 2023) where b = 1, late dropout where a = 1
/// curriculum   b + (a - b) exp(-10 s): curriculum dropout (Morerio et al., ICCV 2017, gamma = 10 / T) where a = 1
/// ```
///
/// Rates are computed on the host in f64 and written into the step table: no kernel knows of them, and none is compiled again. Masks
/// are nested: a unit that is kept at one rate is kept at every higher one, if its word stays (its pass is the same).
///
/// In files `{ keep = 0.5, schedule = { linear = 1000 } }`: the steps of the way, from keep 1 unless `from` says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Schedule {
    /// The shape of the way.
    pub way: Way,
    /// Where it begins.
    pub from: KeepProb,
    /// Optimizer steps that it takes.
    pub over: u32,
}

/// The shape of the way from one rate to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Way {
    /// In equal steps.
    Linear,
    /// Slowly at both ends.
    Cosine,
    /// All at once, at its end.
    Step,
    /// Fast at first.
    Curriculum,
}

impl Schedule {
    /// A way from keep_prob 1, over so many optimizer steps.
    pub fn new(way: Way, over: u32) -> Self {
        Self { way, from: KeepProb::ONE, over }
    }

    /// Begins at another rate.
    pub fn from(self, from: KeepProb) -> Self {
        Self { from, ..self }
    }

    /// keep_prob at an optimizer step, on the way to `keep`.
    pub fn at(&self, keep: KeepProb, update: u32) -> KeepProb {
        let (a, b, s) = (self.from.get(), keep.get(), f64::from(update) / f64::from(self.over.max(1)));
        if s >= 1.0 {
            return keep;
        }
        let rate = match self.way {
            Way::Linear => a + s * (b - a),
            Way::Cosine => b + (a - b) * (1.0 + libm::cos(std::f64::consts::PI * s)) / 2.0,
            Way::Step => a,
            Way::Curriculum => b + (a - b) * libm::exp(-10.0 * s),
        };
        // Between two rates there is none that is no rate, but those near 0 that no mask resolves.
        KeepProb::new(rate.clamp(a.min(b), a.max(b))).unwrap_or(keep)
    }
}

/// The keys of a schedule in a file: one of the ways.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { linear = 1000 }")]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    linear: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cosine: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    curriculum: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<KeepProb>,
}

impl TryFrom<Fields> for Schedule {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        let ways = [Way::Linear, Way::Cosine, Way::Step, Way::Curriculum];
        let steps = [fields.linear, fields.cosine, fields.step, fields.curriculum];
        let mut given = ways.into_iter().zip(steps).filter_map(|(way, steps)| Some((way, steps?)));
        match (given.next(), given.next()) {
            (Some((_, 0)), None) => Err("a way of 0 steps is none; leave the schedule out".into()),
            (Some((way, over)), None) => Ok(Self { way, over, from: fields.from.unwrap_or(KeepProb::ONE) }),
            _ => Err("a schedule is one of linear, cosine, step and curriculum, each the optimizer steps of its way".into()),
        }
    }
}

impl From<Schedule> for Fields {
    fn from(schedule: Schedule) -> Self {
        let from = (schedule.from != KeepProb::ONE).then_some(schedule.from);
        let (fields, over) = (Self { from, ..Self::default() }, Some(schedule.over));
        match schedule.way {
            Way::Linear => Self { linear: over, ..fields },
            Way::Cosine => Self { cosine: over, ..fields },
            Way::Step => Self { step: over, ..fields },
            Way::Curriculum => Self { curriculum: over, ..fields },
        }
    }
}
