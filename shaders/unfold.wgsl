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
// Dispatch: one invocation per quad of u or dx; z is the member.

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
    by_channels: Division,       // channels; of quads, channels / 4
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

// Where the window's element `tap` lies on the map, from its place; outside, one of the two wraps around to more than the extent.
fn pixel_of(tap: u32, place: vec3<u32>, p: Params) -> vec2<u32> {
    let k = quotient(tap, p.by_kernel_width);
    let l = tap - k * p.kernel_width;
    return vec2<u32>(
        place.y * p.stride_height + k * p.dilation_height - p.padding_height,
        place.z * p.stride_width + l * p.dilation_width - p.padding_width,
    );
}

@compute @workgroup_size(WORKGROUP)
fn unfold(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.places_height * p.places_width * p.quads) {
        return;
    }
    let row = quotient(i, p.by_quads);
    let quad = i - row * p.quads;
    let place = place_of(row, p, p.places_height, p.places_width);
    let base = member * p.read_stride + place.x * p.x_sample;
    let taps = p.kernel_height * p.kernel_width;
    var tap = quotient(4u * quad, p.by_channels);
    var channel = 4u * quad - tap * p.channels;
    var values = vec4<f32>();
    for (var e = 0u; e < 4u; e++) {
        let at = pixel_of(tap, place, p);
        if (tap < taps && at.x < p.height && at.y < p.width) {
            values[e] = x[base + (at.x * p.width + at.y) * p.x_pixel + channel * p.x_channel];
        }
        channel++;
        if (channel == p.channels) {
            channel = 0u;
            tap++;
        }
    }
    u[member * (p.write_stride / 4u) + row * p.row + quad] = values;
}

@compute @workgroup_size(WORKGROUP)
fn unfold_quads(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.places_height * p.places_width * p.quads) {
        return;
    }
    let row = quotient(i, p.by_quads);
    let quad = i - row * p.quads;
    let place = place_of(row, p, p.places_height, p.places_width);
    let tap = quotient(quad, p.by_channels);
    let at = pixel_of(tap, place, p);
    var values = vec4<f32>();
    if (at.x < p.height && at.y < p.width) {
        let pixel = place.x * p.x_sample + (at.x * p.width + at.y) * p.x_pixel;
        values = x_quads[(member * p.read_stride + pixel) / 4u + quad - tap * (p.channels / 4u)];
    }
    u[member * (p.write_stride / 4u) + row * p.row + quad] = values;
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
