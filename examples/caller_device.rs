//! Dropout in a program that has a wgpu device, buffers and an encoder of its own:
//!
//! ```sh
//! cargo run --release --example caller_device
//! ```
//!
//! Prints x, y, dy and dx of the first units and the share of units that were kept.

use thinnet::wgpu::util::{BufferInitDescriptor, DeviceExt};
use thinnet::{KeepProb, ops, rng::Stream, wgpu};

const ROWS: u32 = 256;
const UNITS: u32 = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // What the program has anyway. thinnet needs no features, and the limits that WebGPU guarantees.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_features: ops::required_features(),
        required_limits: ops::required_limits(),
        ..Default::default()
    }))?;
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
    let filled = |label, value: fn(u32) -> f32| {
        let values: Vec<f32> = (0..ROWS * UNITS).map(value).collect();
        device.create_buffer_init(&BufferInitDescriptor { label: Some(label), contents: bytemuck::cast_slice(&values), usage })
    };
    let size = u64::from(4 * ROWS * UNITS);
    let empty = |label, usage| {
        device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
    };
    let (x, dy) = (filled("x", |i| 1.0 + i as f32), filled("dy", |i| 0.4 * (1.0 + i as f32)));
    let (y, dx) = (empty("y", usage), empty("dx", usage));

    // Compiled once, used for every step. Backward draws the mask of forward again, from the same coordinates.
    let ops = ops::Ops::new(device.clone(), queue.clone())?;
    let site = ops::Site { keep: KeepProb::new(0.8)?, seed: 42, stream: Stream::TrainingMask, site: 0, pass: 0 };
    let shape = ops::Shape { rows: ROWS, units: UNITS, samples: ops::Samples::From(0) };
    let mut encoder = device.create_command_encoder(&Default::default());
    ops::dropout_forward(&ops, &mut encoder, &site, &shape, &x, &y)?;
    ops::dropout_backward(&ops, &mut encoder, &site, &shape, &dy, &dx)?;

    // The program's own commands go into the same encoder: here, what it wants to see.
    let staging = [&x, &y, &dy, &dx].map(|buffer| {
        let staging = empty("staging", wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, None);
        staging
    });
    queue.submit([encoder.finish()]);
    for buffer in &staging {
        buffer.map_async(wgpu::MapMode::Read, .., |result| result.expect("the buffer is mapped"));
    }
    device.poll(wgpu::PollType::wait_indefinitely())?;

    let mut columns: Vec<Vec<f32>> = Vec::new();
    for buffer in &staging {
        columns.push(bytemuck::pod_collect_to_vec(&buffer.get_mapped_range(..)?));
    }
    println!("{}, keep_prob {}\n", adapter.get_info().name, site.keep.get());
    println!("{:>5} {:>8} {:>8} {:>8} {:>8}", "unit", "x", "y", "dy", "dx");
    for unit in 0..10 {
        let row: Vec<String> = columns.iter().map(|values| format!("{:>8.2}", values[unit])).collect();
        println!("{unit:>5} {}", row.join(" "));
    }
    let kept = columns[1].iter().filter(|&&y| y != 0.0).count();
    println!("\nkept {kept} of {} units: {:.4}", ROWS * UNITS, kept as f64 / f64::from(ROWS * UNITS));
    Ok(())
}
