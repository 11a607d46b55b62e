"""What all routes share: a refusal as one error message in JSON, the server's clock, and answers that are sent only if they changed."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from fluxgym.errors import AlreadyRunning, Detail, FluxGymError, NameTaken, SessionError, SessionNotFound, StorageError, TooLarge
from fluxgym.runs.storage_errors import storage_error

logger = logging.getLogger(__name__)
JsonObject = dict[str, Any]
API = "/fluxgym/api"
SCHEMA_REFERENCE = "#/components/schemas/{model}"
CLOCK_HEADER = "FluxGym-Time"
UNKNOWN_REQUEST = "The page sent an unknown request; reload the page."

Answer = TypeVar("Answer", bound=Any)  # a dataclass with a field `version`
STATUSES: tuple[tuple[type[FluxGymError], HTTPStatus], ...] = (
    (SessionNotFound, HTTPStatus.NOT_FOUND),
    (NameTaken, HTTPStatus.CONFLICT),
    (AlreadyRunning, HTTPStatus.CONFLICT),
    (SessionError, HTTPStatus.CONFLICT),
    (TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (StorageError, HTTPStatus.INSUFFICIENT_STORAGE),
)  # the first that fits; all others are 400


@dataclass(frozen=True, kw_only=True)
class ErrorText:
    """One error message for the user; field is the form field that it is about, code the name of the error's class.

    details are the list that belongs to the message, such as the model files that are missing, with their sizes and addresses.
    """

    message: str
    field: str | None = None
    code: str = ""
    details: tuple[Detail, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ErrorAnswer:
    """The answer to a request that was refused; the HTTP status is 400, 404, 409, 413 or 507."""

    error: ErrorText


# As a reference: FastAPI would build a given `model` for each route at the start. DescribedApp adds its schema.
_ERROR_CONTENT = {"application/json": {"schema": {"$ref": SCHEMA_REFERENCE.format(model=ErrorAnswer.__name__)}}}
REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"content": _ERROR_CONTENT, "description": "The request was refused: not allowed, not found, or not possible now."},
    HTTPStatus.INSUFFICIENT_STORAGE: {"content": _ERROR_CONTENT, "description": "The disk is full or cannot be written."},
}
UNCHANGED: dict[int | str, dict[str, Any]] = {HTTPStatus.NO_CONTENT: {"description": "The page has this version already."}}


def refusal(error: FluxGymError) -> JSONResponse:
    """Return the answer to a request that failed with a user's error."""
    status = next((status for kind, status in STATUSES if isinstance(error, kind)), HTTPStatus.BAD_REQUEST)
    text = ErrorText(message=str(error), field=error.field, code=type(error).__name__, details=error.details)
    return _response(text, status)


def error_response(
    message: str,
    status: int = HTTPStatus.BAD_REQUEST,
    *,
    field: str | None = None,
    code: str = "",
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return an error answer with one message."""
    return _response(ErrorText(message=message, field=field, code=code), status, headers)


def _response(text: ErrorText, status: int, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(asdict(ErrorAnswer(error=text)), status, headers)


def add_error_handlers(app: FastAPI) -> None:
    """Answer each FluxGymError, each file that cannot be read or written, and each malformed request with one error message."""
    app.add_exception_handler(FluxGymError, _refuse)
    app.add_exception_handler(OSError, _refuse_storage)
    app.add_exception_handler(RequestValidationError, _refuse_form)
    app.add_exception_handler(HTTPException, _refuse_form)  # a body that is not JSON


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, FluxGymError)
    logger.info("refused %s %s: %s", request.method, request.url.path, error)
    return refusal(error)


async def _refuse_storage(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    logger.warning("%s %s failed: %s", request.method, request.url.path, error)
    return refusal(storage_refusal(error))


def storage_refusal(error: OSError) -> StorageError:
    """Return the error message about a file that the app could not read or write; it names the file if the error does."""
    named = error.filename if isinstance(error.filename, str) else None
    return storage_error(error, Path(named) if named else Path("A file of FluxGym"))


async def _refuse_form(request: Request, error: Exception) -> Response:
    logger.info("refused %s %s: %s", request.method, request.url.path, error)
    return error_response(UNKNOWN_REQUEST, error.status_code if isinstance(error, HTTPException) else HTTPStatus.BAD_REQUEST)


class DescribedApp(FastAPI):
    """An app whose OpenAPI description has the schema of refusals."""

    def openapi(self) -> JsonObject:
        """Return the OpenAPI description."""
        description = super().openapi()
        description["components"]["schemas"] |= schemas_of(ErrorAnswer)
        return description


def schemas_of(answer: type) -> JsonObject:
    """Return the schema of an answer and of its parts, by name."""
    schema = TypeAdapter(answer).json_schema(mode="serialization", ref_template=SCHEMA_REFERENCE)
    parts: JsonObject = schema.pop("$defs", {})
    return parts | {answer.__name__: schema}


def add_clock(response: Response) -> None:
    """Add the server's clock, with which the page shows ages, to a response; a dependency of all routes of the API."""
    for name, value in _headers().items():
        response.headers[name] = value


def _headers() -> dict[str, str]:
    return {CLOCK_HEADER: f"{time.time():.3f}", "Cache-Control": "no-store"}


class DescribedRoute(APIRoute):
    """A route whose summary in the OpenAPI description is the first sentence of its function's docstring."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        options["summary"] = options.get("summary") or (endpoint.__doc__ or "").strip().partition("\n")[0]
        super().__init__(path, endpoint, **options)


def new_router() -> APIRouter:
    """Return a router for routes of the API."""
    return APIRouter(prefix=API, dependencies=[Depends(add_clock)], route_class=DescribedRoute, responses=REFUSALS)


def if_changed(answer: Answer, version: str) -> Answer | Response:
    """Return an answer with its version, or 204 without content if the page has this version already."""
    own = fingerprint(asdict(answer))
    return Response(status_code=HTTPStatus.NO_CONTENT, headers=_headers()) if own == version else replace(answer, version=own)


def fingerprint(value: Any) -> str:
    """Return a short hash of a JSON value, which the page sends back so that unchanged values are not sent again."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
