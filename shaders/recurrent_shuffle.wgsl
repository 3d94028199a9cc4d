// The steps of a recurrent layer for software adapters: see lib/recurrent.wgsl for the formulas and shapes.
//
// One workgroup is one subgroup of LANES lanes, as in dense_shuffle.wgsl, where the reasons are. W is a storage texture
// (src/kernels/texture.rs) that stays filled through all steps. What it is multiplied by changes from step to step and stays in its
// buffer: each lane loads rows of it, every value of which is broadcast by a shuffle with a constant index. A lane owns one quad of
// units, forward of every gate, of ROWS = TILES LANES samples.
// Dispatch: x over LANES quads of units, y over ROWS samples; z is the member.
//
// Lanes past the last quad, and rows past the last valid one, do again what the last one does, and store nothing.

@group(0) @binding(5) var weight: texture_storage_2d<rgba32float, read>;
@group(0) @binding(8) var<storage, read> bias: array<vec4<f32>>;

const ROWS = TILES * LANES;
const SHARED = GATES / INPUTS;   // gates of an input plane

@compute @workgroup_size(LANES)
fn recurrent_forward_shuffle(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let p = params;
    let valid = step.rows;
    let member = member_index(group);
    let key = step.keys[member].xy;
    let site = sites[member];
    let quad = group.x * LANES + lane;
    let own = min(quad, p.hidden_quads - 1u);
    let first = group.y * ROWS;
    let bias_at = member * (p.weight_stride / 4u) + own;
    let weight_at = texture_at(member * min(p.weight_stride, 1u), 4u * own, p.weight_row, 1u);
    //# for t in 0..TILES
    let input_{t} = member * (p.sequence_stride / 4u) + p.input_at
        + (min(first + {t}u * LANES + lane, max(valid, 1u) - 1u) * p.steps + p.t) * p.hidden_row;
    //# end
    //# for g in 0..GATES
    let b{g} = bias[bias_at + {g}u * p.hidden_quads];
    //# for r in 0..TILES*LANES
    var sum{g}_{r} = b{g};
    //# end
    //# end
    let taken = select(0u, p.hidden_quads, p.first == 0u && first < valid);
    for (var k = 0u; k < taken; k++) {
        var inputs: array<array<vec4<f32>, TILES>, INPUTS>;
        //# for i in 0..INPUTS
        //# for t in 0..TILES
        inputs[{i}][{t}] = sequence[input_{t} + {i}u * p.input_plane + k];
        //# end
        //# end
        //# for g in 0..GATES
        {
            //# for j in 0..4
            let w{j} = textureLoad(weight, weight_at + vec2<u32>(k, 4u * {g}u * p.hidden_quads + {j}u));
            //# end
            let c0 = vec4<f32>(w0.x, w1.x, w2.x, w3.x);
            let c1 = vec4<f32>(w0.y, w1.y, w2.y, w3.y);
            let c2 = vec4<f32>(w0.z, w1.z, w2.z, w3.z);
            let c3 = vec4<f32>(w0.w, w1.w, w2.w, w3.w);
            //# for r in 0..TILES*LANES
            {
                let a = inputs[{g}u / SHARED][{r}u / LANES];
                sum{g}_{r} += (subgroupShuffle(a.x, {r}u % LANES) * c0 + subgroupShuffle(a.y, {r}u % LANES) * c1)
                    + (subgroupShuffle(a.z, {r}u % LANES) * c2 + subgroupShuffle(a.w, {r}u % LANES) * c3);
            }
            //# end
        }
        //# end
    }
    var h = array<array<vec4<f32>, 4>, ROWS>();
    //# for g in 0..GATES
    //# for r in 0..TILES*LANES
    h[{r}][{g}] = sum{g}_{r};
    //# end
    //# end
    let stored = select(0u, min(ROWS, valid - min(first, valid)), quad < p.hidden_quads);
    for (var r = 0u; r < stored; r++) {
        finish_forward(p, site, key, member, first + r, quad, h[r]);
    }
}

@compute @workgroup_size(LANES)
fn recurrent_backward_shuffle(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let p = params;
    let valid = step.rows;
    let member = member_index(group);
    let key = step.keys[member].xy;
    let site = sites[member];
    let quad = group.x * LANES + lane;
    let own = min(quad, p.hidden_quads - 1u);
    let first = group.y * ROWS;
    let weight_at = texture_at(member * min(p.weight_stride, 1u), 0u, p.weight_row, 1u) + vec2<u32>(own, 0u);
    //# for t in 0..TILES
    let after_{t} = following_at(p, member, min(first + {t}u * LANES + lane, max(valid, 1u) - 1u));
    //# end
    var d = array<array<vec4<f32>, INPUTS>, ROWS>();
    // Rows of W are quads of all gates that share an input plane, then of those of the next.
    let quads = select(0u, SHARED * p.hidden_quads, p.carried == 1u && first < valid);
    //# for i in 0..INPUTS
    {
        //# for r in 0..TILES*LANES
        var sum_{r} = vec4<f32>();
        //# end
        for (var k = {i}u * quads; k < {i}u * quads + quads; k++) {
            //# for j in 0..4
            let c{j} = textureLoad(weight, weight_at + vec2<u32>(0u, 4u * k + {j}u));
            //# end
            var inputs: array<vec4<f32>, TILES>;
            //# for t in 0..TILES
            inputs[{t}] = following(after_{t} + k);
            //# end
            //# for r in 0..TILES*LANES
            {
                let a = inputs[{r}u / LANES];
                sum_{r} += (subgroupShuffle(a.x, {r}u % LANES) * c0 + subgroupShuffle(a.y, {r}u % LANES) * c1)
                    + (subgroupShuffle(a.z, {r}u % LANES) * c2 + subgroupShuffle(a.w, {r}u % LANES) * c3);
            }
            //# end
        }
        //# for r in 0..TILES*LANES
        d[{r}][{i}] = sum_{r};
        //# end
    }
    //# end
    let stored = select(0u, min(ROWS, valid - min(first, valid)), quad < p.hidden_quads);
    for (var r = 0u; r < stored; r++) {
        finish_backward(p, site, key, member, first + r, quad, d[r]);
    }
}
