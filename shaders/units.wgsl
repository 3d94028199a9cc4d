// Thinned networks of per-batch unit dropout: between whole matrices and those of the kept units alone.
//
//   gather_weight:     compact[a, b]  = weight[rows_thinned ? kept_rows[a] : a, columns_thinned ? kept_columns[b] : b]
//   scatter_gradient:  dweight[o, i]  = compact[rows_thinned ? position_rows[o] : o, columns_thinned ? position_columns[i] : i],
//                      and 0 where o or i is dropped: every element is written
//   gather_columns:    compact[r, b]  = x[r, kept_columns[b]] of the valid rows of the batch
//
// A bias is a matrix of one row. kept: the units that the batch keeps, in ascending order, then DROPPED where the list has room for
// more, which gathers zeros; position: the place of each unit in
// that list, DROPPED where it is not in it; both by member, in the step table. A side that is not thinned has any list.
// Every row is padded with zeros to whole quads; the padding of what is written is 0 whatever the padding of what is read.
// The elements are moved as words, so that every bit of a number survives.
// Dispatch: x over quads of the columns that are written, y over rows; z is the member. A workgroup is SPAN quads wide, a
// constant put in front of the module: a bias fills one along x alone.

struct Params {
    rows: u32,              // of the matrix that is written; gather_columns writes step.rows instead
    columns: u32,           // of the matrix that is written, without padding
    quads: u32,             // quads of a row that is written
    read_quads: u32,        // quads of a row that is read
    rows_thinned: u32,      // 1: there is a list of rows
    columns_thinned: u32,   // 1: there is a list of columns
    row_list_stride: u32,   // words from one member's list to the next
    column_list_stride: u32,
    read_stride: u32,
    write_stride: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> kept_rows: array<u32>;
@group(0) @binding(1) var<storage, read> position_rows: array<u32>;
@group(0) @binding(2) var<storage, read> kept_columns: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> position_columns: array<vec4<u32>>;

@group(0) @binding(3) var<storage, read> weight: array<u32>;
@group(0) @binding(4) var<storage, read_write> compact: array<vec4<u32>>;

@group(0) @binding(3) var<storage, read> compact_gradient: array<u32>;
@group(0) @binding(4) var<storage, read_write> dweight: array<vec4<u32>>;

@group(0) @binding(3) var<storage, read> x: array<u32>;

const DROPPED = 0xffffffffu;

// The columns 4 * quad .. 4 * quad + 3.
fn columns_of(quad: u32) -> vec4<u32> {
    return vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u);
}

// Where quad `id.x` of row `id.y` is written.
fn written(id: vec3<u32>, p: Params) -> u32 {
    return id.z * (p.write_stride / 4u) + id.y * p.quads + id.x;
}

@compute @workgroup_size(SPAN, WORKGROUP / SPAN)
fn gather_weight(@builtin(global_invocation_id) id: vec3<u32>) {
    let p = params;
    if (id.x >= p.quads || id.y >= p.rows) {
        return;
    }
    let columns = columns_of(id.x);
    let row = select(id.y, kept_rows[id.z * p.row_list_stride + id.y], p.rows_thinned == 1u);
    let listed = kept_columns[id.z * (p.column_list_stride / 4u) + id.x];
    let column = select(columns, listed, vec4<bool>(p.columns_thinned == 1u));
    let inside = (column != vec4<u32>(DROPPED)) & (columns < vec4<u32>(p.columns)) & vec4<bool>(row != DROPPED);
    // What is outside reads the first element instead, so that no address lies outside.
    let at = vec4<u32>(id.z * p.read_stride) + select(vec4<u32>(), vec4<u32>(row * 4u * p.read_quads) + column, inside);
    let words = vec4<u32>(weight[at.x], weight[at.y], weight[at.z], weight[at.w]);
    compact[written(id, p)] = select(vec4<u32>(), words, inside);
}

@compute @workgroup_size(SPAN, WORKGROUP / SPAN)
fn scatter_gradient(@builtin(global_invocation_id) id: vec3<u32>) {
    let p = params;
    if (id.x >= p.quads || id.y >= p.rows) {
        return;
    }
    let columns = columns_of(id.x);
    let row = select(id.y, position_rows[id.z * p.row_list_stride + id.y], p.rows_thinned == 1u);
    let listed = position_columns[id.z * (p.column_list_stride / 4u) + id.x];
    let column = select(columns, listed, vec4<bool>(p.columns_thinned == 1u));
    let kept = (column != vec4<u32>(DROPPED)) & (columns < vec4<u32>(p.columns)) & vec4<bool>(row != DROPPED);
    // What is dropped reads the first element instead, so that no address lies outside.
    let at = vec4<u32>(id.z * p.read_stride) + select(vec4<u32>(), vec4<u32>(row * 4u * p.read_quads) + column, kept);
    let words = vec4<u32>(compact_gradient[at.x], compact_gradient[at.y], compact_gradient[at.z], compact_gradient[at.w]);
    dweight[written(id, p)] = select(vec4<u32>(), words, kept);
}

@compute @workgroup_size(SPAN, WORKGROUP / SPAN)
fn gather_columns(@builtin(global_invocation_id) id: vec3<u32>) {
    let p = params;
    if (id.x >= p.quads || id.y >= step.rows) {
        return;
    }
    let listed = kept_columns[id.z * (p.column_list_stride / 4u) + id.x];
    let inside = (listed != vec4<u32>(DROPPED)) & (columns_of(id.x) < vec4<u32>(p.columns));
    let at = vec4<u32>(id.z * p.read_stride + id.y * 4u * p.read_quads) + select(vec4<u32>(), listed, inside);
    compact[written(id, p)] = select(vec4<u32>(), vec4<u32>(x[at.x], x[at.y], x[at.z], x[at.w]), inside);
}
