"""Writes tests/fixtures/pytorch_recurrent.json and .safetensors files: recurrent layers and embeddings as PyTorch computes them.

    python scripts/pytorch/recurrent.py [FOLDER]

Each case of the JSON file holds thinnet's description of a network, the expression that makes it in PyTorch, rows of whole
numbers as inputs and the steps of each row (null: all), the weights by name, the outputs in evaluation, a gradient by these,
and the gradients by the inputs and by each weight that follow from it, all in float64, row-major. Behind the end of a row stand
numbers that must not matter. The weights of those cases that name a file are in it too, as PyTorch saves a state dict, float32,
which holds them exactly.

"alpha" holds what nn.AlphaDropout makes of numbers: for each rate what each becomes that is kept, and what every one becomes
that is not.

Needs torch, numpy and safetensors, as exchange.py does.
"""

import argparse
import json
from pathlib import Path

import torch
from exchange import build, set_lengths, set_sequences
from safetensors.torch import save_file
from torch import nn

RAGGED = [3, 5, 1, 4]
STEPS = 5


def sequences(features: int, *layers: dict) -> dict:
    return {"input": [STEPS, features], "layers": list(layers), "loss": "softmax_cross_entropy"}


def words(*layers: dict) -> dict:
    return {"input": [STEPS], "layers": list(layers), "loss": "softmax_cross_entropy"}


FLATTEN, DENSE = {"flatten": True}, {"dense": 2}
CASES = {
    "rnn, last state": (sequences(3, {"rnn": 2}), RAGGED),
    "rnn, relu, sequence": (sequences(2, {"rnn": 3, "activation": "relu", "sequence": True}, FLATTEN), RAGGED),
    "gru, last state": (sequences(3, {"gru": 2}), RAGGED),
    "gru, both directions, sequence": (sequences(2, {"gru": 2, "bidirectional": True, "sequence": True}, FLATTEN), RAGGED),
    "lstm, last state": (sequences(3, {"lstm": 2}), RAGGED),
    "lstm, whole rows": (sequences(2, {"lstm": 3, "bidirectional": True}), None),
    "rnn": (
        sequences(3, {"rnn": 3, "layers": 2, "bidirectional": True, "sequence": True}, {"rnn": 2, "activation": "relu"}, DENSE),
        RAGGED,
    ),
    "gru": (sequences(3, {"gru": 3, "layers": 2, "bidirectional": True}, DENSE), RAGGED),
    "lstm": (
        sequences(3, {"lstm": 3, "layers": 2, "bidirectional": True, "sequence": True}, FLATTEN, DENSE),
        RAGGED,
    ),
    "words": (words({"embedding": 3, "vocabulary": 6}, {"lstm": 3, "layers": 2, "bidirectional": True}, DENSE), RAGGED),
    "words, no recurrent layer": (words({"embedding": 3, "vocabulary": 6}, FLATTEN, DENSE), RAGGED),
}
# Whose weights are saved too.
FILES = ["rnn", "gru", "lstm", "words"]


def module(layer: dict, features: int) -> tuple[str, int]:
    """A layer as thinnet writes it in an expression, and its features."""
    if "flatten" in layer:
        return "nn.Flatten()", STEPS * features
    if "dense" in layer:
        return f"nn.Linear({features}, {layer['dense']})", layer["dense"]
    if "embedding" in layer:
        return f"nn.Embedding({layer['vocabulary']}, {layer['embedding']})", layer["embedding"]
    kind = next(name for name in ("rnn", "gru", "lstm") if name in layer)
    both = ", bidirectional=True" if layer.get("bidirectional") else ""
    relu = ", nonlinearity='relu'" if "activation" in layer else ""
    options = f"num_layers={layer.get('layers', 1)}, batch_first=True{both}{relu}"
    return f"nn.{kind.upper()}({features}, {layer[kind]}, {options})", layer[kind] * (2 if both else 1)


def expression(network: dict) -> str:
    features, modules = network["input"][-1], []
    for layer in network["layers"]:
        text, features = module(layer, features)
        modules.append(text)
    return f"nn.Sequential({', '.join(modules)})"


def numbers(tensor: torch.Tensor) -> list:
    return tensor.detach().flatten().tolist()


def run(name: str, network: dict, lengths: list[int] | None, folder: Path) -> dict:
    net = build(expression(network), "recurrent.py").double().eval()
    set_sequences(net, network["layers"])
    set_lengths(net, None if lengths is None else torch.tensor(lengths))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randint(-12, 13, parameter.shape) / 16)
    shape = (len(RAGGED), *network["input"])
    of_words = len(network["input"]) == 1
    inputs = (torch.randint(0, 6, shape) if of_words else torch.randint(-2, 3, shape)).double()
    if not of_words:
        inputs.requires_grad_()
    outputs = net(inputs)
    upstream = torch.randint(-3, 4, outputs.shape).double()
    (outputs * upstream).sum().backward()
    if name in FILES:
        state = {key: value.float() for key, value in net.state_dict().items()}
        save_file(state, folder / f"pytorch_{name}.safetensors", metadata={"made_by": f"PyTorch {torch.__version__}"})
    print(f"{name}: outputs up to {outputs.abs().max():.3f}")
    return {
        "name": name,
        "file": f"pytorch_{name}.safetensors" if name in FILES else None,
        "network": network,
        "sequential": expression(network),
        "lengths": lengths,
        "inputs": numbers(inputs),
        "weights": {key: numbers(value) for key, value in net.state_dict().items()},
        "outputs": numbers(outputs),
        "upstream": numbers(upstream),
        "input_gradient": None if of_words else numbers(inputs.grad),
        "gradients": {key: numbers(value.grad) for key, value in net.named_parameters()},
    }


def alpha() -> list:
    """AlphaDropout draws what it drops: a number that is dropped becomes the same as all others that are."""
    cases = []
    x = torch.tensor([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]).double()
    for drop in (0.05, 0.25, 0.5):
        # Of 256 rows every number is kept in some and dropped in some: what all columns have in common is what is dropped.
        columns = [set(column.tolist()) for column in nn.AlphaDropout(drop)(x.repeat(256, 1)).T]
        (dropped,) = set.intersection(*columns)
        kept = [value for column in columns for value in column - {dropped}]
        assert len(kept) == len(x)
        cases.append({"drop": drop, "x": numbers(x), "kept": kept, "dropped": dropped})
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes recurrent layers and embeddings as PyTorch computes them.")
    default = Path(__file__).resolve().parents[2] / "tests" / "fixtures"
    parser.add_argument("folder", nargs="?", type=Path, default=default, help="default: tests/fixtures")
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    torch.manual_seed(11)
    cases = [run(name, network, lengths, folder) for name, (network, lengths) in CASES.items()]
    figures = {"made_by": f"scripts/pytorch/recurrent.py, PyTorch {torch.__version__}, float64 on the CPU", "alpha": alpha()}
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in figures.items())
    of_cases = ",\n".join(" " + json.dumps(case) for case in cases)
    (folder / "pytorch_recurrent.json").write_text("{\n" + lines + ',\n "cases": [\n' + of_cases + "\n ]\n}\n")


if __name__ == "__main__":
    main()
