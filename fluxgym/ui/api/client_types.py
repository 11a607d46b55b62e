"""Makes the JSDoc types of the JSON API for the page's scripts from its OpenAPI description: `make types` writes assets/types.js.

python -m fluxgym.ui.api.client_types > fluxgym/ui/assets/types.js
"""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from fluxgym.app_settings import Settings
from fluxgym.planning.plan import Planner
from fluxgym.sessions.index import SessionIndex
from fluxgym.ui.api.answers import FormAnswer, FormChecks, FormSetup, ImagesSetup, RunsSetup
from fluxgym.ui.api.app import api_app
from fluxgym.ui.api.images import ImageRoutes
from fluxgym.ui.api.responses import API, schemas_of
from fluxgym.ui.api.session_answers import ProgressFigures

Schema = Mapping[str, Any]
PREFIX = API.rpartition("/")[0]  # addresses in the scripts are below it
SIMPLE = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
HEADER = "// The types of the JSON API, made from its OpenAPI description by `make types`. Do not edit.\n"
GRADIO_VALUES: dict[str, type] = {value.__name__: value for value in (FormAnswer, FormSetup, ImagesSetup, RunsSetup)}
# Answers whose unknown fields are left out of the JSON; those of the others are null.
PARTIAL = {*GRADIO_VALUES, ProgressFigures.__name__}
METHODS = ("get", "post", "patch", "delete", "put")


def describe_api() -> Schema:
    """Return the OpenAPI description of the API, with the schemas of what the scripts get through Gradio."""
    settings = Settings()
    description = api_app(settings, SessionIndex(settings.outputs), ImageRoutes(settings), Planner(settings)).openapi()
    description["components"]["schemas"] |= _gradio_schemas()
    return description


def _gradio_schemas() -> dict[str, Any]:
    """Return the schemas of what the scripts get through Gradio, and of their parts, by name."""
    schemas: dict[str, Any] = {}
    for value in GRADIO_VALUES.values():
        schemas |= schemas_of(value)
    # form_events.py puts the checks' fields beside the answer's others.
    del schemas[FormAnswer.__name__]["properties"]["checks"]
    schemas[FormAnswer.__name__]["properties"] |= schemas[FormChecks.__name__]["properties"]
    return schemas


def types_js(description: Schema) -> str:
    """Return the script with a type per answer and request, and a type per method that maps an address to its answer."""
    schemas: Schema = description["components"]["schemas"]
    requests = _request_names(description)
    types = [_typedef(name, schema, is_optional=name in requests or name in PARTIAL) for name, schema in sorted(schemas.items())]
    answers = [_answers(method, description["paths"]) for method in METHODS]
    return "\n".join([HEADER, *types, *answers, "export {};\n"])


def _request_names(description: Schema) -> set[str]:
    """Return the names of the schemas that bodies of requests consist of; their fields may be left out if they have a default."""
    bodies = [operation.get("requestBody", {}) for operations in description["paths"].values() for operation in operations.values()]
    reachable: set[str] = set()
    names = set(_references(bodies))
    while names - reachable:
        reachable |= names
        names = {other for name in reachable for other in _references(description["components"]["schemas"][name])}
    return reachable


def _references(value: Any) -> Iterator[str]:
    """Yield the names of the schemas that a part of the description refers to."""
    if isinstance(value, Mapping):
        if isinstance(value.get("$ref"), str):
            yield _name(value)
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def _name(schema: Schema) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _typedef(name: str, schema: Schema, *, is_optional: bool) -> str:
    """Return the comment that defines one type; is_optional if what has a default may be left out."""
    text = str(schema.get("description", "")).strip()
    lines = [*text.splitlines(), f"@typedef {{{'object' if 'properties' in schema else _type(schema)}}} {name}"]
    required = schema.get("required", ())
    for key, value in schema.get("properties", {}).items():
        may_be_missing = is_optional and key not in required
        lines.append(f"@property {{{_type(value)}}} {f'[{key}]' if may_be_missing else key}")
    return _comment(lines)


def _comment(lines: list[str]) -> str:
    return "/**\n" + "".join(f" * {line}".rstrip() + "\n" for line in lines) + " */\n"


def _type(schema: Schema) -> str:
    """Return a schema as a JSDoc type."""
    if "$ref" in schema:
        return _name(schema)
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(option) for option in schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(f'"{value}"' for value in schema["enum"])
    match schema.get("type"):
        case "array" if "prefixItems" in schema:
            return f"[{', '.join(_type(item) for item in schema['prefixItems'])}]"
        case "array":
            item = _type(schema.get("items", {}))
            return f"({item})[]" if "|" in item else f"{item}[]"
        case "object":
            values = schema.get("additionalProperties")
            return f"Record<string, {_type(values) if isinstance(values, Mapping) else 'any'}>"
        case str(simple):
            return SIMPLE[simple]
    return "any"


def _answers(method: str, paths: Schema) -> str:
    """Return a type that maps the addresses of a method to their answers, those with the most parts first."""
    answers = {path: _answer_of(operations[method]) for path, operations in paths.items() if method in operations}
    addresses = sorted(answers, key=lambda path: (-path.count("/"), path.count("{"), path))
    cases = [f"P extends `{_pattern(path)}` ? {answers[path]} :" for path in addresses]
    lines = [f"The answer to {method.upper()} of an address below {PREFIX}/.", "@template {string} P"]
    lines += [f"@typedef {{{cases[0]}", *(f"  {case}" for case in cases[1:]), f"  unknown}} {method.capitalize()}Answer"]
    return _comment(lines)


def _answer_of(operation: Schema) -> str:
    return _type(operation["responses"]["200"]["content"]["application/json"]["schema"])


def _pattern(path: str) -> str:
    """Return the template literal type of an address: "api/runs/{slug}" becomes `api/runs/${string}`."""
    return re.sub(r"\{\w+\}", "${string}", path.removeprefix(f"{PREFIX}/"))


if __name__ == "__main__":
    sys.stdout.write(types_js(describe_api()))
