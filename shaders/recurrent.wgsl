// The steps of a recurrent layer for any device: see lib/recurrent.wgsl for the formulas and shapes. Operands come straight from
// buffers; b lies behind W.
//
// Dispatch: one invocation per quad of units of ROWS samples, of every gate; z is the member.

@group(0) @binding(5) var<storage, read> weight: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn recurrent_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let valid = step.rows;
    let member = member_index(group);
    let key = step.keys[member].xy;
    let site = sites[member];
    let index = linear_index(group, groups, local);
    let block = quotient(index, p.by_quads);
    let quad = index - block * p.hidden_quads;
    let first = ROWS * block;
    if (first >= valid) {
        return;
    }
    let inputs = member * (p.sequence_stride / 4u) + p.input_at;
    let weight_base = member * (p.weight_stride / 4u);
    //# for g in 0..GATES
    let weights_{g} = weight_base + 4u * ({g}u * p.hidden_quads + quad) * p.weight_row;
    let bias_{g} = weight[weight_base + p.bias_at + {g}u * p.hidden_quads + quad];
    //# end
    var h = array<array<vec4<f32>, 4>, ROWS>();
    //# for r in 0..ROWS
    let input_{r} = inputs + (min(first + {r}u, valid - 1u) * p.steps + p.t) * p.hidden_row;
    var h_{r} = array<vec4<f32>, 4>();
    //# for g in 0..GATES
    h_{r}[{g}] = bias_{g};
    //# end
    //# end
    let taken = select(p.hidden_quads, 0u, p.first == 1u);
    for (var k = 0u; k < taken; k++) {
        //# for r in 0..ROWS
        let tied_{r} = sequence[input_{r} + k];
        //# end
        //# for g in 0..GATES
        let w{g}0 = weight[weights_{g} + k];
        let w{g}1 = weight[weights_{g} + p.weight_row + k];
        let w{g}2 = weight[weights_{g} + 2u * p.weight_row + k];
        let w{g}3 = weight[weights_{g} + 3u * p.weight_row + k];
        //# for r in 0..ROWS
        var v{g}_{r} = tied_{r};
        if ({g}u % INPUTS > 0u) {
            v{g}_{r} = sequence[input_{r} + {g}u * p.input_plane + k];
        }
        h_{r}[{g}] += vec4<f32>(dot(v{g}_{r}, w{g}0), dot(v{g}_{r}, w{g}1), dot(v{g}_{r}, w{g}2), dot(v{g}_{r}, w{g}3));
        //# end
        //# end
    }
    //# for r in 0..ROWS
    h[{r}] = h_{r};
    //# end
    for (var r = 0u; r < min(ROWS, valid - first); r++) {
        finish_forward(p, site, key, member, first + r, quad, h[r]);
    }
}

@compute @workgroup_size(WORKGROUP)
fn recurrent_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let valid = step.rows;
    let member = member_index(group);
    let key = step.keys[member].xy;
    let site = sites[member];
    let index = linear_index(group, groups, local);
    let block = quotient(index, p.by_quads);
    let quad = index - block * p.hidden_quads;
    let first = ROWS * block;
    if (first >= valid) {
        return;
    }
    let weight_base = member * (p.weight_stride / 4u) + quad;
    var d = array<array<vec4<f32>, INPUTS>, ROWS>();
    //# for r in 0..ROWS
    let after_{r} = following_at(p, member, min(first + {r}u, valid - 1u));
    var d_{r} = array<vec4<f32>, INPUTS>();
    //# end
    let taken = select(0u, p.hidden_quads, p.carried == 1u);
    for (var k = 0u; k < taken; k++) {
        //# for g in 0..GATES
        let weights_{g} = weight_base + 4u * ({g}u * p.hidden_quads + k) * p.weight_row;
        let w{g}0 = weight[weights_{g}];
        let w{g}1 = weight[weights_{g} + p.weight_row];
        let w{g}2 = weight[weights_{g} + 2u * p.weight_row];
        let w{g}3 = weight[weights_{g} + 3u * p.weight_row];
        //# for r in 0..ROWS
        let v{g}_{r} = following(after_{r} + {g}u * p.hidden_quads + k);
        d_{r}[{g}u % INPUTS] += v{g}_{r}.x * w{g}0 + v{g}_{r}.y * w{g}1 + v{g}_{r}.z * w{g}2 + v{g}_{r}.w * w{g}3;
        //# end
        //# end
    }
    //# for r in 0..ROWS
    d[{r}] = d_{r};
    //# end
    for (var r = 0u; r < min(ROWS, valid - first); r++) {
        finish_backward(p, site, key, member, first + r, quad, d[r]);
    }
}
