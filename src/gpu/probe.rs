//! Whether the lanes of a subgroup are the invocations of a workgroup in their order, which the kernels of `dense_shuffle.wgsl` rely on.

use super::Gpu;
use super::readback::Staging;
use crate::Result;

const GROUPS: u32 = 3;

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
    let words = GROUPS * lanes * 4;
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
    let buffer = gpu.buffer("subgroup probe", 4 * u64::from(words), usage)?;
    let staging = Staging::new(gpu, 4 * u64::from(words))?;
    let encoder = gpu.guarded("subgroup probe", || {
        let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("subgroup probe"),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("subgroup probe"),
            layout: None,
            module: &module,
            entry_point: Some("probe"),
            compilation_options: Default::default(),
            cache: None,
        });
        let bind_group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("subgroup probe"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
        });
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &bind_group, &[]);
            pass.dispatch_workgroups(GROUPS, 1, 1);
        }
        staging.copy(&mut encoder, (&buffer, 0), 0, 4 * u64::from(words));
        encoder
    })?;
    let mapping = staging.submit(gpu, encoder)?;
    let seen = staging.read(gpu, mapping, words as usize)?;
    let expected = (0..GROUPS * lanes).flat_map(|i| [i % lanes, lanes, 10 * (lanes - 1) + i / lanes, 1]);
    Ok(seen.into_iter().eq(expected))
}
