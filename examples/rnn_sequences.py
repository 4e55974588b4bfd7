"""A recurrent network (nn.RNN and a linear layer) over sequences of any length: it reads a digit line by line.

An image of 8 x 8 pixels is a sequence of 8 vectors. The number of lines is a dynamic dimension, so the same served
model may be asked after any number of them, and knows more the more it has read.
"""

import sys

import torch
from interlock.model import ServingConfig
from interlock_client import Client
from interlock_client.torch import push
from sklearn.datasets import load_digits
from torch import Tensor, nn

MODEL = "line-reader"


class LineReader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(input_size=8, hidden_size=64, batch_first=True)
        self.out = nn.Linear(64, 10)

    def forward(self, lines: Tensor) -> Tensor:
        states, _ = self.rnn(lines)
        scores: Tensor = self.out(states[:, -1])
        return scores


def train(lines: Tensor, labels: Tensor, epochs: int) -> LineReader:
    torch.manual_seed(0)
    model = LineReader()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(lines)).split(64):
            states, _ = model.rnn(lines[rows])
            scores = model.out(states)
            # Also asked before the end: what it is trained on is what it can be asked.
            early = nn.functional.cross_entropy(scores[:, 3:7].flatten(0, 1), labels[rows].repeat_interleave(4))
            optimizer.zero_grad()
            (nn.functional.cross_entropy(scores[:, 7], labels[rows]) + 0.2 * early).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return model.eval()


def main() -> int:
    data = load_digits()
    lines = torch.tensor(data.images / 16, dtype=torch.float32)
    labels = torch.tensor(data.target)
    order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(0))
    known, held_out = order[:1400], order[1400:]

    model = train(lines[known], labels[known], epochs=25)
    # Both dimensions are free: the export compares PyTorch and ONNX Runtime over several sizes of each.
    version = push(
        model,
        MODEL,
        {"lines": lines[known][:8]},
        output_names=["scores"],
        dynamic={"lines": {0: "batch", 1: "steps"}},
        config=ServingConfig(max_batch_size=512),  # the whole held-out set in one request
        promote=True,
    )
    print(f"serving {MODEL} version {version.version}: {version.signature.inputs[0]}")

    accuracy = {}
    with Client() as client:
        for seen in (2, 4, 6, 8):
            result = client.infer(MODEL, {"lines": lines[held_out][:, :seen].contiguous().numpy()}, timeout=5)
            accuracy[seen] = float((result["scores"].argmax(axis=1) == labels[held_out].numpy()).mean())
            print(f"after {seen} of 8 lines: {accuracy[seen]:.1%} of the held-out digits are right")

    right = accuracy[8] > 0.85 and accuracy[8] > accuracy[4] > accuracy[2]
    print("the longer it reads, the better it knows" if right else "WRONG: it does not learn from what it reads")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
