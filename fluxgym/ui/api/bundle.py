"""The page's ES modules in one file, so that a browser sends one request for all of them.

Each module becomes a function that is called once, after those that it imports. Supported is what the modules use: imports of names, of
a whole module or of none, from "./name.js", and exports of functions, classes and constants.
"""

import re
from collections.abc import Mapping
from graphlib import TopologicalSorter

BUNDLE = "page.js"
_IMPORT = re.compile(r'^import (?:(?P<what>\{[^}]*\}|\* as \w+) from )?"\./(?P<name>\w+)\.js";', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async function|function|class|const) (\w+))", re.MULTILINE)
_LEFT = re.compile(r"^(?:import\b|export\b).*", re.MULTILINE)


def bundle(modules: Mapping[str, str]) -> str:
    """Return a module that exports `modules`, an object of the exports of each given module: name without .js → source.

    Raises:
        ValueError: If a module has another form of import or export, or imports what no given module exports.
        graphlib.CycleError: If modules import one another in a circle.
    """
    imports = {name: [found["name"] for found in _IMPORT.finditer(source)] for name, source in modules.items()}
    parts = [_function(name, modules) for name in TopologicalSorter(imports).static_order() if name in modules]
    return "export const modules = {};\n" + "".join(parts)


def _function(name: str, modules: Mapping[str, str]) -> str:
    """Return the statement that runs a module and keeps its exports."""
    for found in _IMPORT.finditer(modules[name]):
        _check(found, name, modules)
    exports = ", ".join(_EXPORT.findall(modules[name]))
    body = _IMPORT.sub(_constant, _EXPORT.sub("", modules[name]))
    if left := _LEFT.search(body):
        raise ValueError(f"{name}.js: the bundle does not support {left[0]!r}")
    return f"modules.{name} = (() => {{\n{body}\nreturn {{ {exports} }};\n}})();\n"


def _check(found: re.Match[str], importer: str, modules: Mapping[str, str]) -> None:
    """Check that what a module imports is exported, as a browser would."""
    what, source = found["what"] or "", modules.get(found["name"])
    names = re.findall(r"(\w+)(?: as \w+)?", what) if what.startswith("{") else []
    if source is None or not set(names) <= set(_EXPORT.findall(source)):
        raise ValueError(f"{importer}.js: there is no such export: {found[0]}")


def _constant(found: re.Match[str]) -> str:
    """Return an import as a constant of the function; `a as b` is `a: b` there."""
    what = found["what"]
    if what is None:
        return ""
    target = what.removeprefix("* as ") if what.startswith("*") else re.sub(r"(\w+) as (\w+)", r"\1: \2", what)
    return f"const {target} = modules.{found['name']};"
