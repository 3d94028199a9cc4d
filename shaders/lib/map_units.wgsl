// Which unit the elements of feature maps and sequences belong to, and which of them a mask keeps; needs lib/step.wgsl, lib/mul_high.wgsl,
// lib/division.wgsl, lib/philox.wgsl, lib/dropout.wgsl, lib/kept_bits.wgsl. The host side is src/kernels/map_dropout.rs.
//
//   unit              = sum over the axes of a sample of coordinate * stride; stride 0 on the axes that share a unit
//   word(row, unit)   = philox4x32-10((unit / 4, sample(row), pass, stream << 24 | site), key)[unit % 4]
//
// Layouts, a constant PLACES, 1 where a sample has one row for each of its places:
//   1  pixels  [samples * places, C]: one row a pixel; unit = c * column_stride + unit_of(place in the map)
//   1  steps   [samples * places, F]: one row for every place on all axes but the last, those of a sequence its steps;
//              unit = f * column_stride + unit_of(place).
//   0  planar  [samples, elements]: one row a sample; unit = unit_of(place in the row)
// Rows are padded to quads; what lies in the last quad past the last column is written as 0.
//
// A place is taken apart into INNER + 1 axes, innermost first. The host has merged neighbours that are both shared or both not,
// and left out those of extent 1. How many Philox calls a run of RUN quads of memory takes is SPACE:
//   0  the innermost axis is shared    planar: its extent is a multiple of 4, or it is the only one. One call for as long as the
//                                      unit stays the same. Places: it is the only one. One call for four columns, all places
//   1  consecutive                     planar: the innermost axis is not shared, the rest as above. One call for four elements.
//                                      Places: one axis, not shared. For each column one call for four places, two where their
//                                      units do not begin at a multiple of 4; for all columns where columns are shared
//   2  any                             one call for each element; for each place where columns are shared
//   3  along the columns               steps: the columns are not shared. For each place one call for four columns, two where
//                                      their units do not begin at a multiple of 4
// COLUMNS is 0 where all columns share a unit (places). Every variant gives the same bits: tests/maps.rs.

struct MapParams {
    columns: u32,           // C, F, or the elements of a sample
    quads: u32,             // ceil(columns / 4) of places, 1 of planar rows
    quads_factor: u32,      // see lib/division.wgsl
    quads_shift: u32,
    places: u32,            // rows of a sample, or quads in use of a planar row
    runs: u32,              // ceil(places / RUN)
    runs_factor: u32,
    runs_shift: u32,
    axes: array<vec4<u32>, 8>,  // innermost first: extent, its factor and shift, stride in units
    column_stride: u32,
    stream_and_site: u32,   // stream << 24 | site
    in_row: u32,            // quads from one row to the next
    out_row: u32,
    samples_stride: u32,
    in_stride: u32,
    out_stride: u32,
    pad0: u32,
}

// What one invocation does: `count` places of a sample from `first` on.
struct Run {
    sample: u32,
    first: u32,
    count: u32,
    quad: u32,  // of columns; 0 in planar rows
    source: u32,  // where the first quad is read
    destination: u32,  // and written
}

fn run_of(i: u32, p: MapParams) -> Run {
    var rest = i;
    if (PLACES == 1u) {
        rest = divided(i, p.quads_factor, p.quads_shift);
    }
    let quad = i - rest * p.quads;
    let sample = divided(rest, p.runs_factor, p.runs_shift);
    let first = RUN * (rest - sample * p.runs);
    let count = min(RUN, p.places - first);
    if (PLACES == 1u) {
        let row = sample * p.places + first;
        return Run(sample, first, count, quad, row * p.in_row + quad, row * p.out_row + quad);
    }
    return Run(sample, first, count, 0u, sample * p.in_row + first, sample * p.out_row + first);
}

