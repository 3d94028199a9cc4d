// Convolution in groups, directly: an output sees the inputs of its group alone, which is too little for a product of matrices.
//
//   grouped_forward          y = f(W * x + b):  z[(n, i, j), o] = b[o] + sum over k, l, c of W[o, (k KW + l) C/G + c]
//                                                                  x[(n, i s - p + k d, j s - p + l d), g C/G + c]
//   grouped_backward_input   dx, the gradient with respect to x, from dy, that with respect to z
//   grouped_backward_weight  dW and db from x and dy; every sum in a fixed order
//
// x: [batch H W, C], y, dy: [batch OH OW, O], one row a pixel; g is the group of o. Outside the map x is 0. W, dW: [O, KH KW
// C/G], the elements of the kernel outermost, and b, db: [O]. Rows are padded with zeros to whole quads and lie x_row, y_row and
// weight_row quads apart. Only the maps of the step.rows valid samples are read and written.
//
// Constants put in front of the module: ACTIVATION is the kind of f, see lib/activation.wgsl; DEPTHWISE is 1 where every channel
// is a group of one input and one output: then four channels are computed at once, for four pixels, which share the weights.
// Dispatch: forward one invocation per quad of y, backward_input of dx, or per four of them below each other where DEPTHWISE;
// backward_weight one workgroup per quad of dW, or per four of them in neighbouring rows, and one per quad of db. z is the
// member.

struct Params {
    map: vec2<u32>,       // H, W: height and width, as everywhere here
    out: vec2<u32>,       // OH, OW
    kernel: vec2<u32>,
    stride: vec2<u32>,
    padding: vec2<u32>,
    dilation: vec2<u32>,
    inputs: u32,          // C
    outputs: u32,         // O
    group_inputs: u32,    // C / G
    group_outputs: u32,   // O / G
    x_row: u32,
    y_row: u32,
    weight_row: u32,
    x_stride: u32,
    y_stride: u32,
    weight_stride: u32,
    bias_stride: u32,
    by_input_quads: Division,
    by_output_quads: Division,
    by_out: Division,         // OH OW
    by_out_blocks: Division,  // ceil(OH OW / 4)
    by_out_width: Division,
    by_map: Division,         // H W
    by_map_blocks: Division,
    by_width: Division,
    by_down: Division,        // stride
    by_right: Division,
    by_group_inputs: Division,
    by_group_outputs: Division,
    pad0: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;

@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;

@group(0) @binding(3) var<storage, read> x_in: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dweight: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dbias: array<vec4<f32>>;

var<workgroup> partials: array<vec4<f32>, 4u * WORKGROUP>;

// Height and width of a pixel counted through its map.
fn pixel_at(pixel: u32, by_width: Division) -> vec2<u32> {
    let down = quotient(pixel, by_width);
    return vec2<u32>(down, pixel - down * by_width.divisor);
}

fn in_outputs(quad: u32, p: Params) -> vec4<bool> {
    return vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.outputs);
}

// Where the row of W of a channel begins, in quads; past the last channel, where all else is 0, the last row.
fn weight_at(channel: u32, member: u32, p: Params) -> u32 {
    return member * (p.weight_stride / 4u) + min(channel, p.outputs - 1u) * p.weight_row;
}

// Four elements of the kernel, a column each, of the four channels of a quad.
fn four_taps(quad: u32, k: u32, member: u32, p: Params) -> mat4x4<f32> {
    return transpose(mat4x4<f32>(
        weight[weight_at(4u * quad, member, p) + k],
        weight[weight_at(4u * quad + 1u, member, p) + k],
        weight[weight_at(4u * quad + 2u, member, p) + k],
        weight[weight_at(4u * quad + 3u, member, p) + k],
    ));
}

// The next element of the kernel.
fn after(tap: vec2<u32>, p: Params) -> vec2<u32> {
    return select(vec2<u32>(tap.x, tap.y + 1u), vec2<u32>(tap.x + 1u, 0u), tap.y + 1u == p.kernel.y);
}

