// What the kernels of the dense layer share, whichever way they multiply; needs lib/step.wgsl, lib/philox.wgsl, lib/dropout.wgsl,
// lib/activation.wgsl. The host side is src/kernels/dense.rs.
//
//   forward           y  = drop(f(x W^T + b))
//   backward_input    dx = f'(x) of undrop(dy W), where x = drop(f(z)) is the stored input: with respect to z
//   backward_weight   dW = dy^T x, db = column sums of dy
//   update            the same, and the optimizer's step with it: no gradient is stored
//
// x, dx: [rows, inputs], W, dW: [outputs, inputs], y, dy: [rows, outputs], b, db: [outputs]. b follows W in its buffer.
// Rows are padded with zeros to input_row and output_row quads; no kernel writes past input_quads and output_quads, and what
// it writes in the last quad past the last column is 0. Only step.rows rows are written.
//
// ACTIVATION, the kind of f, and DROPOUT, see lib/dropout.wgsl, are constants put in front of the module.

struct Params {
    input_quads: u32,   // ceil(inputs / 4)
    input_row: u32,     // quads from one row of x, dx, W, dW to the next
    outputs: u32,
    output_quads: u32,
    output_row: u32,    // quads from one row of y, dy to the next
    bias_at: u32,       // quads from W to b
    panels: u32,        // of a batch as a texture, see src/kernels/texture.rs
    splits: u32,        // partial sums of backward_weight, one after the other
    stream_and_site: u32,
    samples_stride: u32,
    x_stride: u32,      // words from one member to the next; 0: shared
    y_stride: u32,
    weight_stride: u32, // of W, dW and of what the optimizer keeps
    split_rows: u32,    // rows of the batch in every partial sum
    split_quads: u32,   // quads from one partial sum to the next
    stored_stride: u32, // of the stored x in backward_input, whose x_stride is that of dx
}

// 1 where column 4 * quad + lane is one of `columns`, 0 in the padding.
fn in_columns(quad: u32, columns: u32) -> vec4<bool> {
    return vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(columns);
}

// The units of row `row` that a word of four bits for each of eight rows keeps.
fn kept_bits(word: u32, row: u32) -> vec4<bool> {
    return ((vec4<u32>(word) >> vec4<u32>(4u * (row % 8u))) & vec4<u32>(1u, 2u, 4u, 8u)) != vec4<u32>();
}

// Four units of y from their sums; `keep` counts where there is a drop.
fn dense_output(z: vec4<f32>, in_units: vec4<bool>, keep: vec4<bool>, scale: f32) -> vec4<f32> {
    var y = activate(ACTIVATION, z);
    if (DROPOUT != 0u) {
        y = drop_units(y, keep, scale);
    }
    return select(vec4<f32>(), y, in_units);
}

// Whether dense_gradient wants to know `keep`. The sign of a stored ReLU output says it all: y = keep max(z, 0) scale is above 0
// where z is above 0 and kept, and nowhere else, as scale is at least 1 or, at keep_prob 0, nothing is kept; and elsewhere the
// gradient is 0. (A denormal z that the device flushes is 0 to both.)
const MASKED = DROPOUT != 0u && ACTIVATION != 1u;

// The gradient with respect to z from d, that of y = drop(f(z)), and from y.
fn dense_gradient(d: vec4<f32>, y: vec4<f32>, keep: vec4<bool>, scale: f32) -> vec4<f32> {
    if (DROPOUT == 0u) {
        return activation_gradient(ACTIVATION, y, d);
    }
    if (!MASKED) {
        return activation_gradient(ACTIVATION, y, d * scale);
    }
    return select(vec4<f32>(), activation_gradient(ACTIVATION, y / scale, d * scale), keep);
}
