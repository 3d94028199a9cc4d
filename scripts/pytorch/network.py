"""Writes tests/fixtures/pytorch_network.safetensors and .json: a network of every layer, for thinnet's tests to agree with.

    python scripts/pytorch/network.py [FOLDER]

The safetensors file is the network's state dict as PyTorch saves it, float32, with its batch norms' num_batches_tracked. The JSON
file holds the expression that makes the network, inputs [rows, channels, y, x], row-major, which float32 holds exactly, and the
logits in evaluation, computed in float64 from these weights. The batch norms have followed three batches.

Needs torch, numpy and safetensors, as exchange.py does.
"""

import argparse
import json
from pathlib import Path

import torch
from exchange import build
from safetensors.torch import save_file
from torch import nn

SHAPE = [2, 9, 8]
ROWS = 4
BRANCH = (
    "nn.Sequential(nn.Conv2d(4, 6, (3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 1), groups=1), nn.BatchNorm2d(6, "
    "eps=1e-5, momentum=0.1), nn.LeakyReLU(0.01), nn.Identity(), nn.Conv2d(6, 6, (3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), "
    "groups=1), nn.BatchNorm2d(6, eps=1e-5, momentum=0.1), nn.Identity())"
)
SKIP = (
    "nn.Sequential(nn.Conv2d(4, 6, (1, 1), stride=(2, 2), padding=(0, 0), dilation=(1, 1), groups=1), nn.BatchNorm2d(6, "
    "eps=1e-5, momentum=0.1))"
)
INNER = (
    "Residual(nn.Sequential(nn.Conv2d(6, 6, (1, 1), stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)), "
    "nn.Identity())"
)
LAYERS = [
    "nn.Conv2d(2, 4, (3, 2), stride=(1, 1), padding=(1, 0), dilation=(1, 2), groups=2)",
    "nn.ReLU()",
    "nn.Dropout2d(0.1)",
    "nn.BatchNorm2d(4, eps=1e-3, momentum=0.25)",
    "nn.GELU(approximate='tanh')",
    "nn.MaxPool2d((3, 3), stride=(2, 2), padding=(1, 1))",
    f"Residual({BRANCH}, {SKIP})",
    f"Residual(nn.Sequential(nn.ReLU(), {INNER}, nn.Dropout(0.5)), nn.Identity())",
    "nn.LayerNorm([6, 3, 2], eps=1e-5)",
    "nn.AvgPool2d((2, 2), stride=(1, 1), padding=(1, 0))",
    "nn.Conv2d(6, 6, (3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=6)",
    "nn.Tanh()",
    "nn.AdaptiveAvgPool2d(1), nn.Flatten()",
    "nn.Flatten()",
    "nn.Linear(6, 5)",
    "nn.SELU()",
    "nn.LayerNorm([5], eps=1e-5)",
    "nn.BatchNorm1d(5, eps=1e-5, momentum=0.1)",
    "nn.Dropout(0.2)",
    "Residual(nn.Sequential(nn.Linear(5, 7), nn.Sigmoid(), nn.Linear(7, 5)), nn.Identity())",
    "nn.Linear(5, 3)",
]


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes a network of every layer as PyTorch has it.")
    default = Path(__file__).resolve().parents[2] / "tests" / "fixtures"
    parser.add_argument("folder", nargs="?", type=Path, default=default, help="default: tests/fixtures")
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    torch.manual_seed(7)
    expression = f"nn.Sequential({', '.join(LAYERS)})"
    network = build(expression, "network.py")
    with torch.no_grad():
        # Scales and shifts of normalisations begin at 1 and 0, with which they could be forgotten.
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
        for _ in range(3):
            network(2 * torch.randn(16, *SHAPE) + 1)
        inputs = torch.randn(ROWS, *SHAPE)
        made_by = f"scripts/pytorch/network.py, PyTorch {torch.__version__}"
        save_file(network.state_dict(), folder / "pytorch_network.safetensors", metadata={"made_by": made_by})
        logits = network.eval().double()(inputs.double())
    figures = {
        "made_by": f"{made_by}, float64 on the CPU",
        "sequential": expression,
        "shape": SHAPE,
        "inputs": inputs.double().flatten().tolist(),
        "logits": logits.flatten().tolist(),
    }
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in figures.items())
    (folder / "pytorch_network.json").write_text("{\n" + lines + "\n}\n")
    print(f"{sum(p.numel() for p in network.parameters())} parameters, logits up to {logits.abs().max():.3f}")


if __name__ == "__main__":
    main()