// The element of x, a quad of a row that begins at `at`, that W's element `tap` meets at a place whose corner on the padded map
// this is; 0 outside the map, where the difference wraps around.
fn x_under(corner: vec2<u32>, tap: vec2<u32>, at: u32, p: Params) -> vec4<f32> {
    let pixel = corner + tap * p.dilation - p.padding;
    if (all(pixel < p.map)) {
        return x[at + (pixel.x * p.map.y + pixel.y) * p.x_row];
    }
    return vec4<f32>();
}

fn depthwise_forward(i: u32, member: u32, p: Params) {
    let rest = quotient(i, p.by_output_quads);
    let quad = i - rest * p.by_output_quads.divisor;
    let sample = quotient(rest, p.by_out_blocks);
    let first = 4u * (rest - sample * p.by_out_blocks.divisor);
    let x_at = member * (p.x_stride / 4u) + sample * p.by_map.divisor * p.x_row + quad;
    //# for j in 0..4
    let corner{j} = pixel_at(min(first + {j}u, p.by_out.divisor - 1u), p.by_out_width) * p.stride;
    var z{j} = bias[member * (p.bias_stride / 4u) + quad];
    //# end
    let taps = p.kernel.x * p.kernel.y;
    var tap = vec2<u32>();
    for (var k = 0u; k < taps; k += 4u) {
        let w = four_taps(quad, k / 4u, member, p);
        //# for t in 0..4
        if (k + {t}u < taps) {
            //# for j in 0..4
            z{j} += w[{t}] * x_under(corner{j}, tap, x_at, p);
            //# end
            tap = after(tap, p);
        }
        //# end
    }
    let units = in_outputs(quad, p);
    let at = member * (p.y_stride / 4u) + (sample * p.by_out.divisor + first) * p.y_row + quad;
    //# for j in 0..4
    if (first + {j}u < p.by_out.divisor) {
        y[at + {j}u * p.y_row] = select(vec4<f32>(), activate(ACTIVATION, z{j}), units);
    }
    //# end
}

// One output of a pixel, before its bias.
fn grouped_sum(output: u32, corner: vec2<u32>, x_at: u32, member: u32, p: Params) -> f32 {
    let first = quotient(output, p.by_group_outputs) * p.group_inputs;
    let row = weight_at(output, member, p);
    var sum = 0.0;
    var k = 0u;
    for (var down = 0u; down < p.kernel.x; down++) {
        for (var right = 0u; right < p.kernel.y; right++) {
            let pixel = corner + vec2<u32>(down, right) * p.dilation - p.padding;
            if (all(pixel < p.map)) {
                let at = x_at + (pixel.x * p.map.y + pixel.y) * p.x_row;
                for (var c = 0u; c < p.group_inputs; c++) {
                    sum += weight[row + (k + c) / 4u][(k + c) % 4u] * x[at + (first + c) / 4u][(first + c) % 4u];
                }
            }
            k += p.group_inputs;
        }
    }
    return sum;
}

@compute @workgroup_size(WORKGROUP)
fn grouped_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    if (i >= step.rows * select(p.by_out.divisor, p.by_out_blocks.divisor, DEPTHWISE == 1u) * p.by_output_quads.divisor) {
        return;
    }
    if (DEPTHWISE == 1u) {
        depthwise_forward(i, member, p);
        return;
    }
    let row = quotient(i, p.by_output_quads);
    let quad = i - row * p.by_output_quads.divisor;
    let sample = quotient(row, p.by_out);
    let corner = pixel_at(row - sample * p.by_out.divisor, p.by_out_width) * p.stride;
    let x_at = member * (p.x_stride / 4u) + sample * p.by_map.divisor * p.x_row;
    var z = bias[member * (p.bias_stride / 4u) + quad];
    for (var lane = 0u; lane < min(4u, p.outputs - 4u * quad); lane++) {
        z = select(z, z + grouped_sum(4u * quad + lane, corner, x_at, member, p), is_lane(lane));
    }
    y[member * (p.y_stride / 4u) + row * p.y_row + quad] = select(vec4<f32>(), activate(ACTIVATION, z), in_outputs(quad, p));
}

