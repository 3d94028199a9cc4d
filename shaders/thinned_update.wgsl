// The optimizer's step of a whole weight or bias from the gradient of the kept units alone: scatter_gradient of units.wgsl and the
// step in one. A dropped unit's gradient is 0, and its weights move as its momentum says.
//
//   g[o, i] = compact[rows_thinned ? position_rows[o] : o, columns_thinned ? position_columns[i] : i], 0 where o or i is dropped
//
// The matrices, lists, parameters and SPAN are those of units.wgsl. OPTIMIZER is a constant, see lib/dense_update.wgsl.
// Dispatch: x over quads of columns, y over blocks of ROWS rows; z is the member.

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
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> position_rows: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> position_columns: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> compact_gradient: array<f32>;

const DROPPED = 0xffffffffu;
const ROWS = select(4u, 1u, SPAN == WORKGROUP);  // a bias has one

@compute @workgroup_size(SPAN, WORKGROUP / SPAN)
fn thinned_update(@builtin(global_invocation_id) id: vec3<u32>) {
    let p = params;
    let member = member_index(id);
    let o = optimizer[member];
    let columns = vec4<u32>(4u * id.x) + vec4<u32>(0u, 1u, 2u, 3u);
    let listed_rows = position_rows[member * (p.row_list_stride / 4u) + id.y];
    let listed = position_columns[member * (p.column_list_stride / 4u) + min(id.x, p.column_list_stride / 4u - 1u)];
    let column = select(columns, listed, vec4<bool>(p.columns_thinned == 1u));
    let kept = (column != vec4<u32>(DROPPED)) & (columns < vec4<u32>(p.columns));
    for (var r = 0u; r < ROWS; r++) {
        let row = id.y * ROWS + r;
        if (id.x < p.quads && row < p.rows) {
            let from_row = select(row, listed_rows[r], p.rows_thinned == 1u);
            let from_place = member * p.read_stride + from_row * 4u * p.read_quads;
            var g = vec4<f32>();
            if (from_row != DROPPED && kept.x) {
                g.x = compact_gradient[from_place + column.x];
            }
            if (from_row != DROPPED && kept.y) {
                g.y = compact_gradient[from_place + column.y];
            }
            if (from_row != DROPPED && kept.z) {
                g.z = compact_gradient[from_place + column.z];
            }
            if (from_row != DROPPED && kept.w) {
                g.w = compact_gradient[from_place + column.w];
            }
            update_at(member * (p.write_stride / 4u) + row * p.quads + id.x, o, g);
        }
    }
}
