"""The bodies of requests to Gradio and to the JSON API: limited in size, JSON only, and for Gradio without references to files."""

import json

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from fluxgym.ui.security.refusals import is_api_path, refuse

MAX_MESSAGE_BYTES = 4 << 20
WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")


async def check_body(scope: Scope, receive: Receive) -> tuple[Receive, Response | None]:
    """Read the body of a request to Gradio or to the API; return a receive function that returns it again, and a refusal or None.

    Uploads have separate routes, which check while they read.
    """
    is_gradio = scope["method"] == "POST" and scope["path"].startswith("/gradio_api/")
    is_api = is_api_path(scope) and scope["method"] not in WITHOUT_BODY
    if not is_gradio and not is_api:
        return receive, None
    if is_api and scope["method"] != "DELETE" and not _is_json(Headers(scope=scope)):
        # A page of another site can send a form without asking the app first, but not JSON.
        return receive, refuse(scope, "The request must have the Content-Type application/json.", 415)
    body = await _read(receive)
    if body is None:
        return receive, refuse(scope, "The request body is too large.", 413)
    return _replay(body, receive), _refuse_content(scope, body) if is_gradio else _refuse_text(scope, body)


def _is_json(headers: Headers) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


async def _read(receive: Receive) -> bytes | None:
    """Return the body, None if it is larger than MAX_MESSAGE_BYTES."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False) and message["type"] == "http.request"
        if len(body) > MAX_MESSAGE_BYTES:
            return None
    return body


def _refuse_content(scope: Scope, body: bytes) -> Response | None:
    """Refuse a body that is not JSON, or that names files, which Gradio would read or download for any client."""
    try:
        names_files = _names_files(json.loads(body or b"null"))
    except (ValueError, RecursionError):
        return refuse(scope, "The request body is not JSON.", 400)
    return refuse(scope, "Files are not accepted here.", 400) if names_files else None


def _refuse_text(scope: Scope, body: bytes) -> Response | None:
    """Refuse a text with half of a surrogate pair, which can neither be written to a file nor be sent back; other errors are the route's."""
    if b"\\ud" not in body.lower():
        return None
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return refuse(scope, "The text contains half of a character, which is not valid Unicode; type it again.", 400)
    except (ValueError, RecursionError):
        return None
    return None


def _names_files(value: object) -> bool:
    """Return True if any part of a JSON value has the keys of Gradio's file data."""
    if isinstance(value, dict):
        return "path" in value or "_type" in value or "meta" in value or any(_names_files(item) for item in value.values())
    return isinstance(value, list) and any(_names_files(item) for item in value)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receive function that returns the body that was read already, then the messages after it."""
    is_sent = False

    async def replay() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
