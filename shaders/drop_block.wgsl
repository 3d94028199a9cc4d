// DropBlock: squares of `size` x `size` pixels are dropped from maps (Ghiasi, Lin and Le, NeurIPS 2018); src/network/blocks.rs.
//
//   seed(c, y, x)  <=>  the word of unit (c H + y) W + x is not kept, for y <= H - size, x <= W - size
//   drop_block_rows:      seeded(c, y, x)   <=>  a seed among (c, y, x'), x - size < x' <= x
//   drop_block_columns:   covered(c, y, x)  <=>  seeded(c, y', x) for a y' with y - size < y' <= y
//   drop_block_forward:   y  = covered ? 0 : x * scale
//   drop_block_backward:  dx = covered ? 0 : dy * scale
//
// seeded, covered: [samples, H, words, 4 channel_quads] of u32, without padding; bit x % 32 of word x / 32 is pixel x of the row,
// 0 past the last pixel and the last channel. They are scratch: the backward pass draws them again.
// x, y, dy, dx: pixels [samples * H * W, C], rows padded to quads; what lies in the last quad past the last channel is written as
// 0, because it is 0 in the input.
// Select, don't multiply: a dropped NaN or infinity becomes 0.
// Dispatch: rows: one invocation per word; columns: per four words; forward, backward: per RUN pixels of a row and four
// channels; z is the member.

struct Params {
    channels: u32,
    channel_quads: u32,     // ceil(channels / 4)
    quads_factor: u32,      // see lib/division.wgsl
    quads_shift: u32,
    height: u32,
    height_factor: u32,
    height_shift: u32,
    width: u32,
    words: u32,             // ceil(width / 32)
    words_factor: u32,
    words_shift: u32,
    size: u32,
    runs: u32,              // ceil(width / RUN)
    runs_factor: u32,
    runs_shift: u32,
    stream_and_site: u32,   // stream << 24 | site
    in_row: u32,            // quads from one row to the next
    out_row: u32,
    samples_stride: u32,
    seeded_stride: u32,
    covered_stride: u32,
    in_stride: u32,
    out_stride: u32,
    pad0: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> sites: array<Site, MEMBERS>;
@group(0) @binding(3) var<storage, read> samples: array<u32>;
@group(0) @binding(4) var<storage, read_write> seeded_words: array<u32>;

@group(0) @binding(2) var<storage, read> seeded: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> covered: array<vec4<u32>>;

@group(0) @binding(3) var<storage, read> hidden: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;

@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;

const RUN = 8u; // divides 32: a run lies in one word

// The bits begin .. end - 1 of pixels that lie in the word whose first pixel is `first`; at least one does.
fn pixels_of(begin: u32, end: u32, first: u32) -> u32 {
    let low = max(begin, first) - first;
    let high = min(end, first + 32u) - first;
    return (0xffffffffu << low) & (0xffffffffu >> (32u - high));
}

@compute @workgroup_size(WORKGROUP)
fn drop_block_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let site = sites[member];
    let key = step.keys[member].xy;
    let i = linear_index(group, groups, local);
    let row_word = divided(i / 4u, p.quads_factor, p.quads_shift);
    let row = divided(row_word, p.words_factor, p.words_shift);
    let sample = divided(row, p.height_factor, p.height_shift);
    if (sample >= step.rows) {
        return;
    }
    let channel = i - row_word * 4u * p.channel_quads;
    let height = row - sample * p.height;
    var bits = 0u;
    if (channel < p.channels && height + p.size <= p.height) {
        let at = mask_address(member * p.samples_stride, sample, site);
        let first = 32u * (row_word - row * p.words);
        // The places whose squares reach this word. There are some: `size` is at most the width, so that the last one reaches its end.
        let low = max(first + 1u, p.size) - p.size;
        let high = min(first + 31u, p.width - p.size);
        let unit = (channel * p.height + height) * p.width;
        for (var quad = (unit + low) / 4u; quad <= (unit + high) / 4u; quad++) {
            let dropped = 15u ^ kept_bits(site, key, p.stream_and_site, at, quad);
            for (var j = 0u; j < 4u; j++) {
                let place = 4u * quad + j - unit; // wraps before the row, which is then no place either
                if (((dropped >> j) & 1u) == 1u && place - low <= high - low) {
                    bits |= pixels_of(place, place + p.size, first);
                }
            }
        }
    }
    seeded_words[member * p.seeded_stride + i] = bits;
}

@compute @workgroup_size(WORKGROUP)
fn drop_block_columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    let row = divided(divided(i, p.quads_factor, p.quads_shift), p.words_factor, p.words_shift);
    let sample = divided(row, p.height_factor, p.height_shift);
    if (sample >= step.rows) {
        return;
    }
    let from_row = p.words * p.channel_quads;
    let above = min(row - sample * p.height + 1u, p.size);
    var bits = vec4<u32>();
    for (var j = 0u; j < above; j++) {
        bits |= seeded[member * (p.seeded_stride / 4u) + i - j * from_row];
    }
    covered[member * (p.covered_stride / 4u) + i] = bits;
}

// What one invocation drops: four channels of `count` pixels.
struct Run {
    count: u32,
    quad: u32,   // of the row of a pixel
    pixel: u32,  // the first
    bits: vec4<u32>, // bit k: channel i of pixel k is dropped
}

fn run_of(i: u32, p: Params, member: u32) -> Run {
    let rest = divided(i, p.quads_factor, p.quads_shift);
    let row = divided(rest, p.runs_factor, p.runs_shift);
    if (row >= step.rows * p.height) {
        return Run();
    }
    let quad = i - rest * p.channel_quads;
    let first = RUN * (rest - row * p.runs);
    let bits = hidden[member * (p.covered_stride / 4u) + (row * p.words + first / 32u) * p.channel_quads + quad];
    return Run(min(RUN, p.width - first), quad, row * p.width + first, bits >> vec4<u32>(first & 31u));
}

fn kept_at(run: Run, k: u32) -> vec4<bool> {
    return ((run.bits >> vec4<u32>(k)) & vec4<u32>(1u)) == vec4<u32>();
}

@compute @workgroup_size(WORKGROUP)
fn drop_block_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let scale = sites[member].scale;
    let run = run_of(linear_index(group, groups, local), p, member);
    for (var k = 0u; k < run.count; k++) {
        let value = x[member * (p.in_stride / 4u) + (run.pixel + k) * p.in_row + run.quad];
        y[member * (p.out_stride / 4u) + (run.pixel + k) * p.out_row + run.quad] = drop_units(value, kept_at(run, k), scale);
    }
}

@compute @workgroup_size(WORKGROUP)
fn drop_block_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let scale = sites[member].scale;
    let run = run_of(linear_index(group, groups, local), p, member);
    for (var k = 0u; k < run.count; k++) {
        let value = dy[member * (p.in_stride / 4u) + (run.pixel + k) * p.in_row + run.quad];
        dx[member * (p.out_stride / 4u) + (run.pixel + k) * p.out_row + run.quad] = drop_units(value, kept_at(run, k), scale);
    }
}
