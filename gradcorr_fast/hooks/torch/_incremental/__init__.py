"""Computes of a model only what substitutions change: its graph is followed, and windows are laid over whole passes.

`graph` has the operations of a model, `rules` how positions go through each of them and `mixing` through the first that
mixes all, `program` what follows for a model, `run` the numbers, `engine` the comparison with whole passes and the
mutants that users ask for, `choosing` whether any of this is done, `explaining` what it would gain.
"""
