"""The mathematics: one table of operations, and beside it one file for each realisation.

`reference.py` defines every operation in plain array code, `cpu.py` realises it with Numba. The table gives
each operation's shape as a gufunc signature: a = letters, l = positions of a sequence, t = thresholds, b = bins;
axes that are not named are looped over.
"""

if __name__ != "gradcorr_fast.kernels":  # in a checkout the folder is visible twice; two copies would be two states
    raise ImportError("this folder is the package gradcorr_fast.kernels; import gradcorr_fast instead of kernels")

OPERATIONS = {
    "correct": "(a)->(a)",
    "simplex_angle": "(a)->()",
    "grad_times_input": "(a),(a)->()",
    "substitution_effects": "(a),(a)->(a)",
    "analyze": "(a),(a)->(a),(),()",
    "angle_summary": "(l,a)->(t),(),(),(),(),(b)",
}
