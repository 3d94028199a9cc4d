// Thinned networks of per-batch unit dropout: between whole matrices and those of the kept units alone.
//
//   gather_weight:     compact[a, b]  = weight[rows_thinned ? kept_rows[a] : a, columns_thinned ? kept_columns[b] : b]
//   scatter_gradient:  dweight[o, i]  = compact[rows_thinned ? position_rows[o] : o, columns_thinned ? position_columns[i] : i],
//                      and 0 where o or i is dropped: every element is written
//   gather_columns:    compact[r, b]  = x[r, kept_columns[b]] of the valid rows of the batch
//
// A bias is a matrix of one row. kept: the units that the batch keeps, in ascending order, then DROPPED where the list has room for
// more, which gathers zeros; position: the place of each unit in that list, DROPPED where it is not in it; both by member, in the
// step table. A side that is not thinned has any list.
// Every row is padded with zeros to whole quads; the padding of what is written is 0 whatever the padding of what is read.
// The elements are moved as words, so that every bit of a number survives.
// Dispatch: x over blocks of block_quads quads of a row that is written, y over blocks of WORKGROUP / 8 rows; z is the member. Eight
// invocations go through a block of a row together.

struct Params {
    rows: u32,              // of the matrix that is written; gather_columns writes step.rows instead
    columns: u32,           // of the matrix that is written, without padding
    quads: u32,             // of a row that is written
    read_quads: u32,        // of a row that is read
    rows_thinned: u32,      // 1: there is a list of rows
    columns_thinned: u32,   // 1: there is a list of columns
    row_list_stride: u32,   // words from one member's list to the next
    column_list_stride: u32,
    read_stride: u32,
    write_stride: u32,
    block_quads: u32,       // quads of a row that a workgroup goes through; long ones suit caches that fetch ahead, short ones many cores
    pad0: u32,
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

fn row_of(group: vec3<u32>, local: vec3<u32>) -> u32 {
    return group.y * (WORKGROUP / 8u) + local.y;
}

// Behind the last quad of a workgroup's block.
fn block_end(group: vec3<u32>, p: Params) -> u32 {
    return min((group.x + 1u) * p.block_quads, p.quads);
}

@compute @workgroup_size(8, WORKGROUP / 8)
fn gather_weight(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let p = params;
    let member = member_index(group);
    let a = row_of(group, local);
    let row = select(a, kept_rows[member * p.row_list_stride + min(a, p.rows - 1u)], p.rows_thinned == 1u);
    let end = select(0u, block_end(group, p), a < p.rows);
    for (var quad = group.x * p.block_quads + local.x; quad < end; quad += 8u) {
        let columns = columns_of(quad);
        let listed = kept_columns[member * (p.column_list_stride / 4u) + quad];
        let column = select(columns, listed, vec4<bool>(p.columns_thinned == 1u));
        let inside = (column != vec4<u32>(DROPPED)) & (columns < vec4<u32>(p.columns)) & vec4<bool>(row != DROPPED);
        // What is outside reads the first element instead, so that no address lies outside.
        let at = vec4<u32>(member * p.read_stride) + select(vec4<u32>(), vec4<u32>(row * 4u * p.read_quads) + column, inside);
        let words = vec4<u32>(weight[at.x], weight[at.y], weight[at.z], weight[at.w]);
        compact[member * (p.write_stride / 4u) + a * p.quads + quad] = select(vec4<u32>(), words, inside);
    }
}

@compute @workgroup_size(8, WORKGROUP / 8)
fn scatter_gradient(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let p = params;
    let member = member_index(group);
    let o = row_of(group, local);
    let row = select(o, position_rows[member * p.row_list_stride + min(o, p.rows - 1u)], p.rows_thinned == 1u);
    let end = select(0u, block_end(group, p), o < p.rows);
    for (var quad = group.x * p.block_quads + local.x; quad < end; quad += 8u) {
        let columns = columns_of(quad);
        let listed = position_columns[member * (p.column_list_stride / 4u) + quad];
        let column = select(columns, listed, vec4<bool>(p.columns_thinned == 1u));
        let kept = (column != vec4<u32>(DROPPED)) & (columns < vec4<u32>(p.columns)) & vec4<bool>(row != DROPPED);
        // What is dropped reads the first element instead, so that no address lies outside.
        let at = vec4<u32>(member * p.read_stride) + select(vec4<u32>(), vec4<u32>(row * 4u * p.read_quads) + column, kept);
        let words = vec4<u32>(compact_gradient[at.x], compact_gradient[at.y], compact_gradient[at.z], compact_gradient[at.w]);
        dweight[member * (p.write_stride / 4u) + o * p.quads + quad] = select(vec4<u32>(), words, kept);
    }
}

@compute @workgroup_size(8, WORKGROUP / 8)
fn gather_columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let p = params;
    let member = member_index(group);
    let r = row_of(group, local);
    let end = select(0u, block_end(group, p), r < step.rows);
    for (var quad = group.x * p.block_quads + local.x; quad < end; quad += 8u) {
        let listed = kept_columns[member * (p.column_list_stride / 4u) + quad];
        let inside = (listed != vec4<u32>(DROPPED)) & (columns_of(quad) < vec4<u32>(p.columns));
        let at = vec4<u32>(member * p.read_stride + r * 4u * p.read_quads) + select(vec4<u32>(), listed, inside);
        let words = vec4<u32>(x[at.x], x[at.y], x[at.z], x[at.w]);
        compact[member * (p.write_stride / 4u) + r * p.quads + quad] = select(vec4<u32>(), words, inside);
    }
}
