"""The format of a refusal: JSON for the page's scripts, plain text elsewhere."""

import json

import pytest

from fluxgym.ui.security.refusals import refuse


@pytest.mark.parametrize(
    ("method", "path", "is_json"),
    [("GET", "/fluxgym/api/sessions", True), ("PUT", "/fluxgym/import/x.zip", True), ("GET", "/", False), ("POST", "/login", False)],
)
def test_refusal_is_json_for_api_and_uploads_and_text_elsewhere(method, path, is_json):
    answer = refuse({"method": method, "path": path}, "No.", 403, {"Retry-After": "5"})
    assert (answer.status_code, answer.headers["retry-after"]) == (403, "5")
    text = answer.body.decode()
    assert (json.loads(text)["error"]["message"] if is_json else text) == "No."
