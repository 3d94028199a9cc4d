"""PyTorch, doing what benches/peers.rs does: see run.py. Needs torch only.

    torch_peer.py [--device cpu|cuda] [--mode eager|compile|graph] [--threads N] [WORK SECONDS]

--mode is that of the training steps: eager, torch.compile of the whole step, or a CUDA graph of the whole step. TF32 stays off.
"""

import argparse
import json
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

BLOCKS = 5
MOST = 1 << 14
# inputs, hidden layers, batch, batches of the data set, drop probabilities of the input and after hidden layers
MLP = (784, (1024, 1024), 128, 2, (0.2, 0.5))
DIGITS = (64, (128, 64), 32, 16, (0.0, 0.5))
# the convolutional network: batch, batches of the data set
CNN = (64, 4)
# the LSTM: batch, batches of the data set, steps, features, hidden units, drop probability
LSTM = (64, 2, 32, 64, 256, 0.25)
# of a call of Monte-Carlo dropout
DRAWS, ROWS = 100, 1000


class Timed:
    """What `Timed` of src/cli/bench/measure.rs is: blocks of repetitions, and the median of their times."""

    def __init__(self, each, run):
        self.each, self.run, self.block = each, run, 0

    def once(self, repetitions):
        began = time.perf_counter()
        self.run(repetitions)
        return (time.perf_counter() - began) / (repetitions * self.each)

    def seconds(self, seconds):
        def fitting(one):
            return max(1, min(MOST, int(seconds / BLOCKS / max(one * self.each, 1e-9))))

        if self.block == 0:
            self.once(1)
            for repetitions in (1, 8, 64, 512):
                self.block = fitting(self.once(repetitions))
                if self.block <= repetitions:
                    break
        times = [self.once(self.block)]
        if times[0] * self.block * self.each < seconds:
            times += [self.once(self.block) for _ in range(BLOCKS - 1)]
        one = statistics.median(times)
        self.block = fitting(one)
        return one


def network(case, dropout, device):
    inputs, hidden, _, _, drop = case
    layers, width = [], inputs
    if dropout and drop[0] > 0:
        layers.append(nn.Dropout(drop[0]))
    for units in hidden:
        layers += [nn.Linear(width, units), nn.ReLU()] + ([nn.Dropout(drop[1])] if dropout else [])
        width = units
    return nn.Sequential(*layers, nn.Linear(width, 10)).to(device)


