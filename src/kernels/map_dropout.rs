//! `shaders/map_dropout.wgsl`: inverted dropout of feature maps, sequences and weights, with what is kept or dropped as one.

use super::dropout::division;
use super::{Constants, Kernel, MAX_GROUPS, kernel, linear_grid, params};
use crate::mask_rule::{MaskRule, SiteMask};
use crate::memory::{Memory, Tensor};
use crate::network::{Shape, Unit};
use crate::rng::{self, Stream};
use crate::step::{Section, Step};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/division.wgsl"),
    include_str!("../../shaders/lib/philox.wgsl"),
    include_str!("../../shaders/lib/dropout.wgsl"),
    include_str!("../../shaders/lib/kept_bits.wgsl"),
    include_str!("../../shaders/lib/map_units.wgsl"),
    include_str!("../../shaders/map_dropout.wgsl")
);

/// Axes of a sample at most, as in [`crate::network::Axes`].
const MAX_AXES: usize = 8;

params! {
    /// `MapParams` of `lib/map_units.wgsl`: `params` of the kernels of dropout and of noise.
    MapDropoutParams {
        columns: u32, quads: u32, quads_factor: u32, quads_shift: u32,
        places: u32, runs: u32, runs_factor: u32, runs_shift: u32,
        axes: [[u32; 4]; MAX_AXES],
        column_stride: u32, stream_and_site: u32, in_row: u32, out_row: u32,
        samples_stride: u32, in_stride: u32, out_stride: u32, pad0: u32,
    }
}

/// How the samples of a batch lie in a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapLayout {
    /// One row a sample: `[samples, elements of a sample]`.
    Planar,
    /// One row a pixel: `[samples * pixels, channels]`, the channel being the first axis of a sample.
    Pixels,
    /// One row for each place on all axes but the last: `[samples * places, extent of the last axis]`. Those of a sequence
    /// `[steps, features]` are its steps.
    Steps,
}

impl MapLayout {
    /// Rows of a sample of this shape, and columns.
    pub fn matrix(self, shape: &Shape) -> [u32; 2] {
        let (elements, axes) = (shape.elements(), &shape.0);
        let columns = match self {
            Self::Planar => elements,
            Self::Pixels => axes[0],
            Self::Steps => axes[axes.len() - 1],
        };
        [elements / columns, columns]
    }

    /// The axes of its columns and those of its places, of one value for each axis of the shape.
    fn parts<T>(self, axes: &[T]) -> (&[T], &[T]) {
        let (columns, places) = match self {
            Self::Planar => axes.split_at(0),
            Self::Pixels => axes.split_at(1),
            Self::Steps => {
                let (places, columns) = axes.split_at(axes.len() - 1);
                (columns, places)
            }
        };
        (columns, places)
    }
}

/// How a run of quads comes to its units, see the shader's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// The same unit all along the innermost axis.
    Shared,
    /// Consecutive units.
    Consecutive,
    /// A unit for each element, worked out by itself.
    Any,
    /// Consecutive units along the columns of each place.
    Columns,
}

/// What the module is specialised by beside the rule of the mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapVariant {
    /// The layout of input and output.
    pub layout: MapLayout,
    /// How units are found.
    pub space: Space,
    /// Whether all columns share a unit; not of planar rows.
    pub columns_shared: bool,
    /// Axes of the places, at least 1.
    pub axes: u32,
}

impl MapVariant {
    /// Quads of memory of one invocation: eight share a Philox call, four places share one for each column.
    fn run(self) -> u32 {
        match self.space {
            Space::Shared => 8,
            Space::Consecutive => 4,
            Space::Any | Space::Columns => 1,
        }
    }

    pub(super) fn constants(self, rule: MaskRule) -> Constants {
        vec![
            ("DROPOUT", rule.constant()),
            ("PLACES", u32::from(self.layout != MapLayout::Planar)),
            ("SPACE", self.space as u32),
            ("COLUMNS", u32::from(!self.columns_shared)),
            ("INNER", self.axes - 1),
            ("RUN", self.run()),
        ]
    }
}

/// An axis of the places of a sample: its extent, and how far apart the units of neighbours on it are.
type Axis = [u32; 2];

/// Axes as one walks them, innermost first: those of extent 1 left out, neighbours that are both shared or both not made one. At
/// least one axis.
fn merged(extents: &[u32], strides: &[u32]) -> Vec<Axis> {
    let mut axes: Vec<Axis> = Vec::new();
    for (&extent, &stride) in extents.iter().zip(strides).rev().filter(|&(&extent, _)| extent > 1) {
        match axes.last_mut() {
            // In a row-major mask, an axis that is not shared goes on where its inner neighbour ends.
            Some([inner, inner_stride]) if (*inner_stride == 0) == (stride == 0) => *inner *= extent,
            _ => axes.push([extent, stride]),
        }
    }
    if axes.is_empty() {
        axes.push([1, 0]);
    }
    axes
}

