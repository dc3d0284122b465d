"""The frameworks whose models are attributed: one small network in each, with its gradient worked out by hand."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

N, LENGTH, N_HIDDEN, N_TARGETS = 7, 6, 5, 3
RNG = np.random.default_rng(3)
W1 = RNG.standard_normal((LENGTH, 4, N_HIDDEN))
W2 = RNG.standard_normal((N_HIDDEN, N_TARGETS))
X = np.eye(4)[RNG.integers(0, 4, (N, LENGTH))].astype(np.float32)  # (N, L, 4)
SCALE = RNG.standard_normal((N, N_TARGETS)).astype(np.float32)


def outputs(x: np.ndarray = X) -> np.ndarray:
    """Compute ``softplus(x W1) W2``, shape (N, T), in float64."""
    return np.logaddexp(0, np.einsum("nla,lah->nh", x, W1)) @ W2


def gradient(target: int, x: np.ndarray = X) -> np.ndarray:
    """Derivative of one output with respect to `x`, shape (N, L, 4)."""
    hidden = np.einsum("nla,lah->nh", x.astype(np.float64), W1)
    return np.einsum("nh,lah->nla", W2[:, target] / (1 + np.exp(-hidden)), W1)


@dataclass(frozen=True)
class Framework:
    """How to make the network and arrays of a framework."""

    name: str
    model: Callable[..., Any]
    """From a function of the framework's operations applied to the output, or None: the network (x) -> output."""
    array: Callable[[np.ndarray], Any]
    axis: int = -1

    def __repr__(self) -> str:
        return self.name

    @property
    def hooks(self) -> Any:
        import gradcorr_fast as gf

        return getattr(gf.hooks, "tensorflow" if self.name == "keras" else self.name)

    def lay(self, x: np.ndarray) -> np.ndarray:
        """From (N, L, 4) to the layout of the framework, or back."""
        return np.ascontiguousarray(np.moveaxis(x, -1, self.axis)) if self.axis != -1 else x

    def read(self, result: Any) -> np.ndarray:
        """A result as NumPy array with the letters last."""
        array = np.asarray(result.detach() if hasattr(result, "detach") else result)
        return array if self.axis == -1 else np.moveaxis(array, -2, -1)


def _torch(head: Any = None) -> Any:
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w1 = torch.nn.Parameter(torch.tensor(W1, dtype=torch.float32))
            self.register_buffer("w2", torch.tensor(W2, dtype=torch.float32))
            self.dropout = torch.nn.Dropout(0.5)

        def forward(self, x: Any, *args: Any) -> Any:
            hidden = torch.nn.functional.softplus(torch.einsum("nal,lah->nh", x, self.w1))
            output = self.dropout(hidden) @ self.w2
            return output if head is None else head(output, *args)

    return Network()


def _keras(head: Any = None) -> Any:
    import keras

    x = keras.Input((LENGTH, 4))
    hidden = keras.layers.Dense(N_HIDDEN, activation="softplus", use_bias=False)
    dense = keras.layers.Dense(N_TARGETS, use_bias=False)
    output = dense(keras.layers.Dropout(0.5)(hidden(keras.layers.Flatten()(x))))
    hidden.set_weights([W1.reshape(-1, N_HIDDEN)])
    dense.set_weights([W2])
    if head is None:
        return keras.Model(x, output)
    extra = keras.Input((N_TARGETS,))
    try:
        return keras.Model([x, extra], head(output, extra))
    except TypeError:
        return keras.Model(x, head(output))


def _tensorflow(head: Any = None) -> Any:
    import tensorflow as tf

    w1, w2 = tf.constant(W1, tf.float32), tf.constant(W2, tf.float32)

    def network(x: Any, *args: Any) -> Any:
        output = tf.math.softplus(tf.einsum("nla,lah->nh", x, w1)) @ w2
        return output if head is None else head(output, *args)

    return network


def _jax(head: Any = None) -> Any:
    import jax
    import jax.numpy as jnp

    w1, w2 = jnp.asarray(W1, jnp.float32), jnp.asarray(W2, jnp.float32)

    def network(x: Any, *args: Any) -> Any:
        output = jax.nn.softplus(jnp.einsum("nla,lah->nh", x, w1)) @ w2
        return output if head is None else head(output, *args)

    return network


def torch_array(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(array.copy())


def _tf_array(array: np.ndarray) -> Any:
    import tensorflow as tf

    return tf.constant(array)


def jax_array(array: np.ndarray) -> Any:
    import jax.numpy as jnp

    return jnp.asarray(array)


def _keras_array(array: np.ndarray) -> Any:
    import keras

    return keras.ops.convert_to_tensor(array)


FRAMEWORKS = [
    Framework("torch", _torch, torch_array, axis=1),
    Framework("tensorflow", _tensorflow, _tf_array),
    Framework("keras", _keras, _keras_array),
    Framework("jax", _jax, jax_array),
]
if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":  # such a process tests Keras alone
    FRAMEWORKS = [framework for framework in FRAMEWORKS if framework.name == "keras"]
