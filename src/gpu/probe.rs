//! What a device does not say of itself, found out by a dispatch: whether the lanes of a subgroup are the invocations of a workgroup in
//! their order, which the kernels of `dense_shuffle.wgsl` rely on, and after how many iterations it ends loops.

use super::Gpu;
use super::readback::Staging;
use crate::Result;

const GROUPS: u32 = 3;

/// Of each of two loops: together more than lavapipe does.
const ITERATIONS: u32 = 40_000;

/// One dispatch of workgroups of `lanes` invocations: every one must be its own lane of a subgroup of that size, and a shuffle must
/// bring another's number.
pub(super) fn lanes_are_in_order(gpu: &Gpu, lanes: u32) -> Result<bool> {
    let source = format!(
        "@group(0) @binding(0) var<storage, read_write> seen: array<vec4<u32>>;
        @compute @workgroup_size({lanes})
        fn probe(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32,
                 @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_size) size: u32) {{
            let other = subgroupShuffle(10u * local + group.x, {last}u);
            seen[group.x * {lanes}u + local] = vec4<u32>(lane, size, other, 1u);
        }}",
        last = lanes - 1
    );
    let seen = dispatched(gpu, "subgroup probe", source, GROUPS, GROUPS * lanes * 4)?;
    let expected = (0..GROUPS * lanes).flat_map(|i| [i % lanes, lanes, 10 * (lanes - 1) + i / lanes, 1]);
    Ok(seen.into_iter().eq(expected))
}

/// Iterations of two loops of one invocation, after which the device ends them without an error, as lavapipe does; the largest
/// number where it has ended neither. A kernel that needs no more than that gets what it needs: [`Kernel::iterations`].
///
/// [`Kernel::iterations`]: crate::kernels::Kernel::iterations
pub(super) fn iterations(gpu: &Gpu) -> Result<u32> {
    // What is counted hangs on numbers that no compiler finds without the loop; none of them is 0.
    let source = format!(
        "@group(0) @binding(0) var<storage, read_write> seen: array<u32>;
        @compute @workgroup_size(1)
        fn probe() {{
            let seed = seen[2];
            var sum = seed;
            var first = 0u;
            for (var i = 0u; i < {ITERATIONS}u; i++) {{
                sum = sum * 1664525u + 1013904223u + (sum >> 16u);
                first += select(1u, 0u, sum == 0u);
            }}
            var second = 0u;
            for (var i = 0u; i < {ITERATIONS}u; i++) {{
                sum = sum * 1664525u + 1013904223u + (sum >> 16u);
                second += select(1u, 0u, sum == 0u);
            }}
            seen[0] = first;
            seen[1] = second;
            seen[2] = sum;
        }}"
    );
    let seen = dispatched(gpu, "loop probe", source, 1, 4)?;
    let done = seen[0] + seen[1];
    Ok(if done == 2 * ITERATIONS { u32::MAX } else { done.saturating_sub(2) })
}

/// The words of a buffer of 0 that a dispatch of so many workgroups of `probe` has written to.
fn dispatched(gpu: &Gpu, label: &'static str, source: String, groups: u32, words: u32) -> Result<Vec<u32>> {
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
    let buffer = gpu.buffer(label, 4 * u64::from(words), usage)?;
    let staging = Staging::new(gpu, 4 * u64::from(words))?;
    let encoder = gpu.guarded(label, || {
        let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(label),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(label),
            layout: None,
            module: &module,
            entry_point: Some("probe"),
            compilation_options: Default::default(),
            cache: None,
        });
        let bind_group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(label),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
        });
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &bind_group, &[]);
            pass.dispatch_workgroups(groups, 1, 1);
        }
        staging.copy(&mut encoder, (&buffer, 0), 0, 4 * u64::from(words));
        encoder
    })?;
    let mapping = staging.submit(gpu, encoder)?;
    staging.read(gpu, mapping, words as usize)
}
