"""What crosses the bus between the host and a GPU: beside the model's work, and without waiting for it."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch

SMALL = 1 << 14
"""Numbers of an array that is copied together with others: asking for a copy takes a few microseconds."""


class Transfer:
    """Copies to and from a GPU, either way on a stream of its own, through pinned memory.

    PyTorch gives pinned memory out again when the copies out of it are done, as it does with a stream's memory on the
    GPU: there are as many buffers as batches under way, and nobody waits for one.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._up, self._down = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def bring(self, array: torch.Tensor) -> torch.Tensor:
        """Return an array of the host on the GPU; what the current stream does later waits for the copy."""
        pinned = _pinned(array).copy_(array)
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._up):
            brought = pinned.to(self._device, non_blocking=True)
        current.wait_stream(self._up)
        brought.record_stream(current)
        return brought

    def fetch(self, arrays: Sequence[Any]) -> Callable[[], list[Any]]:
        """Begin to copy arrays to the host, those that are not there; what is returned waits until all are."""
        found, groups = list(arrays), _grouped(arrays)
        packed = [arrays[group[0]] if len(group) == 1 else _joined(arrays, group) for group in groups]
        self._down.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._down):
            copies = [_pinned(tensor).copy_(tensor, non_blocking=True) for tensor in packed]
            done = self._down.record_event()
        for tensor in packed:
            tensor.record_stream(self._down)
        shapes = [[arrays[k].shape for k in group] for group in groups]

        def wait() -> list[Any]:
            done.synchronize()
            for group, copy, own in zip(groups, copies, shapes, strict=True):
                parts = copy.reshape(-1).split([shape.numel() for shape in own])
                for k, part, shape in zip(group, parts, own, strict=True):
                    found[k] = part.view(shape)
            return found

        return wait


def transfer(device: torch.device) -> Transfer:
    """The one for a GPU, whose streams last as long as the process."""
    return _transfer(torch.cuda.current_device() if device.index is None else device.index)


@cache
def _transfer(number: int) -> Transfer:
    return Transfer(torch.device("cuda", number))


def bring(array: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return an array where it is wanted, which may be where it is."""
    is_upload = device.type == "cuda" and array.device.type == "cpu"
    return transfer(device).bring(array) if is_upload else array.to(device)


def _pinned(like: torch.Tensor) -> torch.Tensor:
    return torch.empty(like.shape, dtype=like.dtype, device="cpu", pin_memory=True)


def _grouped(arrays: Sequence[Any]) -> list[list[int]]:
    """Number the arrays of the GPU that share a copy: small ones of a dtype."""
    groups: dict[Any, list[int]] = {}
    for k, array in enumerate(arrays):
        if isinstance(array, torch.Tensor) and array.device.type != "cpu":
            groups.setdefault(array.dtype if array.numel() <= SMALL else k, []).append(k)
    return list(groups.values())


def _joined(arrays: Sequence[Any], group: list[int]) -> torch.Tensor:
    return torch.cat([arrays[k].reshape(-1) for k in group])
