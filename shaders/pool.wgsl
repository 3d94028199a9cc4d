// Pooling of feature maps, each channel by itself; x: [batch H W, C], one row a pixel, y: [batch OH OW, C].
//
//   max_pool_forward:       y = the largest x of the window, the first of several in row-major order; a NaN is the largest (the
//                           last of several), padding never is. places: which of the window's elements it was, row-major, four
//                           bytes a word, one word per quad of y
//   max_pool_backward:      dx = sum of dy over the windows whose largest element is this pixel, in row-major order
//   average_pool_forward:   y = sum of x over the window / its area, padding (0) included: PyTorch's default
//   average_pool_backward:  dx = sum of dy over the windows that hold this pixel / their area
//
// Rows are padded with zeros to whole quads and lie x_row and y_row quads apart; those of places are by_quads.divisor words and
// lie one behind the other. Only the maps of the step.rows valid samples are read and written.
// Select, don't multiply: of a window that another pixel won, not even a NaN comes back.
//
// Constants put in front of the module: TOUCHING is 1 where the stride is the kernel's extent and there is no padding, so that no
// two windows share a pixel; SQUARE is the extent of a kernel of 2 x 2 or 3 x 3, whose loops are then unrolled, else 0.
// Dispatch: one invocation per quad of y; backward without TOUCHING per quad of dx. z is the member.

struct Params {
    map: vec2<u32>,      // H, W: height and width, as everywhere here
    out: vec2<u32>,      // OH, OW
    kernel: vec2<u32>,
    stride: vec2<u32>,
    padding: vec2<u32>,
    x_row: u32,
    y_row: u32,
    x_stride: u32,
    y_stride: u32,
    places_stride: u32,
    factor: f32,         // 1 / area
    by_quads: Division,  // ceil(C / 4)
    by_out: Division,    // OH OW
    by_out_width: Division,
    by_map: Division,    // H W
    by_width: Division,
    by_down: Division,   // stride
    by_right: Division,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> places: array<u32>;

@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> won: array<u32>;

// A quad of a map.
struct Place {
    row: u32,         // of the matrix
    sample: u32,
    pixel: vec2<u32>,
    quad: u32,
}

fn place_of(i: u32, by_quads: Division, by_pixels: Division, by_width: Division) -> Place {
    let row = quotient(i, by_quads);
    let sample = quotient(row, by_pixels);
    let pixel = row - sample * by_pixels.divisor;
    let down = quotient(pixel, by_width);
    return Place(row, sample, vec2<u32>(down, pixel - down * by_width.divisor), i - row * by_quads.divisor);
}

fn kernel_of(p: Params) -> vec2<u32> {
    return select(p.kernel, vec2<u32>(SQUARE), SQUARE != 0u);
}

// The elements of a window that lie on the map: from .xy to before .zw.
fn on_map(place: vec2<u32>, p: Params) -> vec4<u32> {
    if (TOUCHING == 1u) {
        return vec4<u32>(vec2<u32>(), kernel_of(p));
    }
    let corner = place * p.stride;
    return vec4<u32>(max(p.padding, corner) - corner, min(kernel_of(p), p.map + p.padding - corner));
}

// The windows that hold a pixel: from .xy to before .zw.
fn windows_over(padded: vec2<u32>, p: Params) -> vec4<u32> {
    let kernel = kernel_of(p);
    let past = max(padded, kernel) - kernel;
    let next = vec2<u32>(quotient(past.x, p.by_down), quotient(past.y, p.by_right)) + 1u;
    let last = vec2<u32>(quotient(padded.x, p.by_down), quotient(padded.y, p.by_right));
    return vec4<u32>(select(vec2<u32>(), next, padded >= kernel), min(last + 1u, p.out));
}

// Pixels up to the next window of those that touch; the last windows have what is left over.
fn end_of_cell(place: vec2<u32>, p: Params) -> vec2<u32> {
    return select((place + 1u) * kernel_of(p), p.map, place + 1u == p.out);
}

// WGSL lets a device assume that there are no NaNs, so their bits are asked.
fn is_nan(v: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(v) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}

@compute @workgroup_size(WORKGROUP)
fn max_pool_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.by_out.divisor * p.by_quads.divisor) {
        return;
    }
    let place = place_of(i, p.by_quads, p.by_out, p.by_out_width);
    let taps = on_map(place.pixel, p);
    // What is left of the map wraps around, and comes back with the first element on it.
    let corner = place.pixel * p.stride - select(p.padding, vec2<u32>(), TOUCHING == 1u);
    let base = member * (p.x_stride / 4u) + place.sample * p.by_map.divisor * p.x_row + place.quad;
    var largest = vec4<f32>();
    var at = vec4<u32>();
    var begun = false;
    for (var ky = taps.x; ky < taps.z; ky++) {
        let line = (corner.x + ky) * p.map.y + corner.y;
        for (var kx = taps.y; kx < taps.w; kx++) {
            let v = x[base + (line + kx) * p.x_row];
            let wins = is_nan(v) | ((v > largest) & !is_nan(largest)) | vec4<bool>(!begun);
            largest = select(largest, v, wins);
            at = select(at, vec4<u32>(ky * kernel_of(p).y + kx), wins);
            begun = true;
        }
    }
    y[member * (p.y_stride / 4u) + place.row * p.y_row + place.quad] = largest;
    places[member * p.places_stride + i] = at.x | (at.y << 8u) | (at.z << 16u) | (at.w << 24u);
}

