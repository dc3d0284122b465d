"""Correct a file of gradients: python examples/correct_file.py gradients.npy corrected.npy [axis]

Reads .npy of any size without loading it; without arguments it makes a file first, so that there is one to correct.
"""

import sys

import numpy as np

import gradcorr_fast as gf

if len(sys.argv) < 3:
    np.save("gradients.npy", np.random.default_rng(0).standard_normal((1000, 2000, 4)).astype(np.float32) + 0.2)
    sys.argv[1:] = ["gradients.npy", "corrected.npy"]
source, target, axis = sys.argv[1], sys.argv[2], int((sys.argv[3:] or [-1])[0])
grad = np.load(source, mmap_mode="r")
corrected = np.lib.format.open_memmap(target, "w+", grad.dtype, grad.shape)
gf.correct(grad, axis=axis, out=corrected)
print(f"{source}: {gf.angle_summary(grad, axis=axis)}")
print(f"{target}: corrected gradients, {grad.shape}, {grad.dtype}")
