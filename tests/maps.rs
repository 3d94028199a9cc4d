//! Masks of feature maps and sequences: what is kept, drawn on the device, against the mask contract written out unit by unit, without twins.

use thinnet::kernels::drop_block::{DropBlockBackward, DropBlockColumns, DropBlockForward, DropBlockParams, DropBlockRows};
use thinnet::kernels::map_dropout::{MapDropoutBackward, MapDropoutForward, MapDropoutParams, MapLayout};
use thinnet::mask_rule::{MaskRule, SiteMask};
use thinnet::network::{Dropout, DropoutMode, Shape, Unit};
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::step::{SiteStep, Step};

use crate::common::step;
use crate::kernels::{Slot, bits, on_device};

mod blocks;
mod statistics;

/// A mask of maps: what is dropped from them, where in the mask contract.
#[derive(Clone)]
struct Mask {
    dropout: Dropout,
    shape: Shape,
    seed: u64,
    site: u32,
    pass: u32,
}

impl Mask {
    /// Seed 42, site 0, pass 0.
    fn new(keep: f64, unit: Unit, shape: &[u32]) -> Self {
        let dropout = Dropout::keep(keep).unwrap().unit(unit);
        Self { dropout, shape: Shape(shape.to_vec()), seed: 42, site: 0, pass: 0 }
    }

    /// The same at another rate.
    fn keep(&self, keep: f64) -> Self {
        let unit = self.dropout.unit;
        Self { dropout: Dropout { keep: thinnet::KeepProb::new(keep).unwrap(), unit, ..self.dropout }, ..self.clone() }
    }

    fn rule(&self) -> MaskRule {
        if self.dropout.mode == DropoutMode::Batch { MaskRule::Batch } else { MaskRule::Pass }
    }

    fn stream(&self) -> Stream {
        if self.dropout.mode == DropoutMode::Batch { Stream::BatchMask } else { Stream::TrainingMask }
    }

    fn step(&self, samples: u32) -> Step {
        let mut step = step(samples, 1, &[0.5]);
        step.members[0].key = rng::key(self.seed);
        step.members[0].sites[0] = SiteStep::rate(&self.dropout, self.shape.map(), self.pass);
        step
    }

    /// The mask contract's word of a unit.
    fn word(&self, sample: u32, unit: u32) -> u32 {
        let sample = if self.dropout.mode == DropoutMode::Batch { 0 } else { sample };
        let at = Coordinates { stream: self.stream(), site: self.site, pass: self.pass, sample };
        at.word(unit, rng::key(self.seed))
    }

    /// What the contract keeps of a sample, element by element: the unit is the row-major index in the mask's shape.
    fn contract(&self, sample: u32) -> Vec<bool> {
        let extents = self.dropout.unit.mask_shape(&self.shape).0;
        let kept = |element: u32| {
            let (mut rest, mut unit, mut stride) = (element, 0, 1);
            for (&extent, &of_mask) in self.shape.0.iter().zip(&extents).rev() {
                if of_mask > 1 {
                    unit += rest % extent * stride;
                }
                stride *= of_mask;
                rest /= extent;
            }
            self.dropout.keep.keeps(self.word(sample, unit))
        };
        (0..self.shape.elements()).map(kept).collect()
    }

    /// What the device keeps of each element `[sample][channel, y, x]`, by the layout and the pass it is drawn in.
    fn drawn(&self, samples: &[u32], layout: MapLayout, backward: bool, general: bool) -> Vec<bool> {
        let [rows, columns] = layout.matrix(&self.shape);
        let count = samples.len() as u32;
        let row = columns.next_multiple_of(4);
        let ones = || Slot::own("x", count * rows * row, |_| bits(vec![1.0; (count * rows * row) as usize]));
        let slots = [Slot::own("samples", count, |_| samples.to_vec()), ones(), Slot::out("y", count * rows * row, 0)];
        let at = (self.stream(), self.site);
        let (params, variant) = MapDropoutParams::new(&self.shape, self.dropout.unit, layout, [row / 4; 2], at);
        let (params, variant) = if general { params.element_by_element(variant) } else { (params, variant) };
        let (step, site) = (self.step(count), SiteMask { index: 0, rule: self.rule() });
        let [.., y] = match backward {
            false => on_device(&step, slots, |[samples, x, y]| MapDropoutForward { params, site, variant, samples, x, y }),
            true => on_device(&step, slots, |[samples, dy, dx]| MapDropoutBackward { params, site, variant, samples, dy, dx }),
        };
        assert!(y.chunks(row as usize).all(|row| row[columns as usize..].iter().all(|&word| word == 0)), "the padding is not 0");
        self.by_sample(&y, [rows, row], layout)
    }

