//! `shaders/philox.wgsl`: Philox words as they are, for known answers.

use super::{Kernel, MAX_GROUPS, kernel, linear_grid, params};
use crate::memory::Memory;
use crate::rng;
use crate::step::{Section, Step};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/philox.wgsl"),
    include_str!("../../shaders/philox.wgsl")
);

params! {
    /// `params` of `philox.wgsl`.
    PhiloxParams { len: u32, pad0: u32, pad1: u32, pad2: u32 }
}

kernel! {
    /// `words[i] = philox4x32-10(counters[i], keys[i])`.
    PhiloxWords = "philox_words" in "philox.wgsl", SOURCE;
    params PhiloxParams; sections [];
    read [counters: 1, keys: 2]; write [words: 3]
}

impl Kernel for PhiloxWords {
    fn sections(&self) -> Vec<Section> {
        Vec::new()
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(self.params.len, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, _step: &Step, member: usize) {
        let (counters, keys) = (memory.u32(self.counters, member), memory.u32(self.keys, member));
        let mut words = memory.u32_mut(self.words, member);
        for i in 0..self.params.len as usize {
            let counter = std::array::from_fn(|j| counters[4 * i + j]);
            words[4 * i..][..4].copy_from_slice(&rng::philox4x32_10(counter, [keys[2 * i], keys[2 * i + 1]]));
        }
    }
}
