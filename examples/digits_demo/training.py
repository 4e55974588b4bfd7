"""Two versions of a classifier of handwritten digits: a good one, and one whose training labels were partly wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

MIXED_UP: Final = {7: 1, 8: 3, 9: 4}
"""What version 2 was told: each 7 is a 1, each 8 a 3, each 9 a 4, as after a slip in a table of labels."""
EPOCHS: Final = 15
_BATCH: Final = 64

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Digits:
    """The 1,797 images of 8 x 8 pixels that scikit-learn ships, split once: a fifth is never trained on."""

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained version, and what PyTorch itself answers to the held-out images."""

    model: nn.Module
    accuracy: float
    answers: Images
    """PyTorch's scores, one row for each held-out image: what every served answer is checked against."""


class DigitNet(nn.Module):
    """Two convolutions and a linear layer over images of 1 x 8 x 8, pixels from 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(32 * 4 * 4, 10))

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.head(self.features(image))
        return scores


def load() -> Digits:
    """Read and split the images."""
    found: Any = load_digits()
    images = (found.images / 16.0).astype(np.float32)[:, np.newaxis]
    labels = found.target.astype(np.int64)
    parts = train_test_split(images, labels, test_size=0.2, random_state=0, stratify=labels)
    return Digits(parts[0], parts[2], parts[1], parts[3])


def mix_up(labels: Labels) -> Labels:
    """Return labels with the slip of version 2."""
    return np.array([MIXED_UP.get(int(label), int(label)) for label in labels], dtype=np.int64)


def train(digits: Digits, labels: Labels, seed: int, on_epoch: Callable[[], None]) -> Trained:
    """Train a network on the training images with these labels, and judge it by the true labels held out."""
    # Threads that wait for each other by spinning take minutes where another process wants the cores as well.
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = DigitNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    images, targets = torch.from_numpy(digits.train_images), torch.from_numpy(labels)
    model.train()
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(images)), _BATCH):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images[rows]), targets[rows])
            loss.backward()
            optimizer.step()
        on_epoch()
    model.eval()
    with torch.no_grad():
        answers = model(torch.from_numpy(digits.test_images)).numpy()
    return Trained(model, accuracy(answers, digits.test_labels), answers)


def accuracy(scores: npt.NDArray[np.generic], labels: Labels) -> float:
    """Return the share of rows whose highest score is at the label."""
    return float(np.mean(np.argmax(scores, axis=1) == labels))