// Which place of the kernel meets a pixel, counted on the padded map, with its element `tap`: row and column of y, or none. A
// difference below 0 wraps around, past every place.
fn y_over(padded: vec2<u32>, tap: vec2<u32>, p: Params) -> vec2<u32> {
    let corner = padded - tap * p.dilation;
    if (any(corner >= p.out * p.stride)) {
        return vec2<u32>(NONE);
    }
    let place = vec2<u32>(quotient(corner.x, p.by_down), quotient(corner.y, p.by_right));
    return select(vec2<u32>(NONE), place, all(place * p.stride == corner));
}

const NONE = 0xffffffffu;

// The quad of dy there, in rows that begin at `at`.
fn dy_over(padded: vec2<u32>, tap: vec2<u32>, at: u32, p: Params) -> vec4<f32> {
    let place = y_over(padded, tap, p);
    if (place.x == NONE) {
        return vec4<f32>();
    }
    return dy[at + (place.x * p.out.y + place.y) * p.y_row];
}

fn depthwise_backward(i: u32, member: u32, p: Params) {
    let rest = quotient(i, p.by_input_quads);
    let quad = i - rest * p.by_input_quads.divisor;
    let sample = quotient(rest, p.by_map_blocks);
    let first = 4u * (rest - sample * p.by_map_blocks.divisor);
    let y_at = member * (p.y_stride / 4u) + sample * p.by_out.divisor * p.y_row + quad;
    //# for j in 0..4
    let padded{j} = pixel_at(min(first + {j}u, p.by_map.divisor - 1u), p.by_width) + p.padding;
    var d{j} = vec4<f32>();
    //# end
    let taps = p.kernel.x * p.kernel.y;
    var tap = vec2<u32>();
    for (var k = 0u; k < taps; k += 4u) {
        let w = four_taps(quad, k / 4u, member, p);
        //# for t in 0..4
        if (k + {t}u < taps) {
            //# for j in 0..4
            d{j} += w[{t}] * dy_over(padded{j}, tap, y_at, p);
            //# end
            tap = after(tap, p);
        }
        //# end
    }
    let at = member * (p.x_stride / 4u) + (sample * p.by_map.divisor + first) * p.x_row + quad;
    //# for j in 0..4
    if (first + {j}u < p.by_map.divisor) {
        dx[at + {j}u * p.x_row] = d{j};
    }
    //# end
}

// The gradient of one input of a pixel.
fn grouped_input_sum(input: u32, padded: vec2<u32>, y_at: u32, member: u32, p: Params) -> f32 {
    let of_group = quotient(input, p.by_group_inputs);
    let first = of_group * p.group_outputs;
    var k = input - of_group * p.group_inputs;
    var sum = 0.0;
    for (var down = 0u; down < p.kernel.x; down++) {
        for (var right = 0u; right < p.kernel.y; right++) {
            let place = y_over(padded, vec2<u32>(down, right), p);
            if (place.x != NONE) {
                let at = y_at + (place.x * p.out.y + place.y) * p.y_row;
                for (var o = first; o < first + p.group_outputs; o++) {
                    sum += weight[weight_at(o, member, p) + k / 4u][k % 4u] * dy[at + o / 4u][o % 4u];
                }
            }
            k += p.group_inputs;
        }
    }
    return sum;
}

@compute @workgroup_size(WORKGROUP)
fn grouped_backward_input(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    if (i >= step.rows * select(p.by_map.divisor, p.by_map_blocks.divisor, DEPTHWISE == 1u) * p.by_input_quads.divisor) {
        return;
    }
    if (DEPTHWISE == 1u) {
        depthwise_backward(i, member, p);
        return;
    }
    let row = quotient(i, p.by_input_quads);
    let quad = i - row * p.by_input_quads.divisor;
    let sample = quotient(row, p.by_map);
    let padded = pixel_at(row - sample * p.by_map.divisor, p.by_width) + p.padding;
    let y_at = member * (p.y_stride / 4u) + sample * p.by_out.divisor * p.y_row;
    var d = vec4<f32>();
    for (var lane = 0u; lane < min(4u, p.inputs - 4u * quad); lane++) {
        d = select(d, vec4<f32>(grouped_input_sum(4u * quad + lane, padded, y_at, member, p)), is_lane(lane));
    }
    dx[member * (p.x_stride / 4u) + row * p.x_row + quad] = d;
}

