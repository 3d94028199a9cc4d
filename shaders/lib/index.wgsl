// Flat indices. WORKGROUP is put in front of every module by src/kernels.rs: invocations of one workgroup.

// The flat index of an invocation in a grid that may be folded into two dimensions, past 65,535 workgroups.
fn linear_index(group: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 {
    return (group.y * groups.x + group.x) * WORKGROUP + local;
}
