"""Linear regression: learn y = 3x + 2 from noisy points, serve it, and check the line that the server draws.

Two versions: the first was trained for too short a time. Promoting the second one changes the answers, a rollback
brings the first one's back without loading anything.
"""

import sys

import numpy as np
import torch
from interlock_client import Admin, Client
from interlock_client.torch import push
from torch import nn

MODEL = "line"


def train(x: torch.Tensor, y: torch.Tensor, steps: int) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    return model.eval()


def served_line(client: Client) -> tuple[float, float, int]:
    """Return slope, intercept and version as the server answers them."""
    result = client.infer(MODEL, {"x": np.array([[0.0], [1.0]], np.float32)}, timeout=5)
    at_0, at_1 = result["y"][:, 0]
    return float(at_1 - at_0), float(at_0), result.version


def main() -> int:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(200, 1, generator=generator) * 2 - 1
    y = 3 * x + 2 + 0.05 * torch.randn(200, 1, generator=generator)

    with Client() as client, Admin() as admin:
        hasty = push(train(x, y, steps=5), MODEL, {"x": x}, note="5 steps", promote=True)
        print("version {2}: y = {0:.2f} x + {1:.2f}".format(*served_line(client)))

        push(train(x, y, steps=400), MODEL, {"x": x}, note="400 steps", promote=True)
        slope, intercept, version = served_line(client)
        print(f"version {version}: y = {slope:.2f} x + {intercept:.2f}")

        switch = admin.rollback(MODEL, reason="to show the way back")
        _, _, back = served_line(client)
        print(f"rolled back to version {back}, committed in {switch.commit_s * 1000:.1f} ms")
        admin.promote(MODEL, version, reason="and forth")

    right = abs(slope - 3) < 0.1 and abs(intercept - 2) < 0.1 and back == hasty.version
    print("the served line is y = 3x + 2" if right else "WRONG: this is not y = 3x + 2")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
