#!/bin/sh
# Compiles every kernel with a second WGSL compiler: Tint, Chrome's, which rejects what wgpu's lets pass (barriers that not
# all invocations reach, more than WebGPU guarantees).
#
#   sh scripts/tint.sh
#
# Tint comes with the npm package `webgpu` (Dawn for Node), installed below the build folder and kept there. It needs no
# driver. Where it cannot be had (no Node, no network) one line says so and the exit status is 0, or 1 with
# THINNET_REQUIRE_SECOND=1.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
build=${CARGO_TARGET_DIR:-$root/target}
version=0.6.2

skip() {
    echo "tint: skipped, the kernels were not compiled by a second compiler: $*"
    if [ "${THINNET_REQUIRE_SECOND:-0}" != 0 ]; then exit 1; fi
    exit 0
}

for tool in node npm; do
    command -v "$tool" >/dev/null 2>&1 || skip "no $tool here (Debian: apt-get install nodejs npm)"
done
node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' || skip "node $(node --version) is older than 18"
mkdir -p "$build"
tint=$build/tint-$version
if [ ! -e "$tint/node_modules/webgpu" ]; then
    log=$build/tint-install.log
    npm install --prefix "$tint" --no-save --no-audit --no-fund --ignore-scripts "webgpu@$version" >"$log" 2>&1 ||
        skip "npm cannot install webgpu@$version: $(grep -i 'err' "$log" | head -n 1)"
fi
if ! message=$(cd "$tint" && node -e 'import("webgpu").then(() => process.exit(0), e => { console.log(e.message); process.exit(1) })' 2>&1); then
    skip "webgpu@$version does not start: $(echo "$message" | head -n 1)"
fi

modules=$build/tint-modules
rm -rf "$modules"
mkdir "$modules"
cd "$root"
# The test that makes every module writes them, too.
THINNET_DUMP_WGSL=$modules cargo test --quiet --release --all-features --test tests -- shaders::every_module_is_wgsl >/dev/null
# Beside the package, since that is where Node looks for it.
cp scripts/tint.mjs "$tint/tint.mjs"
node "$tint/tint.mjs" "$modules"
