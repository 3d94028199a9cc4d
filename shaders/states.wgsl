// What comes out of a recurrent layer of one direction or of two, from the states of each after every step.
//
//   states_forward:   every step:  y[n T + t] = [a[n T + t] | b[n T + t]] for t < lengths[n], else 0
//                     last:        y[n] = [a[n T + lengths[n] - 1] | b[n T]], 0 where lengths[n] is 0
//   states_backward:  dx of one direction from dy: what came from x, 0 everywhere else
//
// a, b, dx: [batch T, H], row n T + t, of the direction that begins at the first step and of the one that begins at the last,
// which has seen the whole sequence at step 0. y, dy: rows of H columns, 2 H of both directions; one for each step or one for
// each sample. lengths: [batch]. Rows are padded with zeros to whole quads and lie x_row and y_row quads apart. The elements are
// moved as words.
//
// Constants put in front of the module: BOTH is 1 where there are two directions, without which b is not read; LAST is 1 where a
// sample has one row of y; REVERSE is 1 where dx belongs to b; ALIGNED is 1 where H is a multiple of 4, so that a quad of y is of
// one direction. Dispatch: one invocation per quad of y, or of dx; z is the member.

struct Params {
    columns: u32,          // H
    x_row: u32,            // quads from one row of a, of b and of dx to the next
    y_row: u32,            // of y and of dy
    a_stride: u32,         // words from one member to the next, of a and of dx
    b_stride: u32,
    y_stride: u32,
    lengths_stride: u32,
    by_steps: Division,    // T
    by_outputs: Division,  // quads in use of a row of y
    by_quads: Division,    // ceil(H / 4)
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> lengths: array<u32>;

@group(0) @binding(3) var<storage, read> a: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> b: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<u32>>;

@group(0) @binding(3) var<storage, read> dy: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<u32>>;

fn length_of(sample: u32, member: u32, p: Params) -> u32 {
    return min(lengths[member * p.lengths_stride + sample], p.by_steps.divisor);
}

@compute @workgroup_size(WORKGROUP)
fn states_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let count = step.rows * select(p.by_steps.divisor, 1u, LAST == 1u) * p.by_outputs.divisor;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    if (i >= count) {
        return;
    }
    let row = quotient(i, p.by_outputs);
    let quad = i - row * p.by_outputs.divisor;
    let place = member * (p.y_stride / 4u) + row * p.y_row + quad;
    // The rows of a and b; where there are none, the first, of which nothing is taken.
    var sample = row;
    var a_row = 0u;
    var b_row = 0u;
    var past = false;
    if (LAST == 1u) {
        let length = length_of(sample, member, p);
        past = length == 0u;
        b_row = row * p.by_steps.divisor;
        a_row = b_row + max(length, 1u) - 1u;
    } else {
        sample = quotient(row, p.by_steps);
        past = row - sample * p.by_steps.divisor >= length_of(sample, member, p);
        a_row = row;
        b_row = row;
    }
    let a_at = member * (p.a_stride / 4u) + a_row * p.x_row;
    let b_at = member * (p.b_stride / 4u) + b_row * p.x_row;
    var words = vec4<u32>();
    if (BOTH == 0u) {
        words = select(vec4<u32>(), a[a_at + quad], in_columns(quad, p.columns));
    } else if (ALIGNED == 1u) {
        if (quad < p.by_quads.divisor) {
            words = a[a_at + quad];
        } else {
            words = b[b_at + quad - p.by_quads.divisor];
        }
    } else {
        for (var lane = 0u; lane < 4u; lane++) {
            let column = 4u * quad + lane;
            if (column < p.columns) {
                words = select(words, vec4<u32>(a[a_at + column / 4u][column % 4u]), is_lane(lane));
            } else if (column < 2u * p.columns) {
                words = select(words, vec4<u32>(b[b_at + (column - p.columns) / 4u][(column - p.columns) % 4u]), is_lane(lane));
            }
        }
    }
    y[place] = select(words, vec4<u32>(), past);
}

@compute @workgroup_size(WORKGROUP)
fn states_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
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
    let at = row - sample * p.by_steps.divisor;
    let length = length_of(sample, member, p);
    let last = select(length - 1u, 0u, REVERSE == 1u);
    let taken = at < length && (LAST == 0u || at == last);
    var words = vec4<u32>();
    if (taken) {
        let base = member * (p.y_stride / 4u) + select(row, sample, LAST == 1u) * p.y_row;
        let first = 4u * quad + select(0u, p.columns, REVERSE == 1u);
        words = dy[base + first / 4u];
        if (REVERSE == 1u && ALIGNED == 0u) {
            words = words_from(words, dy[base + min(first / 4u + 1u, p.by_outputs.divisor - 1u)], first % 4u);
        }
    }
    let place = member * (p.a_stride / 4u) + row * p.x_row + quad;
    dx[place] = select(vec4<u32>(), words, in_columns(quad, p.columns));
}
