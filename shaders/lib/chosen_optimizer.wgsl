// The update of four weights by the optimizer that a module is made for; needs lib/optimizer.wgsl. OPTIMIZER, a constant put in
// front of the module, is 1 for SGD, which leaves v alone, 2 for Adam, 3 for RMSprop.

fn chosen_update(o: OptimizerStep, dw: vec4<f32>, old: Weights) -> Weights {
    var new_weights = sgd_update(o, dw, old);
    if (OPTIMIZER == 2u) {
        new_weights = adam_update(o, dw, old);
    }
    if (OPTIMIZER == 3u) {
        new_weights = rmsprop_update(o, dw, old);
    }
    return new_weights;
}
