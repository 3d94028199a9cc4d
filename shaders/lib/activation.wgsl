// Activations of four units, by kind (src/kernels/activation.rs): 0 identity, 1 ReLU, 2 tanh, 3 sigmoid, 4 leaky ReLU, 5 SELU; the
// formulas are in activation.wgsl. Where the kind is a constant, the compiler leaves the rest out.

const SLOPE = 0.01;
const LAMBDA = 1.0507009873554805;
const LAMBDA_ALPHA = 1.7580993408473766;

// Drivers return NaN for tanh past 89; beyond 15 it is 1 in f32.
fn bounded_tanh(x: vec4<f32>) -> vec4<f32> {
    return tanh(clamp(x, vec4<f32>(-15.0), vec4<f32>(15.0)));
}

// e^-x overflows below -88; the quotient is 0 to the last bit long before.
fn sigmoid(x: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(-clamp(x, vec4<f32>(-80.0), vec4<f32>(80.0))));
}

// e^x - 1 for x <= 0. Near 0 the subtraction would cancel all but the error of exp, so there it is the Taylor series, whose next
// term is below half a unit of the last place.
fn power_less_one(x: vec4<f32>) -> vec4<f32> {
    let b = clamp(x, vec4<f32>(-80.0), vec4<f32>());
    let series = b * (1.0 + b / 2.0 * (1.0 + b / 3.0 * (1.0 + b / 4.0 * (1.0 + b / 5.0 * (1.0 + b / 6.0)))));
    return select(exp(b) - 1.0, series, b > vec4<f32>(-0.25));
}

// clamp and max hide NaN on some drivers; a NaN that comes in must go out, or a broken network looks healthy.
fn keep_nan(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    return select(y, x, (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u));
}

// f(z).
fn activate(kind: u32, z: vec4<f32>) -> vec4<f32> {
    var f = z;
    switch kind {
        case 1u: { f = max(z, vec4<f32>()); }
        case 2u: { f = bounded_tanh(z); }
        case 3u: { f = sigmoid(z); }
        case 4u: { f = select(SLOPE * z, z, z > vec4<f32>()); }
        case 5u: { f = select(LAMBDA_ALPHA * power_less_one(z), LAMBDA * z, z > vec4<f32>()); }
        default: {}
    }
    return keep_nan(z, f);
}

// d f'(z), with the derivative taken from the output f = f(z).
fn activation_gradient(kind: u32, f: vec4<f32>, d: vec4<f32>) -> vec4<f32> {
    var g = d;
    switch kind {
        case 1u: { g = select(vec4<f32>(), d, f > vec4<f32>()); }
        case 2u: { g = d * (1.0 - f * f); }
        case 3u: { g = d * (f * (1.0 - f)); }
        case 4u: { g = select(SLOPE * d, d, f > vec4<f32>()); }
        case 5u: { g = d * select(f + LAMBDA_ALPHA, vec4<f32>(LAMBDA), f > vec4<f32>()); }
        default: {}
    }
    return g;
}
