"""Draw how the change of one letter spreads through the layers of a network, as the engine plans it: spread.svg."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from gradcorr_fast.hooks.torch._incremental.graph import name_of, trace
from gradcorr_fast.hooks.torch._incremental.layers import closed_layers
from gradcorr_fast.hooks.torch._incremental.program import Program

PICTURE = Path(__file__).with_suffix(".svg")
LENGTH, PLACE = 36, 15
SIZE, LEFT, ROW = 14, 205, 44
NAMES = {"conv1d": "convolution of {0}", "relu": "activation", "max_pool1d": "pooling by {0}"}
CHANGED, SAME, INK = "#d1495b", "#e3e8ee", "#1f2933"


class Layer(NamedTuple):
    """What is drawn of one layer."""

    name: str
    n: int
    first: int
    last: int


def layers() -> list[Layer]:
    """Follow the change of one letter through a small network."""
    convolutions = nn.Conv1d(4, 8, 5, padding=2), nn.MaxPool1d(2), nn.Conv1d(8, 8, 3, padding=1), nn.MaxPool1d(3)
    model = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(8 * LENGTH // 6, 1)).eval()
    program = Program(trace(model, torch.zeros(2, 4, LENGTH), (), closed_layers), 2)
    found = [Layer("sequence, one letter changed", LENGTH, PLACE, PLACE + 1)]
    for node in program.order:
        if node not in program.steps or name_of(node) not in NAMES:
            continue
        size = node.args[1].meta["val"].shape[2] if name_of(node) == "conv1d" else node.args[1][0]
        span = program.plan(1).touched[node]
        first = int(span.start[PLACE])
        name = NAMES[name_of(node)].format(size)
        found.append(Layer(name, program.positions(node), first, first + span.width))
    return found


def draw(found: list[Layer]) -> str:
    """Return the picture."""
    width, height = LEFT + LENGTH * SIZE + 90, ROW * (len(found) + 1) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="13" fill="{INK}">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for row, layer in enumerate(found):
        y, step = 14 + ROW * row, LENGTH * SIZE / layer.n
        parts.append(f'<text x="{LEFT - 10}" y="{y + 11}" text-anchor="end">{layer.name}</text>')
        for k in range(layer.n):
            colour = CHANGED if layer.first <= k < layer.last else SAME
            parts.append(
                f'<rect x="{LEFT + k * step + 1:.1f}" y="{y}" width="{step - 2:.1f}" height="{SIZE}" fill="{colour}"/>'
            )
        text = f"{layer.last - layer.first} of {layer.n}"
        parts.append(f'<text x="{LEFT + LENGTH * SIZE + 8}" y="{y + 11}">{text}</text>')
        if row + 1 < len(found):
            after = found[row + 1]
            below, top = LENGTH * SIZE / after.n, y + SIZE + 2
            corners = (
                (LEFT + layer.first * step, top), (LEFT + layer.last * step, top),
                (LEFT + after.last * below, y + ROW - 2), (LEFT + after.first * below, y + ROW - 2),
            )  # fmt: skip
            points = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
            parts.append(f'<polygon points="{points}" fill="{CHANGED}" fill-opacity="0.15"/>')
    y = 14 + ROW * len(found)
    parts += [
        f'<text x="{LEFT - 10}" y="{y + 11}" text-anchor="end">dense layer: all positions</text>',
        f'<rect x="{LEFT + 1}" y="{y}" width="{LENGTH * SIZE - 2}" height="{SIZE}" fill="{CHANGED}"/>',
        f'<text x="{LEFT + LENGTH * SIZE + 8}" y="{y + 11}">by the change</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(draw(layers()))
