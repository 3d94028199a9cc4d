// One update of four weights; the formulas are in optimizer.wgsl. Needs lib/optimizer_step.wgsl.

struct Weights {
    w: vec4<f32>,
    m: vec4<f32>,
    v: vec4<f32>,
}

fn sgd_update(o: OptimizerStep, dw: vec4<f32>, old: Weights) -> Weights {
    let g = dw + o.weight_decay * old.w;
    let velocity = o.beta1 * old.m + g;
    return Weights(old.w - o.learning_rate * select(velocity, g + o.beta1 * velocity, o.nesterov == 1u), velocity, old.v);
}

fn adam_update(o: OptimizerStep, dw: vec4<f32>, old: Weights) -> Weights {
    let g = dw + o.weight_decay * old.w;
    let first = o.beta1 * old.m + o.one_minus_beta1 * g;
    let second = o.beta2 * old.v + o.one_minus_beta2 * (g * g);
    let change = o.learning_rate * first / (sqrt(second) / o.root_bias2 + o.epsilon);
    return Weights(old.w - o.decoupled_decay * old.w - change, first, second);
}

fn rmsprop_update(o: OptimizerStep, dw: vec4<f32>, old: Weights) -> Weights {
    let g = dw + o.weight_decay * old.w;
    let second = o.beta2 * old.v + o.one_minus_beta2 * (g * g);
    let first = o.beta1 * old.m + g / (sqrt(second) + o.epsilon);
    return Weights(old.w - o.learning_rate * first, first, second);
}
