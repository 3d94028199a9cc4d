// Inverted dropout (Srivastava et al., JMLR 2014). No mask is stored: backward draws it again from the same coordinates.
//
//   word(row, unit)   = philox4x32-10((unit / 4, sample(row), pass, stream << 24 | site), key)[unit % 4]
//   keep(row, unit)  <=>  keep_all or word < threshold
//   dropout_forward:   y  = keep ? x * scale : 0
//   dropout_backward:  dx = keep ? dy * scale : 0
//   dropout_mask:      mask = keep ? 1 : 0
//   dropout_ragged, dropout_mask_ragged: dropout_forward (or backward) and dropout_mask for any number of units
//
// x, y, dy, dx, mask: [rows, units], rows one after the other without padding between them; units is a multiple of 4 but in
// the ragged kernels, whose quads of a row are no quads of memory.
// Select, don't multiply: a dropped NaN or infinity becomes 0. The mask depends on coordinates only, never on the workgroup
// size, the grid or the batch. Guards: tests/dropout.rs.
// Dispatch: one invocation per four units of a row (one Philox call); z is the member.

struct Params {
    units: u32,
    unit_quads: u32,        // ceil(units / 4)
    row_factor: u32,        // of unit_quads, see lib/division.wgsl
    row_shift: u32,
    stream_and_site: u32,   // stream << 24 | site
    listed_samples: u32,    // 1: sample(row) = samples[row]; 0: first_sample + row
    first_sample: u32,
    first_quad: u32,        // the row begins with unit 4 * first_quad of the mask
    samples_stride: u32,
    in_stride: u32,
    out_stride: u32,
    pad0: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> sites: array<Site, MEMBERS>;
@group(0) @binding(3) var<storage, read> samples: array<u32>;

@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;

@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;

@group(0) @binding(4) var<storage, read_write> mask: array<vec4<u32>>;

@group(0) @binding(4) var<storage, read> x_units: array<f32>;
@group(0) @binding(5) var<storage, read_write> y_units: array<f32>;

@group(0) @binding(4) var<storage, read_write> mask_units: array<u32>;

fn row_of(i: u32, p: Params) -> u32 {
    return divided(i, p.row_factor, p.row_shift);
}

// Which units of quad i of the batch are kept.
fn keeps(i: u32, p: Params, site: Site, key: vec2<u32>, member: u32) -> vec4<bool> {
    let row = row_of(i, p);
    var at = vec2<u32>(p.first_sample + row, site.pass_number);
    if (p.listed_samples == 1u) {
        at = mask_address(member * p.samples_stride, row, site);
    }
    return kept_units(site, key, p.stream_and_site, at, p.first_quad + i - row * p.unit_quads);
}

@compute @workgroup_size(WORKGROUP)
fn dropout_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let site = sites[member];
    let key = step.keys[member].xy;
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.unit_quads) {
        return;
    }
    let keep = keeps(i, p, site, key, member);
    y[member * (p.out_stride / 4u) + i] = drop_units(x[member * (p.in_stride / 4u) + i], keep, site.scale);
}

@compute @workgroup_size(WORKGROUP)
fn dropout_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let site = sites[member];
    let key = step.keys[member].xy;
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.unit_quads) {
        return;
    }
    let keep = keeps(i, p, site, key, member);
    dx[member * (p.out_stride / 4u) + i] = drop_units(dy[member * (p.in_stride / 4u) + i], keep, site.scale);
}

@compute @workgroup_size(WORKGROUP)
fn dropout_mask(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let site = sites[member];
    let key = step.keys[member].xy;
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.unit_quads) {
        return;
    }
    mask[member * (p.out_stride / 4u) + i] = vec4<u32>(keeps(i, p, site, key, member));
}

@compute @workgroup_size(WORKGROUP)
fn dropout_ragged(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let site = sites[member];
    let key = step.keys[member].xy;
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.unit_quads) {
        return;
    }
    let keep = keeps(i, p, site, key, member);
    let row = row_of(i, p);
    let unit = 4u * (i - row * p.unit_quads);
    let source = member * p.in_stride + row * p.units + unit;
    let target_at = member * p.out_stride + row * p.units + unit;
    y_units[target_at] = select(0.0, x_units[source] * site.scale, keep.x);
    if (unit + 1u < p.units) {
        y_units[target_at + 1u] = select(0.0, x_units[source + 1u] * site.scale, keep.y);
    }
    if (unit + 2u < p.units) {
        y_units[target_at + 2u] = select(0.0, x_units[source + 2u] * site.scale, keep.z);
    }
    if (unit + 3u < p.units) {
        y_units[target_at + 3u] = select(0.0, x_units[source + 3u] * site.scale, keep.w);
    }
}

@compute @workgroup_size(WORKGROUP)
fn dropout_mask_ragged(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let site = sites[member];
    let key = step.keys[member].xy;
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.unit_quads) {
        return;
    }
    let keep = vec4<u32>(keeps(i, p, site, key, member));
    let row = row_of(i, p);
    let unit = 4u * (i - row * p.unit_quads);
    let target_at = member * p.out_stride + row * p.units + unit;
    mask_units[target_at] = keep.x;
    if (unit + 1u < p.units) {
        mask_units[target_at + 1u] = keep.y;
    }
    if (unit + 2u < p.units) {
        mask_units[target_at + 2u] = keep.z;
    }
    if (unit + 3u < p.units) {
        mask_units[target_at + 3u] = keep.w;
    }
}
