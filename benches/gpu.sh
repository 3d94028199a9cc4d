#!/bin/sh
# Everything that a machine with an NVIDIA GPU can say about thinnet, in one run:
#
#     sh benches/gpu.sh [--dry-run] [--adapter NAME] [OUT]
#
# the whole test suite on the GPU, every benchmark, and the comparison with PyTorch on the same GPU: products of 4096^3 in f32
# (TF32 off), training steps against eager, torch.compile and CUDA graphs, dropout on and off. What is printed is kept in the
# folder OUT (target/gpu unless given). --dry-run prints the commands and runs none.
#
# It needs NVIDIA's driver with its Vulkan part, Rust, and a Python with a CUDA build of PyTorch: PYTHON (python3 unless set).
# It was written without such a machine and has never run on one: only its dry run has, and its programs on a software adapter.
set -eu
cd "$(dirname "$0")/.."

dry=0 adapter=NVIDIA out=target/gpu
while [ $# -gt 0 ]; do
    case $1 in
        --dry-run) dry=1 ;;
        --adapter) shift; adapter=${1:?"--adapter needs a NAME, such as NVIDIA"} ;;
        -*) echo "gpu.sh: $1 is no option; usage: sh benches/gpu.sh [--dry-run] [--adapter NAME] [OUT]" >&2; exit 2 ;;
        *) out=$1 ;;
    esac
    shift
done
python=${PYTHON:-python3}
export PYTHON="$python"
# Every program of thinnet follows it, so that no test runs on a software adapter by accident.
export WGPU_ADAPTER_NAME="$adapter"

# Runs a command and keeps what it prints in OUT/NAME.txt; the others go on if it fails, and the end says so.
failed=''
step() {
    name=$1
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    if [ "$dry" = 1 ]; then return; fi
    # A pipe's status is that of tee, so the command's own is kept in a file.
    { "$@" 2>&1 && echo 0 >"$out/.status" || echo 1 >"$out/.status"; } | tee "$out/$name.txt"
    if [ "$(cat "$out/.status")" != 0 ]; then failed="$failed $name"; fi
}

echo "WGPU_ADAPTER_NAME=$adapter PYTHON=$python, output in $out"
if [ "$dry" = 0 ]; then
    command -v nvidia-smi >/dev/null || { echo "gpu.sh: no nvidia-smi: install NVIDIA's driver, or try --dry-run" >&2; exit 3; }
    "$python" -c 'import torch; assert torch.cuda.is_available()' ||
        { echo "gpu.sh: $python has no PyTorch with CUDA: pip install torch, or name another with PYTHON" >&2; exit 3; }
    mkdir -p "$out"
fi

step machine nvidia-smi
step devices cargo run --release --all-features -- devices
step check cargo run --release --all-features -- check
step tests cargo test --release --all-features
step kernels cargo bench --all-features --bench kernels
step training cargo bench --all-features --bench training -- --scaling
step bench cargo run --release --all-features -- bench
# Products and standalone operations have no modes of training.
step operations "$python" benches/peers/run.py --torch-device cuda --json "$out/operations.json" \
    --works matmul-1024x1024x1024,matmul-128x1024x1024,matmul-4096x4096x4096,dropout,copy
step steps "$python" benches/peers/run.py --torch-device cuda --torch-modes eager,compile,graph --json "$out/steps.json" \
    --works mlp,mlp-dropout,digits,digits-dropout

if [ "$dry" = 1 ]; then exit 0; fi
printf '\n'
cat "$out/operations.txt" "$out/steps.txt" | grep '^|' || true
if [ -n "$failed" ]; then
    echo "gpu.sh: these failed, see $out:$failed" >&2
    exit 1
fi
