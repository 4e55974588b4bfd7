"""A 784-128-10 perceptron with ReLU, dropout and softmax, on real handwritten digits.

The digits are the 1,797 that scikit-learn ships, enlarged from 8 x 8 to 28 x 28 pixels. The better version is served
under the alias `canary` first, and promoted to `stable` by what it answers there.
"""

import sys

import numpy as np
import torch
from interlock_client import Admin, Client
from interlock_client.torch import push
from sklearn.datasets import load_digits
from torch import Tensor, nn

MODEL = "digits-mlp"


class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(784, 128)
        self.dropout = nn.Dropout(0.2)
        self.out = nn.Linear(128, 10)

    def scores(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.dropout(torch.relu(self.hidden(x))))
        return found

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.scores(x), dim=1)


def digits() -> tuple[Tensor, Tensor]:
    data = load_digits()
    small = torch.tensor(data.images / 16, dtype=torch.float32).unsqueeze(1)
    large = nn.functional.interpolate(small, size=28, mode="bilinear").flatten(1)
    order = torch.randperm(len(large), generator=torch.Generator().manual_seed(0))
    return large[order], torch.tensor(data.target)[order]


def train(images: Tensor, labels: Tensor, epochs: int) -> Perceptron:
    torch.manual_seed(0)
    model = Perceptron().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model.scores(images[rows]), labels[rows]).backward()
            optimizer.step()
    return model.eval()  # dropout off: an export of a module in training mode is refused


def accuracy(client: Client, ref: str, images: Tensor, labels: Tensor) -> float:
    """Ask the server about every held-out digit, in batches."""
    hits = 0
    for rows in torch.arange(len(images)).split(32):
        probabilities = client.infer(ref, {"x": images[rows].numpy()}, timeout=5)["y"]
        assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        hits += int((probabilities.argmax(axis=1) == labels[rows].numpy()).sum())
    return hits / len(images)


def main() -> int:
    images, labels = digits()
    known, held_out = slice(0, 1400), slice(1400, None)

    with Client() as client, Admin() as admin:
        push(train(images[known], labels[known], 1), MODEL, {"x": images[:8]}, note="1 epoch", promote=True)
        better = push(train(images[known], labels[known], 12), MODEL, {"x": images[:8]}, note="12 epochs")
        admin.promote(MODEL, better.version, alias="canary")  # served beside stable, for those who ask

        stable = accuracy(client, MODEL, images[held_out], labels[held_out])
        canary = accuracy(client, f"{MODEL}:canary", images[held_out], labels[held_out])
        print(f"held-out digits: stable {stable:.1%}, canary {canary:.1%}")
        if canary <= stable:
            print("WRONG: twelve epochs are no better than one")
            return 1
        switch = admin.promote(MODEL, better.version, reason=f"canary has {canary:.1%}, stable {stable:.1%}")
        print(f"promoted version {switch.to_version} from the canary to stable; it was loaded: {switch.resident}")
        served = accuracy(client, MODEL, images[held_out], labels[held_out])

    print(f"stable now: {served:.1%}")
    return 0 if served == canary > 0.93 else 1


if __name__ == "__main__":
    sys.exit(main())
