//! Cases of dropout of feature maps and sequences: every unit in every layout, rows padded alike and not, every rule; and of
//! weights.

use thinnet::kernels::map_dropout::{MapDropoutBackward, MapDropoutForward, MapDropoutParams, MapLayout, MapVariant};
use thinnet::mask_rule::{MaskRule, SiteMask};
use thinnet::memory::Tensor;
use thinnet::network::{Shape, Unit};
use thinnet::rng::Stream;
use thinnet::step::Step;

use super::draws::{draws, rules, with_rule};
use super::dropout::{SITE, rates};
use super::{Case, Slot, seed};
use crate::common::{padded_to, words};

/// Samples of a shape, dropped by a unit in a layout.
#[derive(Clone)]
pub(super) struct Map {
    pub(super) shape: Shape,
    pub(super) unit: Unit,
    pub(super) layout: MapLayout,
    /// Words that the rows of the input, and of the output, are padded to.
    pub(super) padded: [u32; 2],
    pub(super) general: bool,
}

pub(super) const LAYOUTS: [MapLayout; 3] = [MapLayout::Planar, MapLayout::Pixels, MapLayout::Steps];

/// Every way to share axes of maps, and samples of other ranks.
pub(super) fn maps() -> Vec<Map> {
    let shared = |axes: &[u8]| Unit::shared(axes).unwrap();
    let of_maps = || {
        let axes: [&[u8]; 6] = [&[0], &[1], &[2], &[0, 1], &[0, 2], &[1, 2]];
        [Unit::Element, Unit::Spatial2d, Unit::Path].into_iter().chain(axes.map(shared))
    };
    // Maps whose pixels are a multiple of 4, and not; channels likewise; one channel, one pixel.
    let shapes = [vec![5, 3, 4], vec![3, 7, 7], vec![8, 5, 9], vec![1, 5, 8], vec![6, 1, 1], vec![33, 2, 1]];
    let mut all: Vec<(Vec<u32>, Unit)> = Vec::new();
    shapes.into_iter().for_each(|shape| all.extend(of_maps().map(|unit| (shape.clone(), unit))));
    all.extend([Unit::Element, Unit::Path, shared(&[0])].map(|unit| (vec![257], unit)));
    all.extend([Unit::Element, Unit::Spatial1d, shared(&[0]), Unit::Path].map(|unit| (vec![5, 31], unit)));
    all.extend([Unit::Spatial3d, shared(&[2]), shared(&[0, 2]), shared(&[0, 3])].map(|unit| (vec![3, 2, 4, 5], unit)));
    all.extend([[0, 2, 4, 6], [1, 3, 5, 7]].map(|axes| (vec![2, 3, 2, 2, 3, 2, 2, 3], shared(&axes))));
    let padded = [[4, 4], [64, 4], [4, 64], [64, 64]].into_iter().cycle();
    let each = all.into_iter().flat_map(|(shape, unit)| LAYOUTS.map(|layout| (Shape(shape.clone()), unit, layout)));
    let map = |((shape, unit, layout), padded)| Map { shape, unit, layout, padded, general: false };
    each.zip(padded).map(map).collect()
}

impl Map {
    /// Rows of one sample and columns.
    pub(super) fn matrix(&self) -> [u32; 2] {
        self.layout.matrix(&self.shape)
    }

