// One time step of a recurrent layer in one direction, with its gates, its recurrent dropout and its lengths in one launch: all but
// the products with W, which recurrent.wgsl and recurrent_shuffle.wgsl make, each in its way. Needs lib/step.wgsl, lib/division.wgsl,
// lib/philox.wgsl, lib/dropout.wgsl, lib/kept_bits.wgsl, lib/activation.wgsl. The host side is src/kernels/recurrent.rs.
//
// h' is the output of the step before in time order, m its recurrent mask times scale, W and b are W_hh and b_hh, a_g = W_ih x + b_ih
// of gate g; gates are in PyTorch's order (torch.nn.RNN, GRU, LSTM):
//
//   0  RNN, tanh  h = tanh(a + W (m h') + b)
//   1  RNN, relu  the same with max(., 0)
//   2  GRU        r, z = sigmoid(a + W (m h') + b); n = tanh(a_n + r u), u = W_n (m h') + b_n; h = (1 - z) n + z h'
//   3  LSTM       i, f, o = sigmoid(...), g = tanh(...); c = f c' + i g; h = o tanh(c)
//
//   recurrent_forward    gates: a -> activated gates; y: h; input of the following step: m h; cell: c; hidden: u in block n
//   recurrent_backward   dh = dy + sum over gates of m (d_g W_g) of the following step + its carry;
//                        gates: activated gates -> the gradients by a; hidden: those by W (m h') + b, that is dr, dz, dn r;
//                        cell: the carry to the step before, dc f of the LSTM, dh z of the GRU
//
// The mask drops h' where it is multiplied by W and nowhere else (Gal and Ghahramani 2016, eq. 7; of the GRU z h' stays whole).
// It is drawn, not stored: word(row, unit) as in lib/dropout.wgsl, H the hidden units, MASKS one of
//
//   0  tied       one mask for all steps and gates: unit f
//   1  by step    another for each step: unit t H + f, t the step that takes it in, whatever the direction
//   2  untied     one for all steps, another for each gate: unit g H + f. Each gate has an input plane of its own
//
// Rows: sample n, step t is row n steps + t of every matrix. All rows are padded, and what is written in the last quad of a gate
// past unit H is 0. h4 = 4 hidden_quads.
//   gates     [batch steps, gates_row]: gate g has the columns from g h4 on
//   weight    W: [GATES h4, weight_row], padding rows and columns 0; b behind it, [GATES h4]
//   sequence  planes, each [batch steps, hidden_row]: y; input, INPUTS of them; cell of GRU and LSTM; and [batch steps, gates_row]:
//             hidden of the GRU
//   dy        [batch steps, hidden_row]
//   lengths   [batch], one for each row of the batch, 0 to steps
//
// The first step in time order takes in zeros, which it writes into its own place of the input planes. A step past the length of
// its sample takes in zeros too, gives h = c = 0, and stores gates without slope (1 where a tanh was, 0 elsewhere; LSTM 0), so that
// nothing goes back through it: against time, a sequence begins at its last valid step.
//
// A gate whose slope is 0 gives the gradient 0 whatever comes in, NaN too. So NaN among a, or among dy, of steps past the length
// reaches nothing that is written here. NaN elsewhere goes through. (The gradient of W_ih takes 0 times x there: x must be finite.)

