// The dense layer for any device: see lib/dense.wgsl for the formulas and shapes.
//
// A register tile of TILE_ROWS x 4 results per invocation, operands as rows of vec4 and no workgroup memory: no barrier is needed,
// and a software adapter, which runs barriers slowly, is spared them.
// Dispatch: x over quads of columns, y over blocks of TILE_ROWS rows; z is the member.

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> sites: array<Site, MEMBERS>;
@group(0) @binding(3) var<storage, read> samples: array<u32>;
@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> gradient: array<vec4<f32>>;   // dW, then db

const TILE_ROWS = 8u;

@compute @workgroup_size(8, WORKGROUP / 8u)
fn dense_forward(@builtin(global_invocation_id) id: vec3<u32>) {
    let p = params;
    let member = member_index(id);
    let valid = step.rows;
    let key = step.keys[member].xy;
    let site = sites[member];
    let first = id.y * TILE_ROWS;
    if (id.x >= p.output_quads || first >= valid) {
        return;
    }
    let x_base = member * (p.x_stride / 4u);
    let weight_base = member * (p.weight_stride / 4u);
    let w0 = weight_base + 4u * id.x * p.input_row;
    let w1 = weight_base + min(4u * id.x + 1u, p.outputs - 1u) * p.input_row;
    let w2 = weight_base + min(4u * id.x + 2u, p.outputs - 1u) * p.input_row;
    let w3 = weight_base + min(4u * id.x + 3u, p.outputs - 1u) * p.input_row;
    var rows: array<u32, TILE_ROWS>;
    var sums: array<vec4<f32>, TILE_ROWS>;
    for (var r = 0u; r < TILE_ROWS; r++) {
        rows[r] = x_base + min(first + r, valid - 1u) * p.input_row;
        sums[r] = bias[weight_base + id.x];
    }
    for (var k = 0u; k < p.input_quads; k++) {
        let a0 = weight[w0 + k];
        let a1 = weight[w1 + k];
        let a2 = weight[w2 + k];
        let a3 = weight[w3 + k];
        for (var r = 0u; r < TILE_ROWS; r++) {
            let v = x[rows[r] + k];
            sums[r] += vec4<f32>(dot(v, a0), dot(v, a1), dot(v, a2), dot(v, a3));
        }
    }
    let in_units = in_columns(id.x, p.outputs);
    let out = member * (p.y_stride / 4u) + first * p.output_row + id.x;
    for (var r = 0u; r < TILE_ROWS; r++) {
        if (first + r < valid) {
            var keep = vec4<bool>();
            if (DROPOUT != 0u) {
                keep = kept_units(site, key, p.stream_and_site, mask_address(member * p.samples_stride, first + r, site), id.x);
            }
            y[out + r * p.output_row] = dense_output(sums[r], in_units, keep, site.scale);
        }
    }
}

@compute @workgroup_size(8, WORKGROUP / 8u)
fn dense_backward_input(@builtin(global_invocation_id) id: vec3<u32>) {
    let p = params;
    let member = member_index(id);
    let valid = step.rows;
    let key = step.keys[member].xy;
    let site = sites[member];
    let first = id.y * TILE_ROWS;
    if (id.x >= p.input_quads || first >= valid) {
        return;
    }
    let dy_base = member * (p.y_stride / 4u);
    let weight_base = member * (p.weight_stride / 4u) + id.x;
    var rows: array<u32, TILE_ROWS>;
    var sums: array<vec4<f32>, TILE_ROWS>;
    for (var r = 0u; r < TILE_ROWS; r++) {
        rows[r] = dy_base + min(first + r, valid - 1u) * p.output_row;
    }
    for (var k = 0u; k < p.output_quads; k++) {
        // Past the last output dy is padding, so the row of W that stands in for it is multiplied by 0.
        let a0 = weight[weight_base + 4u * k * p.input_row];
        let a1 = weight[weight_base + min(4u * k + 1u, p.outputs - 1u) * p.input_row];
        let a2 = weight[weight_base + min(4u * k + 2u, p.outputs - 1u) * p.input_row];
        let a3 = weight[weight_base + min(4u * k + 3u, p.outputs - 1u) * p.input_row];
        for (var r = 0u; r < TILE_ROWS; r++) {
            let v = dy[rows[r] + k];
            sums[r] += v.x * a0 + v.y * a1 + v.z * a2 + v.w * a3;
        }
    }
    let stored = member * (p.stored_stride / 4u) + first * p.input_row + id.x;
    let at = member * (p.x_stride / 4u) + first * p.input_row + id.x;
    for (var r = 0u; r < TILE_ROWS; r++) {
        if (first + r < valid) {
            var keep = vec4<bool>();
            if (MASKED) {
                keep = kept_units(site, key, p.stream_and_site, mask_address(member * p.samples_stride, first + r, site), id.x);
            }
            var f = vec4<f32>();
            if (ACTIVATION != 0u) {
                f = x[stored + r * p.input_row];
            }
            dx[at + r * p.input_row] = dense_gradient(sums[r], f, keep, site.scale);
        }
    }
}

