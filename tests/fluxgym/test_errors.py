"""The tree of exceptions in the docstring equals that in the code."""

import ast
import re
from pathlib import Path

from fluxgym import errors

ROOT = Path(errors.__file__).parent
DRAWN = dict(re.findall(r"^ *[│ ]*[├└]── (\w+) +(\S.*)$", errors.__doc__, re.MULTILINE))


def test_every_exception_is_in_drawing_and_in_errors_py():
    known = {name for name, thing in vars(errors).items() if isinstance(thing, type) and issubclass(thing, errors.FluxGymError)}
    assert set(DRAWN) == known - {"FluxGymError"}
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and {getattr(base, "id", "") for base in node.bases} & known:
                assert path.name == "errors.py", f"{path.name} has an exception of its own: {node.name}"


def test_drawing_shows_base_of_every_exception():
    stack = [errors.FluxGymError]
    for indent, name in re.findall(r"^    ([│ ]*[├└]──) (\w+)", errors.__doc__, re.MULTILINE):
        depth = len(indent) // 4 + 1
        drawn = getattr(errors, name)
        stack = [*stack[:depth], drawn]
        assert drawn.__base__ is stack[depth - 1], name
