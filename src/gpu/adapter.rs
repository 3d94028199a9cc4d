//! Which adapter is opened, what the others are, and what to say when there is none.

use crate::kernels::matmul::Matmul;
use crate::plan::Caps;
use crate::{Error, Result};

fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle().with_env();
    // There are no indirect dispatches; their validation would cap buffer sizes to 32 bits.
    descriptor.flags.remove(wgpu::InstanceFlags::VALIDATION_INDIRECT_CALL);
    wgpu::Instance::new(descriptor)
}

/// What `WGPU_BACKEND` asks for, of what was compiled in.
fn backends() -> wgpu::Backends {
    wgpu::Backends::from_env().unwrap_or(wgpu::Backends::all()) & wgpu::Instance::enabled_backend_features()
}

/// What was looked at, in words, with the variable that narrowed it.
fn looked_at() -> String {
    let names: Vec<String> = backends().iter_names().map(|(name, _)| name.to_lowercase()).collect();
    let names = if names.is_empty() { "none".into() } else { names.join(", ") };
    match std::env::var("WGPU_BACKEND") {
        Ok(value) => format!("{names}, because WGPU_BACKEND is {value:?}"),
        Err(_) => names,
    }
}

/// Every adapter that can be seen, as [`Caps`]; `WGPU_BACKEND` narrows the backends. The CPU twins are not among them.
pub fn list() -> Vec<Caps> {
    let adapters = pollster::block_on(instance().enumerate_adapters(backends()));
    adapters.iter().map(|a| caps(&a.get_info(), &a.limits(), a.features())).collect()
}

/// The adapter whose name contains `name`, or the best one.
pub(super) async fn choose(name: Option<&str>) -> Result<wgpu::Adapter> {
    let instance = instance();
    if let Some(name) = name {
        let adapters = instance.enumerate_adapters(backends()).await;
        let seen: Vec<String> = adapters.iter().map(|a| a.get_info().name).collect();
        let matches = |a: &wgpu::Adapter| a.get_info().name.to_lowercase().contains(&name.to_lowercase());
        return adapters.into_iter().find(matches).ok_or_else(|| none(&format!("whose name contains {name:?}"), &seen, None));
    }
    // Without a preference wgpu takes the first adapter that the loader lists, which may be a software one.
    let power_preference = wgpu::PowerPreference::from_env().unwrap_or(wgpu::PowerPreference::HighPerformance);
    let options = wgpu::RequestAdapterOptions { power_preference, ..Default::default() };
    match instance.request_adapter(&options).await {
        Ok(adapter) => Ok(adapter),
        Err(error) => {
            let adapters = instance.enumerate_adapters(backends()).await;
            let seen: Vec<String> = adapters.iter().map(|a| a.get_info().name).collect();
            Err(none("of any kind", &seen, Some(error.to_string())))
        }
    }
}

fn none(wanted: &str, seen: &[String], wgpu_says: Option<String>) -> Error {
    let seen = if seen.is_empty() { "none".to_owned() } else { seen.join(", ") };
    let says = wgpu_says.map(|text| format!("\nwgpu says: {text}")).unwrap_or_default();
    Error::NoAdapter(format!(
        "no GPU adapter {wanted} was found (backends looked at: {looked_at}; adapters seen: {seen}).{says}
What to install, for a GPU its vendor's driver, otherwise a software adapter:
  Debian, Ubuntu  apt-get install mesa-vulkan-drivers libvulkan1
  Fedora          dnf install mesa-vulkan-drivers vulkan-loader
  Arch            pacman -S vulkan-swrast vulkan-icd-loader
  Windows         the GPU vendor's driver; the software adapter WARP is part of Windows 10 and 11
  macOS           nothing: Metal is part of the system
Or use the adapter `cpu`, which needs none of them and is slow.",
        looked_at = looked_at(),
    ))
}

pub(super) fn caps(info: &wgpu::AdapterInfo, limits: &wgpu::Limits, features: wgpu::Features) -> Caps {
    let subgroups = match features.contains(wgpu::Features::SUBGROUP) {
        true => (info.subgroup_min_size, info.subgroup_max_size),
        false => (0, 0),
    };
    let software = info.device_type == wgpu::DeviceType::Cpu;
    Caps {
        adapter: info.name.clone(),
        backend: format!("{:?}", info.backend),
        software,
        max_buffer: limits.max_buffer_size,
        max_binding: limits.max_storage_buffer_binding_size,
        max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
        max_invocations: limits.max_compute_invocations_per_workgroup,
        max_groups: limits.max_compute_workgroups_per_dimension,
        workgroup_memory: limits.max_compute_workgroup_storage_size,
        subgroups,
        int64: features.contains(wgpu::Features::SHADER_INT64),
        max_texture: limits.max_texture_dimension_2d,
        max_iterations: u32::MAX, // found out by a dispatch
        matmul: Matmul::of(software, subgroups),
    }
}
