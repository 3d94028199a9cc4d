// Monte-Carlo draws: the rows of a batch are draws of inputs, and what they yield is added up over the draws.
//
// A batch holds draws step.epoch, step.epoch + 1 ... of inputs step.position ... step.position + n - 1, n = step.batch_rows: row
// r = d n + i is draw step.epoch + d of input step.position + i. step.accumulated draws of these inputs are added up already.
//
//   draw_rows:     rows[r] = the input; samples[2r] = ids[input], or 0 where all inputs of a draw share a mask; samples[2r + 1] = the draw
//   draw_outputs:  values[r, :] from the network's output z = y[r, :]
//                    KIND 0  z                                       columns = outputs
//                    KIND 1  softmax(z), its entropy                 columns = outputs + 1, then the first largest class
//                    KIND 2  sigmoid(z), the sum of their entropies  columns = outputs + 1
//                    KIND 3  mu, exp(max(s, -20)), z = (mu, s)       columns = outputs
//   merge_draws:   state[input, column, :] += over the draws of the batch, with x a column of values and c that of the first draw of all
//                    0  c, so that the sums stay small     1  sum of x - c     2  sum of (x - c)^2
//                    3  sum over pairs of draws, 2j and 2j + 1, of (x + x' - 2c)^2
//                    4  draws in which the column won: KIND 1 the first largest class, KIND 2 above 1/2
//                    5  x - c of the last draw, whose pair may begin the next batch
//   keep_draws:    draws[step.accumulated + d, input, :] = values[r, columns]
//
// y: [rows, outputs], rows y_row words apart; values: [rows, width]; state: [inputs, columns, 6]; draws: [draws, inputs, columns].
// Entropies are in nats. One member: draws are rows, not members.
// Dispatch: one invocation per row (draw_rows, draw_outputs), per input and column (merge_draws), per row and column (keep_draws).

struct Params {
    outputs: u32,
    y_row: u32,
    columns: u32,
    width: u32,    // words from one row of values to the next
    one_mask: u32, // 1: all inputs of a draw share a mask
    inputs: u32,   // of the data set
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> rows: array<u32>;
@group(0) @binding(4) var<storage, read_write> samples: array<u32>;

@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> values: array<f32>;

@group(0) @binding(2) var<storage, read> drawn: array<f32>;
@group(0) @binding(3) var<storage, read_write> state: array<f32>;
@group(0) @binding(3) var<storage, read_write> draws: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn draw_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let inputs = step.batch_rows;
    let position = step.position;
    let epoch = step.epoch;
    let r = linear_index(group, groups, local);
    if (r >= step.rows) {
        return;
    }
    let input = position + r % inputs;
    rows[r] = input;
    samples[2u * r] = select(ids[input], 0u, p.one_mask == 1u);
    samples[2u * r + 1u] = epoch + r / inputs;
}

