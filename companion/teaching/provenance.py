"""Which code made this? One hash that changes when the code does and not when its comments do.

>>> from companion.foundations import diffusion
>>> len(source_hash(diffusion))
64
"""

import ast
import hashlib
import importlib
import inspect
from functools import cache
from types import ModuleType

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def source_hash(*modules: ModuleType | str) -> str:
    """SHA-256 of the modules' syntax trees, whatever the modules' order.

    Left out is what cannot change a result: docstrings, comments, formatting, the annotations of functions,
    and the checks that refuse bad input (statements that call `require...`).

    Args:
        modules: modules, or their dotted names.
    """
    found = {module_name(module): module for module in modules}
    parts = [f"{name}: {_tree(_source(found[name]))}" for name in sorted(found)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def module_name(module: ModuleType | str) -> str:
    """The dotted name of a module given as itself or by name."""
    return module if isinstance(module, str) else module.__name__


def _source(module: ModuleType | str) -> str:
    return inspect.getsource(importlib.import_module(module) if isinstance(module, str) else module)


@cache  # by the text itself: a page that loads many results parses each module once
def _tree(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(getattr(node, "body", None), list):
            node.body = [statement for statement in node.body if not _only_checks(statement)]
    return _plain(tree)


def _only_checks(statement: ast.stmt) -> bool:
    """A call of `require...`, or the import of such."""
    if isinstance(statement, ast.ImportFrom):
        return statement.module == "companion.foundations.validation"
    called = statement.value.func if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) else None
    return isinstance(called, ast.Name) and called.id.startswith("require")


def _plain(node: object) -> str:
    """Like `ast.dump`, but empty fields are left out: which of those exist differs between versions of Python."""
    if isinstance(node, list):
        return "[" + ",".join(_plain(item) for item in node) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, value) for name, value in ast.iter_fields(node) if name != "kind" and value not in (None, [])]
    return type(node).__name__ + "(" + ",".join(f"{name}={_plain(value)}" for name, value in fields) + ")"