    /// Input and output of a batch. What is dropped or kept may be infinite; what is surely dropped is no number.
    pub(super) fn slots(&self, [input, output]: [&'static str; 2], batch: u32, step: &Step) -> [Slot<'_>; 2] {
        let [rows, columns] = self.matrix();
        let row_words = columns.next_multiple_of(self.padded[0]);
        let (valid, never) = (rows * step.rows, step.members.iter().map(|m| m.sites[1].scale == 0.0).collect::<Vec<_>>());
        let values = move |m: u32| {
            let mut words = padded_to(self.padded[0], valid, columns, seed(input, m));
            for (i, word) in words.iter_mut().enumerate().filter(|&(i, _)| (i as u32 % row_words) < columns) {
                match i % 11 {
                    _ if never[m as usize] => *word = f32::NAN.to_bits(),
                    7 => *word = f32::INFINITY.to_bits(),
                    _ => {}
                }
            }
            words
        };
        let output = Slot::out_rows(output, batch * rows, valid, columns, self.padded[1]);
        [Slot::own(input, batch * rows * row_words, values), output]
    }

    pub(super) fn params(
        &self,
        stream: Stream,
        samples: Tensor,
        input: Tensor,
        output: Tensor,
    ) -> (MapDropoutParams, MapVariant) {
        let row = self.padded.map(|words| self.matrix()[1].next_multiple_of(words) / 4);
        let (params, variant) = MapDropoutParams::new(&self.shape, self.unit, self.layout, row, (stream, SITE));
        let (params, variant) = if self.general { params.element_by_element(variant) } else { (params, variant) };
        let strides = (samples.stride, input.stride, output.stride);
        (MapDropoutParams { samples_stride: strides.0, in_stride: strides.1, out_stride: strides.2, ..params }, variant)
    }
}

fn forward(case: &mut Case, map: &Map, samples: Slot, batch: u32, step: &Step, rule: MaskRule) {
    let [input, output] = map.slots(["x", "y"], batch, step);
    case.check(step, [samples, input, output], |[samples, x, y]| {
        let (params, variant) = map.params(Stream::TrainingMask, samples, x, y);
        MapDropoutForward { params, site: SiteMask { index: 1, rule }, variant, samples, x, y }
    });
}

fn backward(case: &mut Case, map: &Map, samples: Slot, batch: u32, step: &Step, rule: MaskRule) {
    let [input, output] = map.slots(["dy", "dx"], batch, step);
    case.check(step, [samples, input, output], |[samples, dy, dx]| {
        let (params, variant) = map.params(Stream::BatchMask, samples, dy, dx);
        MapDropoutBackward { params, site: SiteMask { index: 1, rule }, variant, samples, dy, dx }
    });
}

/// A sample for each valid row, a list of its own for each member.
pub(super) fn listed(rows: u32, batch: u32) -> Slot<'static> {
    Slot::own("samples", batch, move |member| words(rows as usize, seed("samples", member)))
}

type Check = fn(&mut Case, &Map, Slot, u32, &Step, MaskRule);

fn cases(case: &mut Case, check: Check) {
    let keeps = [vec![0.5, 0.8], vec![0.3], vec![0.0, 1.0], vec![0.6, 0.4]];
    for (map, (i, keeps)) in maps().into_iter().zip((0u32..).zip(keeps.iter().cycle())) {
        let rows = [1, 3, 7][i as usize % 3];
        check(case, &map, listed(rows, rows + 2), rows + 2, &rates(rows, keeps), MaskRule::Pass);
    }
    // Every other rule with a unit of each way to come to it; whether lists hold one word or two for a row.
    let kinds = [Unit::Element, Unit::Spatial2d, Unit::Path, Unit::shared(&[1]).unwrap()];
    for (rule, unit) in rules().chain([MaskRule::All]).flat_map(|rule| kinds.map(|unit| (rule, unit))) {
        for (layout, general) in LAYOUTS.into_iter().flat_map(|layout| [(layout, false), (layout, true)]) {
            let map = Map { shape: Shape(vec![6, 3, 4]), unit, layout, padded: [4, 64], general };
            let step = with_rule(rates(5, &[0.3, 0.6]), 1, rule);
            let samples = if rule.words() == 1 { Slot::own("samples", 7, |_| Vec::new()) } else { draws(5) };
            check(case, &map, samples, 7, &step, rule);
        }
    }
}

pub(super) fn map_dropout_forward(case: &mut Case) {
    cases(case, forward);
}

pub(super) fn map_dropout_backward(case: &mut Case) {
    cases(case, backward);
}
