// Convolution as a product of matrices: the pixels that a window sees at every place as a row, and gradients of such rows added up for
// each pixel (im2col and col2im; Chellapilla, Puri and Simard, 2006).
//
//   unfold, unfold_quads   u[(n, i, j), (k, l, c)] = x[n, c, i s - p + k d, j s - p + l d], 0 outside the map
//   fold, fold_quads       dx[(n, y, x), c] = sum over k, l of du[(n, i, j), (k, l, c)], i s = y + p - k d, j s = x + p - l d, i and j
//                          places of the window; in the order of k, l
//
// u, du: [batch * OH * OW, KH * KW * C], a column for each element of the window and channel, the channel fastest; dx: [batch * H * W, C].
// x lies in any layout that x_sample, x_pixel and x_channel describe, in words; the kernels of quads read vec4, and so take multiples of
// 4 channels that lie side by side. Rows are padded with zeros to u_row and dx_row quads; the quads behind the last column are not
// written. Only the rows of step.rows samples are read and written.
// Dispatch: one invocation per quad of dx, and per quad and RUN rows of u, which share where its elements lie in the window; z is the
// member.

struct Params {
    channels: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride_height: u32,
    stride_width: u32,
    padding_height: u32,
    padding_width: u32,
    dilation_height: u32,
    dilation_width: u32,
    height: u32,         // of the map
    width: u32,
    places_height: u32,  // of the window on it
    places_width: u32,
    quads: u32,          // of a row of u; of a row of dx
    row: u32,            // quads from one row of u to the next; of dx
    u_row: u32,          // quads from one row of du to the next
    x_sample: u32,       // words from one sample of x to the next
    x_pixel: u32,
    x_channel: u32,
    read_stride: u32,    // of x, du, from one member to the next
    write_stride: u32,   // of u, dx
    by_quads: Division,
    by_width: Division,          // places_width for u, width for dx
    by_height: Division,         // places_height; height
    by_channels: Division,
    by_kernel_width: Division,
    by_stride_height: Division,
    by_stride_width: Division,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;

@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> x_quads: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> du: array<f32>;
@group(0) @binding(2) var<storage, read> du_quads: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> u: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;

// A row as (sample, y, x) on a grid.
fn place_of(row: u32, p: Params, height: u32, width: u32) -> vec3<u32> {
    let line = quotient(row, p.by_width);
    let sample = quotient(line, p.by_height);
    return vec3<u32>(sample, line - sample * height, row - line * width);
}

// Element e of quad `quad` of u: how far the pixel it sees lies from the first that its window sees, and its channel; more rows than
// any map has where there is no such element.
fn element_of(e: u32, p: Params) -> vec3<u32> {
    let tap = quotient(e, p.by_channels);
    let k = quotient(tap, p.by_kernel_width);
    let reach = vec2<u32>(k * p.dilation_height, (tap - k * p.kernel_width) * p.dilation_width);
    return vec3<u32>(select(reach.x, 0x40000000u, k >= p.kernel_height), reach.y, e - tap * p.channels);
}

// The word of x that an element sees from the corner of its window, or of the sample's first pixel; whether it is on the map.
fn word_of(element: vec3<u32>, corner: vec2<u32>, p: Params) -> vec2<u32> {
    let at = corner + element.xy;
    let inside = at.x < p.height && at.y < p.width;
    return vec2<u32>(select(0u, (at.x * p.width + at.y) * p.x_pixel, inside) + element.z * p.x_channel, u32(inside));
}

// The corner of the window at a place; outside the map, it wraps around to more than the extent.
fn corner_of(place: vec3<u32>, p: Params) -> vec2<u32> {
    return vec2<u32>(place.y * p.stride_height - p.padding_height, place.z * p.stride_width - p.padding_width);
}

// The place behind another.
fn next_place(place: vec3<u32>, p: Params) -> vec3<u32> {
    if (place.z + 1u < p.places_width) {
        return vec3<u32>(place.xy, place.z + 1u);
    }
    if (place.y + 1u < p.places_height) {
        return vec3<u32>(place.x, place.y + 1u, 0u);
    }
    return vec3<u32>(place.x + 1u, 0u, 0u);
}

@compute @workgroup_size(WORKGROUP)
fn unfold(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let rows = step.rows * p.places_height * p.places_width;
    let i = linear_index(group, groups, local);
    let run = quotient(i, p.by_quads);
    let quad = i - run * p.quads;
    if (run * RUN >= rows) {
        return;
    }
    var place = place_of(run * RUN, p, p.places_height, p.places_width);
    let a = element_of(4u * quad, p);
    let b = element_of(4u * quad + 1u, p);
    let c = element_of(4u * quad + 2u, p);
    let d = element_of(4u * quad + 3u, p);
    for (var row = run * RUN; row < min(rows, run * RUN + RUN); row++) {
        let corner = corner_of(place, p);
        let base = member * p.read_stride + place.x * p.x_sample;
        let at_a = word_of(a, corner, p);
        let at_b = word_of(b, corner, p);
        let at_c = word_of(c, corner, p);
        let at_d = word_of(d, corner, p);
        // What is outside is read at the sample's first pixel, and not used.
        let values = vec4<f32>(x[base + at_a.x], x[base + at_b.x], x[base + at_c.x], x[base + at_d.x]);
        let inside = vec4<u32>(at_a.y, at_b.y, at_c.y, at_d.y) == vec4<u32>(1u);
        u[member * (p.write_stride / 4u) + row * p.row + quad] = select(vec4<f32>(), values, inside);
        place = next_place(place, p);
    }
}

@compute @workgroup_size(WORKGROUP)
fn unfold_quads(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let rows = step.rows * p.places_height * p.places_width;
    let i = linear_index(group, groups, local);
    let run = quotient(i, p.by_quads);
    let quad = i - run * p.quads;
    if (run * RUN >= rows) {
        return;
    }
    var place = place_of(run * RUN, p, p.places_height, p.places_width);
    let element = element_of(4u * quad, p);
    for (var row = run * RUN; row < min(rows, run * RUN + RUN); row++) {
        let at = word_of(element, corner_of(place, p), p);
        let value = x_quads[(member * p.read_stride + place.x * p.x_sample + at.x) / 4u];
        u[member * (p.write_stride / 4u) + row * p.row + quad] = select(vec4<f32>(), value, at.y == 1u);
        place = next_place(place, p);
    }
}

// The place at which the window's element k reaches coordinate y of the map; none: more than there are places.
fn reaching(y: u32, k: u32, padding: u32, dilation: u32, stride: u32, by: Division) -> u32 {
    let distance = y + padding - k * dilation;
    if (stride == 1u || distance >= 0x40000000u) {
        return distance;
    }
    let place = quotient(distance, by);
    return select(0xffffffffu, place, place * stride == distance);
}

@compute @workgroup_size(WORKGROUP)
fn fold(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.height * p.width * p.quads) {
        return;
    }
    let row = quotient(i, p.by_quads);
    let quad = i - row * p.quads;
    let place = place_of(row, p, p.height, p.width);
    let last = vec4<u32>(p.channels - 1u);
    let channel = vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u);
    let source = min(channel, last);
    var sum = vec4<f32>();
    for (var k = 0u; k < p.kernel_height; k++) {
        let y = reaching(place.y, k, p.padding_height, p.dilation_height, p.stride_height, p.by_stride_height);
        for (var l = 0u; l < p.kernel_width; l++) {
            let x = reaching(place.z, l, p.padding_width, p.dilation_width, p.stride_width, p.by_stride_width);
            if (y < p.places_height && x < p.places_width) {
                let row_at = member * p.read_stride + 4u * p.u_row * ((place.x * p.places_height + y) * p.places_width + x);
                let at = vec4<u32>(row_at + (k * p.kernel_width + l) * p.channels) + source;
                sum += vec4<f32>(du[at.x], du[at.y], du[at.z], du[at.w]);
            }
        }
    }
    dx[member * (p.write_stride / 4u) + row * p.row + quad] = select(vec4<f32>(), sum, channel <= last);
}

@compute @workgroup_size(WORKGROUP)
fn fold_quads(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.height * p.width * p.quads) {
        return;
    }
    let row = quotient(i, p.by_quads);
    let quad = i - row * p.quads;
    let place = place_of(row, p, p.height, p.width);
    var sum = vec4<f32>();
    for (var k = 0u; k < p.kernel_height; k++) {
        let y = reaching(place.y, k, p.padding_height, p.dilation_height, p.stride_height, p.by_stride_height);
        for (var l = 0u; l < p.kernel_width; l++) {
            let x = reaching(place.z, l, p.padding_width, p.dilation_width, p.stride_width, p.by_stride_width);
            if (y < p.places_height && x < p.places_width) {
                let row_at = p.u_row * ((place.x * p.places_height + y) * p.places_width + x);
                sum += du_quads[member * (p.read_stride / 4u) + row_at + (k * p.kernel_width + l) * (p.channels / 4u) + quad];
            }
        }
    }
    dx[member * (p.write_stride / 4u) + row * p.row + quad] = sum;
}
