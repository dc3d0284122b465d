"""Noise, mutations and shuffles of the CUDA kernels, on the emulator, against those of the CPU, bit by bit."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from gradcorr_fast.hooks._draws import HostDraws
from gradcorr_fast.hooks._layout import make_layout
from gradcorr_fast.hooks._ready import Draws
from gradcorr_fast.hooks.torch._draws import DeviceDraws
from gradcorr_fast.kernels import cpu_sequences, cuda, cuda_draws
from tests.conftest import require_compiler
from tests.emulator import Emulator
from tests.emulator.patches import emulated_launches, tensors_on_cuda
from tests.test_cuda_kernels import QUEUE, Guarded

SEED = 2**40 + 3
LENGTHS = [1, 2, 3, 4, 17, 203]


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    require_compiler()
    with emulated_launches() as emulator:
        yield emulator
        emulator.grid, emulator.block, emulator.seed = None, cuda.BLOCK, 0


def make_codes(n: int, length: int, n_letters: int = 4) -> np.ndarray:
    codes = np.random.default_rng(length).integers(0, n_letters + 1, (n, length)).astype(np.uint8)
    return np.where(codes == n_letters, 255, codes).astype(np.uint8)


def address(array: np.ndarray) -> int:
    return int(array.ctypes.data)


def noise(keys: np.ndarray, sample: int, length: int, n_letters: int, *, letters_last: bool) -> np.ndarray:
    out = Guarded((len(keys), length, n_letters) if letters_last else (len(keys), n_letters, length), np.float32)
    shape = len(keys), length, n_letters
    cuda_draws.noise(shape, QUEUE, keys=address(keys), sample=sample, out=address(out.array), letters_last=letters_last)
    assert out.is_intact()
    return out.array if letters_last else out.array.transpose(0, 2, 1)


def mutate(codes: np.ndarray, keys: np.ndarray, sample: int, rate: float, n_letters: int) -> np.ndarray:
    out = Guarded(codes.shape, np.uint8)
    memory = {"codes": address(codes), "keys": address(keys), "out": address(out.array)}
    cuda_draws.mutate(codes.shape, QUEUE, sample=sample, rate=rate, n_letters=n_letters, **memory)
    assert out.is_intact()
    return out.array


def shuffle(codes: np.ndarray, sample: int, kind: str) -> np.ndarray:
    out, keys = Guarded(codes.shape, np.uint8), cpu_sequences.digest(codes, SEED)
    memory = {"codes": address(codes), "keys": address(keys), "out": address(out.array)}
    cuda_draws.shuffle(codes.shape, QUEUE, sample=sample, kind=kind, **memory)
    assert out.is_intact()
    return out.array


@pytest.mark.parametrize("letters_last", [True, False])
@pytest.mark.parametrize("n_letters", [1, 4, 5, 20])
@pytest.mark.parametrize("length", LENGTHS)
def test_noise_has_the_bits_of_the_cpu(emulator: Emulator, length: int, n_letters: int, letters_last: bool) -> None:
    keys = cpu_sequences.digest(make_codes(5, length), SEED)
    expected = cpu_sequences.noise(keys, 3, np.empty((5, length, n_letters), np.float32))
    found = noise(keys, 3, length, n_letters, letters_last=letters_last)
    np.testing.assert_array_equal(found.copy().view(np.uint32), expected.view(np.uint32))


def test_noise_of_many_words_has_the_bits_of_the_cpu(emulator: Emulator) -> None:
    """Every exponent of the uniform number, each octant of the angle, zeros of either sign."""
    keys = cpu_sequences.digest(make_codes(40, 5), SEED)
    expected = cpu_sequences.noise(keys, 0, np.empty((40, 5000, 4), np.float32))
    found = noise(keys, 0, 5000, 4, letters_last=True)
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("n_letters", [2, 4, 20])
@pytest.mark.parametrize("length", LENGTHS)
def test_mutants_are_those_of_the_cpu(emulator: Emulator, length: int, n_letters: int, rate: float) -> None:
    codes = make_codes(5, length, n_letters)
    keys = cpu_sequences.digest(codes, SEED)
    expected = cpu_sequences.mutate(codes, keys, 2**32 - 1, rate, n_letters)
    np.testing.assert_array_equal(mutate(codes, keys, 2**32 - 1, rate, n_letters), expected)


@pytest.mark.parametrize("kind", ["mono", "dinucleotide"])
@pytest.mark.parametrize("n_letters", [1, 4, 32])
@pytest.mark.parametrize("length", LENGTHS)
def test_shuffles_are_those_of_the_cpu(emulator: Emulator, length: int, n_letters: int, kind: str) -> None:
    codes = make_codes(5, length, n_letters)
    np.testing.assert_array_equal(shuffle(codes, 7, kind), cpu_sequences.shuffle(codes, 1, kind, SEED, 7)[:, 0])


@pytest.mark.parametrize("kind", ["mono", "dinucleotide"])
def test_long_sequences_are_shuffled_outside_of_shared_memory(
    emulator: Emulator, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_draws, "IN_SHARED", 16)
    codes = make_codes(4, 300)
    np.testing.assert_array_equal(shuffle(codes, 1, kind), cpu_sequences.shuffle(codes, 1, kind, SEED, 1)[:, 0])


GRIDS = pytest.mark.parametrize(("grid", "block"), [(1, 32), (2, 96), (7, 256)])


@GRIDS
def test_the_launch_of_draws_does_not_matter(emulator: Emulator, grid: int, block: int) -> None:
    codes = make_codes(6, 90)
    emulator.grid, emulator.block = grid, block
    keys = cpu_sequences.digest(codes, SEED)
    expected = cpu_sequences.noise(keys, 1, np.empty((6, 90, 4), np.float32))
    np.testing.assert_array_equal(noise(keys, 1, 90, 4, letters_last=False), expected)
    np.testing.assert_array_equal(mutate(codes, keys, 1, 0.3, 4), cpu_sequences.mutate(codes, keys, 1, 0.3, 4))


@GRIDS
@pytest.mark.parametrize("kind", ["mono", "dinucleotide"])
def test_the_launch_of_shuffles_does_not_matter(emulator: Emulator, grid: int, block: int, kind: str) -> None:
    codes = make_codes(6, 90)
    emulator.grid, emulator.block = grid, block
    np.testing.assert_array_equal(shuffle(codes, 1, kind), cpu_sequences.shuffle(codes, 1, kind, SEED, 1)[:, 0])


@pytest.mark.parametrize("n", [0, 3])
def test_nothing_is_drawn_for_nothing(emulator: Emulator, n: int) -> None:
    codes = np.zeros((n, 0 if n else 5), np.uint8)
    keys = cpu_sequences.digest(codes, SEED)
    assert noise(keys, 0, codes.shape[1], 4, letters_last=True).size == 0
    assert mutate(codes, keys, 0, 0.5, 4).size == 0
    assert shuffle(codes, 0, "dinucleotide").size == 0


LAYOUTS = {
    "letters first": ((3, 4, 21), 1, None),
    "letters last": ((3, 21, 4), 2, None),
    "letters between": ((3, 5, 4, 6), 2, None),
    "other channels": ((3, 6, 21), 1, slice(1, 5)),
    "other channels last": ((3, 21, 7), 2, slice(0, 5)),
}


@pytest.fixture
def draws(request: pytest.FixtureRequest) -> Iterator[tuple[Draws, Draws]]:
    """Draws on the host, and those of the kernels, for sequences with unknown letters and perhaps other channels."""
    require_compiler()
    shape, axis, letters = LAYOUTS[request.param]
    layout = make_layout(shape, axis, letters, None)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    codes = make_codes(shape[0], layout.n_positions, layout.n_letters)
    one_hot = (codes[..., None] == np.arange(layout.n_letters)).astype(np.float32)
    layout.put(x, one_hot)
    with tensors_on_cuda():
        host = HostDraws(x, codes, layout, SEED, torch.from_numpy)
        yield host, DeviceDraws(torch.from_numpy(x), layout, SEED)


EVERY_LAYOUT = pytest.mark.parametrize("draws", LAYOUTS, indirect=True)


@EVERY_LAYOUT
def test_noise_of_tensors_is_that_of_the_host(draws: tuple[Draws, Draws]) -> None:
    host, device = (found.noise(2) for found in draws)
    np.testing.assert_array_equal(device, host)


@EVERY_LAYOUT
def test_mutants_of_tensors_are_those_of_the_host(draws: tuple[Draws, Draws]) -> None:
    host, device = (found.mutants(2, 0.4) for found in draws)
    np.testing.assert_array_equal(device, host)


@EVERY_LAYOUT
@pytest.mark.parametrize("kind", ["mono", "dinucleotide"])
def test_shuffles_of_tensors_are_those_of_the_host(draws: tuple[Draws, Draws], kind: str) -> None:
    host, device = (found.shuffled(kind, 2) for found in draws)
    np.testing.assert_array_equal(device, host)