    /// What is kept by DropBlock.
    fn drawn_blocks(&self, size: u32, samples: &[u32], backward: bool) -> Vec<bool> {
        let shape: [u32; 3] = self.shape.0.clone().try_into().unwrap();
        let (count, pixels, row) = (samples.len() as u32, shape[1] * shape[2], shape[0].next_multiple_of(4));
        let params = DropBlockParams::new(shape, size, [row / 4; 2], (self.stream(), self.site));
        let (step, site, len) = (self.step(count), SiteMask { index: 0, rule: self.rule() }, count * params.bits());
        let slots = [Slot::own("samples", count, |_| samples.to_vec()), Slot::out("seeded", len, 0)];
        let [_, seeded] =
            on_device(&step, slots, |[samples, seeded_words]| DropBlockRows { params, site, samples, seeded_words });
        let slots = [Slot::own("seeded", len, |_| seeded.clone()), Slot::out("covered", len, 0)];
        let [_, covered] = on_device(&step, slots, |[seeded, covered]| DropBlockColumns { params, seeded, covered });
        let ones = || Slot::own("x", count * pixels * row, |_| bits(vec![1.0; (count * pixels * row) as usize]));
        let slots = [Slot::own("covered", len, |_| covered.clone()), ones(), Slot::out("y", count * pixels * row, 0)];
        let [.., y] = match backward {
            false => on_device(&step, slots, |[hidden, x, y]| DropBlockForward { params, site: 0, hidden, x, y }),
            true => on_device(&step, slots, |[hidden, dy, dx]| DropBlockBackward { params, site: 0, hidden, dy, dx }),
        };
        self.by_sample(&y, [pixels, row], MapLayout::Pixels)
    }

    /// Whether each element is not 0, in the order of a sample's axes. What is kept of ones is the scale.
    fn by_sample(&self, y: &[u32], [rows, row]: [u32; 2], layout: MapLayout) -> Vec<bool> {
        let scale = self.step(1).members[0].sites[0].scale.to_bits();
        let (elements, columns) = (self.shape.elements(), layout.matrix(&self.shape)[1]);
        let pixels = elements / columns;
        let kept = |word: u32| {
            assert!(word == 0 || word == scale, "{word:#010x} is neither 0 nor the scale");
            word != 0
        };
        let of_sample = |y: &[u32]| -> Vec<bool> {
            let element = |element: u32| match layout {
                MapLayout::Planar => element,
                MapLayout::Pixels => element % pixels * row + element / pixels,
                MapLayout::Steps => element / columns * row + element % columns,
            };
            (0..elements).map(|i| kept(y[element(i) as usize])).collect()
        };
        y.chunks((rows * row) as usize).flat_map(of_sample).collect()
    }

    /// What the device keeps in the layout of convolutions.
    fn kept(&self, samples: &[u32]) -> Vec<bool> {
        match self.dropout.unit {
            Unit::Block(size) => self.drawn_blocks(size, samples, false),
            _ => self.drawn(samples, MapLayout::Pixels, false, false),
        }
    }
}

fn shared(axes: &[u8]) -> Unit {
    Unit::shared(axes).unwrap()
}

/// Ones and zeros.
fn text(kept: &[bool]) -> String {
    kept.iter().map(|&kept| if kept { '1' } else { '0' }).collect()
}

