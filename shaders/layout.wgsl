// Feature maps from one layout into the other; for values and for gradients.
//
//   planar_to_pixels:  y[(n H + y) W + x, c] = x[n, (c H + y) W + x]
//   pixels_to_planar:  y[n, (c H + y) W + x] = x[(n H + y) W + x, c]
//
// planar: [batch, C H W], one row a sample; pixels: [batch H W, C], one row a pixel. The rows of both are padded with zeros to
// whole quads and lie planar_row and pixel_row quads apart. Only the maps of the step.rows valid samples are read and written.
// The elements are moved as words, so that every bit of a number survives.
//
// ALIGNED, a constant put in front of the module, is 1 where H W is a multiple of 4: then a quad of a planar row is of one
// channel. Dispatch: one invocation per block of 4 channels by 4 pixels; for pixels_to_planar without alignment, where a quad
// that is written may be of two channels or more, one per quad of a planar row. z is the member.

struct Params {
    channels: u32,
    pixels: u32,          // H W
    planar_row: u32,      // quads from one row to the next
    pixel_row: u32,
    x_stride: u32,
    y_stride: u32,
    by_blocks: Division,  // ceil(H W / 4), blocks of four pixels
    by_quads: Division,   // ceil(C / 4)
    by_pixels: Division,  // H W
    by_planar: Division,  // ceil(C H W / 4), quads of a planar row in use
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<u32>>;

// Four words of a planar row, from `word` on; what lies past the row's last quad is whatever.
fn planar_words(row: u32, word: u32, p: Params) -> vec4<u32> {
    let at = word / 4u;
    let a = x[row + at];
    if (ALIGNED == 1u) {
        return a;
    }
    return words_from(a, x[row + min(at + 1u, p.by_planar.divisor - 1u)], word % 4u);
}

// Sample, quad of channels and block of pixels of an invocation.
fn block_of(i: u32, p: Params) -> vec3<u32> {
    let rest = quotient(i, p.by_blocks);
    let sample = quotient(rest, p.by_quads);
    return vec3<u32>(sample, rest - sample * p.by_quads.divisor, i - rest * p.by_blocks.divisor);
}

@compute @workgroup_size(WORKGROUP)
fn planar_to_pixels(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.by_quads.divisor * p.by_blocks.divisor) {
        return;
    }
    let block = block_of(i, p);
    let row = member * (p.x_stride / 4u) + block.x * p.planar_row;
    let word = 4u * block.y * p.pixels + 4u * block.z;
    let left = p.channels - 4u * block.y;
    var c1 = vec4<u32>();
    var c2 = vec4<u32>();
    var c3 = vec4<u32>();
    let c0 = planar_words(row, word, p);
    if (left > 1u) {
        c1 = planar_words(row, word + p.pixels, p);
    }
    if (left > 2u) {
        c2 = planar_words(row, word + 2u * p.pixels, p);
    }
    if (left > 3u) {
        c3 = planar_words(row, word + 3u * p.pixels, p);
    }
    let at = member * (p.y_stride / 4u) + (block.x * p.pixels + 4u * block.z) * p.pixel_row + block.y;
    let rest = p.pixels - 4u * block.z;
    y[at] = vec4<u32>(c0.x, c1.x, c2.x, c3.x);
    if (ALIGNED == 1u || rest > 1u) {
        y[at + p.pixel_row] = vec4<u32>(c0.y, c1.y, c2.y, c3.y);
    }
    if (ALIGNED == 1u || rest > 2u) {
        y[at + 2u * p.pixel_row] = vec4<u32>(c0.z, c1.z, c2.z, c3.z);
    }
    if (ALIGNED == 1u || rest > 3u) {
        y[at + 3u * p.pixel_row] = vec4<u32>(c0.w, c1.w, c2.w, c3.w);
    }
}

// Quad i of the planar rows in use, word by word.
fn gather_planar(i: u32, member: u32, p: Params) {
    let sample = quotient(i, p.by_planar);
    let quad = i - sample * p.by_planar.divisor;
    var channel = quotient(4u * quad, p.by_pixels);
    var pixel = 4u * quad - channel * p.pixels;
    var words = vec4<u32>();
    for (var lane = 0u; lane < 4u; lane++) {
        if (channel < p.channels) {
            let row = member * (p.x_stride / 4u) + (sample * p.pixels + pixel) * p.pixel_row;
            words = select(words, vec4<u32>(x[row + channel / 4u][channel % 4u]), is_lane(lane));
        }
        pixel += 1u;
        if (pixel == p.pixels) {
            pixel = 0u;
            channel += 1u;
        }
    }
    y[member * (p.y_stride / 4u) + sample * p.planar_row + quad] = words;
}

@compute @workgroup_size(WORKGROUP)
fn pixels_to_planar(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    let count = select(p.by_planar.divisor, p.by_quads.divisor * p.by_blocks.divisor, ALIGNED == 1u);
    if (i >= step.rows * count) {
        return;
    }
    if (ALIGNED == 0u) {
        gather_planar(i, member, p);
        return;
    }
    let block = block_of(i, p);
    let row = member * (p.x_stride / 4u) + (block.x * p.pixels + 4u * block.z) * p.pixel_row + block.y;
    let p0 = x[row];
    let p1 = x[row + p.pixel_row];
    let p2 = x[row + 2u * p.pixel_row];
    let p3 = x[row + 3u * p.pixel_row];
    let quads = p.pixels / 4u;
    let at = member * (p.y_stride / 4u) + block.x * p.planar_row + 4u * block.y * quads + block.z;
    let left = p.channels - 4u * block.y;
    y[at] = vec4<u32>(p0.x, p1.x, p2.x, p3.x);
    if (left > 1u) {
        y[at + quads] = vec4<u32>(p0.y, p1.y, p2.y, p3.y);
    }
    if (left > 2u) {
        y[at + 2u * quads] = vec4<u32>(p0.z, p1.z, p2.z, p3.z);
    }
    if (left > 3u) {
        y[at + 3u * quads] = vec4<u32>(p0.w, p1.w, p2.w, p3.w);
    }
}
