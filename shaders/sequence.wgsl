// Sequences [T, F], T steps of F features, from one layout into the other, for values and for gradients; and their lengths.
//
//   planar_to_steps:  y[n T + t, f] = x[n, t F + f]
//   steps_to_planar:  y[n, t F + f] = x[n T + t, f]
//   batch_lengths:    lengths[n] = min(data_lengths[rows[n]], T); T where the samples have no lengths
//
// planar: [batch, T F], one row a sample; steps: [batch T, F], one row for each step of a sample. The rows of both are padded
// with zeros to whole quads and lie planar_row and steps_row quads apart. All steps of the step.rows valid samples are read and
// written, those past the length of a sample too. The elements are moved as words, so that every bit of a number survives.
//
// Constants put in front of the module: ALIGNED is 1 where F is a multiple of 4, so that a quad of a planar row is of one step;
// Dispatch: one invocation per quad of y, or per length; z is the member.

struct Params {
    columns: u32,            // F
    planar_row: u32,         // quads from one row to the next
    steps_row: u32,
    x_stride: u32,           // words from one member to the next
    y_stride: u32,
    data_lengths_stride: u32,
    rows_stride: u32,
    lengths_stride: u32,
    by_steps: Division,      // T
    by_columns: Division,    // F
    by_quads: Division,      // ceil(F / 4), quads of a row of steps in use
    by_planar: Division,     // ceil(T F / 4), quads of a planar row in use
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<u32>>;

@group(0) @binding(2) var<storage, read> data_lengths: array<u32>;
@group(0) @binding(3) var<storage, read> rows: array<u32>;
@group(0) @binding(4) var<storage, read_write> lengths: array<u32>;

// Four words of a planar row, from `word` on; what lies past the row's last quad is whatever.
fn planar_words(row: u32, word: u32, p: Params) -> vec4<u32> {
    let at = word / 4u;
    let a = x[row + at];
    if (ALIGNED == 1u) {
        return a;
    }
    return words_from(a, x[row + min(at + 1u, p.by_planar.divisor - 1u)], word % 4u);
}

@compute @workgroup_size(WORKGROUP)
fn planar_to_steps(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let count = step.rows * p.by_steps.divisor * p.by_quads.divisor;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    if (i >= count) {
        return;
    }
    let row = quotient(i, p.by_quads);
    let quad = i - row * p.by_quads.divisor;
    let sample = quotient(row, p.by_steps);
    let word = (row - sample * p.by_steps.divisor) * p.columns + 4u * quad;
    let words = planar_words(member * (p.x_stride / 4u) + sample * p.planar_row, word, p);
    let place = member * (p.y_stride / 4u) + row * p.steps_row + quad;
    y[place] = select(vec4<u32>(), words, in_columns(quad, p.columns));
}

@compute @workgroup_size(WORKGROUP)
fn steps_to_planar(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let count = step.rows * p.by_planar.divisor;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    if (i >= count) {
        return;
    }
    let sample = quotient(i, p.by_planar);
    let quad = i - sample * p.by_planar.divisor;
    let place = member * (p.y_stride / 4u) + sample * p.planar_row + quad;
    var at = quotient(4u * quad, p.by_columns);
    var column = 4u * quad - at * p.columns;
    let base = member * (p.x_stride / 4u) + sample * p.by_steps.divisor * p.steps_row;
    if (ALIGNED == 1u) {
        y[place] = x[base + at * p.steps_row + column / 4u];
        return;
    }
    var words = vec4<u32>();
    for (var lane = 0u; lane < 4u; lane++) {
        if (at < p.by_steps.divisor) {
            words = select(words, vec4<u32>(x[base + at * p.steps_row + column / 4u][column % 4u]), is_lane(lane));
        }
        column += 1u;
        if (column == p.columns) {
            column = 0u;
            at += 1u;
        }
    }
    y[place] = words;
}

@compute @workgroup_size(WORKGROUP)
fn batch_lengths(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let valid = step.rows;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    if (i >= valid) {
        return;
    }
    let row = rows[member * p.rows_stride + i];
    lengths[member * p.lengths_stride + i] = min(p.by_steps.divisor, data_lengths[member * p.data_lengths_stride + row]);
}
