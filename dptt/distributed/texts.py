"""Texts of all ranks as bytes: nothing that a rank receives is unpickled, which would run what another rank says."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather_by_mpi(mpi: Any, text: str) -> list[str]:
    """Return the text of every rank of an mpi4py communicator, by rank, on every rank."""
    own = _bytes(text)
    lengths = torch.empty(mpi.Get_size(), dtype=torch.int64)
    mpi.Allgather(torch.tensor([len(own)]).numpy(), lengths.numpy())
    received = torch.empty(int(lengths.sum()), dtype=torch.uint8)
    mpi.Allgatherv(own.numpy(), (received.numpy(), lengths.tolist()))
    return [_text(part) for part in received.split(lengths.tolist())]


def gather_by_torch(text: str, group: dist.ProcessGroup | None, device: torch.device | None) -> list[str]:
    """Return the text of every rank of a process group, by rank, on every rank; messages go through `device`."""
    own = _bytes(text).to(device or "cpu")
    size = dist.get_world_size(group)
    lengths = torch.zeros(size, dtype=torch.int64, device=device)
    dist.all_gather(list(lengths.split(1)), torch.tensor([len(own)], device=device), group=group)
    longest = int(lengths.max())
    if longest == 0:
        return [""] * size
    received = torch.zeros(size, longest, dtype=torch.uint8, device=device)
    message = torch.nn.functional.pad(own, (0, longest - len(own)))
    dist.all_gather(list(received.unbind()), message, group=group)
    return [_text(row[:length]) for row, length in zip(received.cpu(), lengths.tolist(), strict=True)]


def _bytes(text: str) -> Tensor:
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def _text(message: Tensor) -> str:
    return bytes(message.tolist()).decode()
