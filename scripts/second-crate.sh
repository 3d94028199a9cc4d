#!/bin/sh
# Uses the library as another crate would: by path, with default features, on its own wgpu::Device.
#
#   sh scripts/with-adapter.sh sh scripts/second-crate.sh
#
# Fails if the lean library brings the command line's dependencies along.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
crate=$(mktemp -d "${TMPDIR:-/tmp}/thinnet-second-crate.XXXXXX")
trap 'rm -rf "$crate"' EXIT
trap 'exit 130' INT TERM
mkdir "$crate/src"
# The same versions as here, and the build folder of the project, so that wgpu is not built again.
cp "$root/Cargo.lock" "$crate/Cargo.lock"
CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}"
export CARGO_TARGET_DIR

cat >"$crate/Cargo.toml" <<TOML
[package]
name = "second-crate"
version = "0.0.0"
edition = "2024"
publish = false

[dependencies]
pollster = "1"
thinnet = { path = "$root" }

[profile.release]
overflow-checks = true
TOML

cat >"$crate/src/main.rs" <<'RUST'
use thinnet::{Activation, Dense, Device, Dropout, Network, Optimizer, TrainOptions, Trainer, data, ops, wgpu};

/// A device as a host application makes it.
async fn own_device() -> (wgpu::Device, wgpu::Queue) {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = instance.request_adapter(&Default::default()).await.expect("an adapter");
    let descriptor = wgpu::DeviceDescriptor {
        required_features: ops::required_features(),
        required_limits: ops::required_limits(),
        ..Default::default()
    };
    adapter.request_device(&descriptor).await.expect("a device")
}

fn main() -> thinnet::Result<()> {
    let digits = data::digits();
    let (train, test) = (digits.slice(0..1200)?, digits.slice(1200..1797)?);
    let network = Network::new(64)
        .dense(Dense::new(64).activation(Activation::Relu))
        .dropout(Dropout::keep(0.8)?)
        .dense(Dense::new(10));
    let (device, queue) = pollster::block_on(own_device());
    for device in [Device::open()?, Device::from_wgpu(device, queue)?] {
        let options = TrainOptions { optimizer: Optimizer::adam(0.003), ..Default::default() };
        let mut trainer = Trainer::new(&device, &network, &train, options)?;
        trainer.fit(10)?;
        let labels = trainer.model()?.predict(&device, test.inputs())?.labels();
        let right = labels.iter().zip(test.labels()).filter(|(a, b)| a == b).count();
        println!("{} of {} digits right on {}", right, labels.len(), device.caps().adapter);
        assert!(right > 480, "a trained network gets more than 80 % right");
    }
    Ok(())
}
RUST

cd "$crate"
if cargo tree --edges normal --prefix none | grep -E '^(clap|plotters|indicatif|flate2) '; then
    echo "the lean library depends on the crates above; they belong behind the features cli and files" >&2
    exit 1
fi
cargo run --release --quiet
