"""Carries networks between thinnet and PyTorch, and compares what the two compute.

    python scripts/pytorch/exchange.py check MODEL.safetensors INPUTS.npy LOGITS.npy [--lengths LENGTHS.npy]
    python scripts/pytorch/exchange.py make "nn.Sequential(...)" OUT.safetensors INPUTS.npy LOGITS.npy [--seed N] [--shape C,H,W]
                                                                                                       [--lengths LENGTHS.npy]
    python scripts/pytorch/exchange.py compare A.npy B.npy

check    loads a model that thinnet saved into the nn.Sequential that the file names, strictly, and compares PyTorch's logits of
         INPUTS with thinnet's LOGITS.
make     the other way: writes a new network's state dict, as any program with PyTorch would, and PyTorch's logits of INPUTS.
compare  compares two files of logits, the second of which sets the scale.

Logits agree if max|a - b| <= 1e-4 max|b|. Arrays are float32, [rows, columns]; a network of feature maps takes the columns as
[channels, y, x], of the shape that the model's file names, or --shape. Besides nn's modules an expression may have
Residual(branch, skip), which is defined below.

Rows of sequences are [steps, features], or of words [steps]; --lengths has the steps of each row, 1 or more, without it every
row has all. nn.RNN, nn.GRU and nn.LSTM stand in an expression as they are, but read packed sequences and give no tuple: the
last states, or, with sequence=True, or where the model's file says so, the sequence, 0 behind its end. nn.Embedding takes
numbers of words as floats. Exits with 0 if they agree, 1 if not, 2 if something cannot be read or does not fit. Needs torch
(1.12 or newer), numpy and safetensors.
"""

import argparse
import ast
import json
import math
import sys
from typing import NoReturn

try:
    import numpy as np
    import torch
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file
    from torch import nn
except ImportError as error:
    print(f"{sys.executable}: {error}; pip install torch numpy safetensors", file=sys.stderr)
    sys.exit(2)

TOLERANCE = 1e-4


class Residual(nn.Module):
    """skip(x) + branch(x)"""

    def __init__(self, branch: nn.Module, skip: nn.Module):
        super().__init__()
        self.branch, self.skip = branch, skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.skip(x) + self.branch(x)


class Steps:
    """What nn's recurrent layers are here; the names of their parameters stay."""

    def __init__(self, *arguments, sequence: bool = False, **options):
        super().__init__(*arguments, **options)
        self.sequence, self.lengths = sequence, None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lengths = torch.full(x.shape[:1], x.shape[1]) if self.lengths is None else self.lengths
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        packed, states = super().forward(packed)
        if self.sequence:
            return nn.utils.rnn.pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])[0]
        last = states[0] if isinstance(states, tuple) else states  # [layers * directions, rows, hidden]
        return last[-(2 if self.bidirectional else 1) :].transpose(0, 1).flatten(1)


class RNN(Steps, nn.RNN):
    pass


class GRU(Steps, nn.GRU):
    pass


class LSTM(Steps, nn.LSTM):
    pass


class Embedding(nn.Embedding):
    lengths = None

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        if self.lengths is None:
            return super().forward(ids.long())
        inside = torch.arange(ids.shape[1]) < self.lengths[:, None]
        return super().forward(torch.where(inside, ids, 0).long()) * inside[:, :, None]


class Modules:
    """torch.nn, but for those above."""

    def __getattr__(self, name: str):
        return {"RNN": RNN, "GRU": GRU, "LSTM": LSTM, "Embedding": Embedding}.get(name) or getattr(nn, name)


def set_lengths(module: nn.Module, lengths: torch.Tensor | None) -> None:
    for part in module.modules():
        if isinstance(part, (Steps, Embedding)):
            part.lengths = lengths


def set_sequences(module: nn.Module, layers: list[dict]) -> None:
    """Lets the recurrent layers give what those of thinnet's network give."""
    described = [layer for layer in layers if layer.keys() & {"rnn", "gru", "lstm"}]
    for part, layer in zip((part for part in module.children() if isinstance(part, Steps)), described, strict=True):
        part.sequence = layer.get("sequence", False)


def fail(what: str, problem: str) -> NoReturn:
    print(f"{what}: {problem}", file=sys.stderr)
    sys.exit(2)


def read_array(path: str) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        fail(path, f"cannot be read: {error.strerror}; write it first")
    except (ValueError, EOFError):
        fail(path, "is no .npy file of numbers; write it with numpy.save")
    if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.ndim != 2:
        found = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else "an archive"
        fail(path, f"is {found}, expected float32 [rows, columns]; convert it with numpy.save(path, array.astype('float32'))")
    return array


def read_lengths(path: str | None, rows: int) -> torch.Tensor | None:
    if path is None:
        return None
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        fail(path, f"is no .npy file of lengths: {error}; write it with numpy.save")
    if array.shape != (rows,) or not np.all((array >= 1) & (array == np.floor(array))):
        fail(path, f"is {array.dtype} {list(array.shape)}, expected {rows} whole numbers from 1 up, one for each row")
    return torch.from_numpy(array.astype(np.int64))


