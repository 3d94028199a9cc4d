// Flat indices. WORKGROUP is put in front of every module by src/kernels.rs: invocations of one workgroup.

// The flat index of an invocation in a grid that may be folded into two dimensions, past 65,535 workgroups.
fn linear_index(group: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 {
    return (group.y * groups.x + group.x) * WORKGROUP + local;
}

// The component of a quad that has this number, for `select`. A store to `quad[lane]` in a loop is refused by FXC, one of the
// compilers of DirectX.
fn is_lane(lane: u32) -> vec4<bool> {
    return vec4<u32>(0u, 1u, 2u, 3u) == vec4<u32>(lane);
}
