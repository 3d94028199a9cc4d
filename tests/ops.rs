//! Single operations in a host program: on its device, in its encoder, with its error handling, and what they refuse.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use thinnet::ops::{Samples, Shape, Site, dropout_backward, dropout_forward, dropout_mask, required_features, required_limits};
use thinnet::rng::MAX_SITE;
use thinnet::{Device, Error, wgpu};

use crate::common::{POISON, numbers};
use crate::host::{Host, USAGE, contract, shape, site};

fn own_host() -> Host {
    let (device, queue) = Host::open();
    Host::new(device, queue).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    bytemuck::cast_slice(values).to_vec()
}

/// What the contract makes of some values: kept and scaled, or 0.
fn masked(mask: &[u32], values: &[f32], scale: f32) -> Vec<u32> {
    mask.iter().zip(values).map(|(&keep, value)| if keep == 1 { (value * scale).to_bits() } else { 0 }).collect()
}

#[test]
fn a_device_with_nothing_but_what_the_crate_asks_for_suffices() {
    assert_eq!(required_features(), wgpu::Features::empty());
    let (device, queue) = Host::open();
    assert_eq!(device.features(), wgpu::Features::empty());
    assert_eq!(device.limits().max_storage_buffers_per_shader_stage, required_limits().max_storage_buffers_per_shader_stage);
    let host = Host::new(device, queue).unwrap();
    assert_eq!(host.mask(&site(0.5), &shape(3, 5)), contract(&site(0.5), 0..3, 5));
}

#[test]
fn operations_stand_between_other_commands_of_the_callers_encoder() {
    let host = own_host();
    for units in 1..=9u32 {
        let (rows, first) = (7, 70_000);
        let elements = (rows * units) as usize;
        let site = Site { site: 3, pass: 11, seed: u64::MAX - 5, ..site(0.8) };
        let shape = Shape { rows, units, samples: Samples::From(first) };
        let (x, dy) = (numbers(elements, 1), numbers(elements, 2));
        // The buffers are longer than the shape: what lies behind it is the caller's.
        let [y, dx, mask] = [(); 3].map(|()| host.poisoned(elements as u32 + 5));
        let (source, input, output) =
            (host.buffer(&bits(&x)), host.poisoned(elements as u32), host.poisoned(elements as u32 + 3));
        let upstream = host.buffer(&bits(&dy));

        let mut encoder = host.device.create_command_encoder(&Default::default());
        // The input arrives by a command before, and the output leaves by one after, with an offset.
        encoder.copy_buffer_to_buffer(&source, 0, &input, 0, None);
        dropout_forward(&host.ops, &mut encoder, &site, &shape, &input, &y).unwrap();
        encoder.copy_buffer_to_buffer(&y, 0, &output, 12, 4 * elements as u64);
        encoder.clear_buffer(&input, 0, None);
        dropout_backward(&host.ops, &mut encoder, &site, &shape, &upstream, &dx).unwrap();
        dropout_mask(&host.ops, &mut encoder, &site, &shape, &mask).unwrap();
        encoder.clear_buffer(&upstream, 0, None);
        host.queue.submit([encoder.finish()]);

        let expected = contract(&site, first..first + rows, units);
        let behind = |words: Vec<u32>| [words, vec![POISON; 5]].concat();
        assert_eq!(host.read(&mask), behind(expected.clone()), "{units} units");
        assert_eq!(host.read(&y), behind(masked(&expected, &x, 1.25)), "{units} units");
        assert_eq!(host.read(&dx), behind(masked(&expected, &dy, 1.25)), "{units} units");
        assert_eq!(host.read(&output), [vec![POISON; 3], masked(&expected, &x, 1.25)].concat(), "{units} units");
        assert!(host.read(&input).iter().chain(&host.read(&upstream)).all(|&word| word == 0), "{units} units");
    }
}

/// The message of an operation that must be refused.
#[track_caller]
fn refused(result: Result<(), Error>) -> String {
    result.expect_err("the operation is not refused").to_string()
}

