// Quads of words that do not begin where a quad of memory does.

// Four words of two neighbouring quads, from word `shift` of the first on; shift is below 4.
fn words_from(a: vec4<u32>, b: vec4<u32>, shift: u32) -> vec4<u32> {
    let late = select(vec4<u32>(a.w, b.x, b.y, b.z), vec4<u32>(a.z, a.w, b.x, b.y), shift == 2u);
    let early = select(vec4<u32>(a.y, a.z, a.w, b.x), a, shift == 0u);
    return select(late, early, shift < 2u);
}
