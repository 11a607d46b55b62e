"""A client of the app's JSON API, for tests."""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, FastAPI
from httpx import Response
from starlette.testclient import TestClient

from fluxgym.app_settings import Settings
from fluxgym.ui.api.responses import API, add_error_handlers
from fluxgym.ui.server import make_server

BASE_URL = "http://127.0.0.1:7860"
LOCAL = ("127.0.0.1", 50000)  # the address of a client on this machine


def app_client(settings: Settings, **options: Any) -> TestClient:
    """Return a client of the whole app, the guard included; an error in the app is raised."""
    return TestClient(make_server(settings), base_url=BASE_URL, client=LOCAL, **options)


def router_client(routers: Iterable[APIRouter]) -> TestClient:
    """Return a client of some routes only, without the page, which takes a second to build."""
    app = FastAPI()
    add_error_handlers(app)
    for router in routers:
        app.include_router(router)
    return TestClient(app, base_url=f"{BASE_URL}{API}/")


def value(response: Response) -> Any:
    """Return the JSON value of a response that is neither an error nor empty."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def error(response: Response, status: int) -> str:
    """Return the sentence of an error response with the given status."""
    assert response.status_code == status, response.text
    answer = response.json()
    assert set(answer) == {"error"}
    assert set(answer["error"]) == {"message", "field", "code", "details"}
    message = answer["error"]["message"]
    assert isinstance(message, str)
    return message
