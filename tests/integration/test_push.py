"""From a training script to a served version in one call, on a real server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from interlock.errors import ExportRefused, InvalidName, ServerUnreachable
from interlock_client import Admin, Client
from interlock_client.torch import push
from torch import nn

from tests.server import Server


def net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)).eval()


def test_push_registers_a_proven_version_and_promotes_it(tmp_path: Path) -> None:
    x = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    with Server(tmp_path / "data") as server:
        first = push(net(1), "net", {"x": x}, admin=server.admin_address, promote=True, note="first", tags={"run": "1"})
        with Admin(server.admin_address) as admin, Client(server.grpc) as client:
            second = push(net(2), "net", {"x": x}, admin=admin)
            assert (first.version, second.version) == (1, 2)
            assert first.proven and second.proven and first.golden_samples == 5
            assert (first.note, first.tags) == ("first", {"run": "1"})
            result = client.infer("net", {"x": x.numpy()})
            assert result.version == 1
            expected = net(1)(x).detach().numpy()
            assert np.allclose(np.asarray(result["y"], np.float32), expected, atol=1e-5)
            admin.promote("net", 2)
            assert client.infer("net", {"x": x.numpy()}).version == 2
            assert admin.rollback("net").to_version == 1


def test_push_refuses_before_it_talks_to_a_server() -> None:
    with pytest.raises(InvalidName):
        push(net(1), "no spaces", torch.zeros(1, 4), admin="127.0.0.1:1")
    with pytest.raises(ExportRefused, match="training mode"):
        push(net(1).train(), "net", torch.ones(1, 4), admin="127.0.0.1:1")


def test_push_says_when_no_server_answers() -> None:
    with pytest.raises(ServerUnreachable):
        push(net(1), "net", torch.ones(1, 4), admin="127.0.0.1:1")
