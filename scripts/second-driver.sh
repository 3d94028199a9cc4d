#!/bin/sh
# Runs the tests of masks, kernels and training on a second Vulkan driver: SwiftShader, which shares no code with Mesa.
#
#   sh scripts/with-adapter.sh sh scripts/second-driver.sh
#
# The driver is two files of Debian's package chromium-common, fetched and checked by apt, unpacked below the build folder
# and kept there; nothing is installed. Where it cannot be had (no apt, no network, another system) one line says so and the
# exit status is 0, or 1 with THINNET_REQUIRE_SECOND=1.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
driver=${CARGO_TARGET_DIR:-$root/target}/second-driver
modules="dropout mask_statistics philox shuffle kernels gradients training together units streaming monte_carlo maps gradient_check paths check"
package=chromium-common

skip() {
    echo "second-driver: skipped, the tests did not run on a second driver: $*"
    if [ "${THINNET_REQUIRE_SECOND:-0}" != 0 ]; then exit 1; fi
    exit 0
}

# Downloads the package into the current folder.
download() {
    if apt-get download "$package" >log 2>&1; then return 0; fi
    # A bare system has no package lists yet.
    if [ "$(id -u)" -eq 0 ]; then
        apt-get update >>log 2>&1 || :
    elif command -v sudo >/dev/null 2>&1; then
        sudo -n apt-get update >>log 2>&1 || :
    fi
    apt-get download "$package" >>log 2>&1
}

fetch() {
    for tool in apt-get dpkg-deb tar; do
        command -v "$tool" >/dev/null 2>&1 || skip "no $tool here to fetch SwiftShader with"
    done
    mkdir -p "${driver%/*}"
    work=$(mktemp -d "${driver%/*}/second-driver.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    # apt drops its rights for a download where its own user may write, and only complains where not.
    chmod 755 "$work"
    (cd "$work" && download) || skip "apt-get download $package failed (no network?): $(grep '^E:' "$work/log" | tail -n 1)"
    dpkg-deb --fsys-tarfile "$work/$package"_*.deb |
        tar -x -C "$work" ./usr/lib/chromium/libvk_swiftshader.so ./usr/lib/chromium/vk_swiftshader_icd.json ||
        skip "$package has no SwiftShader any more; see what scripts/second-driver.sh unpacks"
    rm -rf "$driver"
    mv "$work/usr/lib/chromium" "$driver"
    rm -rf "$work"
    trap - EXIT INT TERM
}

if [ "$(uname -s)" != Linux ]; then skip "SwiftShader is fetched from a Debian package, and this is $(uname -s)"; fi
if [ ! -e "$driver/vk_swiftshader_icd.json" ]; then fetch; fi

# The second name of the variable is that of older loaders. Asked for by name, another adapter is an error, not a stand-in.
VK_DRIVER_FILES="$driver/vk_swiftshader_icd.json" VK_ICD_FILENAMES="$driver/vk_swiftshader_icd.json"
WGPU_BACKEND=vulkan WGPU_ADAPTER_NAME=SwiftShader
export VK_DRIVER_FILES VK_ICD_FILENAMES WGPU_BACKEND WGPU_ADAPTER_NAME

cd "$root"
names=$(cargo test --release --all-features --test tests -- --list)
filters=
for module in $modules; do
    # A filter that matches nothing would pass.
    case $names in
        *"
$module::"*) filters="$filters $module::" ;;
        *) echo "second-driver: tests/$module.rs has no tests" >&2 && exit 1 ;;
    esac
done
# shellcheck disable=SC2086 # several filters are several words
cargo test --release --all-features --test tests -- $filters
