"""The texts in a file of source: what messages are made of."""

import ast
from pathlib import Path


def literals(path: Path) -> list[str]:
    """Texts of a file, of f-strings with {} for what is filled in; no docstrings, nor what is chosen for the shell."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = list(ast.walk(tree))
    left_out = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    left_out |= {id(node.body[0].value) for node in nodes if isinstance(node, documented) and _opens(node.body)}
    left_out |= {id(argument) for node in nodes if _chooses(node) for argument in node.args}
    texts = []
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            texts.append(node.value)
    return texts


def _opens(body: list[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[0], ast.Expr)


def _chooses(node: ast.AST) -> bool:
    """Whether a node is a call of what chooses words."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("words", "option")
