"""The page's scripts fit together: each import exists and is used, each export is used, and each event has a sender and a listener."""

import re
import subprocess
import sys

import gradio
import pytest

from fluxgym.contract.codes import Status
from fluxgym.dataset.example import NUM_IMAGES
from fluxgym.sessions.index import SessionIndex
from fluxgym.ui.api.assets import read_assets
from fluxgym.ui.api.images import ImageRoutes
from fluxgym.ui.form import APPLY_PATCH, NAMES
from fluxgym.ui.form_events import FormEvents
from fluxgym.ui.page import ASSETS, IMAGES, build_page, sent_form
from fluxgym.ui.page_scripts import STYLES, PageScripts
from tests.support.small_installation import small_installation

SCRIPTS = {path.name: path.read_text() for path in sorted(ASSETS.glob("*.js"))}
IMPORTS = re.compile(r'^import (?:\{ ([\w, ]+) \}|\* as (\w+)) from "\./([\w.]+)";', re.MULTILINE)
EXPORTS = re.compile(r"^export (?:async )?(?:function|const|let|class) (\w+)", re.MULTILINE)
LISTED = re.compile(r"^export \{ ([\w, ]+) \};", re.MULTILINE)
EVENT = re.compile(r'\b(?:CustomEvent|emit)\("(fg:[\w-]+)"')
LISTENER = re.compile(r'addEventListener\("(fg:[\w-]+)"')


def exports(text):
    """Return the names that a script exports."""
    return {*EXPORTS.findall(text), *(name for names in LISTED.findall(text) for name in names.split(", "))}


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_uses_what_it_imports(name):
    text = SCRIPTS[name]
    for several, whole, source in IMPORTS.findall(text):
        for imported in several.split(", ") if several else [whole]:
            imported, _, renamed = imported.partition(" as ")
            assert len(re.findall(rf"\b{renamed or imported}\b", text)) > 1, f"{name} does not use {renamed or imported}"
            assert whole or imported in exports(SCRIPTS[source]), f"{source} has no {imported}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_script_exports_is_used_by_another(name):
    others = "".join(text for other, text in SCRIPTS.items() if other != name) + "".join(scripts_of_page())
    for exported in exports(SCRIPTS[name]) - {"mount"}:
        assert re.search(rf"\b{exported}\b", others), exported


def scripts_of_page() -> list[str]:
    """Return the JavaScript in page.py and page_scripts.py."""
    return [(ASSETS.parent / name).read_text() for name in ("page.py", "page_scripts.py")]


@pytest.fixture(name="page")
def fixture_page(tmp_path):
    settings = small_installation(tmp_path)
    events = FormEvents(settings, ImageRoutes(settings), SessionIndex(settings.outputs))
    return build_page(settings, events, PageScripts(read_assets()))


def test_every_event_has_sender_and_listener():
    every = "".join(SCRIPTS.values())
    listened = set(LISTENER.findall(every)) | set(re.findall(r'"(fg:[\w-]+)"', SCRIPTS["first_view.js"]))  # it listens to a list of events
    assert set(EVENT.findall(every)) == listened
    sent = every.count("new CustomEvent(") + every.count("emit(") - 1  # dom.js has the one in emit itself
    assert sent == len(EVENT.findall(every)), "an event's name must be written out"


def test_no_moment_of_servers_is_compared_with_browsers_clock():
    for name, text in SCRIPTS.items():
        if name != "clock.js":
            assert "Date.now() / 1000" not in text, f"{name} must ask clock.js for the time"


def test_no_script_has_number_of_example_photos():
    assert [name for name, text in SCRIPTS.items() if re.search(r"\b\d+ (example|cat) ", text)] == []
    assert IMAGES.num_example == NUM_IMAGES


def test_no_script_parses_text_as_html():
    for name, text in SCRIPTS.items():
        for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "createContextualFragment", "DOMParser"):
            assert sink not in text, f"{name} uses {sink}"


def test_values_are_sent_by_name_and_styles_are_in_the_head():
    scripts = PageScripts(read_assets())
    assert all(f'"{name}"' in scripts.save_unsent() for name in NAMES)
    assert all((ASSETS / name).read_text() in scripts.head() for name in STYLES)


def test_no_component_has_server_functions_or_events_that_gradio_does_not_define(page):
    config = page.get_config_file()
    assert [component["type"] for component in config["components"] if component["props"].get("server_fns")] == []
    for dependency in config["dependencies"]:
        for owner, event in dependency["targets"]:
            assert event == "then" or event in {str(known) for known in page.blocks[owner].EVENTS}, event


def test_no_event_of_form_writes_to_field_but_patch(page):
    fields = {block._id for block in page.blocks.values() if (block.elem_id or "").startswith("field-") and block.elem_id != "field-gpus"}
    assert len(fields) == len(NAMES)
    writers = [function for function in page.fns.values() if any(block._id in fields for block in function.outputs)]
    assert writers
    for function in writers:
        assert (function.fn, function.js) == (None, APPLY_PATCH)
        assert {block._id for block in function.outputs} >= fields


def test_no_event_waits_in_queue_which_polls_slowly(page):
    assert page.fns
    assert not any(function.queue for function in page.fns.values())
    pauses = {name: value for name, value in vars(page._queue).items() if name.endswith("sleep_when_free")}
    assert len(pauses) == 2
    assert min(pauses.values()) >= 0.1


def test_no_script_decides_by_list_of_statuses():
    status = f'"(?:{"|".join(Status)})"'
    found = re.compile(rf"\[{status}(?:, {status})+\]")
    assert found.search('["stopped", "failed"].includes(session.status)')
    assert [name for name, text in SCRIPTS.items() if found.search(text)] == []


@pytest.mark.parametrize(("data", "form"), [({"form": {"request": 1}}, {"request": 1}), ({}, None), (None, None), (3, None), ([], None)])
def test_event_without_form_is_empty(data, form):
    assert sent_form(gradio.EventData(None, data)) == form


def test_import_of_page_reads_no_script():
    program = (
        "import sys\nnames = []\nsys.addaudithook(lambda event, args: names.append(str(args[0])) if event == 'open' else None)\n"
        "import fluxgym.ui.page\nprint([name for name in names if name.endswith(('.js', '.svg', '.css')) and '/ui/assets/' in name])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
