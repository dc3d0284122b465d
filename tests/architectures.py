"""PyTorch models of the kinds that read genomes, small and with random weights, and the targets asked of each."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

import gradcorr_fast as gf

LENGTH = 24
Read = Callable[[torch.Tensor], torch.Tensor]


class Case(NamedTuple):
    """A model, and targets, each with the plain function of the output of one sequence that it stands for."""

    build: Callable[[], nn.Module]
    targets: Sequence[tuple[Any, Read]] = ((1, lambda row: row[1]), (gf.targets.mean(), lambda row: row.mean()))
    axis: int = 1
    output: Any = None
    rc_output: str = "same"
    bin_axis: int | None = None


class Function(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def conv(n_in: int, n_out: int, width: int = 5, **options: Any) -> nn.Conv1d:
    return nn.Conv1d(n_in, n_out, width, padding="same", **options)


def head(n_channels: int, n_bins: int, n_tracks: int = 3) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(n_channels * n_bins, n_tracks)]


def norm(n: int) -> nn.BatchNorm1d:
    """Batch normalisation that has seen data."""
    layer = nn.BatchNorm1d(n)
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.5, 2)
    return layer


def average_pooling() -> nn.Module:
    return nn.Sequential(conv(4, 6), nn.Softplus(), nn.AvgPool1d(4), *head(6, 6))


def max_pooling() -> nn.Module:
    return nn.Sequential(conv(4, 6), nn.MaxPool1d(3), nn.ReLU(), conv(6, 5), nn.ReLU(), nn.MaxPool1d(4), *head(5, 2))


def batch_normalisation() -> nn.Module:
    return nn.Sequential(conv(4, 6), norm(6), nn.GELU(), conv(6, 6), norm(6), nn.ELU(), *head(6, LENGTH))


def exponential() -> nn.Module:
    return nn.Sequential(conv(4, 6, bias=False), Function(torch.exp), nn.MaxPool1d(4), nn.BatchNorm1d(6), *head(6, 6))


def inplace() -> nn.Module:
    relu = nn.ReLU(inplace=True)
    return nn.Sequential(conv(4, 6), relu, conv(6, 6), relu, *head(6, LENGTH), nn.SiLU(inplace=True))


class Residual(nn.Module):
    """Adds what its layers make."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Any) -> Any:
        return x + self.layers(x)


def profile() -> nn.Module:
    """Dilated residual blocks, and counts (N, bins, tracks) of a window in the middle."""
    blocks = [Residual(conv(6, 6, 3, dilation=2**k), nn.ReLU()) for k in range(1, 4)]
    counts = [conv(6, 2, 7), nn.Softplus(), Function(lambda y: y[:, :, 8:16].transpose(1, 2))]
    return nn.Sequential(conv(4, 6, 7), nn.ReLU(), *blocks, *counts)


