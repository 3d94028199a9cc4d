// Embedding: a row of a table for every word of a sequence, and dropout of whole words (Gal and Ghahramani 2016, section 4.2).
//
//   word(row, v)        = philox4x32-10((v / 4, sample(row), pass, stream << 24 | site), key)[v % 4], one mask over the words
//                         for each sample: a word that is dropped is dropped at every step where it stands
//   embedding_forward:  y[n T + t] = keep(n, v) ? weight[v] * scale : 0, v = ids[n, t]; 0 where t >= lengths[n]
//   embedding_lists:    heads[v] = the first row n T + t of y with t < lengths[n], ids[n, t] = v and keep(n, v), none where there
//                       is none; links[row] = the next such row of the same word
//   embedding_backward: dweight[v] = scale * sum of dy over the rows in the list of v, in their order
//
// The lists are made by one invocation for each word, which reads all ids, so that the sums need not: each reads the rows of its
// word alone. No two invocations write the same place, and the order of a sum is fixed.
//
// ids: [batch, T], whole numbers below V as f32, rows padded to quads. So that nothing outside the table is read, others are
// rounded down, those past either end taken for the word there, and a NaN for word 0. weight, dweight: [V, E]; y, dy: [batch T,
// E], with row lengths of their own, zeros in the padding of the last quad; lengths: [batch]; heads: [V]; links: [batch T].
// DROPOUT, see lib/dropout.wgsl, is a constant put in front of the module.
// Dispatch: one invocation per quad of y, per word, per quad of dweight; z is the member.

struct Params {
    words: u32,            // V
    columns: u32,          // E
    ids_row: u32,          // quads from one row to the next
    weight_row: u32,       // of weight and of dweight
    y_row: u32,            // of y and of dy
    stream_and_site: u32,
    samples_stride: u32,   // words from one member to the next; 0: shared
    ids_stride: u32,
    lengths_stride: u32,
    weight_stride: u32,    // of weight and of dweight
    y_stride: u32,         // of y and of dy
    heads_stride: u32,
    links_stride: u32,
    by_steps: Division,    // T
    by_quads: Division,    // ceil(E / 4)
    pad0: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> sites: array<Site, MEMBERS>;
@group(0) @binding(3) var<storage, read> samples: array<u32>;
@group(0) @binding(4) var<storage, read> ids: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> lengths: array<u32>;
@group(0) @binding(6) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<f32>>;

@group(0) @binding(6) var<storage, read_write> heads: array<u32>;
@group(0) @binding(7) var<storage, read_write> links: array<u32>;

@group(0) @binding(3) var<storage, read> first_rows: array<u32>;  // heads
@group(0) @binding(4) var<storage, read> next_rows: array<u32>;   // links
@group(0) @binding(5) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dweight: array<vec4<f32>>;

const NONE = 0xffffffffu;  // no row

// The words of four ids. WGSL lets a device assume that there are no NaNs, so their bits are asked.
fn words_of(four: vec4<f32>, p: Params) -> vec4<u32> {
    let nan = (bitcast<vec4<u32>>(four) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
    let last = vec4<f32>(f32(p.words - 1u));
    let inside = clamp(select(four, vec4<f32>(), nan), vec4<f32>(), last);
    return min(vec4<u32>(inside), vec4<u32>(p.words - 1u));
}

fn length_of(sample: u32, member: u32, p: Params) -> u32 {
    return min(lengths[member * p.lengths_stride + sample], p.by_steps.divisor);
}

fn keeps_word(word: u32, sample: u32, member: u32, p: Params, site: Site, key: vec2<u32>) -> bool {
    if (DROPOUT == 0u) {
        return true;
    }
    let at = mask_address(member * p.samples_stride, sample, site);
    return ((kept_bits(site, key, p.stream_and_site, at, word / 4u) >> (word & 3u)) & 1u) == 1u;
}

@compute @workgroup_size(WORKGROUP)
fn embedding_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let count = step.rows * p.by_steps.divisor * p.by_quads.divisor;
    let site = sites[member];
    let key = step.keys[member].xy;
    let i = linear_index(group, groups, local);
    if (i >= count) {
        return;
    }
    let row = quotient(i, p.by_quads);
    let quad = i - row * p.by_quads.divisor;
    let sample = quotient(row, p.by_steps);
    let at = row - sample * p.by_steps.divisor;
    let word = words_of(ids[member * (p.ids_stride / 4u) + sample * p.ids_row + at / 4u], p)[at % 4u];
    let there = in_columns(quad, p.columns) & vec4<bool>(at < length_of(sample, member, p));
    var value = weight[member * (p.weight_stride / 4u) + word * p.weight_row + quad];
    if (DROPOUT != 0u) {
        value = drop_units(value, vec4<bool>(keeps_word(word, sample, member, p, site, key)), site.scale);
    }
    y[member * (p.y_stride / 4u) + row * p.y_row + quad] = select(vec4<f32>(), value, there);
}

@compute @workgroup_size(WORKGROUP)
fn embedding_lists(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let valid = step.rows;
    let site = sites[member];
    let key = step.keys[member].xy;
    let word = linear_index(group, groups, local);
    if (word >= p.words) {
        return;
    }
    let head = member * p.heads_stride + word;
    let base = member * p.links_stride;
    var begun = false;
    var last = 0u;
    for (var sample = 0u; sample < valid; sample++) {
        let length = length_of(sample, member, p);
        let line = member * (p.ids_stride / 4u) + sample * p.ids_row;
        for (var quad = 0u; 4u * quad < length; quad++) {
            let found = words_of(ids[line + quad], p) == vec4<u32>(word);
            if (any(found) && keeps_word(word, sample, member, p, site, key)) {
                //# for lane in 0..4
                if (found[{lane}] && 4u * quad + {lane}u < length) {
                    let row = sample * p.by_steps.divisor + 4u * quad + {lane}u;
                    if (begun) {
                        links[base + last] = row;
                    } else {
                        heads[head] = row;
                    }
                    begun = true;
                    last = row;
                }
                //# end
            }
        }
    }
    if (begun) {
        links[base + last] = NONE;
    } else {
        heads[head] = NONE;
    }
}

@compute @workgroup_size(WORKGROUP)
fn embedding_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let rows = step.rows * p.by_steps.divisor;
    let scale = sites[member].scale;
    let i = linear_index(group, groups, local);
    if (i >= p.words * p.by_quads.divisor) {
        return;
    }
    let word = quotient(i, p.by_quads);
    let quad = i - word * p.by_quads.divisor;
    let base = member * (p.y_stride / 4u) + quad;
    var sum = vec4<f32>();
    // No row is past all rows.
    var row = first_rows[member * p.heads_stride + word];
    while (row < rows) {
        //# for j in 0..4
        if (row < rows) {
            sum += dy[base + row * p.y_row];
            row = next_rows[member * p.links_stride + row];
        }
        //# end
    }
    if (DROPOUT != 0u) {
        sum *= scale;
    }
    let place = member * (p.weight_stride / 4u) + word * p.weight_row + quad;
    dweight[place] = select(vec4<f32>(), sum, in_columns(quad, p.columns));
}
