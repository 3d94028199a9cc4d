"""Writes tests/fixtures/pytorch.json: what PyTorch computes, for thinnet's tests to agree with.

    python scripts/pytorch/fixtures.py [OUT.json]

Needs only PyTorch (1.12 or newer), on the CPU. Everything is computed in float64 by the classes of torch.nn and torch.optim,
without dropout; inputs, initial weights and logits are numbers that float32 holds exactly. Lists are row-major. The file holds

  training     one problem (full batch, one step an epoch), and for each case the losses before each step, the weights after the
               first and after the last step; for schedules also the learning rate and the momentum of each step, for clipping
               the gradient's norm before it is clipped, for max-norm how many rows it shortened
  activations  y = f(x) and dy/dx
  losses       the loss and its gradient with respect to the logits

Weight decay is PyTorch's: of every parameter, biases too. What is printed is for choosing tolerances: how far the same training
in float32 ends from the one in float64.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from torch import nn

STEPS = 20
OPTIMIZERS = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW, "RMSprop": torch.optim.RMSprop}

# The options of a case: the optimizer and its arguments, then what is done around its steps.
CASES = {
    "sgd": {"optimizer": "SGD", "lr": 0.5},
    "sgd_momentum": {"optimizer": "SGD", "lr": 0.1, "momentum": 0.9},
    "sgd_nesterov": {"optimizer": "SGD", "lr": 0.1, "momentum": 0.9, "nesterov": True},
    "sgd_weight_decay": {"optimizer": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    "adam": {"optimizer": "Adam", "lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8},
    "adam_weight_decay": {"optimizer": "Adam", "lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01},
    "adamw": {"optimizer": "AdamW", "lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.1},
    "rmsprop": {"optimizer": "RMSprop", "lr": 0.01, "alpha": 0.99, "eps": 1e-8},
    "rmsprop_momentum_weight_decay": {
        "optimizer": "RMSprop", "lr": 0.01, "alpha": 0.99, "eps": 1e-8, "momentum": 0.9, "weight_decay": 0.001
    },
    "sgd_momentum_clip": {"optimizer": "SGD", "lr": 0.1, "momentum": 0.9, "clip_grad_norm": 0.3},
    "adam_clip": {"optimizer": "Adam", "lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "clip_grad_norm": 0.5},
    "step": {"optimizer": "SGD", "lr": 0.5, "schedule": {"kind": "StepLR", "step_size": 5, "gamma": 0.5}},
    "exponential": {"optimizer": "SGD", "lr": 0.5, "schedule": {"kind": "ExponentialLR", "gamma": 0.9}},
    "cosine": {"optimizer": "SGD", "lr": 0.5, "schedule": {"kind": "CosineAnnealingLR", "T_max": 20, "eta_min": 0.05}},
    "inverse_time": {"optimizer": "SGD", "lr": 0.5, "schedule": {"kind": "inverse_time", "decay": 0.3}},
    "warm_up": {"optimizer": "SGD", "lr": 0.5, "schedule": {"kind": "warm_up", "updates": 8}},
    "warm_up_cosine": {"optimizer": "SGD", "lr": 0.5, "schedule": {"kind": "warm_up_cosine", "updates": 8, "epochs": 20}},
    "momentum_ramp": {
        "optimizer": "SGD", "lr": 0.1, "schedule": {"kind": "momentum_ramp", "start": 0.5, "final": 0.9, "epochs": 10}
    },
    "max_norm": {"optimizer": "SGD", "lr": 0.5, "momentum": 0.9, "max_norm": 1.2},
}


def exact(values: torch.Tensor) -> torch.Tensor:
    """The nearest numbers that float32 holds, as float64."""
    return values.float().double()


def numbers(tensor: torch.Tensor) -> list:
    return tensor.detach().flatten().tolist()


def network(dtype: torch.dtype) -> nn.Sequential:
    torch.manual_seed(5)  # PyTorch's own initial weights, drawn as float32
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)  # so that gradients are large at first and small later, which clipping then shows
    return model.to(dtype)


def weights(model: nn.Module) -> dict:
    return {name: numbers(value) for name, value in model.state_dict().items()}


def scheduler(optimizer: torch.optim.Optimizer, schedule: dict):
    """What sets the learning rate once an epoch; None for a schedule of something else."""
    options = dict(schedule)
    kind = options.pop("kind")
    if hasattr(torch.optim.lr_scheduler, kind):
        return getattr(torch.optim.lr_scheduler, kind)(optimizer, **options)
    factors = {
        "inverse_time": lambda epoch: 1 / (1 + options["decay"] * epoch),
        "warm_up": lambda update: min(1, (update + 1) / options["updates"]),
        "warm_up_cosine": lambda t: min(1, (t + 1) / options["updates"]) * (1 + math.cos(math.pi * t / options["epochs"])) / 2,
    }
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factors[kind]) if kind in factors else None


def shorten_rows(model: nn.Module, longest: float) -> int:
    """Srivastava et al. 2014: the weights that come into a unit keep a norm of at most `longest`. How many were longer."""
    count = 0
    with torch.no_grad():
        for weight in (p for p in model.parameters() if p.dim() == 2):
            norms = weight.norm(dim=1, keepdim=True)
            weight.copy_(torch.where(norms > longest, weight * (longest / norms), weight))
            count += int((norms > longest).sum())
    return count


def train(inputs: torch.Tensor, labels: torch.Tensor, options: dict) -> dict:
    """One case, in the inputs' precision."""
    model = network(inputs.dtype)
    around = {key: options.get(key) for key in ("clip_grad_norm", "schedule", "max_norm")}
    arguments = {key: value for key, value in options.items() if key != "optimizer" and key not in around}
    optimizer = OPTIMIZERS[options["optimizer"]](model.parameters(), **arguments)
    group = optimizer.param_groups[0]
    schedule = around["schedule"]
    rates = scheduler(optimizer, schedule) if schedule else None
    losses, learning_rates, momenta, norms, shortened = [], [], [], [], []
    for epoch in range(STEPS):
        if schedule and schedule["kind"] == "momentum_ramp":
            ramp = min(1, epoch / schedule["epochs"])
            group["momentum"] = schedule["start"] + (schedule["final"] - schedule["start"]) * ramp
        learning_rates.append(group["lr"])
        momenta.append(group.get("momentum"))
        loss = nn.CrossEntropyLoss()(model(inputs), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        if around["clip_grad_norm"]:
            norms.append(nn.utils.clip_grad_norm_(model.parameters(), around["clip_grad_norm"]).item())
        optimizer.step()
        if around["max_norm"]:
            shortened.append(shorten_rows(model, around["max_norm"]))
        if rates:
            rates.step()
        if epoch == 0:
            first = weights(model)
    case = {"options": options, "losses": losses, "weights_after_first": first, "weights_after_last": weights(model)}
    if schedule:
        case |= {"learning_rates": learning_rates, "momenta": momenta}
    if norms:
        case["gradient_norms"] = norms
    if shortened:
        case["rows_shortened"] = shortened
    return case


def training() -> dict:
    generator = torch.Generator().manual_seed(1)
    inputs = exact(torch.randn(16, 6, generator=generator, dtype=torch.float64))
    labels = torch.randint(0, 4, (16,), generator=generator)
    initial = network(torch.float64)
    cases = []
    for name, options in CASES.items():
        case = train(inputs, labels, options)
        single = train(inputs.float(), labels, options)["weights_after_last"]
        apart = max(abs(a - b) for key, wide in case["weights_after_last"].items() for a, b in zip(wide, single[key]))
        print(f"{name:30} loss {case['losses'][0]:.4f} to {case['losses'][-1]:.4f}, float32 weights end {apart:.1e} away")
        cases.append({"name": name} | case)
    return {
        "sequential": "nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))",
        "steps": STEPS,
        "rows": 16,
        "inputs": numbers(inputs),
        "labels": numbers(labels),
        "shapes": {name: list(value.shape) for name, value in initial.state_dict().items()},
        "initial": weights(initial),
        "cases": cases,
    }


def activations() -> list:
    functions = {
        "leaky_relu": nn.LeakyReLU(0.01),
        "gelu": nn.GELU(approximate="tanh"),
        "selu": nn.SELU(),
        "relu": nn.ReLU(),
        "tanh": nn.Tanh(),
        "sigmoid": nn.Sigmoid(),
    }
    positive = [0.001, 0.1, 0.25, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 4.5, 6.0, 10.0, 20.0]
    result = []
    for name, function in functions.items():
        x = exact(torch.tensor([-v for v in reversed(positive)] + [0.0] + positive)).requires_grad_()
        y = function(x)
        y.sum().backward()
        result.append({"name": name, "x": numbers(x), "y": numbers(y), "dy_dx": numbers(x.grad)})
    return result


def losses() -> list:
    generator = torch.Generator().manual_seed(2)

    def draw(rows: int, columns: int) -> torch.Tensor:
        return exact(2 * torch.randn(rows, columns, generator=generator, dtype=torch.float64))

    # Large logits, with targets that agree, disagree and are undecided.
    binary_logits = draw(5, 3)
    binary_logits[0] = torch.tensor([30.0, -30.0, 0.0])
    binary_logits[1] = torch.tensor([30.0, -30.0, 30.0])
    binary_targets = torch.tensor([1.0, 0, 1, 0, 1, 0.25, 0.5, 0.125, 0.9, 1, 0, 0.75, 0, 0.3, 1]).double().reshape(5, 3)
    class_logits = draw(5, 4)
    class_logits[0] = torch.tensor([30.0, -30.0, 0.0, 1.0])
    class_logits[1] = torch.tensor([-30.0, 30.0, 0.0, 29.5])
    cases = {
        "binary_cross_entropy": (nn.BCEWithLogitsLoss(), binary_logits, exact(binary_targets)),
        "mean_squared_error": (nn.MSELoss(), draw(5, 3), draw(5, 3)),
        "softmax_cross_entropy": (nn.CrossEntropyLoss(), class_logits, torch.tensor([0, 0, 3, 1, 2])),
    }
    # Three means, then three log variances, all above the bounds: PyTorch's is the variance 1e-6, thinnet's e^-20.
    likelihood = nn.GaussianNLLLoss(full=False, eps=1e-6)
    outputs = draw(5, 6)
    outputs[0, 3:] = torch.tensor([-13.0, 20.0, 0.0])
    cases["gaussian_nll"] = (lambda z, t: likelihood(z[:, :3], t, z[:, 3:].exp()), outputs, draw(5, 3))
    result = []
    for name, (function, logits, targets) in cases.items():
        logits.requires_grad_()
        loss = function(logits, targets)
        loss.backward()
        values = {"logits": numbers(logits), "targets": numbers(targets), "loss": loss.item(), "gradient": numbers(logits.grad)}
        result.append({"name": name, "shape": list(logits.shape)} | values)
    return result


def layout(value, indent: str = "") -> str:
    """JSON with one line for each list of numbers and for whatever is short."""
    line = json.dumps(value)
    if len(line) <= 120 or isinstance(value, list) and not isinstance(value[0], dict):
        return line
    inner = indent + " "
    if isinstance(value, dict):
        parts, ends = [f"{json.dumps(key)}: {layout(part, inner)}" for key, part in value.items()], "{}"
    else:
        parts, ends = [layout(part, inner) for part in value], "[]"
    return ends[0] + "\n" + ",\n".join(inner + part for part in parts) + "\n" + indent + ends[1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes what PyTorch computes, for thinnet's tests to agree with.")
    default = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "pytorch.json"
    parser.add_argument("out", nargs="?", type=Path, default=default, help="default: tests/fixtures/pytorch.json")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    fixtures = {
        "made_by": f"scripts/pytorch/fixtures.py, PyTorch {torch.__version__}, float64 on the CPU",
        "training": training(),
        "activations": activations(),
        "losses": losses(),
    }
    text = layout(fixtures) + "\n"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)
    except OSError as error:
        raise SystemExit(f"{out}: cannot be written: {error.strerror}; name another file as the argument")
    print(f"{len(text)} bytes")


if __name__ == "__main__":
    main()
