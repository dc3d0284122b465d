"""The layers that the papers' models are made of, as plain values."""

from typing import NamedTuple


class Conv(NamedTuple):
    """A convolution over positions."""

    filters: int
    width: int
    bias: bool = True
    padding: str = "same"


class Dense(NamedTuple):
    """A dense layer; of each position by itself where positions were not flattened."""

    units: int
    bias: bool = True


class Norm(NamedTuple):
    """Batch normalisation of each channel."""


class Activation(NamedTuple):
    """An elementwise function: relu, exponential, sigmoid or softplus."""

    function: str


class Dropout(NamedTuple):
    """Dropout of single elements."""

    rate: float


class Pool(NamedTuple):
    """Maximum over windows side by side; what is left over at the end is dropped."""

    size: int


class Flatten(NamedTuple):
    """Position by position, channels side by side."""


class Reshape(NamedTuple):
    """The inverse of `Flatten` into so many positions."""

    length: int


Layer = Conv | Dense | Norm | Activation | Dropout | Pool | Flatten | Reshape


class Architecture(NamedTuple):
    """A model of one-hot sequences."""

    length: int
    layers: tuple[Layer, ...]
    initializer: str = "glorot_uniform"
    """How kernels of hidden layers are drawn, by Keras' name."""

    def changed(
        self, length: int | None, n_outputs: int | None, first_filters: int | None, first_width: int | None
    ) -> "Architecture":
        """Return the same with another length, output or first layer, where they are given."""
        first, *rest = self.layers
        assert isinstance(first, Conv)
        first = Conv(first_filters or first.filters, first_width or first.width, *first[2:])
        last = max(k for k, layer in enumerate(rest) if isinstance(layer, Dense))
        if n_outputs:
            rest[last] = Dense(n_outputs)
        return self._replace(length=length or self.length, layers=(first, *rest))
