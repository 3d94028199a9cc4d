//! `thinnet devices`: every adapter, with the limits that matter.

use std::io::Write;

use thinnet::kernels::matmul::Matmul;
use thinnet::plan::Caps;
use thinnet::{Device, gpu};

use super::{Cli, Failure, wide};

pub(super) fn run(cli: &Cli) -> Result<(), Failure> {
    let wanted = cli.adapter.as_deref().unwrap_or_default().to_lowercase();
    let adapters = gpu::adapter::list();
    let mut out = std::io::stdout().lock();
    let rows: Vec<Caps> = adapters.into_iter().chain([Device::cpu().caps()]).collect();
    let rows: Vec<Caps> = rows.into_iter().filter(|caps| caps.adapter.to_lowercase().contains(&wanted)).collect();
    for caps in &rows {
        let caps = &opened(caps);
        // As with the option given; what an adapter cannot run is not its family.
        let forced = cli.family(caps).filter(|family| !matches!(family, Matmul::Shuffle { .. }));
        let caps = &Caps { matmul: forced.unwrap_or(caps.matmul), ..caps.clone() };
        if cli.json {
            let json = serde_json::to_string(caps).map_err(std::io::Error::from)?;
            writeln!(out, "{json}")?;
        } else {
            write!(out, "{}", describe(caps))?;
        }
    }
    // Without an adapter the message says what to install.
    if rows.iter().any(|caps| caps.backend != "twins") || wanted == "cpu" { Ok(()) } else { Ok(cli.device().map(|_| ())?) }
}

/// The same with what only a dispatch can tell, if the adapter opens.
fn opened(caps: &Caps) -> Caps {
    let same = |device: &Device| device.caps().adapter == caps.adapter && device.caps().backend == caps.backend;
    Device::open_named(&caps.adapter).ok().filter(same).map_or_else(|| caps.clone(), |device| device.caps())
}

fn describe(caps: &Caps) -> String {
    if caps.backend == "twins" {
        return "cpu\n  thinnet's own CPU code, needs no adapter; for checking, slow\n".into();
    }
    let kind = if caps.software { "software" } else { "hardware" };
    let subgroups = match caps.subgroups {
        (0, 0) => "none".into(),
        (min, max) if min == max => min.to_string(),
        (min, max) => format!("{min} to {max}"),
    };
    let lanes = wide::describe(&caps.adapter).map(|lanes| format!("  {lanes}\n")).unwrap_or_default();
    let mib = |bytes: u64| bytes >> 20;
    let loops = match caps.max_iterations {
        u32::MAX => String::new(),
        most => format!("  ends the loops of an invocation after {most} iterations; what needs more is refused\n"),
    };
    format!(
        "{}\n  {}, {kind}\n  largest buffer {} MiB, largest binding {} MiB (one tensor)\n  {} storage buffers a kernel, {} invocations a workgroup, {} KiB workgroup memory, subgroup size {subgroups}\n{loops}{lanes}  matrix products: {}\n",
        caps.adapter,
        caps.backend,
        mib(caps.max_buffer),
        mib(caps.max_binding),
        caps.max_storage_buffers,
        caps.max_invocations,
        caps.workgroup_memory >> 10,
        caps.matmul,
    )
}
