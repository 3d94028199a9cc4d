#!/usr/bin/env python3
"""thinnet and other programs on the same work, in turn, on this machine: a table of times and of ratios.

    sh scripts/with-adapter.sh python3 benches/peers/run.py [--candle] [--burn] [--json FILE]

PyTorch takes part if $PYTHON (python3 unless set) has it; candle and burn if they are asked for, since their builds take minutes
(candle about 2, burn about 15) and download their crates. What does not take part is named, with how to get it.

Each program is a process that stays: it warms up on a work, then measures it once a round for --seconds. A round goes through
all works, and each work through all programs, so that a machine whose speed drifts slows them alike. A ratio is that of one
round, the program's time by thinnet's, above 1 where thinnet is faster; the table has the median over the rounds, and the
interval between two of the sorted ratios that holds it in 95 of 100 cases. Python's standard library is all it needs.
"""

import argparse
import json
import math
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORKS = [
    "mlp", "mlp-dropout", "mlp-units", "digits", "digits-dropout", "matmul-512x512x512", "matmul-1024x1024x1024",
    "matmul-128x1024x1024", "dropout", "copy",
]
MEANING = {
    "mlp": "training step 784-1024-1024-10, batch 128",
    "mlp-dropout": "the same, dropout .2 on the input, .5 after hidden layers",
    "mlp-units": "per-batch units at the same rates, for the others the line above",
    "digits": "training step 64-128-64-10, batch 32",
    "digits-dropout": "the same, dropout .5 after hidden layers",
    "dropout": "standalone dropout of 2^22 numbers, keep .5",
    "copy": "copy of 2^22 numbers",
    "cnn": "training step of conv 20 (5 x 5), pool, conv 50 (5 x 5), pool, 500, 10 on 28 x 28, batch 64",
    "cnn-element": "the same, dropout .1 of elements behind both pools",
    "cnn-spatial": "the same, of channels; for burn the line above",
    "cnn-block": "the same, of blocks (5 and 3 a side)",
    "lstm": "training step of an LSTM of 256 units over 32 steps of 64 features, 10 outputs, batch 64",
    "lstm-variational": "the same, dropout .25 of input, recurrent input and output, one mask for all steps; for burn the line above",
    "draws": "Monte-Carlo draw of 1000 inputs, 784-1024-1024-10, dropout .2 and .5, in calls of 100 (burn: 10)",
    "draws-one": "one thinned network for all inputs of a draw, for the others the line above",
}
# What a program without per-batch units is compared with.
ALIKE = {"mlp-units": "mlp-dropout", "draws-one": "draws", "cnn-spatial": "cnn-element", "cnn-block": "cnn-element", "lstm-variational": "lstm"}

# PyTorch's own loops, MKL and oneDNN in vectors of 256 bits: as wide as lavapipe's, where the processor has 512.
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def say(text):
    print(text, file=sys.stderr, flush=True)


def interval(values):
    """The order-statistics interval of the median at 95 %: `interval` of src/cli/bench/measure.rs, which tests the ranks."""
    n, k, tail = len(values), 0, 0
    while k < n and 1000 * (tail + math.comb(n, k)) <= 25 * 2**n:
        tail += math.comb(n, k)
        k += 1
    ordered = sorted(values)
    return [ordered[k - 1], ordered[n - k]] if k else None


