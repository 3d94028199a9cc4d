// The optimizer's step of four weights at once with their gradient; needs lib/chosen_optimizer.wgsl.

@group(0) @binding(2) var<storage, read> optimizer: array<OptimizerStep, MEMBERS>;
@group(0) @binding(7) var<storage, read_write> w: array<vec4<f32>>;   // W, then b; m and v alike
@group(0) @binding(8) var<storage, read_write> m: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read_write> v: array<vec4<f32>>;

fn update_at(at: u32, o: OptimizerStep, dw: vec4<f32>) {
    var old = Weights(w[at], m[at], vec4<f32>());
    if (OPTIMIZER != 1u) {
        old.v = v[at];
    }
    let new_weights = chosen_update(o, dw, old);
    w[at] = new_weights.w;
    m[at] = new_weights.m;
    if (OPTIMIZER != 1u) {
        v[at] = new_weights.v;
    }
}
