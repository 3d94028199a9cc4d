// Philox4x32-10 (Salmon et al., SC 2011; Random123). Twin: rng::philox4x32_10. Needs lib/mul_high.wgsl.

const PHILOX_M0 = 0xD2511F53u;
const PHILOX_M1 = 0xCD9E8D57u;
const PHILOX_W = vec2<u32>(0x9E3779B9u, 0xBB67AE85u);

fn philox_round(c: vec4<u32>, k: vec2<u32>) -> vec4<u32> {
    return vec4<u32>(
        mul_high(PHILOX_M1, c.z) ^ c.y ^ k.x,
        PHILOX_M1 * c.z,
        mul_high(PHILOX_M0, c.x) ^ c.w ^ k.y,
        PHILOX_M0 * c.x,
    );
}

fn philox4x32_10(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = philox_round(counter, key);
    var k = key;
    for (var round = 1u; round < 10u; round++) {
        k += PHILOX_W;
        c = philox_round(c, k);
    }
    return c;
}
