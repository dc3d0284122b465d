"""The array libraries under test, each with variants of how an array lies in memory or is traced."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Library:
    """How to make an array of a library from a NumPy array, call an operation with it, and read the result."""

    name: str
    make: Callable[[np.ndarray], Any]
    read: Callable[[Any], np.ndarray] = np.asarray
    call: Callable[..., Any] = lambda function, *arrays: function(*arrays)
    has_out: bool = True
    traced: bool = False
    needs: str = ""
    """What the machine must have beside the library's package: "gpu" or "g++"."""

    @property
    def exact(self) -> bool:
        """Whether angles have the bits of NumPy's; compilers fuse other operations than Numba does."""
        return not self.traced and not self.needs

    def __repr__(self) -> str:
        return self.name


def _readonly(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def _strided(array: np.ndarray) -> np.ndarray:
    """Every second element of a larger array, along every axis."""
    larger = np.zeros([2 * n for n in array.shape], array.dtype)
    view = larger[tuple(slice(None, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def _permuted(array: np.ndarray) -> np.ndarray:
    """The axes in another order in memory, without gaps."""
    axes = np.roll(np.arange(array.ndim), 1)
    return np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))


def _reversed(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array[::-1])[::-1]


def _memmap(array: np.ndarray) -> np.ndarray:
    if array.size == 0:  # nothing can be mapped
        return array
    with tempfile.NamedTemporaryFile() as file:  # the map outlives the name
        mapped = np.memmap(file.name, array.dtype, "w+", shape=array.shape)
    mapped[...] = array
    return mapped


def _tensor(array: np.ndarray) -> Any:
    import torch

    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.copy())


def _read_tensor(tensor: Any) -> np.ndarray:
    import ml_dtypes
    import torch

    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def _requires_grad(array: np.ndarray) -> Any:
    tensor = _tensor(array)
    return tensor.requires_grad_() if tensor.dtype.is_floating_point else tensor


def _permuted_tensor(array: np.ndarray) -> Any:
    tensor = _tensor(array)
    return tensor.movedim(0, -1).contiguous().movedim(-1, 0)


def _strided_tensor(array: np.ndarray) -> Any:
    import torch

    tensor = _tensor(array)
    return torch.stack([tensor, tensor], dim=-1).flatten(-2)[..., ::2]


def _compiled(function: Callable[..., Any], *arrays: Any) -> Any:
    import torch

    torch.compiler.reset()
    return torch.compile(function, fullgraph=True, backend="eager")(*arrays)


def _emulated(function: Callable[..., Any], *arrays: Any) -> Any:
    from tests.emulator.patches import tensors_on_cuda

    with tensors_on_cuda():
        return function(*arrays)


def _fake_cupy_array(array: np.ndarray) -> Any:
    from tests.emulator.patches import fake_cupy_array

    return fake_cupy_array(array)


def _emulated_cupy(function: Callable[..., Any], *arrays: Any) -> Any:
    from tests.emulator.patches import arrays_of_cupy

    with arrays_of_cupy():
        return function(*arrays)


def _emulated_tensorflow(function: Callable[..., Any], *arrays: Any) -> Any:
    from tests.emulator.patches import tensorflow_on_cuda

    with tensorflow_on_cuda():
        return function(*arrays)


def _cuda_tensor(array: np.ndarray) -> Any:
    return _tensor(array).cuda()


def _read_cuda_tensor(tensor: Any) -> np.ndarray:
    return _read_tensor(tensor.cpu())


def _permuted_cuda_tensor(array: np.ndarray) -> Any:
    return _permuted_tensor(array).cuda()


def _strided_cuda_tensor(array: np.ndarray) -> Any:
    import torch

    tensor = _cuda_tensor(array)
    return torch.stack([tensor, tensor], dim=-1).flatten(-2)[..., ::2]


def _cupy_array(array: np.ndarray) -> Any:
    import cupy

    return cupy.asarray(array)


def _read_cupy(array: Any) -> np.ndarray:
    import cupy

    return cupy.asnumpy(array)


def _strided_cupy_array(array: np.ndarray) -> Any:
    import cupy

    return cupy.repeat(cupy.asarray(array), 2, axis=0)[::2]


def _jax_array(array: np.ndarray) -> Any:
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax.numpy.asarray(array)


def _jitted(function: Callable[..., Any], *arrays: Any) -> Any:
    import jax

    return jax.jit(function)(*arrays)


def _tf_tensor(array: np.ndarray) -> Any:
    import tensorflow as tf

    return tf.constant(array)


def _tf_variable(array: np.ndarray) -> Any:
    import tensorflow as tf

    return tf.Variable(array)


def _read_tf(tensor: Any) -> np.ndarray:
    return tensor.numpy()


def _tf_function(function: Callable[..., Any], *arrays: Any) -> Any:
    """Traced with unknown lengths, all but that of an axis that may hold letters."""
    import tensorflow as tf

    return tf.function(function)(*arrays)


def _tf_xla(function: Callable[..., Any], *arrays: Any) -> Any:
    import tensorflow as tf

    return tf.function(function, jit_compile=True)(*arrays)


def _dask_array(array: np.ndarray) -> Any:
    import dask.array as da

    chunks = [-(-n // 2) if n > 20 or (k == 0 and n and array.ndim > 1) else -1 for k, n in enumerate(array.shape)]
    return da.from_array(array, chunks=chunks)


def _dask_of_tensors(array: np.ndarray) -> Any:
    """Chunks along the first axis only, since Dask cannot rechunk tensors."""
    import dask.array as da

    chunks = [-(-n // 2) if k == 0 and n and array.ndim > 1 else -1 for k, n in enumerate(array.shape)]
    return da.from_array(array, chunks=chunks).map_blocks(_tensor, meta=_tensor(array[:0]))


def _read_dask_of_tensors(array: Any) -> np.ndarray:
    return array.map_blocks(_read_tensor, meta=np.empty((0,) * array.ndim)).compute()


LIBRARIES = [
    Library("numpy", np.copy),
    Library("numpy:readonly", _readonly, has_out=False),
    Library("numpy:strided", _strided),
    Library("numpy:permuted", _permuted),
    Library("numpy:reversed", _reversed),
    Library("numpy:fortran", np.asfortranarray),
    Library("numpy:memmap", _memmap),
    Library("torch", _tensor, _read_tensor),
    Library("torch:requires_grad", _requires_grad, _read_tensor, has_out=False),
    Library("torch:permuted", _permuted_tensor, _read_tensor),
    Library("torch:strided", _strided_tensor, _read_tensor),
    Library("torch:compile", _tensor, _read_tensor, _compiled, has_out=False, traced=True),
    Library("torch:emulated", _tensor, _read_tensor, _emulated, needs="g++"),
    Library("torch:emulated,permuted", _permuted_tensor, _read_tensor, _emulated, needs="g++"),
    Library("torch:emulated,strided", _strided_tensor, _read_tensor, _emulated, needs="g++"),
    Library("torch:emulated,requires_grad", _requires_grad, _read_tensor, _emulated, has_out=False, needs="g++"),
    Library("torch:cuda", _cuda_tensor, _read_cuda_tensor, needs="gpu"),
    Library("torch:cuda,permuted", _permuted_cuda_tensor, _read_cuda_tensor, needs="gpu"),
    Library("torch:cuda,strided", _strided_cuda_tensor, _read_cuda_tensor, needs="gpu"),
    Library("cupy:emulated", _fake_cupy_array, call=_emulated_cupy, needs="g++"),
    Library("cupy", _cupy_array, _read_cupy, needs="gpu"),
    Library("cupy:strided", _strided_cupy_array, _read_cupy, needs="gpu"),
    Library("jax", _jax_array, has_out=False),
    Library("jax:jit", _jax_array, call=_jitted, has_out=False, traced=True),
    Library("tensorflow", _tf_tensor, _read_tf, has_out=False),
    Library("tensorflow:variable", _tf_variable, _read_tf, has_out=False),
    Library("tensorflow:emulated", _tf_tensor, _read_tf, _emulated_tensorflow, has_out=False, needs="g++"),
    Library("tensorflow:function", _tf_tensor, _read_tf, _tf_function, has_out=False, traced=True),
    Library("tensorflow:xla", _tf_tensor, _read_tf, _tf_xla, has_out=False, traced=True),
    Library("dask", _dask_array, has_out=False),
    Library("dask:torch", _dask_of_tensors, _read_dask_of_tensors, has_out=False),
]
