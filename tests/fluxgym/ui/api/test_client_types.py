"""The types of the page's scripts are those of the API, and the API's description has a summary and a response for each route."""

from pathlib import Path

import pytest

from fluxgym.contract.codes import Status
from fluxgym.sessions.listing import SHOWN
from fluxgym.sessions.origin import Origin
from fluxgym.ui.api.client_types import describe_api, types_js
from fluxgym.ui.api.session_answers import ProgressFigures

DESCRIPTION = describe_api()
OPERATIONS = {
    f"{method.upper()} {path}": operation for path, operations in DESCRIPTION["paths"].items() for method, operation in operations.items()
}


def test_committed_types_are_current():
    assert Path("fluxgym/ui/assets/types.js").read_text(encoding="utf-8") == types_js(DESCRIPTION), "run: make types"


@pytest.mark.parametrize(("kind", "values"), [("Status", Status), ("Origin", Origin)])
def test_closed_set_of_texts_is_union_so_that_tsc_finds_misspelled_one(kind, values):
    text = types_js(DESCRIPTION)
    union = " | ".join(f'"{value}"' for value in values)
    assert f" * @typedef {{{union}}} {kind}\n" in text
    assert f" * @property {{{kind}}} {kind.lower()}\n" in text


def test_figures_of_progress_are_those_of_session_and_may_be_missing():
    assert list(ProgressFigures.__annotations__) == [*SHOWN, "eta_s"]
    text = types_js(DESCRIPTION)
    assert all(f" * @property {{{'string' if name == 'phase' else 'number'}}} [{name}]\n" in text for name in SHOWN)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_json_route_is_described_with_its_answer_and_its_errors(name):
    operation = OPERATIONS[name]
    assert operation["summary"][0].isupper()
    assert operation["summary"].endswith((".", ","))
    assert "_" not in operation["summary"].replace("undo_forget", "")
    assert "$ref" in operation["responses"]["200"]["content"]["application/json"]["schema"]
    for status in ("4XX", "507"):
        assert operation["responses"][status]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer")
    assert "422" not in operation["responses"]
    takes_version = any(parameter["name"] == "version" for parameter in operation.get("parameters", ()))
    assert ("204" in operation["responses"]) == takes_version


def test_file_routes_that_answer_no_json_are_left_out():
    paths = {name.partition(" ")[2] for name in OPERATIONS}
    others = {path for path in paths if not path.startswith("/fluxgym/api/")}
    assert others == {"/fluxgym/import/{name}", "/fluxgym/drafts/{draft}/images/{name}"}


def made_up(**properties: object) -> str:
    """Return the types of an API with one answer and one request."""
    reference = {"$ref": "#/components/schemas/Answer"}
    operation = {"responses": {"200": {"content": {"application/json": {"schema": reference}}}}}
    body = {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}}}
    schemas = {
        "Answer": {"description": "An answer.\n\nMore.", "properties": properties, "required": []},
        "Body": {"properties": {"days": {"type": "integer"}, "name": {"type": "string"}, "more": {"$ref": "#/components/schemas/More"}},
                 "required": ["days"]},
        "More": {"properties": {"is_old": {"type": "boolean"}}},
        "Color": {"enum": ["red", "blue"], "type": "string"},
    }  # fmt: skip
    methods = {"get": operation, "post": operation | body, "patch": operation, "delete": operation, "put": operation}
    return types_js({"paths": {"/fluxgym/api/runs/{slug}": methods, "/fluxgym/api/runs": methods}, "components": {"schemas": schemas}})


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        ({"type": "string"}, "string"), ({"type": "integer"}, "number"), ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "number | null"),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}]}, "number"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Row"}}, "Row[]"),
        ({"type": "array", "items": {"anyOf": [{"type": "number"}, {"type": "null"}]}}, "(number | null)[]"),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "number"}]}, "[number, number]"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "Record<string, string>"),
        ({"type": "object", "additionalProperties": True}, "Record<string, any>"), ({}, "any"),
    ],
)  # fmt: skip
def test_each_python_type_has_typescript_type(schema, shown):
    assert f" * @property {{{shown}}} value\n" in made_up(value=schema)


def test_fields_of_requests_may_be_left_out_and_those_of_answers_may_not():
    text = made_up(value={"type": "string"})
    assert " * An answer.\n *\n * More.\n * @typedef {object} Answer\n * @property {string} value\n */" in text
    assert " * @property {number} days\n * @property {string} [name]\n * @property {More} [more]\n" in text
    assert " * @property {boolean} [is_old]\n" in text
    assert ' * @typedef {"red" | "blue"} Color\n' in text


def test_address_with_more_parts_is_looked_up_first():
    text = made_up()
    assert text.index("P extends `api/runs/${string}`") < text.index("P extends `api/runs`")
