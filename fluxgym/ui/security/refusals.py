"""Refusals of the guard: an error in JSON for the API, plain text elsewhere."""

from collections.abc import Mapping

from starlette.responses import PlainTextResponse, Response
from starlette.types import Scope

from fluxgym.ui.api.responses import API, error_response


def is_api_path(scope: Scope) -> bool:
    """Return True for a request to the JSON API."""
    return str(scope["path"]).startswith(f"{API}/")


def refuse(scope: Scope, sentence: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Return a refusal with one error message."""
    if is_api_path(scope) or scope["method"] == "PUT":  # the page's uploads read JSON
        return error_response(sentence, status, code="Refused", headers=headers)
    return PlainTextResponse(sentence, status, headers)