#[test]
fn what_cannot_be_recorded_is_refused_by_value_and_leaves_encoder_and_device_usable() {
    let host = own_host();
    let (x, y, mask) = (host.buffer(&bits(&numbers(12, 1))), host.poisoned(12), host.poisoned(12));
    let (short, listed) = (host.poisoned(11), host.buffer(&[4, 5, 6]));
    let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
    let descriptor = wgpu::BufferDescriptor { label: None, size: 48, usage, mapped_at_creation: false };
    let no_storage = host.device.create_buffer(&descriptor);
    let destroyed = host.poisoned(12);
    destroyed.destroy();
    let whole = Shape { rows: 3, units: 4, samples: Samples::Listed(&listed) };

    let mut encoder = host.device.create_command_encoder(&Default::default());
    let mut refuse = |site: Site, shape: Shape<'_>, x: &wgpu::Buffer, y: &wgpu::Buffer, expected: &[&str]| {
        let results = [
            dropout_forward(&host.ops, &mut encoder, &site, &shape, x, y),
            dropout_backward(&host.ops, &mut encoder, &site, &shape, x, y),
        ];
        for message in results.map(refused) {
            assert!(expected.iter().all(|part| message.contains(part)), "{message}");
        }
    };
    refuse(site(0.5), whole, &x, &x, &["same buffer"]);
    refuse(site(0.5), Shape { samples: Samples::Listed(&y), ..whole }, &x, &y, &["samples", "same buffer"]);
    refuse(site(0.5), whole, &short, &y, &["44 bytes", "needs 48"]);
    refuse(site(0.5), whole, &x, &short, &["44 bytes", "needs 48"]);
    refuse(site(0.5), Shape { rows: 4, units: 3, ..whole }, &x, &y, &["samples", "12 bytes", "needs 16"]);
    refuse(site(0.5), whole, &no_storage, &y, &["STORAGE"]);
    refuse(site(0.5), whole, &x, &no_storage, &["STORAGE"]);
    refuse(site(0.5), Shape { rows: 0, ..whole }, &x, &y, &["[0, 4]"]);
    refuse(site(0.5), Shape { units: 0, ..whole }, &x, &y, &["[3, 0]"]);
    refuse(site(0.5), Shape { rows: 65_536, units: 65_536, ..whole }, &x, &y, &["[65536, 65536]", "2^31"]);
    refuse(Site { site: MAX_SITE + 1, ..site(0.5) }, whole, &x, &y, &["site", "16777216", "24 bits"]);
    refuse(site(0.5), Shape { samples: Samples::From(u32::MAX - 1), ..whole }, &x, &y, &["4294967294", "3 rows"]);
    refuse(site(0.5), whole, &destroyed, &y, &["wgpu refused", "destroyed"]);
    let own_list = Shape { samples: Samples::Listed(&mask), ..whole };
    let message = refused(dropout_mask(&host.ops, &mut encoder, &site(0.5), &own_list, &mask));
    assert!(message.contains("samples and mask are the same buffer"), "{message}");

    // The same encoder still takes an operation, and its work is done.
    dropout_forward(&host.ops, &mut encoder, &site(0.5), &whole, &x, &y).unwrap();
    dropout_mask(&host.ops, &mut encoder, &site(0.5), &whole, &mask).unwrap();
    host.queue.submit([encoder.finish()]);
    let expected = contract(&site(0.5), 4..7, 4);
    assert_eq!((host.read(&mask), host.read(&y)), (expected.clone(), masked(&expected, &numbers(12, 1), 2.0)));
}

#[test]
fn a_buffer_larger_than_a_binding_may_be_is_used_up_to_what_is_needed() {
    let limits = wgpu::Limits { max_storage_buffer_binding_size: 1 << 20, ..required_limits() };
    let (device, queue) = Host::open_with(limits);
    let host = Host::new(device, queue).unwrap();
    // Two megabytes and a byte, on a device that binds one.
    let descriptor = wgpu::BufferDescriptor { label: None, size: (2 << 20) + 1, usage: USAGE, mapped_at_creation: false };
    let mask = host.device.create_buffer(&descriptor);
    let mut encoder = host.device.create_command_encoder(&Default::default());
    let message = refused(dropout_mask(&host.ops, &mut encoder, &site(0.5), &shape(4097, 64), &mask));
    assert!(message.contains("1048832") && message.contains("1048576"), "{message}");
    dropout_mask(&host.ops, &mut encoder, &site(0.5), &shape(4096, 64), &mask).unwrap();
    let head = host.poisoned(4096 * 64);
    encoder.copy_buffer_to_buffer(&mask, 0, &head, 0, 1 << 20);
    host.queue.submit([encoder.finish()]);
    assert!(host.read(&head) == contract(&site(0.5), 0..4096, 64));
}

