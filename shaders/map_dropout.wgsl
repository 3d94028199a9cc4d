// Inverted dropout of what has more axes than one, with what is kept or dropped as one: elements, channels, anything that
// differs only on shared axes, whole samples (src/network/unit.rs). No mask is stored: backward draws it again.
//
//   map_dropout_forward:   y  = keep ? x * scale : 0
//   map_dropout_backward:  dx = keep ? dy * scale : 0
//
// Units and layouts are those of lib/map_units.wgsl.
// Select, don't multiply: a dropped NaN or infinity becomes 0.
// Dispatch: one invocation per run of RUN places of four columns, or of RUN quads of a row; z is the member.

@group(0) @binding(0) var<storage, read> params: MapParams;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> sites: array<Site, MEMBERS>;
@group(0) @binding(3) var<storage, read> samples: array<u32>;

@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;

@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn map_dropout_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let site = sites[member];
    let key = step.keys[member].xy;
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.runs * p.quads) {
        return;
    }
    let run = run_of(i, p);
    let kept = kept_of(run, p, site, key, member);
    let from_row = select(1u, p.in_row, PLACES == 1u);
    let to_row = select(1u, p.out_row, PLACES == 1u);
    for (var k = 0u; k < run.count; k++) {
        let value = x[member * (p.in_stride / 4u) + run.source + k * from_row];
        y[member * (p.out_stride / 4u) + run.destination + k * to_row] = drop_units(value, of_quad(kept, k), site.scale);
    }
}

@compute @workgroup_size(WORKGROUP)
fn map_dropout_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let site = sites[member];
    let key = step.keys[member].xy;
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.runs * p.quads) {
        return;
    }
    let run = run_of(i, p);
    let kept = kept_of(run, p, site, key, member);
    let from_row = select(1u, p.in_row, PLACES == 1u);
    let to_row = select(1u, p.out_row, PLACES == 1u);
    for (var k = 0u; k < run.count; k++) {
        let value = dy[member * (p.in_stride / 4u) + run.source + k * from_row];
        dx[member * (p.out_stride / 4u) + run.destination + k * to_row] = drop_units(value, of_quad(kept, k), site.scale);
    }
}
