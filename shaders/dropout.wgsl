// Inverted dropout (Srivastava et al., JMLR 2014). No mask is stored: backward draws it again from the same coordinates.
//
//   word(row, unit)   = philox4x32-10((unit / 4, sample(row), pass, stream << 24 | site), key)[unit % 4]
//   keep(row, unit)  <=>  keep_all or word < threshold
//   dropout_forward:   y  = keep ? x * scale : 0
//   dropout_backward:  dx = keep ? dy * scale : 0
//   dropout_mask:      mask = keep ? 1 : 0
//
// x, y, dy, dx, mask: [rows, units], rows one after the other without padding between them.
// Select, don't multiply: a dropped NaN or infinity becomes 0. The mask depends on coordinates only, never on the workgroup
// size, the grid or the batch. Guards: tests/dropout.rs.
// Dispatch: one invocation per four units of a row (one Philox call); z is the member.

struct Params {
    units: u32,
    unit_quads: u32,        // ceil(units / 4)
    stream_and_site: u32,   // stream << 24 | site
    listed_samples: u32,    // 1: sample(row) = samples[row]; 0: first_sample + row
    first_sample: u32,
    first_quad: u32,        // the row begins with unit 4 * first_quad of the mask
    samples_stride: u32,
    in_stride: u32,
    out_stride: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> sites: array<Site, MEMBERS>;
@group(0) @binding(3) var<storage, read> samples: array<u32>;

@group(0) @binding(4) var<storage, read> x: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

@group(0) @binding(4) var<storage, read_write> mask: array<u32>;

struct Place {
    row: u32,
    quad: u32,
    at: u32,       // the first of the four units, in the input and the output of member 0
    lanes: u32,    // how many of the four are units of the row
    valid: bool,
}

fn place(i: u32, p: Params, rows: u32) -> Place {
    let row = i / p.unit_quads;
    let quad = i % p.unit_quads;
    return Place(row, quad, row * p.units + 4u * quad, p.units - 4u * quad, row < rows);
}

fn keeps(at: Place, p: Params, site: Site, key: vec2<u32>, member: u32) -> vec4<bool> {
    var sample = p.first_sample + at.row;
    if (p.listed_samples == 1u) {
        sample = samples[member * p.samples_stride + at.row];
    }
    let counter = vec4<u32>(p.first_quad + at.quad, sample, site.pass_number, p.stream_and_site);
    let words = philox4x32_10(counter, key);
    return vec4<bool>(site.keep_all == 1u) | (words < vec4<u32>(site.threshold));
}

@compute @workgroup_size(WORKGROUP)
fn dropout_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let site = sites[group.z];
    let key = step.keys[group.z].xy;
    let at = place(linear_index(group, groups, local), p, step.rows);
    if (!at.valid) {
        return;
    }
    let keep = keeps(at, p, site, key, group.z);
    let source = group.z * p.in_stride + at.at;
    let target_at = group.z * p.out_stride + at.at;
    y[target_at] = select(0.0, x[source] * site.scale, keep.x);
    if (at.lanes > 1u) {
        y[target_at + 1u] = select(0.0, x[source + 1u] * site.scale, keep.y);
    }
    if (at.lanes > 2u) {
        y[target_at + 2u] = select(0.0, x[source + 2u] * site.scale, keep.z);
    }
    if (at.lanes > 3u) {
        y[target_at + 3u] = select(0.0, x[source + 3u] * site.scale, keep.w);
    }
}

@compute @workgroup_size(WORKGROUP)
fn dropout_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let site = sites[group.z];
    let key = step.keys[group.z].xy;
    let at = place(linear_index(group, groups, local), p, step.rows);
    if (!at.valid) {
        return;
    }
    let keep = keeps(at, p, site, key, group.z);
    let source = group.z * p.in_stride + at.at;
    let target_at = group.z * p.out_stride + at.at;
    dx[target_at] = select(0.0, dy[source] * site.scale, keep.x);
    if (at.lanes > 1u) {
        dx[target_at + 1u] = select(0.0, dy[source + 1u] * site.scale, keep.y);
    }
    if (at.lanes > 2u) {
        dx[target_at + 2u] = select(0.0, dy[source + 2u] * site.scale, keep.z);
    }
    if (at.lanes > 3u) {
        dx[target_at + 3u] = select(0.0, dy[source + 3u] * site.scale, keep.w);
    }
}

@compute @workgroup_size(WORKGROUP)
fn dropout_mask(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let site = sites[group.z];
    let key = step.keys[group.z].xy;
    let at = place(linear_index(group, groups, local), p, step.rows);
    if (!at.valid) {
        return;
    }
    let keep = keeps(at, p, site, key, group.z);
    let target_at = group.z * p.out_stride + at.at;
    mask[target_at] = select(0u, 1u, keep.x);
    if (at.lanes > 1u) {
        mask[target_at + 1u] = select(0u, 1u, keep.y);
    }
    if (at.lanes > 2u) {
        mask[target_at + 2u] = select(0u, 1u, keep.z);
    }
    if (at.lanes > 3u) {
        mask[target_at + 3u] = select(0u, 1u, keep.w);
    }
}
