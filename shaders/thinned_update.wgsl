// The optimizer's step of the kept rows of a weight, or of a whole bias, from the gradient of the kept units alone. A dropped
// column's gradient is 0, and its weights move as their momentum says; so do dropped rows, by idle_update.wgsl.
//
//   for each row a of the gradient, o = rows_thinned ? kept_rows[a] : a:
//     g[o, i] = compact[a, columns_thinned ? position_columns[i] : i], 0 where i is dropped
//
// The matrices, lists, parameters and the dispatch are those of units.wgsl, but that `rows` are those of the gradient. OPTIMIZER is a
// constant, see lib/chosen_optimizer.wgsl.

struct Params {
    rows: u32,
    columns: u32,
    quads: u32,
    read_quads: u32,
    rows_thinned: u32,
    columns_thinned: u32,
    row_list_stride: u32,
    column_list_stride: u32,
    read_stride: u32,
    write_stride: u32,
    block_quads: u32,
    pad0: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> kept_rows: array<u32>;
@group(0) @binding(3) var<storage, read> position_columns: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> compact_gradient: array<f32>;

const DROPPED = 0xffffffffu;

@compute @workgroup_size(8, WORKGROUP / 8)
fn thinned_update(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let p = params;
    let member = member_index(group);
    let o = optimizer[member];
    let a = group.y * (WORKGROUP / 8u) + local.y;
    let row = select(a, kept_rows[member * p.row_list_stride + min(a, p.rows - 1u)], p.rows_thinned == 1u);
    let end = select(0u, min((group.x + 1u) * p.block_quads, p.quads), a < p.rows && row != DROPPED);
    for (var quad = group.x * p.block_quads + local.x; quad < end; quad += 8u) {
        let columns = vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u);
        let listed = position_columns[member * (p.column_list_stride / 4u) + quad];
        let column = select(columns, listed, vec4<bool>(p.columns_thinned == 1u));
        let kept = (column != vec4<u32>(DROPPED)) & (columns < vec4<u32>(p.columns));
        // What is dropped reads the first element instead, so that no address lies outside.
        let at = vec4<u32>(member * p.read_stride + a * 4u * p.read_quads) + select(vec4<u32>(), column, kept);
        let g = vec4<f32>(compact_gradient[at.x], compact_gradient[at.y], compact_gradient[at.z], compact_gradient[at.w]);
        update_at(member * (p.write_stride / 4u) + row * p.quads + quad, o, select(vec4<f32>(), g, kept));
    }
}
