"""The page's scripts hang together: each uses what it imports, what it imports is there, and whatever one tells another is heard."""

import re

import pytest

from fluxgym.ui.form import NAMES
from fluxgym.ui.page import ASSETS, CHANGED, head

SCRIPTS = {path.name: path.read_text() for path in sorted(ASSETS.glob("*.js"))}
IMPORTS = re.compile(r'^import (?:\{ ([\w, ]+) \}|\* as (\w+)) from "\./([\w.]+)";', re.MULTILINE)
EXPORTS = re.compile(r"^export (?:async )?(?:function|const|let) (\w+)", re.MULTILINE)
EVENT = re.compile(r'CustomEvent\("(fg:\w+)"')
LISTENER = re.compile(r'addEventListener\("(fg:\w+)"')


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_uses_what_it_imports(name):
    text = SCRIPTS[name]
    for several, whole, source in IMPORTS.findall(text):
        for imported in several.split(", ") if several else [whole]:
            assert len(re.findall(rf"\b{imported}\b", text)) > 1, f"{name} does not use {imported}"
            assert whole or imported in EXPORTS.findall(SCRIPTS[source]), f"{source} has no {imported}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_script_exports_is_used_by_another(name):
    others = "".join(text for other, text in SCRIPTS.items() if other != name)
    for exported in set(EXPORTS.findall(SCRIPTS[name])) - {"mount"}:
        assert re.search(rf"\b{exported}\b", others) or exported in ("draft", "viewed", "unsent", "keepUnsent", "settled"), exported


def test_every_event_has_a_sender_and_a_listener():
    every = "".join(SCRIPTS.values())
    assert set(EVENT.findall(every)) == set(LISTENER.findall(every))
    assert every.count("new CustomEvent(") == len(EVENT.findall(every)), "an event's name must be written out"


def test_no_moment_of_the_servers_is_compared_with_the_browsers_clock():
    for name, text in SCRIPTS.items():
        if name != "clock.js":
            assert "Date.now() / 1000" not in text, f"{name} must ask clock.js for the time"


def test_what_is_typed_travels_by_name_and_every_script_is_fetched_beforehand():
    assert all(f'"{name}"' in CHANGED for name in NAMES)
    assert all(f"/fluxgym/assets/{name}" in head() for name in SCRIPTS)