struct WeightSums {
    rows: array<vec4<f32>, TILE_ROWS>,  // of dW: four columns of each
    left: vec4<f32>,                    // of db
    right: vec4<f32>,
}

// The sums over the batch for TILE_ROWS rows of dW from `first` on; `right` is 1 where they have a second quad of units.
fn weight_sums(p: Params, id: vec3<u32>, first: u32, right: u32, rows: u32) -> WeightSums {
    let member = member_index(id);
    var x_at = member * (p.x_stride / 4u) + id.x;
    var dy_at = member * (p.y_stride / 4u) + first / 4u;
    var sums = WeightSums();
    for (var m = 0u; m < rows; m++) {
        let v = x[x_at];
        let a = dy[dy_at];
        let b = dy[dy_at + right];
        sums.rows[0] += a.x * v;
        sums.rows[1] += a.y * v;
        sums.rows[2] += a.z * v;
        sums.rows[3] += a.w * v;
        sums.rows[4] += b.x * v;
        sums.rows[5] += b.y * v;
        sums.rows[6] += b.z * v;
        sums.rows[7] += b.w * v;
        sums.left += a;
        sums.right += b;
        x_at += p.input_row;
        dy_at += p.output_row;
    }
    return sums;
}

// db of a block of rows of dW is the work of the invocations of the first quad of columns.
@compute @workgroup_size(8, WORKGROUP / 8u)
fn dense_backward_weight(@builtin(global_invocation_id) id: vec3<u32>) {
    let p = params;
    let member = member_index(id);
    let first = id.y * TILE_ROWS;
    if (id.x >= p.input_quads || first >= p.outputs) {
        return;
    }
    let right = min(1u, p.output_quads - 1u - first / 4u);
    let sums = weight_sums(p, id, first, right, step.rows);
    let base = member * (p.weight_stride / 4u);
    let out = base + first * p.input_row + id.x;
    for (var r = 0u; r < TILE_ROWS; r++) {
        if (first + r < p.outputs) {
            gradient[out + r * p.input_row] = sums.rows[r];
        }
    }
    if (id.x == 0u) {
        let at = base + p.bias_at + first / 4u;
        gradient[at] = sums.left;
        if (right == 1u) {
            gradient[at + 1u] = sums.right;
        }
    }
}

@compute @workgroup_size(8, WORKGROUP / 8u)
fn dense_update(@builtin(global_invocation_id) id: vec3<u32>) {
    let p = params;
    let member = member_index(id);
    let o = optimizer[member];
    let first = id.y * TILE_ROWS;
    if (id.x >= p.input_quads || first >= p.outputs) {
        return;
    }
    let right = min(1u, p.output_quads - 1u - first / 4u);
    let sums = weight_sums(p, id, first, right, step.rows);
    let base = member * (p.weight_stride / 4u);
    let out = base + first * p.input_row + id.x;
    for (var r = 0u; r < TILE_ROWS; r++) {
        if (first + r < p.outputs) {
            update_at(out + r * p.input_row, o, sums.rows[r]);
        }
    }
    if (id.x == 0u) {
        let at = base + p.bias_at + first / 4u;
        update_at(at, o, sums.left);
        if (right == 1u) {
            update_at(at + 1u, o, sums.right);
        }
    }
}
