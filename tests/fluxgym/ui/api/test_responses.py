"""What all routes share: a user error becomes one message with a status, other exceptions are raised, and an unchanged response is not sent."""

import json
import time
from dataclasses import dataclass

import pytest
from fastapi import APIRouter

from fluxgym.errors import (
    AlreadyRunning,
    BadName,
    ConfigError,
    DamagedState,
    DatasetError,
    FluxGymError,
    LaunchError,
    ModelError,
    NamesCode,
    NameTaken,
    NeedsConsent,
    NothingToResume,
    NotReadableNow,
    ReplacesTemplate,
    SessionNotFound,
    StopFailed,
    StorageError,
    TakesOver,
    TooLarge,
    UnreadableState,
)
from fluxgym.ui.api.responses import CLOCK_HEADER, UNKNOWN_REQUEST, fingerprint, if_changed, new_router
from tests.support.api import error, router_client, value

STATUSES = {
    BadName: 400, ConfigError: 400, DatasetError: 400, LaunchError: 400, ModelError: 400, SessionNotFound: 404, AlreadyRunning: 409, NameTaken: 409,
    NamesCode: 409, ReplacesTemplate: 409, TakesOver: 409, NeedsConsent: 409,
    NothingToResume: 409, StopFailed: 409, UnreadableState: 409, DamagedState: 409, TooLarge: 413, StorageError: 507, NotReadableNow: 507,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Figures:
    """An answer with a version."""

    version: str
    text: str
    numbers: list[float]


@dataclass(frozen=True, kw_only=True)
class Body:
    """The body of a request."""

    days: int


ANSWER = Figures(version="", text='<img src=x onerror="alert(1)"> "quoted" 🐱', numbers=[1.5, 2.0])


def routes() -> APIRouter:
    """Return routes that answer, refuse and fail."""
    router = new_router()

    def figures(version: str = "") -> Figures:
        return if_changed(ANSWER, version)

    def refuse(name: str) -> Figures:
        raise next(kind for kind in STATUSES if kind.__name__ == name)("It is <b>damaged</b>.", field="images")

    def take(body: Body) -> Figures:
        return ANSWER

    def fail() -> Figures:
        raise KeyError("bug")

    router.add_api_route("/figures", figures, response_model=Figures)
    router.add_api_route("/refuse/{name}", refuse, response_model=Figures)
    router.add_api_route("/take", take, methods=["POST"], response_model=Figures)
    router.add_api_route("/fail", fail, response_model=Figures)
    return router


@pytest.fixture(scope="module")
def client():
    """Return a client of these routes."""
    return router_client([routes()])


@pytest.mark.parametrize("kind", STATUSES, ids=lambda kind: kind.__name__)
def test_user_error_response_contains_message_field_and_code(client, kind):
    response = client.get(f"refuse/{kind.__name__}")
    assert error(response, STATUSES[kind]) == "It is <b>damaged</b>."
    assert response.json()["error"] == {"message": "It is <b>damaged</b>.", "field": "images", "code": kind.__name__}
    assert response.headers["content-type"] == "application/json"


def test_every_error_class_has_http_status():
    def kinds(kind: type[FluxGymError]) -> set[type[FluxGymError]]:
        return {kind}.union(*(kinds(child) for child in kind.__subclasses__()))

    of_terminal = {"FluxGymError", "SettingsError"}
    assert {kind for kind in kinds(FluxGymError) if kind.__module__ == "fluxgym.errors" and kind.__name__ not in of_terminal} - set(
        STATUSES
    ) == {kind for kind in kinds(FluxGymError) if kind.__name__ in ("BadImage", "SessionError", "ImportRefused")}


def test_unexpected_exception_is_raised(client):
    with pytest.raises(KeyError):
        client.get("fail")


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b'"text"', b"7", b"{", b"\xff", b'{"days": "many"}', b'{"days": 1.5}', b"{}", b"[" * 100_000]
)
def test_request_of_wrong_form_gets_one_message(client, content):
    response = client.post("take", content=content, headers={"content-type": "application/json"})
    assert error(response, 400) == UNKNOWN_REQUEST


def test_answer_is_json_of_its_dataclass(client):
    response = client.get("figures")
    answer = value(response)
    assert answer == {"version": answer["version"], "text": ANSWER.text, "numbers": [1.5, 2.0]}
    assert answer["version"]
    assert response.headers["cache-control"] == "no-store"


def test_known_version_is_not_sent_again(client):
    known = value(client.get("figures"))["version"]
    again = client.get("figures", params={"version": known})
    assert (again.status_code, again.content) == (204, b"")
    assert again.headers["cache-control"] == "no-store"
    assert value(client.get("figures", params={"version": "another"}))["version"] == known


@pytest.mark.parametrize("version", [None, "known"])
def test_every_answer_has_servers_time(client, version):
    known = value(client.get("figures"))["version"]
    before = time.time()
    response = client.get("figures", params={} if version is None else {"version": known})
    assert before - 0.01 <= float(response.headers[CLOCK_HEADER]) <= time.time() + 0.01


def test_fingerprints_differ_with_contents():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    json.dumps(fingerprint({"a": object()}))