def write_array(path: str, array: np.ndarray) -> None:
    try:
        with open(path, "wb") as file:  # numpy.save(path) would add .npy to other names
            np.save(file, array)
    except OSError as error:
        fail(path, f"cannot be written: {error.strerror}; name a file in a folder that exists")


def build(expression: str, origin: str) -> nn.Module:
    """The module that the expression makes, of which every part is numbers, nn.NAME, nn.NAME(...) or Residual(...)."""
    try:
        tree = ast.parse(expression, mode="eval")
        for node in ast.walk(tree):
            numbers = isinstance(node, (ast.Constant, ast.UnaryOp, ast.USub, ast.Tuple, ast.List))
            plain = numbers or isinstance(node, (ast.Expression, ast.Call, ast.keyword, ast.Load))
            member = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and not node.attr.startswith("_")
            if not (plain or member or isinstance(node, ast.Name) and node.id in ("nn", "Residual")):
                raise ValueError(f"{type(node).__name__} is not allowed")
        module = eval(compile(tree, origin, "eval"), {"__builtins__": {}, "nn": Modules(), "Residual": Residual})
    except Exception as error:  # whatever torch.nn raises for arguments that it does not like
        fail(origin, f"{expression!r} makes no module: {error}; write nn.Sequential(nn.Linear(4, 3), nn.ReLU(), ...)")
    if not isinstance(module, nn.Module):
        fail(origin, f"{expression!r} is a {type(module).__name__}, no module; write nn.Sequential(...)")
    return module


def load(path: str) -> tuple[nn.Module, list[int]]:
    """The network of a file that thinnet wrote, and the shape of its inputs."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        fail(path, f"cannot be read as a safetensors file: {error}; save it with thinnet")
    try:
        thinnet = json.loads(metadata["thinnet"])
        expression, shape, layers = thinnet["sequential"], thinnet["network"]["input"], thinnet["network"]["layers"]
    except (KeyError, TypeError, ValueError):
        fail(path, 'has no metadata "thinnet" with the fields "sequential" and "network"; save it with thinnet')
    module = build(expression, path)
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        fail(path, f"its tensors do not fit {expression}: {error}; save the model with thinnet again")
    try:
        set_sequences(module, layers)
    except ValueError:
        fail(path, f"{expression} has other recurrent layers than its network; save the model with thinnet again")
    return module, shape


def logits(module: nn.Module, shape: list[int], inputs: np.ndarray, lengths: torch.Tensor | None, path: str) -> np.ndarray:
    try:
        set_lengths(module, lengths)
        with torch.no_grad():
            return module.eval()(torch.from_numpy(inputs).reshape(-1, *shape)).numpy()
    except RuntimeError as error:
        fail(path, f"its {inputs.shape[1]} columns do not fit the network: {error}; give as many as the network has inputs")


def extents(text: str) -> list[int]:
    return [int(extent) for extent in text.split(",")]


def compare(a: np.ndarray, b: np.ndarray, names: str) -> int:
    if a.shape != b.shape or a.size == 0:
        shapes = f"are {list(a.shape)} and {list(b.shape)}"
        fail(names, f"{shapes}, expected equal shapes that are not empty; compute both from the same inputs")
    with np.errstate(invalid="ignore"):
        apart, scale = float(np.abs(a - b).max()), float(np.abs(b).max())
    agree = apart <= TOLERANCE * scale < math.inf  # false for NaN, and for infinite logits
    print(f"max|a - b| = {apart:.3e}, max|b| = {scale:.3e}: {'agree' if agree else 'DIFFER'}")
    return 0 if agree else 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Carries networks between thinnet and PyTorch.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("check", help="load thinnet's model and compare PyTorch's logits with thinnet's")
    for name in ("model", "inputs", "logits"):
        command.add_argument(name)
    command.add_argument("--lengths", help="a file with the steps of each row; default: all")
    command = commands.add_parser("make", help="write a new network of PyTorch's and its logits")
    for name in ("sequential", "out", "inputs", "logits"):
        command.add_argument(name)
    command.add_argument("--seed", type=int, default=0, help="of the initial weights, default 0")
    command.add_argument("--shape", type=extents, help="of an input, as 1,28,28; default: its columns")
    command.add_argument("--lengths", help="a file with the steps of each row; default: all")
    command = commands.add_parser("compare", help="compare two files of logits")
    for name in ("a", "b"):
        command.add_argument(name)
    args = parser.parse_args()

    if args.command == "compare":
        return compare(read_array(args.a), read_array(args.b), f"{args.a} and {args.b}")
    inputs = read_array(args.inputs)
    lengths = read_lengths(args.lengths, len(inputs))
    if args.command == "check":
        theirs = read_array(args.logits)
        ours = logits(*load(args.model), inputs, lengths, args.inputs)
        return compare(ours, theirs, f"logits of {args.inputs} and {args.logits}")
    torch.manual_seed(args.seed)
    module = build(args.sequential, "SEQUENTIAL")
    write_array(args.logits, logits(module, args.shape or [inputs.shape[1]], inputs, lengths, args.inputs))
    try:
        save_file(module.state_dict(), args.out)
    except (OSError, SafetensorError) as error:
        fail(args.out, f"cannot be written: {error}; name a file in a folder that exists")
    return 0


if __name__ == "__main__":
    sys.exit(main())
