// The optimizer's steps of rows of a weight that have no gradient, because the batch drops their units: each listed row moves as its
// momentum and its decay say, as many steps as it has waited, one after another.
//
//   for each listed row and its updates, k = updates - 1 .. 0:  w, m, v [row] = update(optimizers[k], g = 0, w, m, v [row])
//
// optimizers[k] are the scalars of k steps ago. OPTIMIZER is a constant, see lib/chosen_optimizer.wgsl. The rows are padded to whole
// quads. Dispatch: as in units.wgsl, over as many rows as could be listed.

struct Params {
    dropped: u32,       // rows of the weight that a step drops, the most that are listed; 1 where there are none
    quads: u32,         // of a row
    list_stride: u32,   // words from one member's list to the next
    stride: u32,        // words from one member's weight to the next
    block_quads: u32,   // as in units.wgsl
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

struct Idle {
    optimizers: array<OptimizerStep, MEMBERS * MAX_UPDATES>,
    rows: array<u32>,  // how many rows, then MAX_UPDATES * row + updates - 1 of each
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> idle: Idle;
@group(0) @binding(2) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> m: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> v: array<vec4<f32>>;

const MAX_UPDATES = 4u;

// The step of k steps ago, if the row has waited for it.
fn moved(o: OptimizerStep, k: u32, updates: u32, old: Weights) -> Weights {
    let new_weights = chosen_update(o, vec4<f32>(), old);
    let moves = vec4<bool>(k < updates);
    return Weights(select(old.w, new_weights.w, moves), select(old.m, new_weights.m, moves), select(old.v, new_weights.v, moves));
}

@compute @workgroup_size(8, WORKGROUP / 8)
fn idle_update(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let p = params;
    let member = member_index(group);
    let list = member * p.list_stride;
    // All of them in front of the loop: in it lavapipe loads them lane by lane.
    let first = member * MAX_UPDATES;
    let o0 = idle.optimizers[first];
    let o1 = idle.optimizers[first + 1u];
    let o2 = idle.optimizers[first + 2u];
    let o3 = idle.optimizers[first + 3u];
    let count = idle.rows[list];
    // The list is short of the grid, and lavapipe shares the workgroups out in one piece to each core: what is listed is spread over all.
    let place = local.y * groups.y + group.y;
    let listed = idle.rows[list + 1u + min(place, p.dropped - 1u)];
    let updates = listed % MAX_UPDATES + 1u;
    let row_at = member * (p.stride / 4u) + listed / MAX_UPDATES * p.quads;
    let end = select(0u, min((group.x + 1u) * p.block_quads, p.quads), place < count);
    for (var quad = group.x * p.block_quads + local.x; quad < end; quad += 8u) {
        let at = row_at + quad;
        var weights = Weights(w[at], m[at], vec4<f32>());
        if (OPTIMIZER != 1u) {
            weights.v = v[at];
        }
        weights = moved(o3, 3u, updates, weights);
        weights = moved(o2, 2u, updates, weights);
        weights = moved(o1, 1u, updates, weights);
        weights = moved(o0, 0u, updates, weights);
        w[at] = weights.w;
        m[at] = weights.m;
        if (OPTIMIZER != 1u) {
            v[at] = weights.v;
        }
    }
}
