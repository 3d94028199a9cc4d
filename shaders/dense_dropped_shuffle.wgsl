// The last dense layer of Monte-Carlo draws over inputs that each draw drops some of, for software adapters: gather_f32 and
// dense_forward_shuffle in one, where all outputs fit one workgroup, so that each input is dropped once.
//
//   y[i, :] = drop(values[rows[i], :]) W^T + b
//
// values: [data rows, 4 input_quads], W: [outputs, inputs] as a texture, y: [rows, outputs]; rows of W and y are padded with zeros to
// input_row and output_row quads. Only step.rows rows are written.
// A Monte-Carlo plan has one member. As in dense_shuffle.wgsl a workgroup is one subgroup of LANES lanes, each of which loads and drops
// four inputs of a row in each of TILES tiles and owns four columns of the result; //# marks loops that src/kernels/unroll.rs unrolls.
// Dispatch: y over TILES LANES rows.

struct Params {
    input_quads: u32,
    input_row: u32,
    outputs: u32,
    output_quads: u32,
    output_row: u32,
    stream_and_site: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> sites: array<Site, MEMBERS>;
@group(0) @binding(3) var<storage, read> rows: array<u32>;
@group(0) @binding(4) var<storage, read> samples: array<u32>;
@group(0) @binding(5) var<storage, read> values: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(7) var weight: texture_storage_2d<rgba32float, read>;
@group(0) @binding(8) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(LANES)
fn dense_of_dropped(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let p = params;
    let valid = step.rows;
    let key = step.keys[0].xy;
    let site = sites[0];
    let first = group.y * TILES * LANES;
    let weight_at = texture_at(0u, 4u * lane, p.input_row, 1u);
    // Rows past the last one are multiplied as that one is; what comes out is not stored.
    //# for t in 0..TILES
    let row{t} = min(first + {t}u * LANES + lane, max(valid, 1u) - 1u);
    let at{t} = mask_address(0u, row{t}, site);
    let from{t} = rows[row{t}] * p.input_quads;
    //# end
    //# for t in 0..TILES
    //# for e in 0..LANES
    var sum{t}_{e} = vec4<f32>();
    //# end
    //# end
    let depth = select(0u, p.input_quads, first < valid);
    for (var k = 0u; k < depth; k++) {
        //# for j in 0..4
        let w{j} = textureLoad(weight, weight_at + vec2<u32>(k, {j}u));
        //# end
        let c0 = vec4<f32>(w0.x, w1.x, w2.x, w3.x);
        let c1 = vec4<f32>(w0.y, w1.y, w2.y, w3.y);
        let c2 = vec4<f32>(w0.z, w1.z, w2.z, w3.z);
        let c3 = vec4<f32>(w0.w, w1.w, w2.w, w3.w);
        //# for t in 0..TILES
        let a{t} = drop_units(values[from{t} + k], kept_units(site, key, p.stream_and_site, at{t}, k), site.scale);
        //# end
        //# for t in 0..TILES
        //# for e in 0..LANES
        sum{t}_{e} += (subgroupShuffle(a{t}.x, {e}u) * c0 + subgroupShuffle(a{t}.y, {e}u) * c1)
            + (subgroupShuffle(a{t}.z, {e}u) * c2 + subgroupShuffle(a{t}.w, {e}u) * c3);
        //# end
        //# end
    }
    let b = bias[min(lane, p.output_quads - 1u)];
    let in_units = vec4<u32>(4u * lane) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.outputs);
    //# for t in 0..TILES
    //# for e in 0..LANES
    if (lane < p.output_quads && first + {t}u * LANES + {e}u < valid) {
        y[(first + {t}u * LANES + {e}u) * p.output_row + lane] = select(vec4<f32>(), sum{t}_{e} + b, in_units);
    }
    //# end
    //# end
}