#[test]
fn every_unit_in_every_layout_and_variant_is_the_contract_bit_for_bit() {
    let samples = [0, 59_999, 7, u32::MAX, 1];
    let all: [&[u8]; 7] = [&[0], &[1], &[2], &[0, 1], &[0, 2], &[1, 2], &[0, 1, 2]];
    let units = [Unit::Element, Unit::Spatial2d, Unit::Path].into_iter().chain(all.map(shared));
    let mut masks: Vec<Mask> = Vec::new();
    for unit in units {
        // A multiple of 4 pixels and of 4 columns, of 4 pixels alone, of neither; one channel; one pixel.
        let shapes = [[5, 3, 4], [6, 2, 6], [9, 3, 5], [1, 7, 3], [7, 1, 1]];
        masks.extend(shapes.map(|shape| Mask { site: 3, pass: 5, ..Mask::new(0.6, unit, &shape) }));
    }
    masks.push(Mask::new(0.6, Unit::Spatial1d, &[3, 10]));
    masks.push(Mask::new(0.6, Unit::Spatial3d, &[3, 2, 3, 2]));
    masks.push(Mask::new(0.6, shared(&[1, 3]), &[3, 2, 2, 5, 3]));
    // Sequences [steps, features], of a multiple of 4 features and not: each step's mask, one for all steps, one for all features.
    let shapes = [[7, 12], [5, 13], [9, 1], [1, 6], [33, 5]];
    let sequences = |unit| shapes.map(|shape| Mask { site: 3, pass: 5, ..Mask::new(0.6, unit, &shape) });
    masks.extend([Unit::Element, shared(&[0]), shared(&[1]), Unit::Path].into_iter().flat_map(sequences));
    for mask in masks {
        let expected: Vec<bool> = samples.iter().flat_map(|&sample| mask.contract(sample)).collect();
        for layout in [MapLayout::Planar, MapLayout::Pixels, MapLayout::Steps] {
            for (backward, general) in [(false, false), (false, true), (true, false)] {
                let drawn = mask.drawn(&samples, layout, backward, general);
                let what = format!("{} of {}, {layout:?}, backward {backward}, general {general}", mask.dropout.unit, mask.shape);
                assert_eq!(text(&drawn), text(&expected), "{what}");
            }
        }
        let other = Mask { pass: 6, ..mask.clone() };
        let others: Vec<bool> = samples.iter().flat_map(|&sample| other.contract(sample)).collect();
        assert!(expected != others || mask.dropout.unit == Unit::Path || mask.shape.elements() < 8, "another pass, another mask");
    }
}

#[test]
fn masks_of_a_batch_are_one_for_all_samples_and_another_at_every_step() {
    let samples: Vec<u32> = (0..6).map(|i| 1000 * i + 17).collect();
    for unit in [Unit::Element, Unit::Spatial2d, shared(&[2]), Unit::Block(2)] {
        let mask = Mask::new(0.6, unit, &[8, 3, 4]);
        let batch = Mask { dropout: mask.dropout.batch(), ..mask.clone() };
        let of_steps: Vec<Vec<bool>> = (0..8).map(|pass| Mask { pass, ..batch.clone() }.kept(&samples)).collect();
        let one = |kept: &[bool]| kept.chunks(96).all(|sample| sample == &kept[..96]);
        assert!(of_steps.iter().all(|kept| one(kept)), "{unit}");
        assert!(!one(&mask.kept(&samples)), "{unit}: samples of their own are told from a batch's mask");
        // Two of 8 masks of 8 channels agree by chance with 28 (0.6^2 + 0.4^2)^8 = 15 % at most; these do not.
        assert!((0..8).all(|i| (0..i).all(|j| of_steps[i] != of_steps[j])), "{unit}");
        if !matches!(unit, Unit::Block(_)) {
            assert_eq!(of_steps[0][..96], batch.contract(12_345), "{unit}");
        }
    }
}

#[test]
fn what_one_rate_keeps_a_higher_one_keeps_too() {
    let samples: Vec<u32> = (0..50).collect();
    for unit in [Unit::Element, Unit::Spatial2d, shared(&[1]), Unit::Path, Unit::Block(3)] {
        let mask = Mask::new(0.5, unit, &[6, 5, 7]);
        let (low, high) = (mask.kept(&samples), mask.keep(0.8).kept(&samples));
        let nested = |low: &[bool], high: &[bool]| low.iter().zip(high).all(|(&low, &high)| !low || high);
        assert!(nested(&low, &high), "{unit}");
        assert!(low != high && !nested(&high, &low), "{unit}: the higher rate keeps more");
        let other = Mask { site: 1, ..mask.keep(0.8) }.kept(&samples);
        assert!(!nested(&low, &other), "{unit}: another site is no superset");
    }
}

