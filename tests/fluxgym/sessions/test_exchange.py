"""Export and import: a round trip changes nothing that matters, and nothing hostile comes in."""

import json
import stat
import zipfile

import pytest

from fluxgym.dataset.folder import PictureFolder
from fluxgym.errors import ImportRefused, UnreadableState
from fluxgym.run.paths import OutputsPaths, RunPaths
from fluxgym.run.ui_state import read_state
from fluxgym.sessions import exchange
from fluxgym.sessions.exchange import Export, export_archive, export_state, import_file
from fluxgym.sessions.history import diff
from fluxgym.sessions.listing import list_sessions
from tests.support.photos import write_cats
from tests.support.runs import make_run


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    run = make_run(tmp_path / "a", "my-cat", lora_name="My Cat", status="completed", max_train_epochs=3, completed_at=5.0, note="kept")
    write_cats(run.dataset, count=2, size=64, caption="sks cat")
    run.lora.write_bytes(b"model")
    return run


@pytest.fixture(name="outputs")
def fixture_outputs(tmp_path):
    return OutputsPaths(tmp_path / "b")


def pack(path, **files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


STATE = json.dumps({"lora_name": "cat"})


def test_a_whole_run_goes_over(run, outputs, tmp_path):
    export_archive([run], tmp_path / "x.zip", Export(pictures=True, lora=True))
    (taken,) = import_file(tmp_path / "x.zip", outputs)
    assert diff(read_state(run), read_state(taken)) == []
    state = read_state(taken)
    assert (state["status"], state["parent"]["slug"], state["note"], "completed_at" in state) == ("stopped", "my-cat", "kept", False)
    assert state["run_id"] != read_state(run)["run_id"]
    assert PictureFolder(taken.dataset).items() == PictureFolder(run.dataset).items()
    assert taken.lora.read_bytes() == b"model"
    (again,) = import_file(tmp_path / "x.zip", outputs)
    assert (again.slug, again.lora.name) == ("my-cat-2", "my-cat-2.safetensors")
    assert len(list_sessions(outputs.root)) == 2


def test_a_state_alone_and_all_states(run, outputs, tmp_path):
    export_state(run, tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text()) == read_state(run)
    (taken,) = import_file(tmp_path / "x.json", outputs)
    assert taken.slug == "my-cat"
    make_run(tmp_path / "a", "dog", status="stopped")
    export_archive(list(OutputsPaths(tmp_path / "a").runs()), tmp_path / "all.zip", Export())
    assert sorted(run.slug for run in import_file(tmp_path / "all.zip", outputs)) == ["dog", "my-cat-2"]
    (run.ui_state).write_text("{")
    with pytest.raises(UnreadableState):
        export_state(run, tmp_path / "y.json")


def link(name):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"../cat/ui_state.json": STATE}, "leads out"),
        ({"/etc/ui_state.json": STATE}, "leads out"),
        ({"cat/..\\..\\x.json": STATE}, "leads out"),
        ({"C:/ui_state.json": STATE}, "leads out"),
        ({"cat/ui_state.json": STATE, "cat/training.pid": "1"}, "no part of an exported run"),
        ({"cat/ui_state.json": STATE, "cat/.run/launch.json": "{}"}, "no part of an exported run"),
        ({"cat/ui_state.json": STATE, "cat/train.sh": "rm -rf /"}, "no part of an exported run"),
        ({".fluxgym/ui_state.json": STATE}, "no part of an exported run"),
        ({"cat/dataset/a.png": b"x"}, "no ui_state.json"),
        ({"cat/ui_state.json": STATE, "cat/dataset/a.png": b"not a picture"}, "a.png"),
        ({"cat/ui_state.json": "{"}, "not valid JSON"),
        ({"cat/ui_state.json": "[1]"}, "no ui_state.json"),
        ({"cat/ui_state.json": '{"lora_name": "cat", "hf_token": "x"}'}, "hf_token"),
        ({"cat/ui_state.json": '{"lora_name": "cat", "advanced": {"wandb_api_key": "x"}}'}, "wandb_api_key"),
        ({"cat/ui_state.json": '{"lora_name": "cat", "advanced": {"no_such_flag": 1}}'}, "no_such_flag"),
        ({"cat/ui_state.json": '{"lora_name": "cat", "max_train_epochs": "many"}'}, "many"),
        ({"cat/ui_state.json": '{"lora_name": "../../x"}'}, "slash"),
        ({"cat/ui_state.json": "[" * 100_000}, "not valid JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_place_in_an_export_is_refused_by_name(files, named, outputs, tmp_path):
    with pytest.raises(ImportRefused, match=named):
        import_file(pack(tmp_path / "x.zip", **files), outputs)
    assert list_sessions(outputs.root) == []
    assert not list((outputs.own / "new").iterdir())


def test_links_bombs_and_floods(outputs, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link("cat/ui_state.json"), "/etc/passwd")
    with pytest.raises(ImportRefused, match="a link"):
        import_file(tmp_path / "link.zip", outputs)
    bomb = pack(tmp_path / "bomb.zip", **{"cat/ui_state.json": STATE, "cat/dataset/a.txt": b"0" * (64 << 20)})
    with pytest.raises(ImportRefused, match="swells"):
        import_file(bomb, outputs)
    monkeypatch.setattr(exchange, "MAX_ENTRIES", 1)
    with pytest.raises(ImportRefused, match="at most 1"):
        import_file(pack(tmp_path / "many.zip", **{"a/ui_state.json": STATE, "b/ui_state.json": STATE}), outputs)


def test_forged_sizes_and_damage(outputs, tmp_path):
    path = pack(tmp_path / "x.zip", **{"cat/ui_state.json": STATE})
    data = bytearray(path.read_bytes())
    data[50:54] = b"\xff" * 4  # within the packed bytes
    path.write_bytes(data)
    with pytest.raises(ImportRefused):
        import_file(path, outputs)
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ImportRefused):
        import_file(path, outputs)
    assert RunPaths(outputs.root / "cat").folder.exists() is False
