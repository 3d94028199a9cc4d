//! Tensors as plain addresses, and the memory that the CPU twins work on.

use std::cell::{Ref, RefCell, RefMut};

/// Number of a buffer in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BufferId(pub usize);

/// A tensor: where it lies in a buffer. All extents are in 32-bit words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensor {
    /// The buffer.
    pub buffer: BufferId,
    /// Its first word, a multiple of 64 (256 bytes, the binding alignment).
    pub offset: u32,
    /// Words of one member.
    pub len: u32,
    /// Words from one member to the next; 0 where all members share it.
    pub stride: u32,
}

impl Tensor {
    /// Words from the first to one past the last of `members` members.
    pub fn span(&self, members: u32) -> u32 {
        self.stride * (members - 1) + self.len
    }

    fn range(&self, member: usize) -> std::ops::Range<usize> {
        let start = self.offset as usize + self.stride as usize * member;
        start..start + self.len as usize
    }
}

/// The buffers of a plan in host memory.
///
/// Reading and writing one buffer at the same time panics, as wgpu refuses a dispatch that does.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    buffers: Vec<RefCell<Vec<u32>>>,
}

impl Memory {
    /// Zeroed buffers of these lengths in words.
    pub fn new(words: impl IntoIterator<Item = u32>) -> Self {
        Self { buffers: words.into_iter().map(|n| RefCell::new(vec![0; n as usize])).collect() }
    }

    /// All words of a buffer.
    pub fn buffer(&self, id: BufferId) -> Ref<'_, Vec<u32>> {
        self.buffers[id.0].borrow()
    }

    /// All words of a buffer, to be written.
    pub fn buffer_mut(&self, id: BufferId) -> RefMut<'_, Vec<u32>> {
        self.buffers[id.0].borrow_mut()
    }

    /// One member's words.
    pub fn u32(&self, tensor: Tensor, member: usize) -> Ref<'_, [u32]> {
        Ref::map(self.buffer(tensor.buffer), |b| &b[tensor.range(member)])
    }

    /// One member's words, to be written.
    pub fn u32_mut(&self, tensor: Tensor, member: usize) -> RefMut<'_, [u32]> {
        RefMut::map(self.buffer_mut(tensor.buffer), |b| &mut b[tensor.range(member)])
    }

    /// One member's numbers.
    pub fn f32(&self, tensor: Tensor, member: usize) -> Ref<'_, [f32]> {
        Ref::map(self.u32(tensor, member), bytemuck::cast_slice)
    }

    /// One member's numbers, to be written.
    pub fn f32_mut(&self, tensor: Tensor, member: usize) -> RefMut<'_, [f32]> {
        RefMut::map(self.u32_mut(tensor, member), bytemuck::cast_slice_mut)
    }
}
