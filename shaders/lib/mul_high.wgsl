// WGSL has no 32 x 32 -> 64 bit product, so its upper half is put together from 16-bit limbs, which is exact on every device.
// Where the device has 64-bit integers, lib/mul_high_u64.wgsl takes the place of this file.

// The upper 32 bits of a * b.
fn mul_high(a: u32, b: u32) -> u32 {
    let al = a & 0xffffu;
    let ah = a >> 16u;
    let bl = b & 0xffffu;
    let bh = b >> 16u;
    let t = ah * bl + ((al * bl) >> 16u);
    let u = al * bh + (t & 0xffffu);
    return ah * bh + (t >> 16u) + (u >> 16u);
}
