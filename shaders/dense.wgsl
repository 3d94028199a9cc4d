// The dense layer, forward and backward.
//
//   dense_forward:          y  = x W^T + b
//   dense_backward_input:   dx = dy W
//   dense_backward_weight:  dW = dy^T x
//   dense_backward_bias:    db = column sums of dy
//
// x, dx: [rows, inputs], W, dW: [outputs, inputs], y, dy: [rows, outputs], b, db: [outputs].
// Every row is padded with zeros to a multiple of four columns; each kernel keeps it so (0 in the padding of what it writes).
// Only step.rows rows are read and written. A register tile of TILE_ROWS x 4 results per invocation, operands as rows of vec4
// and no workgroup memory: no barrier is needed, and a software adapter, which runs barriers slowly, is spared them.
// Dispatch: x over quads of columns, y over blocks of TILE_ROWS rows; z is the member.

struct Params {
    input_quads: u32,
    outputs: u32,
    output_quads: u32,
    x_stride: u32,
    weight_stride: u32,
    bias_stride: u32,
    y_stride: u32,
    pad0: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;

@group(0) @binding(6) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dweight: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dbias: array<vec4<f32>>;

const TILE_ROWS = 8u;

// 1 where column 4 * quad + lane is one of `columns`, 0 in the padding.
fn in_columns(quad: u32, columns: u32) -> vec4<bool> {
    return vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(columns);
}

@compute @workgroup_size(8, WORKGROUP / 8u)
fn dense_forward(@builtin(global_invocation_id) id: vec3<u32>) {
    let p = params;
    let valid = step.rows;
    let first = id.y * TILE_ROWS;
    if (id.x >= p.output_quads || first >= valid) {
        return;
    }
    let quads = p.input_quads;
    let x_base = id.z * (p.x_stride / 4u);
    let weight_base = id.z * (p.weight_stride / 4u);
    let w0 = weight_base + 4u * id.x * quads;
    let w1 = weight_base + min(4u * id.x + 1u, p.outputs - 1u) * quads;
    let w2 = weight_base + min(4u * id.x + 2u, p.outputs - 1u) * quads;
    let w3 = weight_base + min(4u * id.x + 3u, p.outputs - 1u) * quads;
    var rows: array<u32, TILE_ROWS>;
    var sums: array<vec4<f32>, TILE_ROWS>;
    for (var r = 0u; r < TILE_ROWS; r++) {
        rows[r] = x_base + min(first + r, valid - 1u) * quads;
        sums[r] = bias[id.z * (p.bias_stride / 4u) + id.x];
    }
    for (var k = 0u; k < quads; k++) {
        let a0 = weight[w0 + k];
        let a1 = weight[w1 + k];
        let a2 = weight[w2 + k];
        let a3 = weight[w3 + k];
        for (var r = 0u; r < TILE_ROWS; r++) {
            let v = x[rows[r] + k];
            sums[r] += vec4<f32>(dot(v, a0), dot(v, a1), dot(v, a2), dot(v, a3));
        }
    }
    let kept = in_columns(id.x, p.outputs);
    let out = id.z * (p.y_stride / 4u) + first * p.output_quads + id.x;
    for (var r = 0u; r < TILE_ROWS; r++) {
        if (first + r < valid) {
            y[out + r * p.output_quads] = select(vec4<f32>(), sums[r], kept);
        }
    }
}

@compute @workgroup_size(8, WORKGROUP / 8u)
fn dense_backward_input(@builtin(global_invocation_id) id: vec3<u32>) {
    let p = params;
    let valid = step.rows;
    let first = id.y * TILE_ROWS;
    if (id.x >= p.input_quads || first >= valid) {
        return;
    }
    let dy_base = id.z * (p.y_stride / 4u);
    let weight_base = id.z * (p.weight_stride / 4u) + id.x;
    var rows: array<u32, TILE_ROWS>;
    var sums: array<vec4<f32>, TILE_ROWS>;
    for (var r = 0u; r < TILE_ROWS; r++) {
        rows[r] = dy_base + min(first + r, valid - 1u) * p.output_quads;
    }
    for (var k = 0u; k < p.output_quads; k++) {
        // Past the last output dy is padding, so the row of W that stands in for it is multiplied by 0.
        let a0 = weight[weight_base + 4u * k * p.input_quads];
        let a1 = weight[weight_base + min(4u * k + 1u, p.outputs - 1u) * p.input_quads];
        let a2 = weight[weight_base + min(4u * k + 2u, p.outputs - 1u) * p.input_quads];
        let a3 = weight[weight_base + min(4u * k + 3u, p.outputs - 1u) * p.input_quads];
        for (var r = 0u; r < TILE_ROWS; r++) {
            let v = dy[rows[r] + k];
            sums[r] += v.x * a0 + v.y * a1 + v.z * a2 + v.w * a3;
        }
    }
    let out = id.z * (p.x_stride / 4u) + first * p.input_quads + id.x;
    for (var r = 0u; r < TILE_ROWS; r++) {
        if (first + r < valid) {
            dx[out + r * p.input_quads] = sums[r];
        }
    }
}

@compute @workgroup_size(8, WORKGROUP / 8u)
fn dense_backward_weight(@builtin(global_invocation_id) id: vec3<u32>) {
    let p = params;
    let valid = step.rows;
    let first = id.y * TILE_ROWS;
    if (id.x >= p.input_quads || first >= p.outputs) {
        return;
    }
    var x_at = id.z * (p.x_stride / 4u) + id.x;
    var left = id.z * (p.y_stride / 4u) + first / 4u;
    let right = min(1u, p.output_quads - 1u - first / 4u);
    var sums: array<vec4<f32>, TILE_ROWS>;
    for (var m = 0u; m < valid; m++) {
        let v = x[x_at];
        let a = dy[left];
        let b = dy[left + right];
        sums[0] += a.x * v;
        sums[1] += a.y * v;
        sums[2] += a.z * v;
        sums[3] += a.w * v;
        sums[4] += b.x * v;
        sums[5] += b.y * v;
        sums[6] += b.z * v;
        sums[7] += b.w * v;
        x_at += p.input_quads;
        left += p.output_quads;
    }
    let out = id.z * (p.weight_stride / 4u) + first * p.input_quads + id.x;
    for (var r = 0u; r < TILE_ROWS; r++) {
        if (first + r < p.outputs) {
            dweight[out + r * p.input_quads] = sums[r];
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn dense_backward_bias(@builtin(global_invocation_id) id: vec3<u32>) {
    let p = params;
    let valid = step.rows;
    if (id.x >= p.output_quads) {
        return;
    }
    var at = id.z * (p.y_stride / 4u) + id.x;
    var sum = vec4<f32>();
    for (var m = 0u; m < valid; m++) {
        sum += dy[at];
        at += p.output_quads;
    }
    dbias[id.z * (p.bias_stride / 4u) + id.x] = sum;
}
