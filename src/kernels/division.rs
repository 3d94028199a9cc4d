//! `shaders/lib/division.wgsl`: division by a number that is the same for all invocations, as a product.

use super::dropout::division;

/// A divisor and what a shader multiplies with instead; see `division` of the dropout kernels for why it is exact below 2^31.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Division {
    /// The divisor.
    pub divisor: u32,
    /// `ceil(2^(31 + shift) / divisor)`.
    pub factor: u32,
    /// The least shift with `2^shift >= divisor`.
    pub shift: u32,
}

impl Division {
    /// Division by n, from 1 to 2^31.
    pub fn by(n: u32) -> Self {
        let (factor, shift) = division(n);
        Self { divisor: n, factor, shift }
    }
}