struct Params {
    hidden: u32,
    hidden_quads: u32,   // ceil(hidden / 4)
    gates_row: u32,      // quads from one row to the next
    hidden_row: u32,     // of y, input, cell and dy
    weight_row: u32,
    bias_at: u32,        // quads from W to b
    steps: u32,
    t: u32,
    before: u32,         // the step before in time order, where `first` is 0
    after: u32,          // the following one, where `last` is 0
    first: u32,          // 1: no step is before
    last: u32,           // 1: none follows
    carried: u32,        // 1: gradients come from the following step
    y_at: u32,           // quads from the beginning of sequence to its planes
    input_at: u32,
    input_plane: u32,    // quads from the input of one gate to the next
    cell_at: u32,
    hidden_at: u32,
    stream_and_site: u32,
    samples_stride: u32, // words from one member to the next; 0: shared
    lengths_stride: u32,
    weight_stride: u32,
    gates_stride: u32,
    sequence_stride: u32,
    dy_stride: u32,
    by_quads: Division,  // by hidden_quads
    pad0: u32,
    pad1: u32,
    pad2: u32,
    pad3: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> sites: array<Site, MEMBERS>;
@group(0) @binding(3) var<storage, read> samples: array<u32>;
@group(0) @binding(4) var<storage, read> lengths: array<u32>;
@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> gates: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> sequence: array<vec4<f32>>;

const RELU = 1u;
const TANH = 2u;
const SIGMOID = 3u;

const GRU = CELL == 2u;
const LSTM = CELL == 3u;

// Which unit of 4 quad .. 4 quad + 3 is one of `hidden`.
fn in_hidden(quad: u32, hidden: u32) -> vec4<bool> {
    return vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(hidden);
}

// Which units of the input plane `input` the step `after` takes in from a sample.
fn kept_input(p: Params, site: Site, key: vec2<u32>, list: u32, sample: u32, input: u32, quad: u32) -> vec4<bool> {
    let at = mask_address(list, sample, site);
    if (MASKS == 0u) {
        return kept_units(site, key, p.stream_and_site, at, quad);
    }
    let unit = select(input, p.after, MASKS == 1u) * p.hidden + 4u * quad;
    let bits = kept_bits_from(site, key, p.stream_and_site, at, unit);
    return (vec4<u32>(bits) & vec4<u32>(1u, 2u, 4u, 8u)) != vec4<u32>();
}

struct Forward {
    gates: array<vec4<f32>, 4>,
    y: vec4<f32>,
    cell: vec4<f32>,
    hidden: vec4<f32>,
}

// The cell: `a` from the input, `h` from W (m h') + b; `before` is h' of the GRU, c' of the LSTM.
fn forward_cell(a: array<vec4<f32>, 4>, h: array<vec4<f32>, 4>, before: vec4<f32>) -> Forward {
    var out = Forward();
    if (GRU) {
        let z = activate(SIGMOID, a[1] + h[1]);
        out.gates[0] = activate(SIGMOID, a[0] + h[0]);
        out.gates[1] = z;
        out.gates[2] = activate(TANH, a[2] + out.gates[0] * h[2]);
        out.y = (1.0 - z) * out.gates[2] + z * before;
        out.hidden = h[2];
    } else if (LSTM) {
        out.gates[0] = activate(SIGMOID, a[0] + h[0]);
        out.gates[1] = activate(SIGMOID, a[1] + h[1]);
        out.gates[2] = activate(TANH, a[2] + h[2]);
        out.gates[3] = activate(SIGMOID, a[3] + h[3]);
        out.cell = out.gates[1] * before + out.gates[0] * out.gates[2];
        out.y = out.gates[3] * activate(TANH, out.cell);
    } else {
        out.gates[0] = activate(select(TANH, RELU, CELL == 1u), a[0] + h[0]);
        out.y = out.gates[0];
    }
    return out;
}

// The same of a step past the length.
fn padded_cell() -> Forward {
    var out = Forward();
    if (GRU) {
        out.gates[2] = vec4<f32>(1.0);
    } else if (CELL == 0u) {
        out.gates[0] = vec4<f32>(1.0);
    }
    return out;
}

// What a step writes for a quad of units of a sample, from h = W (m h') + b of every gate.
fn finish_forward(p: Params, site: Site, key: vec2<u32>, member: u32, sample: u32, quad: u32, h: array<vec4<f32>, 4>) {
    let units = in_hidden(quad, p.hidden);
    let row = sample * p.steps + p.t;
    let at = member * (p.gates_stride / 4u) + row * p.gates_row + quad;
    let planes = member * (p.sequence_stride / 4u) + quad;
    var a = array<vec4<f32>, 4>();
    //# for g in 0..GATES
    a[{g}] = gates[at + {g}u * p.hidden_quads];
    //# end
    var before = vec4<f32>();
    if ((GRU || LSTM) && p.first == 0u) {
        before = sequence[planes + select(p.cell_at, p.y_at, GRU) + (sample * p.steps + p.before) * p.hidden_row];
    }
    let length = lengths[member * p.lengths_stride + sample];
    var out = forward_cell(a, h, before);
    if (p.t >= length) {
        out = padded_cell();
    }
    //# for g in 0..GATES
    gates[at + {g}u * p.hidden_quads] = select(vec4<f32>(), out.gates[{g}], units);
    //# end
    let y = select(vec4<f32>(), out.y, units);
    sequence[planes + p.y_at + row * p.hidden_row] = y;
    if (LSTM) {
        sequence[planes + p.cell_at + row * p.hidden_row] = select(vec4<f32>(), out.cell, units);
    }
    if (GRU) {
        sequence[planes + p.hidden_at + row * p.gates_row + 2u * p.hidden_quads] = select(vec4<f32>(), out.hidden, units);
    }
    for (var i = 0u; i < INPUTS; i++) {
        let plane = planes + p.input_at + i * p.input_plane;
        if (p.first == 1u) {
            sequence[plane + row * p.hidden_row] = vec4<f32>();
        }
        if (p.last == 0u) {
            var next = y;
            if (DROPOUT != 0u) {
                let kept = kept_input(p, site, key, member * p.samples_stride, sample, i, quad);
                next = drop_units(y, kept, site.scale);
            }
            let to = plane + (sample * p.steps + p.after) * p.hidden_row;
            sequence[to] = select(vec4<f32>(), next, vec4<bool>(p.after < length));
        }
    }
}

struct Backward {
    gates: array<vec4<f32>, 4>,
    by_u: vec4<f32>,   // dn r
    carry: vec4<f32>,
}

// What goes back through a slope.
fn through(d: vec4<f32>, slope: vec4<f32>) -> vec4<f32> {
    return select(d * slope, vec4<f32>(), slope == vec4<f32>());
}

// From the activated gates f and dh. `carried` is dc of the LSTM from the following step; `own` its c, or u of the GRU; `before` as
// in forward_cell.
fn backward_cell(f: array<vec4<f32>, 4>, dh: vec4<f32>, carried: vec4<f32>, own: vec4<f32>, before: vec4<f32>) -> Backward {
    var out = Backward();
    if (GRU) {
        let dn = through(dh, (1.0 - f[1]) * (1.0 - f[2] * f[2]));
        out.gates[0] = through(dn * own, f[0] * (1.0 - f[0]));
        out.gates[1] = through(dh * (before - f[2]), f[1] * (1.0 - f[1]));
        out.gates[2] = dn;
        out.by_u = dn * f[0];
        out.carry = through(dh, f[1]);
    } else if (LSTM) {
        let tanh_c = activate(TANH, own);
        let dc = carried + dh * (f[3] * (1.0 - tanh_c * tanh_c));
        out.gates[0] = through(dc * f[2], f[0] * (1.0 - f[0]));
        out.gates[1] = through(dc * before, f[1] * (1.0 - f[1]));
        out.gates[2] = through(dc, f[0] * (1.0 - f[2] * f[2]));
        out.gates[3] = through(dh * tanh_c, f[3] * (1.0 - f[3]));
        out.carry = through(dc, f[1]);
    } else if (CELL == 1u) {
        out.gates[0] = select(vec4<f32>(), dh, f[0] > vec4<f32>());
    } else {
        out.gates[0] = through(dh, 1.0 - f[0] * f[0]);
    }
    return out;
}

// Where the gradients of the following step begin, those that W is multiplied by.
fn following_at(p: Params, member: u32, sample: u32) -> u32 {
    let base = select(member * (p.gates_stride / 4u), member * (p.sequence_stride / 4u) + p.hidden_at, GRU);
    return base + (sample * p.steps + p.after) * p.gates_row;
}

// Four units of the gradients of the following step, those that W is multiplied by.
fn following(at: u32) -> vec4<f32> {
    if (GRU) {
        return sequence[at];
    }
    return gates[at];
}

// What a step backward writes for a quad of units of a sample, from d W of every input plane.
fn finish_backward(p: Params, site: Site, key: vec2<u32>, member: u32, sample: u32, quad: u32, d: array<vec4<f32>, INPUTS>) {
    let units = in_hidden(quad, p.hidden);
    let row = sample * p.steps + p.t;
    let planes = member * (p.sequence_stride / 4u) + quad;
    var dh = dy[member * (p.dy_stride / 4u) + row * p.hidden_row + quad];
    //# for i in 0..INPUTS
    if (DROPOUT != 0u && p.carried == 1u) {
        let kept = kept_input(p, site, key, member * p.samples_stride, sample, {i}u, quad);
        dh += drop_units(d[{i}], kept, site.scale);
    } else {
        dh += d[{i}];
    }
    //# end
    var carried = vec4<f32>();
    if ((GRU || LSTM) && p.carried == 1u) {
        carried = sequence[planes + p.cell_at + (sample * p.steps + p.after) * p.hidden_row];
    }
    if (GRU) {
        dh += carried;
    }
    var before = vec4<f32>();
    if ((GRU || LSTM) && p.first == 0u) {
        before = sequence[planes + select(p.cell_at, p.y_at, GRU) + (sample * p.steps + p.before) * p.hidden_row];
    }
    let cell_at = planes + p.cell_at + row * p.hidden_row;
    let hidden_at = planes + p.hidden_at + row * p.gates_row;
    var own = vec4<f32>();
    if (GRU || LSTM) {
        own = sequence[select(cell_at, hidden_at + 2u * p.hidden_quads, GRU)];
    }
    let at = member * (p.gates_stride / 4u) + row * p.gates_row + quad;
    var f = array<vec4<f32>, 4>();
    //# for g in 0..GATES
    f[{g}] = gates[at + {g}u * p.hidden_quads];
    //# end
    let out = backward_cell(f, dh, carried, own, before);
    //# for g in 0..GATES
    gates[at + {g}u * p.hidden_quads] = select(vec4<f32>(), out.gates[{g}], units);
    //# end
    if (GRU || LSTM) {
        sequence[cell_at] = select(vec4<f32>(), out.carry, units);
    }
    if (GRU) {
        sequence[hidden_at] = select(vec4<f32>(), out.gates[0], units);
        sequence[hidden_at + p.hidden_quads] = select(vec4<f32>(), out.gates[1], units);
        sequence[hidden_at + 2u * p.hidden_quads] = select(vec4<f32>(), out.by_u, units);
    }
}
