"""Correct a file of gradients: python examples/correct_file.py GRADIENTS.npy CORRECTED.npy [AXIS]

Reads .npy of any size without loading it. Without arguments it makes a file first, so that there is one to correct.
"""

import sys
from pathlib import Path

import numpy as np

import gradcorr_fast as gf

if len(sys.argv) == 1:
    sys.argv += ["example_gradients.npy", "example_corrected.npy"]
    np.save(sys.argv[1], np.random.default_rng(0).standard_normal((1000, 2000, 4)).astype(np.float32) + 0.2)
elif len(sys.argv) == 2 or Path(sys.argv[2]).exists():
    sys.exit(f"usage: {sys.argv[0]} GRADIENTS.npy CORRECTED.npy [AXIS], where CORRECTED.npy is a new file")
source, target, axis = sys.argv[1], sys.argv[2], int((sys.argv[3:] or [-1])[0])
grad = np.load(source, mmap_mode="r")
corrected = np.lib.format.open_memmap(target, "w+", grad.dtype, grad.shape)
gf.correct(grad, axis=axis, out=corrected)
print(f"{source}: {gf.angle_summary(grad, axis=axis)}")
print(f"{target}: corrected gradients, {grad.shape}, {grad.dtype}")