class Peer:
    """A program that answers `WORK SECONDS`; after its end it answers nothing."""

    def __init__(self, name, command, environment=None):
        self.name, self.command, self.environment = name, [str(word) for word in command], environment or {}
        self.hello, self.failed, self.process = None, {}, None

    def start(self):
        environment = {**os.environ, **self.environment}
        try:
            self.process = subprocess.Popen(
                self.command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        except OSError as error:
            say(f"{self.name}: does not start: {error}")
            return False
        self.hello = self.read()
        if self.hello is None:
            say(f"{self.name}: ended at once; try it alone: {shlex.join(self.command)}")
        return self.hello is not None

    def read(self):
        for line in self.process.stdout:
            if line.startswith("{"):  # libraries may print what they like
                return json.loads(line)
        return None

    def seconds(self, work, seconds):
        """Seconds of one repetition, or None; why is in `failed`."""
        if self.process is None or work in self.failed:
            return None
        asked = work if self.name.startswith("thinnet") else ALIKE.get(work, work)
        try:
            self.process.stdin.write(f"{asked} {seconds}\n")
            answer = self.read()
        except BrokenPipeError:
            answer = None
        if answer is None:
            self.process = None
            answer = {"error": "the program ended"}
        if "seconds" not in answer:
            self.failed[work] = answer.get("error", str(answer))
            say(f"{self.name}: {work}: {self.failed[work]}")
        return answer.get("seconds")

    def stop(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()


def build_thinnet():
    command = ["cargo", "bench", "--all-features", "--bench", "peers", "--no-run", "--message-format=json"]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    for line in output.splitlines():
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("executable") and message["target"]["name"] == "peers":
            return message["executable"]
    sys.exit("cargo built no bench `peers`")


def build_rust(name):
    """Builds a package beside this file; native code, as candle's own guide advises."""
    folder = HERE / name
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / f"peer-{name}"
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    if name == "candle":
        environment["RUSTFLAGS"] = "-C target-cpu=native"
    built = subprocess.run(["cargo", "build", "--release"], cwd=folder, env=environment)
    return target / "release" / f"peer-{name}" if built.returncode == 0 else None


def cpu():
    """The processor's name and its features."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), set()
    field = lambda name: next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")
    return field("model name") or platform.machine(), set(field("flags").split())


def torch_peers(options, both_widths):
    python = os.environ.get("PYTHON", "python3")
    found = subprocess.run([python, "-c", "import torch"], capture_output=True)
    if found.returncode != 0:
        where = " --index-url https://download.pytorch.org/whl/cpu" if options.torch_device == "cpu" else ""
        say(f"torch is left out: {python} has none; python3 -m venv DIR, DIR/bin/pip install torch{where}, PYTHON=DIR/bin/python")
        return []
    modes = options.torch_modes.split(",")
    name = lambda mode: "torch" if mode == "eager" else f"torch, {mode}"
    command = lambda mode: [python, HERE / "torch_peer.py", "--device", options.torch_device, "--mode", mode]
    peers = [Peer(name(mode), command(mode)) for mode in modes]
    if both_widths and options.torch_device == "cpu":
        peers += [Peer(f"{name(mode)}, 8 lanes", command(mode), AVX2) for mode in modes]
    return peers


def rust_peer(name, options, environment):
    binary = getattr(options, f"{name}_bin")
    if binary is None and getattr(options, name):
        binary = build_rust(name)
        if binary is None:
            say(f"{name} is left out: it does not build")
            return []
    elif binary is None:
        say(f"{name} is left out: --{name} builds it, --{name}-bin PATH takes what was built before")
        return []
    return [Peer(name, [binary], environment)]


def start(options, scratch):
    """Every program that can be had, thinnet first."""
    # lavapipe computes in 256 bits unless told otherwise, and takes what it finds in its cache, whatever the width that was
    # compiled for: so each width has a cache of its own, empty at the start.
    cache = lambda lanes: {"MESA_SHADER_CACHE_DIR": str(pathlib.Path(scratch, lanes))}
    usual, wide = cache("usual"), {"LP_NATIVE_VECTOR_WIDTH": "512", **cache("wide")}
    command = [options.thinnet_bin or build_thinnet(), "--peer"]
    first = Peer("thinnet", command, usual)
    if not first.start():
        sys.exit(1)
    again = [Peer("thinnet again", command, usual)] if options.control else []
    burn = rust_peer("burn", options, usual)
    applies = "avx512f" in cpu()[1] and "llvmpipe" in first.hello["adapter"] and "LP_NATIVE_VECTOR_WIDTH" not in os.environ
    both_widths = applies and not options.no_wide
    others = torch_peers(options, both_widths) + burn + rust_peer("candle", options, {})
    if both_widths:
        again.append(Peer("thinnet, 16 lanes", command, wide))
        others += [Peer("burn, 16 lanes", peer.command, wide) for peer in burn]
    return [first] + [peer for peer in again + others if peer.start()]


def measure(peers, options):
    """Seconds by work and program, one for each round."""
    works = options.works.split(",")
    times = {work: {peer.name: [] for peer in peers} for work in works}
    for work in works:
        for peer in peers:
            say(f"warming up: {peer.name}, {work}")
            peer.seconds(work, options.seconds)
    began = time.monotonic()
    for done in range(options.rounds):
        for work in works:
            for peer in peers:
                times[work][peer.name].append(peer.seconds(work, options.seconds))
                time.sleep(options.pause)  # threads of the program before may spin for a while
        say(f"round {done + 1} of {options.rounds}, {time.monotonic() - began:.0f} s")
    return times


def compare(first, second):
    """The median of second / first with its interval, over the rounds that have both; None without any."""
    ratios = [b / a for a, b in zip(first, second) if a and b]
    return {"ratio": statistics.median(ratios), "interval": interval(ratios), "rounds": len(ratios)} if ratios else None


def shown(compared):
    if compared is None:
        return "-"
    low_high = compared["interval"]
    return f"{compared['ratio']:.3g}" + (f" ({low_high[0]:.3g} to {low_high[1]:.3g})" if low_high else "")


def milliseconds(times):
    known = [seconds for seconds in times if seconds]
    return f"{1e3 * statistics.median(known):.4g} ms" if known else "-"


def markdown(peers, times, about):
    names = [peer.name for peer in peers]
    lines = [f"{about['cpu']}, {about['processors']} processors, load {about['load']} before; {about['date']}; "
             f"{about['rounds']} rounds of {about['seconds']} s. " + "; ".join(about["programs"]) + ".", ""]
    lines += ["| work | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for work, by_name in times.items():
        cells = [milliseconds(by_name["thinnet"])]
        for name in names[1:]:
            ratio = shown(compare(by_name["thinnet"], by_name[name]))
            cells.append("-" if ratio == "-" else f"{milliseconds(by_name[name])}, x {ratio}")
        lines.append(f"| {MEANING.get(work, work)} | " + " | ".join(cells) + " |")
    wide = "thinnet, 16 lanes"
    by_wide = [name for name in names if wide in names and not name.startswith("thinnet") and not name.endswith(" 8 lanes")]
    if by_wide:
        lines += ["", f"| by {wide} | " + " | ".join(by_wide) + " |", "| --- |" + " --- |" * len(by_wide)]
        for work, by_name in times.items():
            cells = [shown(compare(by_name[wide], by_name[name])) for name in by_wide]
            lines.append(f"| {MEANING.get(work, work)} | " + " | ".join(cells) + " |")
    lines += ["", "x: the program's time by thinnet's, above 1 where thinnet is faster; in brackets the 95 % interval of the median."]
    pairs = [("mlp", "mlp-dropout"), ("mlp-dropout", "mlp-units"), ("digits", "digits-dropout"), ("copy", "dropout"), ("draws", "draws-one")]
    pairs = [(a, b) for a, b in pairs if a in times and b in times]
    if pairs:
        lines += ["", "| by how much dropout is longer | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for a, b in pairs:
        cells = [shown(compare(times[a][name], times[b][name])) for name in names]
        lines.append(f"| {b} by {a} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="20 unless given; intervals need 6")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement, 0.5 unless given")
    parser.add_argument("--pause", type=float, default=0.25, help="seconds between measurements, 0.25 unless given")
    parser.add_argument("--works", default=",".join(WORKS), 
                        help="a list with commas; matmul-MxKxN takes any extents; draws,draws-one only if asked for: seconds each")
    parser.add_argument("--json", metavar="FILE", help="every measured time as JSON")
    parser.add_argument("--thinnet-bin", metavar="PATH", help="the built bench `peers` instead of building it")
    for name in ("burn", "candle"):
        parser.add_argument(f"--{name}", action="store_true", help=f"build {name} and measure it")
        parser.add_argument(f"--{name}-bin", metavar="PATH", help=f"peer-{name}, built before")
    parser.add_argument("--torch-device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--torch-modes", default="eager", help="eager, compile, graph, with commas (graph: cuda only)")
    parser.add_argument("--no-wide", action="store_true", help="nothing twice, with 8 and with 16 numbers in a vector: lavapipe, PyTorch")
    parser.add_argument("--control", action="store_true", help="thinnet twice: a ratio whose interval lacks 1 shows a bias")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: at least 1")
    return options


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="thinnet-peers-") as scratch:
        load = f"{os.getloadavg()[0]:.1f}"
        peers = start(options, scratch)
        try:
            times = measure(peers, options)
        finally:
            for peer in peers:
                peer.stop()
    about = {
        "cpu": cpu()[0], "processors": os.cpu_count(), "load": load, "date": time.strftime("%Y-%m-%d"),
        "rounds": options.rounds, "seconds": options.seconds,
        "programs": [f"{p.name} {p.hello['version']} on {p.hello['adapter']}" for p in peers],
    }
    print(markdown(peers, times, about))
    if options.json:
        failed = {peer.name: peer.failed for peer in peers if peer.failed}
        pathlib.Path(options.json).write_text(json.dumps({**about, "times": times, "failed": failed}, indent=1) + "\n")


if __name__ == "__main__":
    main()