#[test]
fn the_callers_error_handler_and_lost_callback_stay_the_callers() {
    let (device, queue) = Host::open();
    let (errors, losses) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (counted_errors, counted_losses) = (Arc::clone(&errors), Arc::clone(&losses));
    device.on_uncaptured_error(Arc::new(move |_| _ = counted_errors.fetch_add(1, Ordering::SeqCst)));
    device.set_device_lost_callback(move |_, _| _ = counted_losses.fetch_add(1, Ordering::SeqCst));

    let host = Host::new(device, queue).unwrap();
    // Both ways of using the caller's device, with operations that succeed and one that wgpu itself refuses.
    Device::from_wgpu(host.device.clone(), host.queue.clone()).unwrap();
    host.mask(&site(0.5), &shape(3, 5));
    let destroyed = host.poisoned(15);
    destroyed.destroy();
    let mut encoder = host.device.create_command_encoder(&Default::default());
    refused(dropout_mask(&host.ops, &mut encoder, &site(0.5), &shape(3, 5), &destroyed));
    assert_eq!((errors.load(Ordering::SeqCst), losses.load(Ordering::SeqCst)), (0, 0), "an error of thinnet's got out");

    // An error of the caller's own: a buffer may not be mapped for reading and for writing.
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::STORAGE;
    let _ = host.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false });
    assert_eq!(errors.load(Ordering::SeqCst), 1, "the caller's handler is not called any more");

    host.device.destroy();
    let _ = host.device.poll(wgpu::PollType::Poll);
    assert_eq!(losses.load(Ordering::SeqCst), 1, "the caller's lost callback is not called any more");
}

#[test]
fn a_lost_device_is_no_panic() {
    let host = own_host();
    let mask = host.poisoned(15);
    let mut encoder = host.device.create_command_encoder(&Default::default());
    host.device.destroy();
    // Only the caller is told of the loss, so the operation may even succeed. But an error that got out of thinnet's scopes
    // would reach wgpu's own handler, which panics.
    let _ = dropout_mask(&host.ops, &mut encoder, &site(0.5), &shape(3, 5), &mask);
    let _ = Host::new(host.device.clone(), host.queue.clone());
}

#[test]
fn a_device_with_too_small_limits_is_refused_by_name_and_value() {
    type Lower = fn(&mut wgpu::Limits);
    let cases: [(Lower, &str, u64, u64); 6] = [
        (|l| l.max_storage_buffers_per_shader_stage = 4, "storage buffers a stage", 8, 4),
        (|l| l.max_dynamic_storage_buffers_per_pipeline_layout = 1, "dynamic storage buffers", 4, 1),
        (|l| l.max_compute_invocations_per_workgroup = 128, "invocations a workgroup)", 256, 128),
        (|l| l.max_compute_workgroup_size_x = 32, "invocations a workgroup in x", 256, 32),
        (|l| l.max_compute_workgroups_per_dimension = 1000, "workgroups a dimension", 65_535, 1000),
        (|l| l.max_compute_workgroup_storage_size = 8192, "workgroup memory", 16_384, 8192),
    ];
    for (lower, name, least, given) in cases {
        let mut limits = required_limits();
        lower(&mut limits);
        let (device, queue) = Host::open_with(limits);
        let results = [Host::new(device.clone(), queue.clone()).err(), Device::from_wgpu(device, queue).err()];
        for error in results {
            let Some(Error::Limit { what, needed, available, remedy }) = error else { panic!("{name}: not refused") };
            assert!(what.contains(name) && remedy.contains("required_limits"), "{what}; {remedy}");
            assert_eq!((needed, available), (least, given), "{name}");
        }
    }
}
