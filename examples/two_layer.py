"""Two linear layers, 10-20-10, on real measurements: fill in the one of ten values that is missing.

The data are the 442 patients with ten measurements each that scikit-learn ships. The second version is exported with
another output name, which would break every caller of the first: the promote is refused, until it is said to be meant.
"""

import sys

import torch
from interlock.errors import InterlockError
from interlock.model import ServingConfig
from interlock_client import Admin, Client
from interlock_client.torch import push
from sklearn.datasets import load_diabetes
from torch import Tensor, nn

MODEL = "fill-in"
CONFIG = ServingConfig(max_batch_size=512)  # rows in one request at most


def train(patients: Tensor) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 20), nn.Linear(20, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-4)
    for _ in range(400):
        gaps = torch.randint(10, (len(patients),))
        optimizer.zero_grad()
        nn.functional.mse_loss(model(without(patients, gaps)), patients).backward()
        optimizer.step()
    return model.eval()


def without(patients: Tensor, gaps: Tensor) -> Tensor:
    """Put the mean, which is 0 here, in place of one value of each patient."""
    return patients.scatter(1, gaps.unsqueeze(1), 0.0)


def main() -> int:
    patients = torch.tensor(load_diabetes().data, dtype=torch.float32)
    patients = patients / patients.std(dim=0)
    patients = patients[torch.randperm(len(patients), generator=torch.Generator().manual_seed(0))]
    known, held_out = patients[:350], patients[350:]
    gaps = torch.arange(len(held_out)) % 10
    asked, truth = without(held_out, gaps), held_out.gather(1, gaps.unsqueeze(1))[:, 0]

    def error(client: Client, output: str) -> float:
        found = torch.from_numpy(client.infer(MODEL, {"x": asked.numpy()}, timeout=5)[output].copy())
        return float(((found.gather(1, gaps.unsqueeze(1))[:, 0] - truth) ** 2).mean())

    model = train(known)
    with Client() as client, Admin() as admin:
        push(model, MODEL, {"x": known[:8]}, output_names=["filled"], config=CONFIG, promote=True)
        guess, served = float((truth**2).mean()), error(client, "filled")
        print(f"mean squared error: {guess:.2f} with the mean filled in, {served:.2f} with the served answer")

        renamed = push(model, MODEL, {"x": known[:8]}, output_names=["patient"], config=CONFIG)
        try:
            admin.promote(MODEL, renamed.version)
        except InterlockError as refusal:
            print(f"refused: {refusal.message}")
        else:
            print("WRONG: a version that breaks its callers was promoted")
            return 1
        switch = admin.promote(MODEL, renamed.version, allow_breaking=True, reason="callers know the new name")
        print(f"promoted all the same; what breaks is on record: {'; '.join(switch.breaking)}")
        same = error(client, "patient") == served
        admin.rollback(MODEL, reason="back to the old name", allow_breaking=True)

    right = served < 0.7 * guess and same
    print("the model fills gaps in better than the mean" if right else "WRONG: see the figures above")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