@compute @workgroup_size(WORKGROUP)
fn draw_outputs(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let r = linear_index(group, groups, local);
    if (r >= step.rows) {
        return;
    }
    let z = r * p.y_row;
    let at = r * p.width;
    if (KIND == 1u) {
        var best = 0u;
        var largest = y[z];
        for (var c = 0u; c < p.outputs; c += 4u) {
            //# for j in 0..4
            if (c + {j}u < p.outputs && y[z + c + {j}u] > largest) {
                best = c + {j}u;
                largest = y[z + best];
            }
            //# end
        }
        var sum = 0.0;
        for (var c = 0u; c < p.outputs; c += 4u) {
            //# for j in 0..4
            if (c + {j}u < p.outputs) {
                sum += exp(y[z + c + {j}u] - largest);
            }
            //# end
        }
        var below = 0.0;
        for (var c = 0u; c < p.outputs; c += 4u) {
            //# for j in 0..4
            if (c + {j}u < p.outputs) {
                let shifted = y[z + c + {j}u] - largest;
                let probability = keep_nan_of(shifted, exp(shifted) / sum);
                values[at + c + {j}u] = probability;
                below -= probability * shifted;
            }
            //# end
        }
        values[at + p.outputs] = log(sum) + below;  // - sum of p log p, as log p = z - max z - log sum
        values[at + p.outputs + 1u] = f32(best);
    } else if (KIND == 2u) {
        var entropy = 0.0;
        for (var c = 0u; c < p.outputs; c += 4u) {
            //# for j in 0..4
            if (c + {j}u < p.outputs) {
                let value = y[z + c + {j}u];
                let power = exp(-abs(value));
                let smaller = power / (1.0 + power);
                values[at + c + {j}u] = keep_nan_of(value, select(smaller, 1.0 / (1.0 + power), value >= 0.0));
                entropy += log(1.0 + power) + abs(value) * smaller;
            }
            //# end
        }
        values[at + p.outputs] = entropy;
    } else if (KIND == 3u) {
        for (var c = 0u; c < p.outputs / 2u; c++) {
            values[at + c] = y[z + c];
            let log_variance = y[z + p.outputs / 2u + c];
            values[at + p.outputs / 2u + c] = keep_nan_of(log_variance, exp(max(log_variance, LEAST_LOG_VARIANCE)));
        }
    } else {
        for (var c = 0u; c < p.outputs; c += 4u) {
            //# for j in 0..4
            if (c + {j}u < p.outputs) {
                values[at + c + {j}u] = y[z + c + {j}u];
            }
            //# end
        }
    }
}

const LEAST_LOG_VARIANCE = -20.0;  // src/network/loss.rs
const FIELDS = 6u;

// Whether a column of a row of `drawn` won among the classes.
fn won(row: u32, column: u32, p: Params, value: f32) -> bool {
    if (KIND == 1u) {
        return drawn[row * p.width + p.outputs + 1u] == f32(column);
    }
    return KIND == 2u && value > 0.5;
}

@compute @workgroup_size(WORKGROUP)
fn merge_draws(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let inputs = step.batch_rows;
    let valid = step.rows;
    let position = step.position;
    let accumulated = step.accumulated;
    let i = linear_index(group, groups, local);
    if (i >= inputs * p.columns) {
        return;
    }
    let input = i / p.columns;
    let column = i - input * p.columns;
    let at = ((position + input) * p.columns + column) * FIELDS;
    var center = drawn[input * p.width + column];
    var before = 0.0;
    if (accumulated > 0u) {
        center = state[at];
        before = state[at + 5u];
    }
    var sum = 0.0;
    var squares = 0.0;
    var pairs = 0.0;
    var wins = 0.0;
    var odd = accumulated % 2u == 1u;
    for (var r = input; r < valid; r += inputs) {
        let value = drawn[r * p.width + column];
        let difference = value - center;
        sum += difference;
        squares += difference * difference;
        if (odd) {
            pairs += (before + difference) * (before + difference);
        }
        before = difference;
        odd = !odd;
        if (won(r, column, p, value)) {
            wins += 1.0;
        }
    }
    if (accumulated > 0u) {
        sum += state[at + 1u];
        squares += state[at + 2u];
        pairs += state[at + 3u];
        wins += state[at + 4u];
    }
    state[at] = center;
    state[at + 1u] = sum;
    state[at + 2u] = squares;
    state[at + 3u] = pairs;
    state[at + 4u] = wins;
    state[at + 5u] = before;
}

@compute @workgroup_size(WORKGROUP)
fn keep_draws(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let inputs = step.batch_rows;
    let position = step.position;
    let accumulated = step.accumulated;
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.columns) {
        return;
    }
    let r = i / p.columns;
    let column = i - r * p.columns;
    let draw = accumulated + r / inputs;
    draws[(draw * p.inputs + position + r % inputs) * p.columns + column] = drawn[r * p.width + column];
}