impl MapDropoutParams {
    /// A site that drops units of samples of a shape, without strides of members, and the variant for it. `rows` are the quads
    /// from one row of the input, and of the output, to the next; `at` is the stream and the site.
    ///
    /// # Panics
    /// On [`Unit::Block`], which `drop_block.rs` drops, and on a shape of no axes or more than eight.
    pub fn new(shape: &Shape, unit: Unit, layout: MapLayout, rows: [u32; 2], at: (Stream, u32)) -> (Self, MapVariant) {
        assert!(!matches!(unit, Unit::Block(_)) && (1..=MAX_AXES).contains(&shape.0.len()), "{unit} of samples {shape}");
        let strides = unit.strides(shape);
        let [rows_of_sample, columns] = layout.matrix(shape);
        let ((_, extents), (of_columns, of_places)) = (layout.parts(&shape.0), layout.parts(&strides));
        // One column is as good as a shared one.
        let column_stride = if columns == 1 { 0 } else { of_columns.first().copied().unwrap_or(0) };
        let axes = merged(extents, of_places);
        let [extent, stride] = axes[0];
        let alone = axes.len() == 1;
        let space = match layout {
            // Quads of a row begin at multiples of 4: do they stay on the innermost axis?
            MapLayout::Planar if !alone && extent % 4 != 0 => Space::Any,
            MapLayout::Planar if stride == 0 => Space::Shared,
            MapLayout::Planar => Space::Consecutive,
            _ if alone && stride == 0 => Space::Shared,
            // The last axis of a mask, its units are neighbours.
            MapLayout::Steps if column_stride != 0 => Space::Columns,
            _ if alone => Space::Consecutive,
            _ => Space::Any,
        };
        let variant = MapVariant { layout, space, columns_shared: column_stride == 0, axes: axes.len() as u32 };
        let (quads, places) = match layout {
            MapLayout::Planar => (1, columns.div_ceil(4)),
            _ => (columns.div_ceil(4), rows_of_sample),
        };
        let mut params = Self { columns, quads, places, column_stride, in_row: rows[0], out_row: rows[1], ..Self::default() };
        (params.quads_factor, params.quads_shift) = division(quads);
        for (axis, [extent, stride]) in params.axes.iter_mut().zip(axes) {
            let (factor, shift) = division(extent);
            *axis = [extent, factor, shift, stride];
        }
        params.stream_and_site = rng::stream_and_site(at.0, at.1);
        (params.runs_of(variant), variant)
    }

    /// The same for a variant that takes a call for each element, which fits every unit: what the others are tested against.
    pub fn element_by_element(self, variant: MapVariant) -> (Self, MapVariant) {
        let variant = MapVariant { space: Space::Any, ..variant };
        (self.runs_of(variant), variant)
    }

    fn runs_of(mut self, variant: MapVariant) -> Self {
        self.runs = self.places.div_ceil(variant.run());
        (self.runs_factor, self.runs_shift) = division(self.runs);
        self
    }

    /// The unit of a place, axis by axis.
    fn unit(&self, place: u32, axes: u32) -> u32 {
        let (mut rest, mut unit) = (place, 0);
        for &[extent, _, _, stride] in &self.axes[..axes as usize] {
            unit += rest % extent * stride;
            rest /= extent;
        }
        unit
    }

    /// Rows of a sample.
    fn rows(&self, variant: MapVariant) -> u32 {
        if variant.layout == MapLayout::Planar { 1 } else { self.places }
    }

    /// Calls `f(sample, words from the first of the input and of the output, unit)` for every element that is written of so many
    /// samples; those of the padding have no unit.
    pub(super) fn for_each_place(&self, variant: MapVariant, samples: u32, mut f: impl FnMut(u32, [usize; 2], Option<u32>)) {
        let rows = self.rows(variant);
        let used = if variant.layout == MapLayout::Planar { 4 * self.places } else { 4 * self.quads };
        for (row, column) in (0..samples * rows).flat_map(|row| (0..used).map(move |column| (row, column))) {
            let unit = || match variant.layout {
                MapLayout::Planar => self.unit(column, variant.axes),
                _ => self.unit(row % rows, variant.axes) + column * self.column_stride,
            };
            let at = [self.in_row, self.out_row].map(|quads| (4 * quads * row + column) as usize);
            f(row / rows, at, (column < self.columns).then(unit));
        }
    }

    /// Calls `f(words from the first of the input and of the output, whether it is kept)` for every element that is written; it
    /// is `None` in the padding.
    pub(super) fn for_each_kept(
        &self,
        (variant, SiteMask { index, rule }, samples): (MapVariant, SiteMask, Tensor),
        (memory, step, member): (&Memory, &Step, usize),
        mut f: impl FnMut([usize; 2], Option<bool>),
    ) {
        let samples = memory.u32(samples, member);
        let values = &step.members[member];
        let rate = &values.sites[index];
        // The last four units that were drawn, and of which sample.
        let mut drawn = None;
        self.for_each_place(variant, step.rows, |sample, at, unit| {
            let kept = unit.map(|unit| {
                let kept = match drawn {
                    Some((which, kept)) if which == (sample, unit / 4) => kept,
                    _ => {
                        let address = rule.address(rate, &samples, sample as usize);
                        rule.kept(rate, values.key, self.stream_and_site, address, unit / 4)
                    }
                };
                drawn = Some(((sample, unit / 4), kept));
                kept[(unit % 4) as usize]
            });
            f(at, kept);
        });
    }