// The unit of a place.
fn unit_of(place: u32, p: MapParams) -> u32 {
    var rest = place;
    var unit = 0u;
    //# for a in 0..INNER
    let outer{a} = divided(rest, p.axes[{a}].y, p.axes[{a}].z);
    unit += (rest - outer{a} * p.axes[{a}].x) * p.axes[{a}].w;
    rest = outer{a};
    //# end
    return unit + rest * p.axes[INNER].w;
}

// Bits of the columns 4 quad .. 4 quad + 3 that there are.
fn columns_of(quad: u32, p: MapParams) -> u32 {
    return (1u << min(4u, p.columns - 4u * quad)) - 1u;
}

// Bit i: whether a unit is kept, for all i below 4.
fn kept_unit(unit: u32, p: MapParams, site: Site, key: vec2<u32>, at: vec2<u32>) -> u32 {
    return 15u * ((kept_bits(site, key, p.stream_and_site, at, unit / 4u) >> (unit & 3u)) & 1u);
}

// Bit 4 k + i: whether column i of the quad is kept at place k of the run.
fn kept_places(run: Run, p: MapParams, site: Site, key: vec2<u32>, at: vec2<u32>) -> u32 {
    let columns = columns_of(run.quad, p) * 0x11111111u;
    if (SPACE == 0u) {
        if (COLUMNS == 0u) {
            return columns & (kept_unit(0u, p, site, key, at) * 0x11111111u);
        }
        return columns & (kept_bits(site, key, p.stream_and_site, at, run.quad) * 0x11111111u);
    }
    let unit = unit_of(run.first, p);
    if (SPACE == 3u) {
        return columns & kept_bits_from(site, key, p.stream_and_site, at, 4u * run.quad + unit);
    }
    var kept = 0u;
    for (var i = 0u; i < 1u + 3u * COLUMNS; i++) {
        let column = 4u * run.quad + i;
        if (column < p.columns) {
            var bits = 0u;
            if (SPACE == 1u) {
                bits = kept_bits_from(site, key, p.stream_and_site, at, column * p.column_stride + unit);
                bits = (bits & 1u) | ((bits & 2u) << 3u) | ((bits & 4u) << 6u) | ((bits & 8u) << 9u);
            } else {
                bits = kept_unit(column * p.column_stride + unit, p, site, key, at) & 1u;
            }
            kept |= bits << i;
        }
    }
    return columns & select(kept, 15u * kept, COLUMNS == 0u);
}

// Bit 4 k + i: whether element i of quad k of the run is kept.
fn kept_quads(run: Run, p: MapParams, site: Site, key: vec2<u32>, at: vec2<u32>) -> u32 {
    var kept = 0u;
    var bits = 0u;
    var drawn = 0u;
    for (var k = 0u; k < run.count; k++) {
        let quad = run.first + k;
        if (SPACE == 1u) {
            bits = kept_bits(site, key, p.stream_and_site, at, unit_of(4u * quad, p) / 4u);
        } else if (SPACE == 0u) {
            let unit = unit_of(4u * quad, p);
            if (k == 0u || unit != drawn) {
                bits = kept_unit(unit, p, site, key, at);
                drawn = unit;
            }
        } else {
            bits = 0u;
            for (var i = 0u; i < 4u; i++) {
                bits |= kept_unit(unit_of(4u * quad + i, p), p, site, key, at) & (1u << i);
            }
        }
        kept |= (bits & columns_of(quad, p)) << (4u * k);
    }
    return kept;
}

fn kept_of(run: Run, p: MapParams, site: Site, key: vec2<u32>, member: u32) -> u32 {
    let at = mask_address(member * p.samples_stride, run.sample, site);
    if (PLACES == 1u) {
        return kept_places(run, p, site, key, at);
    }
    return kept_quads(run, p, site, key, at);
}

// Which elements of quad k of a run are kept.
fn of_quad(kept: u32, k: u32) -> vec4<bool> {
    return ((vec4<u32>(kept >> (4u * k)) & vec4<u32>(1u, 2u, 4u, 8u)) != vec4<u32>());
}