class DropBlock2d(nn.Module):
    """DropBlock (Ghiasi et al., 2018) as it is written in PyTorch: torchvision's drop_block2d, which scales by the batch's share."""

    def __init__(self, p, block):
        super().__init__()
        self.p, self.block = p, block

    def forward(self, x):
        if not self.training:
            return x
        n, c, h, w = x.shape
        size = self.block
        gamma = self.p * h * w / (size**2 * (h - size + 1) * (w - size + 1))
        noise = torch.empty((n, c, h - size + 1, w - size + 1), dtype=x.dtype, device=x.device).bernoulli_(gamma)
        noise = F.pad(noise, [size // 2] * 4, value=0)
        noise = 1 - F.max_pool2d(noise, stride=(1, 1), kernel_size=(size, size), padding=size // 2)
        return x * noise * (noise.numel() / (1e-6 + noise.sum()))


def convolutional(kind, device):
    drops = {
        "": lambda layer: [],
        "element": lambda layer: [nn.Dropout(0.1)],
        "spatial": lambda layer: [nn.Dropout2d(0.1)],
        "block": lambda layer: [DropBlock2d(0.1, (5, 3)[layer])],
    }[kind]
    layers = []
    for layer, (inputs, outputs) in enumerate([(1, 20), (20, 50)]):
        layers += [nn.Conv2d(inputs, outputs, 5), nn.ReLU(), nn.MaxPool2d(2), *drops(layer)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)).to(device)


class Sequences(nn.Module):
    """The last state of an LSTM; `drop` as everybody writes it: a loop over the steps, since nn.LSTM has no recurrent masks."""

    def __init__(self, features, hidden, drop):
        super().__init__()
        self.drop, self.hidden = drop, hidden
        self.lstm = nn.LSTMCell(features, hidden) if drop else nn.LSTM(features, hidden, batch_first=True)
        self.last = nn.Linear(hidden, 10)

    def mask(self, x, features):
        return F.dropout(torch.ones(len(x), features, device=x.device), self.drop, True)

    def forward(self, x):
        if not self.drop:
            return self.last(self.lstm(x)[1][0][0])
        x = x * self.mask(x, x.shape[2])[:, None]
        recurrent, output = self.mask(x, self.hidden), self.mask(x, self.hidden)
        h = c = x.new_zeros(len(x), self.hidden)
        for t in range(x.shape[1]):
            h, c = self.lstm(x[:, t], (h * recurrent, c))
        return self.last(h * output)


def draws(case, device):
    """Monte-Carlo dropout as everybody writes it: a loop over the network in training mode, mean and deviation at the end."""
    net = network(case, True, device).train()
    x = torch.rand(ROWS, case[0], device=device)

    @torch.inference_mode()
    def call():
        answers = torch.stack([F.softmax(net(x), dim=1) for _ in range(DRAWS)])
        return answers.mean(0), answers.std(0)

    def run(calls):
        for _ in range(calls):
            call()
        wait(device)

    if not call()[1].amax(1).min() > 0:
        raise ValueError("the draws of an input are all the same: nothing was dropped")
    return Timed(DRAWS, run)


def training(net, inputs, batch, batches, device, mode):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, foreach=True)
    xs = torch.rand(batches, batch, *inputs, device=device)
    ys = torch.arange(batch * batches, device=device).remainder(10).reshape(batches, batch)

    def step(x, y):
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(net(x), y).backward()
        optimizer.step()

    if mode == "compile":
        step = torch.compile(step)
    if mode == "graph":
        step = graph(step, xs[0].clone(), ys[0].clone())

    def run(epochs):
        for _ in range(epochs):
            for x, y in zip(xs, ys):
                step(x, y)
        wait(device)

    return Timed(batches, run)


def graph(step, x, y):
    """The step as a CUDA graph over inputs of its own; replaying it draws new masks."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(x, y)
    torch.cuda.current_stream().wait_stream(stream)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        step(x, y)

    def replay(new_x, new_y):
        x.copy_(new_x)
        y.copy_(new_y)
        captured.replay()

    return replay


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def single(device, operation):
    def run(repetitions):
        with torch.no_grad():
            for _ in range(repetitions):
                operation()
        wait(device)

    return Timed(1, run)


def timed(work, device, mode):
    if work in ("mlp", "mlp-dropout", "digits", "digits-dropout"):
        name, _, dropout = work.partition("-")
        case = MLP if name == "mlp" else DIGITS
        return training(network(case, bool(dropout), device), case[:1], *case[2:4], device, mode)
    if work.partition("-")[0] == "cnn":
        return training(convolutional(work.partition("-")[2], device), (1, 28, 28), *CNN, device, mode)
    if work in ("lstm", "lstm-variational"):
        batch, batches, steps, features, hidden, drop = LSTM
        net = Sequences(features, hidden, drop if work == "lstm-variational" else 0).to(device)
        return training(net, (steps, features), batch, batches, device, mode)
    if mode != "eager":
        raise ValueError(f"{mode} is a mode of training steps")
    if work == "draws":
        return draws(MLP, device)
    if work.startswith("matmul-"):
        m, k, n = (int(extent) for extent in work.removeprefix("matmul-").split("x"))
        a, b, c = (torch.randn(shape, device=device) for shape in ((m, k), (k, n), (m, n)))
        return single(device, lambda: torch.mm(a, b, out=c))
    x = torch.randn(2048, 2048, device=device)
    if work == "dropout":
        return single(device, lambda: F.dropout(x, 0.5, True))
    if work == "copy":
        y = torch.empty_like(x)
        return single(device, lambda: y.copy_(x))
    raise ValueError(f"there is no work {work!r}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--mode", choices=["eager", "compile", "graph"], default="eager")
    parser.add_argument("--threads", type=int, help="threads on the CPU; PyTorch's choice unless given")
    parser.add_argument("request", nargs="*", metavar="WORK SECONDS")
    options = parser.parse_args()
    if options.mode == "graph" and options.device != "cuda":
        parser.error("a graph needs --device cuda")
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    works = {}

    def answer(request):
        try:
            work, seconds = request.split()
            if work not in works:
                works[work] = timed(work, options.device, options.mode)
            return {"seconds": works[work].seconds(float(seconds))}
        except Exception as error:  # whatever it is, the others go on
            return {"error": f"{type(error).__name__}: {error}"}

    if options.request:
        print(json.dumps(answer(" ".join(options.request))))
        return
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"CPU, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    print(json.dumps({"program": "torch", "version": torch.__version__, "adapter": f"{where}, {options.mode}"}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(line)), flush=True)


if __name__ == "__main__":
    main()