// The quad of x that W's element `tap` meets at a place of the kernel, in the rows of a sample that begin at `at`; 0 outside the
// map.
fn x_met(corner: vec2<u32>, tap: vec2<u32>, at: u32, p: Params) -> vec4<f32> {
    let pixel = corner + tap * p.dilation - p.padding;
    if (all(pixel < p.map)) {
        return x_in[at + (pixel.x * p.map.y + pixel.y) * p.x_row];
    }
    return vec4<f32>();
}

// An invocation's share of dW: of quad k of the rows of four channels, or of one, in the first row.
fn share_of_weight(k: u32, unit: u32, member: u32, local: u32, rows: u32, p: Params) -> mat4x4<f32> {
    let y_at = member * (p.y_stride / 4u) + select(unit / 4u, unit, DEPTHWISE == 1u);
    let x_at = member * (p.x_stride / 4u);
    let first = quotient(unit, p.by_group_outputs) * p.group_inputs;
    let elements = p.kernel.x * p.kernel.y * p.group_inputs;
    //# for t in 0..4
    let element{t} = quotient(4u * k + {t}u, p.by_group_inputs);
    let tap{t} = vec2<u32>(element{t} / p.kernel.y, element{t} % p.kernel.y);
    let input{t} = first + 4u * k + {t}u - element{t} * p.group_inputs;
    var sum{t} = vec4<f32>();
    //# end
    for (var row = local; row < rows; row += WORKGROUP) {
        let d = dy[y_at + row * p.y_row];
        let sample = quotient(row, p.by_out);
        let corner = pixel_at(row - sample * p.by_out.divisor, p.by_out_width) * p.stride;
        let at = x_at + sample * p.by_map.divisor * p.x_row;
        //# for t in 0..4
        if (4u * k + {t}u < elements) {
            if (DEPTHWISE == 1u) {
                sum{t} += d * x_met(corner, tap{t}, at + unit, p);
            } else {
                sum{t}.x += d[unit % 4u] * x_met(corner, tap{t}, at + input{t} / 4u, p)[input{t} % 4u];
            }
        }
        //# end
    }
    return transpose(mat4x4<f32>(sum0, sum1, sum2, sum3));
}

// Of db: the sums of a quad of dy.
fn share_of_bias(quad: u32, member: u32, local: u32, rows: u32, p: Params) -> vec4<f32> {
    let at = member * (p.y_stride / 4u) + quad;
    var sum = vec4<f32>();
    for (var row = local; row < rows; row += WORKGROUP) {
        sum += dy[at + row * p.y_row];
    }
    return sum;
}

// The order of the additions is fixed: each invocation adds every WORKGROUP-th pixel of the batch, one adds up theirs.
@compute @workgroup_size(WORKGROUP)
fn grouped_backward_weight(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let rows = step.rows * p.by_out.divisor;
    // Behind the last quad of dW comes db; without DEPTHWISE one of four channels computes it for all.
    let of_bias = group.x + 1u == groups.x;
    let quad = select(group.y / 4u, group.y, DEPTHWISE == 1u);
    var share = mat4x4<f32>();
    if (!of_bias) {
        share = share_of_weight(group.x, group.y, member, local, rows, p);
    } else if (DEPTHWISE == 1u || group.y % 4u == 0u) {
        share[0] = share_of_bias(quad, member, local, rows, p);
    }
    partials[local] = share[0];
    if (DEPTHWISE == 1u) {
        partials[WORKGROUP + local] = share[1];
        partials[2u * WORKGROUP + local] = share[2];
        partials[3u * WORKGROUP + local] = share[3];
    }
    workgroupBarrier();
    let channel = select(group.y, 4u * quad + local, DEPTHWISE == 1u);
    if (local >= select(1u, 4u, DEPTHWISE == 1u && !of_bias) || channel >= p.outputs) {
        return;
    }
    var total = vec4<f32>();
    for (var i = 0u; i < WORKGROUP; i++) {
        total += partials[local * WORKGROUP + i];
    }
    if (!of_bias) {
        dweight[member * (p.weight_stride / 4u) + channel * p.weight_row + group.x] = total;
    } else if (DEPTHWISE == 1u || group.y % 4u == 0u) {
        dbias[member * (p.bias_stride / 4u) + quad] = total;
    }
}