    /// The grid covers every row that the written tensor has room for.
    pub(super) fn grid(&self, variant: MapVariant, out: Tensor) -> [u32; 2] {
        linear_grid(self.invocations(variant, out), MAX_GROUPS)
    }

    /// Invocations over every row that a tensor has room for whose rows are those of the output.
    pub(super) fn invocations(&self, variant: MapVariant, out: Tensor) -> u32 {
        out.len / (4 * self.out_row) / self.rows(variant) * self.runs * self.quads
    }
}

/// Every rule with one variant; with the rule of training, variants in which every line of the shader is used.
pub(super) fn variants() -> Vec<Constants> {
    let of = |layout, space, columns_shared, axes| MapVariant { layout, space, columns_shared, axes };
    let mut all = Vec::new();
    for (space, axes) in [(Space::Shared, 1), (Space::Consecutive, 1), (Space::Any, 2)] {
        all.extend([false, true].map(|columns_shared| of(MapLayout::Pixels, space, columns_shared, axes)));
    }
    all.extend([1, 2].map(|axes| of(MapLayout::Steps, Space::Columns, false, axes)));
    let planar = [(Space::Shared, 2), (Space::Consecutive, 3), (Space::Any, 1), (Space::Any, 8)];
    all.extend(planar.map(|(space, axes)| of(MapLayout::Planar, space, false, axes)));
    let rules = MaskRule::ALL.into_iter().map(|rule| all[0].constants(rule));
    rules.chain(all[1..].iter().map(|variant| variant.constants(MaskRule::Pass))).collect()
}

kernel! {
    /// `y = keep ? x * scale : 0`.
    MapDropoutForward = "map_dropout_forward" in "map_dropout.wgsl", SOURCE;
    params MapDropoutParams; sections [step, sites]; site site: SiteMask; sides variant: MapVariant;
    read [samples: 3, x: 4]; write [y: 5]; variants variants
}

kernel! {
    /// `dx = keep ? dy * scale : 0`, with the mask of the forward pass drawn again.
    MapDropoutBackward = "map_dropout_backward" in "map_dropout.wgsl", SOURCE;
    params MapDropoutParams; sections [step, sites]; site site: SiteMask; sides variant: MapVariant;
    read [samples: 3, dy: 4]; write [dx: 5]; variants variants
}

/// The output, element by element.
fn twin(
    (params, variant, site): (&MapDropoutParams, MapVariant, SiteMask),
    (samples, input, output): (Tensor, Tensor, Tensor),
    (memory, step, member): (&Memory, &Step, usize),
) {
    let (input, mut output) = (memory.f32(input, member), memory.f32_mut(output, member));
    let scale = step.members[member].sites[site.index].scale;
    params.for_each_kept((variant, site, samples), (memory, step, member), |[from, to], kept| {
        output[to] = if kept == Some(true) { input[from] * scale } else { 0.0 };
    });
}

macro_rules! map_dropout_kernel {
    ($kernel:ident, $in:ident, $out:ident) => {
        impl Kernel for $kernel {
            fn sections(&self) -> Vec<Section> {
                vec![Section::Step, Section::Site(self.site.index)]
            }

            fn constants(&self) -> Constants {
                self.variant.constants(self.site.rule)
            }

            fn grid(&self) -> [u32; 2] {
                self.params.grid(self.variant, self.$out)
            }

            fn twin(&self, memory: &Memory, step: &Step, member: usize) {
                let at = (&self.params, self.variant, self.site);
                twin(at, (self.samples, self.$in, self.$out), (memory, step, member));
            }
        }
    };
}

map_dropout_kernel!(MapDropoutForward, x, y);
map_dropout_kernel!(MapDropoutBackward, dy, dx);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_merge_where_both_or_neither_are_shared() {
        let of = |shape: &[u32], shared: &[u8]| {
            let unit = if shared.is_empty() { Unit::Element } else { Unit::shared(shared).unwrap() };
            let shape = Shape(shape.to_vec());
            merged(&shape.0, &unit.strides(&shape))
        };
        assert_eq!(of(&[2, 3, 4], &[]), [[24, 1]]);
        assert_eq!(of(&[2, 3, 4], &[0, 1, 2]), [[24, 0]]);
        assert_eq!(of(&[2, 3, 4], &[1, 2]), [[12, 0], [2, 1]]);
        assert_eq!(of(&[2, 3, 4], &[1]), [[4, 1], [3, 0], [2, 4]]);
        assert_eq!(of(&[2, 3, 4, 5], &[0, 3]), [[5, 0], [12, 1], [2, 0]]);
        // An axis of extent 1 parts nothing.
        assert_eq!(of(&[2, 1, 4], &[1]), [[8, 1]]);
        assert_eq!(of(&[1, 1], &[]), [[1, 0]]);
    }
}
