// The optimizer's scalars of one step and member; the host side is src/step.rs, what they mean is in optimizer.wgsl and in the
// kernels that read them.

struct OptimizerStep {
    learning_rate: f32,
    weight_decay: f32,
    beta1: f32,  // momentum of sgd and rmsprop
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    root_bias2: f32,
    epsilon: f32,
    decoupled_decay: f32,
    nesterov: u32,
    clip_norm: f32,
    max_norm: f32,
}
