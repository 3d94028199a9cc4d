// How a workgroup covers rows of a matrix by columns: 1 << width_shift quads side by side, and under each of them
// block_lanes(width_shift) invocations, one row below the other. The host side is src/kernels/columns.rs.

// The quad of columns of an invocation; it may lie past the last one.
fn block_quad(group: u32, local: u32, width_shift: u32) -> u32 {
    return (group << width_shift) + (local & ((1u << width_shift) - 1u));
}

// Rows that a workgroup takes at a time, a power of two.
fn block_lanes(width_shift: u32) -> u32 {
    return WORKGROUP >> width_shift;
}

// Which column of 4 * quad .. 4 * quad + 3 is one of `columns`, and no padding.
fn in_columns(quad: u32, columns: u32) -> vec4<bool> {
    return vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(columns);
}
