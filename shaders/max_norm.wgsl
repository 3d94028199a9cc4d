// Max-norm regularisation: the incoming weights of every unit are scaled back to a norm of max_norm where theirs is larger
// (Srivastava et al., JMLR 2014, section 5.1).
//
//   n = sqrt(sum over i of W[u, i]^2);  W[u, :] *= max_norm / n where n > max_norm
//
// weight: [units, inputs], rows padded with zeros to a multiple of four columns. A row that is not scaled keeps its bits.
// The order of the additions is fixed. Dispatch: one workgroup per row, folded past 65,535; z is the member.

struct Params {
    quads: u32,  // of a row
    rows: u32,
    stride: u32,
    pad0: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> optimizer: array<OptimizerStep, MEMBERS>;
@group(0) @binding(2) var<storage, read_write> weight: array<vec4<f32>>;

var<workgroup> squares: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn max_norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let limit = optimizer[group.z].max_norm;
    let row = group.y * groups.x + group.x;
    // The fold may have workgroups past the last row; they reach the barrier with nothing to add.
    let quads = select(0u, p.quads, row < p.rows);
    let base = group.z * (p.stride / 4u) + row * p.quads;
    var total = vec4<f32>();
    for (var i = local; i < quads; i += WORKGROUP) {
        let w = weight[base + i];
        total += w * w;
    }
    squares[local] = (total.x + total.y) + (total.z + total.w);
    workgroupBarrier();
    var all = squares[0];
    for (var i = 1u; i < WORKGROUP; i++) {
        all += squares[i];
    }
    let norm = sqrt(all);
    if (norm > limit) {
        let factor = limit / norm;
        for (var i = local; i < quads; i += WORKGROUP) {
            weight[base + i] *= factor;
        }
    }
}
