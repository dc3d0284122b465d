"""Computes of a model only what substitutions change: its graph is followed, and windows are laid over whole passes.

`graph` has the operations of a model. `rules` tells how positions go through each, with `moves` and `neighbours` beside
it and `steps` for what rules return; `mixing`, how they go through the first that mixes all. `program` is what
follows for a model, `run` the numbers, `engine` the comparison with whole passes and the mutants that users ask for.
`choosing` decides whether any of this is done, `explaining` tells what it would gain.
"""
