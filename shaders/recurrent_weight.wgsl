// The gradient of the recurrent weight where each gate has a recurrent mask, and so an input, of its own:
//
//   dW[g h4 + j, i] = sum over rows of dy[row, g h4 + j] x_g[row, i]        db[g h4 + j] = sum over rows of dy[row, g h4 + j]
//
// x: GATES planes input_plane quads apart, each [rows, x_row]; dy: [rows, dy_row]; dW: [GATES h4, x_row] and bias_at quads behind it db;
// h4 = 4 hidden_quads. Rows are those of all steps; quads in use are written whole.
// Dispatch: one invocation per quad of i of four rows of dW; z is the member.

struct Params {
    hidden_quads: u32,
    quads_factor: u32,      // see lib/division.wgsl
    quads_shift: u32,
    gates: u32,
    x_row: u32,
    dy_row: u32,
    bias_at: u32,
    input_plane: u32,
    x_stride: u32,          // words from one member to the next
    dy_stride: u32,
    gradient_stride: u32,
    pad0: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> gradient: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn recurrent_weight(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let rows = step.rows;
    let i = linear_index(group, groups, local);
    if (i >= p.gates * p.hidden_quads * p.hidden_quads) {
        return;
    }
    // Four rows of dW, of one gate, and four columns.
    let units = divided(i, p.quads_factor, p.quads_shift);
    let quad = i - units * p.hidden_quads;
    let gate = divided(units, p.quads_factor, p.quads_shift);
    let x_at = member * (p.x_stride / 4u) + gate * p.input_plane + quad;
    let dy_at = member * (p.dy_stride / 4u) + units;
    var sums: array<vec4<f32>, 4>;
    var bias = vec4<f32>();
    for (var row = 0u; row < rows; row++) {
        let d = dy[dy_at + row * p.dy_row];
        let value = x[x_at + row * p.x_row];
        bias += d;
        sums[0] += d.x * value;
        sums[1] += d.y * value;
        sums[2] += d.z * value;
        sums[3] += d.w * value;
    }
    let out = member * (p.gradient_stride / 4u);
    for (var e = 0u; e < 4u; e++) {
        gradient[out + (4u * units + e) * p.x_row + quad] = sums[e];
    }
    if (quad == 0u) {
        gradient[out + p.bias_at + units] = bias;
    }
}
