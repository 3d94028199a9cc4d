// Four normal numbers from two words each (Box and Muller, 1958). The host side is src/kernels/normal.rs.

// cos(2 pi u) = -cos(2 pi (u - 1/2)), because cos is accurate in -pi .. pi only.
fn normals(first: vec4<u32>, second: vec4<u32>) -> vec4<f32> {
    let unit = 1.1920928955078125e-7;  // 2^-23
    let u = (vec4<f32>(first >> vec4<u32>(9u)) + 0.5) * unit;
    let v = (vec4<f32>(second >> vec4<u32>(9u)) + 0.5) * unit - 0.5;
    // A logarithm just below 0 may come out just above.
    return -sqrt(max(-2.0 * log(u), vec4<f32>())) * cos(6.2831853071795865 * v);
}
