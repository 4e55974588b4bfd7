"""A Transformer that turns text into vectors; its tokenizer is fixed and stays outside the graph, with the caller.

The text is real: the descriptions of six data sets that scikit-learn ships, cut into passages. Passages of one
description are trained to lie close together; then questions are answered by the nearest passage.
"""

import re
import sys
import zlib

import numpy as np
import torch
from interlock.model import ServingConfig
from interlock_client import Client
from interlock_client.torch import push
from sklearn import datasets
from torch import Tensor, nn

MODEL = "text-embedding"
CONFIG = ServingConfig(max_batch_size=512)  # rows in one request at most
VOCABULARY, WIDTH, PASSAGE = 2048, 48, 24
QUESTIONS = {
    "iris": "length and width of sepal and petal in cm, three plants: setosa, versicolour, virginica",
    "wine": "chemical analysis of alcohol, malic acid, flavanoids and proline from three cultivators in Italy",
    "breast_cancer": "tumor features such as radius, texture and smoothness of cell nuclei, malignant or benign",
    "digits": "images of handwritten digits, bitmaps of pixels from preprinted forms",
    "diabetes": "age, sex, body mass index, blood pressure and serum measurements of patients",
    "linnerud": "exercise and physiological variables: chins, situps, jumps, weight, waist, pulse",
}


def tokenize(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and mask, [texts, longest]: hashed words, 0 for padding. Training and serving share this rule."""
    rows = [[1 + zlib.crc32(word.encode()) % (VOCABULARY - 1) for word in words(text)] for text in texts]
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
    return ids, (ids > 0).astype(np.int64)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower()) or ["?"]


class TextEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, WIDTH, padding_idx=0)
        layer = nn.TransformerEncoderLayer(WIDTH, nhead=4, dim_feedforward=96, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=1, enable_nested_tensor=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        states = self.encoder(self.table(ids), src_key_padding_mask=mask == 0)
        weights = mask.unsqueeze(-1).float()
        return nn.functional.normalize((states * weights).sum(1) / weights.sum(1), dim=1)


def train(ids: Tensor, mask: Tensor, topics: Tensor, steps: int) -> TextEncoder:
    torch.manual_seed(0)
    model = TextEncoder().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(steps):
        rows = torch.randperm(len(ids))[:96]
        vectors = model(ids[rows], mask[rows])
        likeness = (vectors @ vectors.T / 0.1).fill_diagonal_(-1e4).log_softmax(dim=1)
        same = (topics[rows][:, None] == topics[rows][None, :]).float().fill_diagonal_(0)
        optimizer.zero_grad()
        (-(likeness * same).sum(1) / same.sum(1).clamp(min=1)).mean().backward()
        optimizer.step()
    return model.eval()


def main() -> int:
    names = list(QUESTIONS)
    passages, topics = [], []
    for topic, name in enumerate(names):
        found = words(getattr(datasets, f"load_{name}")().DESCR)
        cut = [" ".join(found[at : at + PASSAGE]) for at in range(0, len(found), PASSAGE)]
        passages += cut
        topics += [topic] * len(cut)
    ids, mask = tokenize(passages)
    model = train(torch.tensor(ids), torch.tensor(mask), torch.tensor(topics), steps=60)

    axes = {0: "batch", 1: "length"}
    example = {"ids": torch.tensor(ids[:8]), "mask": torch.tensor(mask[:8])}
    push(
        model,
        MODEL,
        example,
        output_names=["embedding"],
        dynamic={"ids": axes, "mask": axes},
        tags={"tokenizer": "crc32"},
        config=CONFIG,
        promote=True,
    )

    def embed(client: Client, texts: list[str]) -> np.ndarray:
        ids, mask = tokenize(texts)
        return client.infer(MODEL, {"ids": ids, "mask": mask}, timeout=10)["embedding"]

    hits = 0
    with Client() as client:
        library = embed(client, passages)
        for name, question in QUESTIONS.items():
            nearest = int((library @ embed(client, [question])[0]).argmax())
            hits += names[topics[nearest]] == name
            print(f"{question[:58]:<60} → {names[topics[nearest]]:<14} {passages[nearest][:40]}…")
    print(f"{hits} of {len(QUESTIONS)} questions found the right description")
    return 0 if hits >= 5 else 1


if __name__ == "__main__":
    sys.exit(main())