/// Unit f of the mask of all steps, unit t * F + f of a mask for each step, written out.
#[test]
fn the_mask_of_a_sequence_is_one_for_all_steps_or_one_for_each() {
    let samples = [3, 59_999];
    for features in [5, 8] {
        let shape = [6, features];
        let of = |unit| Mask { site: 3, pass: 5, ..Mask::new(0.5, unit, &shape) };
        let (tied, each) = (of(shared(&[0])), of(Unit::Element));
        let keeps = |sample: u32, unit: u32| tied.dropout.keep.keeps(tied.word(sample, unit));
        let places = || samples.iter().flat_map(|&sample| (0..6).flat_map(move |t| (0..features).map(move |f| (sample, t, f))));
        let tied_contract: Vec<bool> = places().map(|(sample, _, f)| keeps(sample, f)).collect();
        let each_contract: Vec<bool> = places().map(|(sample, t, f)| keeps(sample, t * features + f)).collect();
        assert_eq!(text(&tied.drawn(&samples, MapLayout::Steps, false, false)), text(&tied_contract));
        assert_eq!(text(&each.drawn(&samples, MapLayout::Steps, false, false)), text(&each_contract));
        assert_ne!(tied_contract, each_contract, "the two are told apart");
    }
}

/// DropConnect's weights: one sample of the batch's mask, unit o * inputs + i.
#[test]
fn a_matrix_of_weights_is_one_sample_of_the_mask_of_its_batch() {
    let mask = Mask { site: 3, pass: 5, ..Mask::new(0.5, Unit::Element, &[9, 13]) };
    let mask = Mask { dropout: mask.dropout.batch(), ..mask };
    let kept: Vec<bool> = (0..9 * 13).map(|unit| mask.dropout.keep.keeps(mask.word(77, unit))).collect();
    assert_eq!(text(&mask.drawn(&[77], MapLayout::Steps, false, false)), text(&kept));
}

/// The test vectors of the README: seed 42, keep 0.5, site 0, pass 0, samples 0 and 1, maps of 2 channels, 3 x 4 pixels.
#[test]
fn the_test_vectors_of_maps_hold() {
    let vectors = [
        (Unit::Element, ["0111 0101 0000  0001 1011 1111", "1111 1100 1100  0100 0011 1101"]),
        (Unit::Spatial2d, ["0000 0000 0000  1111 1111 1111", "1111 1111 1111  1111 1111 1111"]),
        (shared(&[0]), ["0111 0101 0000  0111 0101 0000", "1111 1100 1100  1111 1100 1100"]),
        (shared(&[1]), ["0111 0111 0111  0101 0101 0101", "1111 1111 1111  1100 1100 1100"]),
        (shared(&[2]), ["0000 1111 1111  1111 0000 1111", "1111 1111 1111  1111 1111 1111"]),
        (Unit::Block(2), ["1111 0011 0011  0011 0001 1001", "1111 1111 1111  1100 0000 0001"]),
        (Unit::Path, ["0000 0000 0000  0000 0000 0000", "1111 1111 1111  1111 1111 1111"]),
    ];
    let mut wrong = 0;
    for (unit, expected) in vectors {
        let kept = Mask::new(0.5, unit, &[2, 3, 4]).kept(&[0, 1]);
        // Rows of 4, separated; two spaces between channels.
        let of = |kept: &[bool]| {
            let channel = |kept: &[bool]| kept.chunks(4).map(text).collect::<Vec<_>>().join(" ");
            kept.chunks(12).map(channel).collect::<Vec<_>>().join("  ")
        };
        let drawn: Vec<String> = kept.chunks(24).map(of).collect();
        println!("{unit}: `{}` `{}`", drawn[0], drawn[1]);
        wrong += usize::from(drawn != expected);
    }
    assert_eq!(wrong, 0, "test vectors that do not hold; what was drawn is printed");
}