@compute @workgroup_size(WORKGROUP)
fn max_pool_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    let kernel = kernel_of(p);
    if (i >= step.rows * select(p.by_map.divisor, p.by_out.divisor, TOUCHING == 1u) * p.by_quads.divisor) {
        return;
    }
    let dy_base = member * (p.y_stride / 4u);
    let dx_base = member * (p.x_stride / 4u);
    let won_base = member * p.places_stride;
    if (TOUCHING == 1u) {
        let place = place_of(i, p.by_quads, p.by_out, p.by_out_width);
        let d = dy[dy_base + place.row * p.y_row + place.quad];
        let winner = unpack4xU8(won[won_base + i]);
        let first = place.pixel * kernel;
        let end = end_of_cell(place.pixel, p);
        for (var down = first.x; down < end.x; down++) {
            for (var right = first.y; right < end.y; right++) {
                let tap = vec2<u32>(down, right) - first;
                let wins = (winner == vec4<u32>(tap.x * kernel.y + tap.y)) & vec4<bool>(all(tap < kernel));
                let row = place.sample * p.by_map.divisor + down * p.map.y + right;
                dx[dx_base + row * p.x_row + place.quad] = select(vec4<f32>(), d, wins);
            }
        }
        return;
    }
    let place = place_of(i, p.by_quads, p.by_map, p.by_width);
    let padded = place.pixel + p.padding;
    let windows = windows_over(padded, p);
    var sum = vec4<f32>();
    for (var down = windows.x; down < windows.z; down++) {
        for (var right = windows.y; right < windows.w; right++) {
            let row = place.sample * p.by_out.divisor + down * p.out.y + right;
            let tap = padded - vec2<u32>(down, right) * p.stride;
            let winner = unpack4xU8(won[won_base + row * p.by_quads.divisor + place.quad]);
            let wins = winner == vec4<u32>(tap.x * kernel.y + tap.y);
            sum += select(vec4<f32>(), dy[dy_base + row * p.y_row + place.quad], wins);
        }
    }
    dx[dx_base + place.row * p.x_row + place.quad] = sum;
}

@compute @workgroup_size(WORKGROUP)
fn average_pool_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.by_out.divisor * p.by_quads.divisor) {
        return;
    }
    let place = place_of(i, p.by_quads, p.by_out, p.by_out_width);
    let taps = on_map(place.pixel, p);
    let corner = place.pixel * p.stride - select(p.padding, vec2<u32>(), TOUCHING == 1u);
    let base = member * (p.x_stride / 4u) + place.sample * p.by_map.divisor * p.x_row + place.quad;
    var sum = vec4<f32>();
    for (var ky = taps.x; ky < taps.z; ky++) {
        let line = (corner.x + ky) * p.map.y + corner.y;
        for (var kx = taps.y; kx < taps.w; kx++) {
            sum += x[base + (line + kx) * p.x_row];
        }
    }
    y[member * (p.y_stride / 4u) + place.row * p.y_row + place.quad] = sum * p.factor;
}

@compute @workgroup_size(WORKGROUP)
fn average_pool_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    let kernel = kernel_of(p);
    if (i >= step.rows * select(p.by_map.divisor, p.by_out.divisor, TOUCHING == 1u) * p.by_quads.divisor) {
        return;
    }
    let dy_base = member * (p.y_stride / 4u);
    let dx_base = member * (p.x_stride / 4u);
    if (TOUCHING == 1u) {
        let place = place_of(i, p.by_quads, p.by_out, p.by_out_width);
        let d = dy[dy_base + place.row * p.y_row + place.quad] * p.factor;
        let first = place.pixel * kernel;
        let end = end_of_cell(place.pixel, p);
        for (var down = first.x; down < end.x; down++) {
            for (var right = first.y; right < end.y; right++) {
                let inside = all(vec2<u32>(down, right) - first < kernel);
                let row = place.sample * p.by_map.divisor + down * p.map.y + right;
                dx[dx_base + row * p.x_row + place.quad] = select(vec4<f32>(), d, inside);
            }
        }
        return;
    }
    let place = place_of(i, p.by_quads, p.by_map, p.by_width);
    let windows = windows_over(place.pixel + p.padding, p);
    var sum = vec4<f32>();
    for (var down = windows.x; down < windows.z; down++) {
        for (var right = windows.y; right < windows.w; right++) {
            let row = place.sample * p.by_out.divisor + down * p.out.y + right;
            sum += dy[dy_base + row * p.y_row + place.quad];
        }
    }
    dx[dx_base + place.row * p.x_row + place.quad] = sum * p.factor;
}
