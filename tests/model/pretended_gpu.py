"""A GPU that does nothing before it is told to: streams are lists of work, memory is handed out again at once.

Work is done in the order that suits the test, as far as events allow. Who writes memory that is still to be read, or
reads what is still to arrive, gets wrong numbers.
"""

import threading
import weakref
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import torch

copy_ = torch.Tensor.copy_


class Event(torch.cuda.Event):
    """A place in the work of a stream."""

    def __new__(cls, stream, place):
        return object.__new__(cls)

    def __init__(self, stream, place):
        self.stream, self.place = stream, place


class Stream:
    """Work in order; some of it waits until another stream has come to some place."""

    def __init__(self):
        self.work, self.done = [], 0

    def do(self, something):
        self.work.append((something, None, 0))

    def wait_stream(self, other):
        self.work.append((None, other, len(other.work)))

    def wait_event(self, event):
        self.work.append((None, event.stream, event.place))

    def record_event(self):
        return Event(self, len(self.work))

    def step(self) -> bool:
        """Do one piece of work, if there is one that need not wait."""
        if self.done == len(self.work):
            return False
        something, other, place = self.work[self.done]
        if other is not None and other.done < place:
            return False
        if something is not None:
            something()
        self.done += 1
        return True


class PretendedGpu:
    """Stands for `torch` in `model.transfer`."""

    def __init__(self, monkeypatch):
        self.computing, self.copying = Stream(), Stream()
        self.buffers, self._free, self._local = [], [], threading.local()
        self.most_alive = self.alive = self.pinned = 0
        self.cuda = SimpleNamespace(
            current_stream=lambda device: self.computing,
            Stream=lambda device: self.copying,
            stream=self._on,
            device=nullcontext,
        )
        monkeypatch.setattr("dptt.model.transfer.torch", self)
        monkeypatch.setattr(torch.Tensor, "copy_", lambda *arguments, **options: self._copy(*arguments, **options))
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: self._pin(tensor))

    def __getattr__(self, name):
        return getattr(torch, name)

    @contextmanager
    def _on(self, stream):
        self._local.stream = stream
        yield
        self._local.stream = None

    def _pin(self, tensor):
        self.pinned += tensor.nbytes
        return tensor.clone()

    def _copy(self, target, source, non_blocking=False):
        stream = getattr(self._local, "stream", None)
        if stream is None:
            return copy_(target, source, non_blocking)
        assert non_blocking
        place = self.again(target)
        stream.do(lambda: copy_(place, source))
        return target

    def empty(self, shape, dtype, device):
        """Hand out the memory that was given back last, whatever is still to be done with it."""
        if not self._free:
            self.buffers.append(torch.zeros(1 << 16, dtype=torch.uint8))
            self._free.append(self.buffers[-1])
        buffer = self._free.pop()
        tensor = buffer[: torch.Size(shape).numel() * dtype.itemsize].view(dtype).view(shape)
        self.alive += 1
        self.most_alive = max(self.most_alive, self.alive)
        weakref.finalize(tensor, self._give_back, buffer)
        return tensor

    def _give_back(self, buffer):
        self.alive -= 1
        self._free.append(buffer)

    def again(self, tensor):
        """Return the same memory, which may be given back nevertheless."""
        for buffer in self.buffers:
            start = tensor.data_ptr() - buffer.data_ptr()
            if 0 <= start < buffer.nbytes:
                return buffer[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        raise AssertionError("no memory of the GPU")

    def compute(self, patterns, seen):
        """Ask the computing stream to look at `patterns`."""
        here = self.again(patterns)
        self.computing.do(lambda: seen.append(here.clone()))

    def finish(self, eager):
        """Do all work, one stream as far ahead of the other as it can."""
        streams = [getattr(self, eager), self.copying if eager == "computing" else self.computing]
        while any(stream.step() for stream in streams):
            pass
        assert all(stream.done == len(stream.work) for stream in streams), "streams wait for each other"
