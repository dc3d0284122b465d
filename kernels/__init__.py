"""The mathematics: tables of operations and metrics, and beside them one file for each realisation.

`reference.py` and `reference_metrics.py` define every one in plain array code, `cpu.py` and `cpu_metrics.py` realise it
with Numba. The tables give each one's shape as a gufunc signature: a = letters, l = positions of a sequence,
m = members of an ensemble, t = thresholds, b = bins; axes that are not named are looped over.
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

METRICS = {
    "cosine_similarity": "(l,a),(l,a)->()",
    "positionwise_cosine_similarity": "(a),(a)->()",
    "information_content": "(a)->()",
    "auroc": "(l),(l)->()",
    "aupr": "(l),(l)->()",
    "average_precision": "(l),(l)->()",
    "interpretability": "(l),(l,a)->(),(),(l)",
    "ensemble_difference": "(m,a),(a)->(m)",
    "ensemble_difference_reduction": "(m,a),(a)->(m)",
    "ensemble_difference_by_angle": "(m,l,a),(l,a)->(b),(b),(b)",
}
