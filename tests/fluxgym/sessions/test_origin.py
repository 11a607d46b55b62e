"""A copy or an import has this origin until it is started here."""

import pytest

from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.state import read_state
from fluxgym.sessions.create import duplicate
from fluxgym.sessions.origin import Origin, imported_at, origin_of, parent_of
from fluxgym.sessions.transfer import export_state, import_file
from tests.support.runs import make_run


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    return make_run(tmp_path / "outputs", status="completed", timestamp=1000.0)


def test_run_of_this_machine_is_trained(run):
    assert origin_of(run, read_state(run)) is Origin.TRAINED
    assert (parent_of(run, read_state(run)), imported_at(read_state(run))) == ("", None)


def test_copy_is_copy_until_it_is_started(run):
    copy = duplicate(run, "second")
    assert origin_of(copy, read_state(copy)) is Origin.COPY
    assert parent_of(copy, read_state(copy)) == "cat"
    copy.training_log.write_text("started")
    assert origin_of(copy, read_state(copy)) is Origin.TRAINED


def test_import_records_its_time(run, tmp_path):
    export_state(run, tmp_path / "cat.json")
    (imported,) = import_file(tmp_path / "cat.json", OutputsPaths(tmp_path / "outputs"))
    state = read_state(imported)
    assert origin_of(imported, state) is Origin.IMPORT
    assert imported_at(state) == pytest.approx(imported.ui_state.stat().st_mtime, abs=60)
    assert state["timestamp"] == 1000.0


@pytest.mark.parametrize(("parent", "origin", "slug"), [
    (None, Origin.TRAINED, ""), ([], Origin.TRAINED, ""), ("x", Origin.TRAINED, ""), ({"slug": 5}, Origin.COPY, ""),
    ({"slug": "a", "imported_at": "soon"}, Origin.IMPORT, ""),
    ({"slug": "../a", "run_id": "x", "imported_at": "soon"}, Origin.IMPORT, ""), ({"imported_at": 1e300}, Origin.IMPORT, ""),
])  # fmt: skip
def test_missing_values_of_parent_are_omitted(run, parent, origin, slug):
    state = read_state(run) | {"parent": parent}
    assert origin_of(run, state) is origin
    assert imported_at(state) is None
    assert parent_of(run, state) == slug


def test_import_does_not_name_itself_or_another_run_of_its_name_as_its_origin(run, tmp_path):
    export_state(run, tmp_path / "cat.json")
    elsewhere = OutputsPaths(tmp_path / "elsewhere")
    (first,) = import_file(tmp_path / "cat.json", elsewhere)
    (second,) = import_file(tmp_path / "cat.json", elsewhere)
    assert [(one.slug, parent_of(one, read_state(one))) for one in (first, second)] == [("cat", ""), ("cat-2", "")]


def test_import_names_run_that_was_exported_if_that_is_here(run, tmp_path):
    export_state(run, tmp_path / "cat.json")
    (imported,) = import_file(tmp_path / "cat.json", OutputsPaths(tmp_path / "outputs"))
    assert (imported.slug, parent_of(imported, read_state(imported))) == ("cat-2", "cat")
