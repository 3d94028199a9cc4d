// Changes the rows of a batch at random; what, in which order, and which words decide it, is in src/data/augmentation.rs.
//
//   a(x)   = noise(cutout(flip(shift(x))))
//   y[i]   = a(x[i]), or with MIXUP lambda a(x[i]) + (1 - lambda) a(other[i]), other[i] the partner of row i
//
// IMAGE, NOISE and MIXUP, constants put in front of the module, say what there is to do: an image is shifted, flipped or cut; noise is
// added; rows are mixed. mix has (row, partner, bits of lambda, sample of the partner) of every row, see mixup.wgsl.
// x, other, y: [rows, channels height width], rows padded. Only step.rows rows are read and written, and of y only the quads in use.
// Select, don't multiply: what is cut out may have been NaN.
// Dispatch: x over quads of columns, several an invocation, so that a row's decisions are drawn once for them; y over rows; z is the
// member.

struct Params {
    columns: u32,
    quads: u32,         // ceil(columns / 4)
    x_row: u32,         // quads from one row to the next
    other_row: u32,
    y_row: u32,
    height: u32,
    width: u32,
    width_factor: u32,  // i / width = i * width_factor >> 31 + width_shift for every i below 2^31
    width_shift: u32,
    height_factor: u32,
    height_shift: u32,
    shift: u32,
    flip: u32,
    cutout: u32,
    noise: f32,
    samples_stride: u32,
    mix_stride: u32,
    x_stride: u32,
    other_stride: u32,
    y_stride: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> samples: array<u32>;
@group(0) @binding(3) var<storage, read> mix: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> x: array<f32>;
@group(0) @binding(5) var<storage, read> other: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;

const IMAGE_WORDS = 4u << 24u;                 // stream 4, site 0
const NOISE_WORDS = (5u << 24u) | 0xffffffu;   // stream 5, the last site

// What happens to one row.
struct Change {
    which: u32,   // 0: the row of x, 1: that of other
    base: u32,    // its first word
    sample: u32,
    shift: vec2<i32>,   // x and y
    corner: vec2<i32>,  // of the square that is cut out
    flip: bool,
}

fn value(which: u32, at: u32) -> f32 {
    if (MIXUP == 1u && which == 1u) {
        return other[at];
    }
    return x[at];
}

fn change_of(which: u32, base: u32, sample: u32, p: Params, epoch: u32, key: vec2<u32>) -> Change {
    var change = Change(which, base, sample, vec2<i32>(), vec2<i32>(), false);
    if (IMAGE == 1u) {
        let places = philox4x32_10(vec4<u32>(0u, sample, epoch, IMAGE_WORDS), key);
        let shifts = vec2<u32>(mul_high(places.x, 2u * p.shift + 1u), mul_high(places.y, 2u * p.shift + 1u));
        change.shift = vec2<i32>(shifts) - i32(p.shift);
        let centre = vec2<u32>(mul_high(places.z, p.width), mul_high(places.w, p.height));
        change.corner = vec2<i32>(centre) - i32(p.cutout / 2u);
        let coin = philox4x32_10(vec4<u32>(1u, sample, epoch, IMAGE_WORDS), key).x >> 31u;
        change.flip = p.flip == 1u && coin == 1u;
    }
    return change;
}

// Noise of the elements of a quad, each from the two words of its own.
fn noise_of(quad: u32, sample: u32, epoch: u32, key: vec2<u32>) -> vec4<f32> {
    let a = philox4x32_10(vec4<u32>(2u * quad, sample, epoch, NOISE_WORDS), key);
    let b = philox4x32_10(vec4<u32>(2u * quad + 1u, sample, epoch, NOISE_WORDS), key);
    return normals(vec4<u32>(a.x, a.z, b.x, b.z), vec4<u32>(a.y, a.w, b.y, b.w));
}

// Where pixel (column, row) of plane-major element e comes from, or e itself with `false`: then it is 0.
fn moved(e: u32, at: vec2<i32>, size: vec2<i32>, cutout: i32, change: Change) -> vec2<u32> {
    let source = vec2<i32>(select(at.x, size.x - 1 - at.x, change.flip), at.y) - change.shift;
    let in_cut = at - change.corner;
    let inside = all(source >= vec2<i32>()) && all(source < size);
    let cut = all(in_cut >= vec2<i32>()) && all(in_cut < vec2<i32>(cutout));
    let kept = inside && !cut;
    return vec2<u32>(select(0u, u32(i32(e) + (source.y - at.y) * size.x + source.x - at.x), kept), u32(kept));
}

// Quad `quad` of a changed row.
fn changed(quad: u32, change: Change, p: Params, epoch: u32, key: vec2<u32>) -> vec4<f32> {
    var v = vec4<f32>();
    let first = 4u * quad;
    if (IMAGE == 1u) {
        let size = vec2<i32>(i32(p.width), i32(p.height));
        let line = mul_high(first << 1u, p.width_factor) >> p.width_shift;  // channel * height + row
        let channel = mul_high(line << 1u, p.height_factor) >> p.height_shift;
        var at = vec2<i32>(i32(first - line * p.width), i32(line - channel * p.height));
        var origin = vec2<u32>();
        //# for i in 0..4
        if (first + {i}u < p.columns) {
            origin = moved(first + {i}u, at, size, i32(p.cutout), change);
            v[{i}] = select(0.0, value(change.which, change.base + origin.x), origin.y == 1u);
        }
        at.x += 1;
        if (at.x == size.x) {
            at = vec2<i32>(0, select(at.y + 1, 0, at.y + 1 == size.y));
        }
        //# end
    } else {
        let start = change.base + first;
        //# for i in 0..4
        v[{i}] = value(change.which, start + {i}u);
        //# end
    }
    if (NOISE == 1u) {
        v += p.noise * noise_of(quad, change.sample, epoch, key);
    }
    let columns = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u);
    return select(vec4<f32>(), v, columns < vec4<u32>(p.columns));
}

@compute @workgroup_size(16, WORKGROUP / 16u)
fn augment(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let p = params;
    let member = member_index(id);
    let key = step.keys[member].xy;
    let epoch = step.epoch;
    if (id.x >= p.quads || id.y >= step.rows) {
        return;
    }
    let own = change_of(0u, member * p.x_stride + id.y * 4u * p.x_row, samples[member * p.samples_stride + id.y], p, epoch, key);
    var partner = own;
    var share = 1.0;
    if (MIXUP == 1u) {
        let drawn = mix[member * (p.mix_stride / 4u) + id.y];
        share = bitcast<f32>(drawn.z);
        partner = change_of(1u, member * p.other_stride + id.y * 4u * p.other_row, drawn.w, p, epoch, key);
    }
    for (var quad = id.x; quad < p.quads; quad += 16u * groups.x) {
        var v = changed(quad, own, p, epoch, key);
        if (MIXUP == 1u) {
            v = share * v + (1.0 - share) * changed(quad, partner, p, epoch, key);
        }
        y[member * (p.y_stride / 4u) + id.y * p.y_row + quad] = v;
    }
}
