// Copies the rows of the batch out of the data set, and drops inputs on the way.
//
//   gather_u8:   x[i, :] = drop(f32(bytes[r, :]) * scale)
//   gather_f32:  x[i, :] = drop(values[r, :])
//
// r = rows[i] in a data set that is resident. Of one that is streamed the device has a window, which holds the rows of the batches
// of this submission in their order: r = step.window + i.
// DROPOUT, see lib/dropout.wgsl, and STREAMED are constants put in front of the module. The rows of the data set are padded with
// zeros to a multiple of four columns, those of x to x_row quads, of which the kernels write the first `quads`.
// Dispatch: x over quads of columns, y over rows; z is the member.

struct Params {
    quads: u32,  // quads of columns of a row of the data set
    x_row: u32,  // quads from one row of x to the next
    scale: f32,
    rows_stride: u32,
    samples_stride: u32,
    x_stride: u32,
    stream_and_site: u32,
    pad0: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> sites: array<Site, MEMBERS>;
@group(0) @binding(3) var<storage, read> rows: array<u32>;
@group(0) @binding(4) var<storage, read> samples: array<u32>;
@group(0) @binding(5) var<storage, read> bytes: array<u32>;
@group(0) @binding(5) var<storage, read> values: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> x: array<vec4<f32>>;

fn row_of(i: u32, p: Params, member: u32) -> u32 {
    if (STREAMED == 1u) {
        return step.window + i;
    }
    return rows[member * p.rows_stride + i];
}

fn dropped(v: vec4<f32>, p: Params, id: vec3<u32>, member: u32) -> vec4<f32> {
    if (DROPOUT == 0u) {
        return v;
    }
    let site = sites[member];
    let at = mask_address(member * p.samples_stride, id.y, site);
    return drop_units(v, kept_units(site, step.keys[member].xy, p.stream_and_site, at, id.x), site.scale);
}

@compute @workgroup_size(16, WORKGROUP / 16u)
fn gather_u8(@builtin(global_invocation_id) id: vec3<u32>) {
    let p = params;
    let member = member_index(id);
    if (id.x >= p.quads || id.y >= step.rows) {
        return;
    }
    let place = row_of(id.y, p, member) * p.quads + id.x;
    x[member * (p.x_stride / 4u) + id.y * p.x_row + id.x] = dropped(vec4<f32>(unpack4xU8(bytes[place])) * p.scale, p, id, member);
}

@compute @workgroup_size(16, WORKGROUP / 16u)
fn gather_f32(@builtin(global_invocation_id) id: vec3<u32>) {
    let p = params;
    let member = member_index(id);
    if (id.x >= p.quads || id.y >= step.rows) {
        return;
    }
    let place = row_of(id.y, p, member) * p.quads + id.x;
    x[member * (p.x_stride / 4u) + id.y * p.x_row + id.x] = dropped(values[place], p, id, member);
}