class Attention(nn.Module):
    """Positions that look at each other, by the layer of PyTorch or by its function."""

    def __init__(self, is_layer: bool) -> None:
        super().__init__()
        self.embed = nn.Conv1d(4, 8, 4, 4)
        self.layer = nn.MultiheadAttention(8, 2, batch_first=True) if is_layer else None
        self.projections = None if is_layer else nn.Linear(8, 24)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        x = self.embed(x).transpose(1, 2)
        if self.layer is not None:
            return self.head(self.layer(x, x, x, need_weights=False)[0].tanh().mean(1))
        q, k, v = (part.unflatten(2, (2, 4)).transpose(1, 2) for part in self.projections(x).chunk(3, 2))
        return self.head(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).amax(1))


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    turn = Function(lambda x: x.transpose(1, 2))
    return nn.Sequential(nn.Conv1d(4, 8, 4, 4), turn, nn.TransformerEncoder(layer, 2), *head(8, LENGTH // 4))


class Heads(nn.Module):
    """One trunk with two heads."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.kind, self.trunk = kind, nn.Sequential(conv(4, 6), nn.Softplus(), nn.AvgPool1d(4))
        self.heads = nn.ModuleList([nn.Sequential(*head(6, 6)), nn.Sequential(*head(6, 6, 2))])

    def forward(self, x: Any) -> Any:
        outputs = [head(self.trunk(x)) for head in self.heads]
        return dict(zip(("expression", "accessibility"), outputs, strict=True)) if self.kind is dict else tuple(outputs)


class Recurrent(nn.Module):
    """Convolution and a recurrent layer in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = conv(4, 6), nn.Sequential(*head(8, 6))
        self.lstm = nn.LSTM(6, 4, batch_first=True, bidirectional=True)

    def forward(self, x: Any) -> Any:
        states, _ = self.lstm(self.conv(x).relu().transpose(1, 2))
        return self.head(states[:, ::4])


class Shared(nn.Module):
    """The same filters for both strands, and the same layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.middle, self.head = conv(4, 6), conv(6, 6), nn.Sequential(*head(6, LENGTH))

    def forward(self, x: Any) -> Any:
        x = torch.maximum(self.conv(x), self.conv(x.flip(1, 2)).flip(2))
        return self.head(self.middle(self.middle(x).relu()).tanh())


def letters_last() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.Softplus(), nn.Flatten(), nn.Linear(6 * LENGTH, 3))


class AttentionPooling(nn.Module):
    """Means over pairs of positions with weights that depend on what is there (Avsec et al., Nat. Methods 2021)."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weigh = nn.Conv1d(n, n, 1, bias=False)

    def forward(self, x: Any) -> Any:
        weights = self.weigh(x).unflatten(2, (-1, 2)).softmax(3)
        return (x.unflatten(2, (-1, 2)) * weights).sum(3)


def enformer(
    n_pools: int = 2, n_channels: int = 8, n_layers: int = 1, n_heads: int = 2, n_tracks: int = 2, n_cropped: int = 1
) -> nn.Module:
    """A model shaped like Enformer: (N, 4, L) to (N, L / 2**n_pools less n_cropped at either end, n_tracks)."""

    def block(n_in: int, n_out: int, width: int) -> nn.Module:
        return nn.Sequential(norm(n_in), nn.GELU(), conv(n_in, n_out, width))

    half = n_channels // 2
    tower: list[nn.Module] = [conv(4, half, 15), Residual(block(half, half, 1)), AttentionPooling(half)]
    for k in range(1, n_pools):
        n_in = half if k == 1 else n_channels
        tower += [block(n_in, n_channels, 5), Residual(block(n_channels, n_channels, 1)), AttentionPooling(n_channels)]
    layers = [
        nn.TransformerEncoderLayer(n_channels, n_heads, 2 * n_channels, 0.4, "gelu", batch_first=True, norm_first=True)
        for _ in range(n_layers)
    ]
    crop = Function(lambda x: x[:, n_cropped : x.shape[1] - n_cropped])
    turn = Function(lambda x: x.transpose(1, 2))
    return nn.Sequential(*tower, turn, *layers, crop, nn.Linear(n_channels, n_tracks), nn.Softplus())


BINS: Sequence[tuple[Any, Read]] = (
    (gf.targets.sum_over(bins=slice(1, 3), tracks=0), lambda rows: rows[1:3, 0].sum()),
    (gf.targets.log1p_sum(tracks=1), lambda rows: (1 + rows[:, 1].sum()).log()),
)
CASES = {
    "average pooling": Case(average_pooling),
    "max pooling": Case(max_pooling),
    "batch normalisation": Case(batch_normalisation),
    "exponential": Case(exponential),
    "in-place activations": Case(inplace),
    "profile": Case(profile, BINS, rc_output="flip_bins", bin_axis=1),
    "attention layer": Case(lambda: Attention(True)),
    "attention function": Case(lambda: Attention(False)),
    "transformer": Case(transformer),
    "dict of heads": Case(lambda: Heads(dict), output="accessibility"),
    "tuple of heads": Case(lambda: Heads(tuple), output=1),
    "recurrent": Case(Recurrent),
    "shared weights": Case(Shared),
    "letters last": Case(letters_last, axis=-1),
    "enformer": Case(enformer, BINS[:1], rc_output="flip_bins", bin_axis=1),
}


def build(case: Case) -> nn.Module:
    """The model in double precision, always with the same weights."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        return case.build().double().eval()
