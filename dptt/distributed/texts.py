"""Texts of all ranks as bytes: nothing that a rank receives is unpickled, which would run what another rank says."""

from typing import Any

import numpy as np
import torch
import torch.distributed as dist


def gather_by_mpi(mpi: Any, text: str) -> list[str]:
    """Return the text of every rank of an mpi4py communicator, by rank, on every rank."""
    own = np.frombuffer(text.encode(), np.uint8)
    lengths = np.empty(mpi.Get_size(), np.int64)
    mpi.Allgather(np.array([own.size], np.int64), lengths)
    received = np.empty(lengths.sum(), np.uint8)
    mpi.Allgatherv(own, (received, lengths.tolist()))
    return [part.tobytes().decode() for part in np.split(received, np.cumsum(lengths)[:-1])]


def gather_by_torch(text: str, group: dist.ProcessGroup | None, device: torch.device | None) -> list[str]:
    """Return the text of every rank of a process group, by rank, on every rank; messages go through `device`."""
    own = torch.frombuffer(bytearray(text.encode() or b"\0"), dtype=torch.uint8)
    size = dist.get_world_size(group)
    lengths = torch.zeros(size, dtype=torch.int64, device=device)
    length = torch.tensor([len(text.encode())], device=device)
    dist.all_gather(list(lengths.split(1)), length, group=group)
    longest = int(lengths.max())
    if longest == 0:
        return [""] * size
    message = torch.zeros(longest, dtype=torch.uint8, device=device)
    message[: int(length)] = own[: int(length)].to(message.device)
    received = torch.zeros(size, longest, dtype=torch.uint8, device=device)
    dist.all_gather(list(received.unbind()), message, group=group)
    return [bytes(row[:n].tolist()).decode() for row, n in zip(received.cpu(), lengths.tolist(), strict=True)]
