"""A Transformer encoder over real handwritten digits: sixteen patches of 2 x 2 pixels attend to each other.

The second version is trained on shuffled labels, as after a slip in a data pipeline. Its golden samples are met (it is
what PyTorch computes), so it can be promoted; the accuracy on held-out digits shows the slip, and a rollback mends it.
"""

import sys

import torch
from interlock.model import ServingConfig
from interlock_client import Admin, Client
from interlock_client.torch import push
from sklearn.datasets import load_digits
from torch import Tensor, nn

MODEL = "digits-transformer"
CONFIG = ServingConfig(max_batch_size=512)  # rows in one request at most


class PatchTransformer(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Linear(4, width)
        self.position = nn.Parameter(torch.randn(16, width) * 0.1)
        layer = nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=64, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.out = nn.Linear(width, 10)

    def forward(self, patches: Tensor) -> Tensor:
        scores: Tensor = self.out(self.encoder(self.embed(patches) + self.position).mean(dim=1))
        return scores


def train(patches: Tensor, labels: Tensor, epochs: int) -> PatchTransformer:
    torch.manual_seed(0)
    model = PatchTransformer().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(patches)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(patches[rows]), labels[rows]).backward()
            optimizer.step()
    return model.eval()


def main() -> int:
    data = load_digits()
    images = torch.tensor(data.images / 16, dtype=torch.float32)
    patches = images.unfold(1, 2, 2).unfold(2, 2, 2).reshape(-1, 16, 4)
    labels = torch.tensor(data.target)
    order = torch.randperm(len(patches), generator=torch.Generator().manual_seed(0))
    known, held_out = order[:1400], order[1400:]

    def accuracy(client: Client) -> float:
        result = client.infer(MODEL, {"patches": patches[held_out].numpy()}, timeout=10)
        print(f"version {result.version}: ", end="")
        return float((result["y"].argmax(axis=1) == labels[held_out].numpy()).mean())

    with Client() as client, Admin() as admin:
        model = train(patches[known], labels[known], epochs=12)
        push(model, MODEL, {"patches": patches[known][:8]}, note="first", config=CONFIG, promote=True)
        good = accuracy(client)
        print(f"{good:.1%} of the held-out digits")

        shuffled = labels[known][torch.randperm(len(known))]
        model = train(patches[known], shuffled, epochs=1)
        push(model, MODEL, {"patches": patches[known][:8]}, note="new pipeline", config=CONFIG, promote=True)
        bad = accuracy(client)
        print(f"{bad:.1%}")

        switch = admin.rollback(MODEL, reason=f"accuracy fell from {good:.1%} to {bad:.1%}")
        again = accuracy(client)
        print(f"{again:.1%}, rolled back in {switch.commit_s * 1000:.1f} ms without loading anything")

    right = good > 0.9 and bad < 0.5 and again == good
    print("the slip was undone" if right else "WRONG: see the figures above")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
