"""Export and import: a round trip keeps all relevant data, and hostile content is refused."""

import gzip
import json
import os
import stat
import threading
import time
import zipfile

import pytest

from fluxgym.dataset.folder import ImageFolder
from fluxgym.errors import ImportRefused, StorageError, UnreadableState
from fluxgym.runs.locks import file_lock
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.state import read_state
from fluxgym.sessions import archive as unpack
from fluxgym.sessions import transfer
from fluxgym.sessions.history import diff
from fluxgym.sessions.listing import list_sessions
from fluxgym.sessions.preconditions import is_name_available
from fluxgym.sessions.transfer import Export, export_archive, export_state, import_file
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


def test_complete_run_is_transferred(run, outputs, tmp_path):
    export_archive([run], tmp_path / "x.zip", Export(images=True, lora=True))
    (taken,) = import_file(tmp_path / "x.zip", outputs)
    assert diff(read_state(run), read_state(taken)) == []
    state = read_state(taken)
    assert (state["status"], state["parent"]["slug"], state["note"], "completed_at" in state) == ("stopped", "my-cat", "kept", False)
    assert state["run_id"] != read_state(run)["run_id"]
    images, taken_images = ({item.name: item.caption for item in ImageFolder(one.dataset).items()} for one in (run, taken))
    assert taken_images == images
    assert taken.lora.read_bytes() == b"model"
    (again,) = import_file(tmp_path / "x.zip", outputs)
    assert (again.slug, again.lora.name) == ("my-cat-2", "my-cat-2.safetensors")
    assert len(list_sessions(outputs.root)) == 2


def test_state_alone_and_all_states(run, outputs, tmp_path):
    export_state(run, tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text()) == read_state(run)
    (taken,) = import_file(tmp_path / "x.json", outputs)
    assert taken.slug == "my-cat"
    make_run(tmp_path / "a", "dog", status="stopped")
    export_archive(list(OutputsPaths(tmp_path / "a").runs()), tmp_path / "all.zip", Export())
    assert sorted(run.slug for run in import_file(tmp_path / "all.zip", outputs)) == ["dog", "my-cat-2"]
    run.ui_state.write_text("{")
    with pytest.raises(UnreadableState):
        export_state(run, tmp_path / "y.json")
    with pytest.raises(UnreadableState):
        export_archive([run], tmp_path / "y.zip", Export())
    (tmp_path / "y.zip").mkdir()
    with pytest.raises(StorageError):
        export_archive([outputs.run("dog")], tmp_path / "y.zip", Export())
    assert not list(tmp_path.glob("*.partial"))


def test_damaged_state_does_not_prevent_export_of_all(run, outputs, tmp_path):
    make_run(tmp_path / "a", "dog", max_train_epochs="many")
    make_run(tmp_path / "a", "owl").ui_state.write_text("{")
    runs = sorted(OutputsPaths(tmp_path / "a").runs(), key=lambda run: run.slug)
    left_out = export_archive(runs, tmp_path / "all.zip", Export())
    assert [sentence.split(":")[0] for sentence in left_out] == ["dog", "owl"]
    assert [taken.slug for taken in import_file(tmp_path / "all.zip", outputs)] == ["my-cat"]
    with pytest.raises(ImportRefused, match="no run that could"):
        export_archive([], tmp_path / "none.zip", Export())


def test_archive_is_imported_completely_or_not_at_all(run, outputs, tmp_path, monkeypatch):
    make_run(tmp_path / "a", "dog", status="stopped")
    export_archive(list(OutputsPaths(tmp_path / "a").runs()), tmp_path / "all.zip", Export())
    moved = []

    def fail_at_the_second(target):
        moved.extend(outputs.runs())
        if moved:
            raise StorageError("The disk is full.")
        return is_name_available(target)

    monkeypatch.setattr(transfer, "is_name_available", fail_at_the_second)
    with pytest.raises(StorageError):
        import_file(tmp_path / "all.zip", outputs)
    assert moved
    assert list(outputs.runs()) == []
    assert list(outputs.new.iterdir()) == []


def test_files_older_than_zip_itself_are_exported(run, outputs, tmp_path):
    os.utime(run.ui_state, (0, 0))
    export_archive([run], tmp_path / "x.zip", Export())
    assert len(import_file(tmp_path / "x.zip", outputs)) == 1


def test_imported_settings_are_stored_as_config_parses_them(outputs, tmp_path):
    state = {"lora_name": "cat", "max_train_epochs": "12", "timestamp": "long ago", "run_id": {"a": 1}, "mine": {"kept": [1]}, "host": "x"}
    (tmp_path / "x.json").write_text(json.dumps(state))
    (taken,) = import_file(tmp_path / "x.json", outputs)
    got = read_state(taken)
    assert got["parent"].pop("imported_at") > 0
    assert (got["max_train_epochs"], got["mine"], "host" in got, got["parent"]) == (
        12,
        {"kept": [1]},
        False,
        {"slug": "cat", "run_id": None},
    )
    assert time.time() - got["timestamp"] < 60


def test_import_waits_for_concurrent_start(run, outputs, tmp_path):
    export_archive([run], tmp_path / "x.zip", Export())
    outputs.root.mkdir()
    with file_lock(outputs.locks / "my-cat", timeout_s=1, busy="x"):
        importing = threading.Thread(target=import_file, args=(tmp_path / "x.zip", outputs))
        importing.start()
        importing.join(0.3)
        outputs.run("my-cat").folder.mkdir()  # what the start makes
    importing.join()
    assert outputs.run("my-cat-2").ui_state.is_file()


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
        ({"cat/ui_state.json": STATE, "cat/training.pid": "1"}, "not part of an exported run"),
        ({"cat/ui_state.json": STATE, "cat/.run/launch.json": "{}"}, "not part of an exported run"),
        ({"cat/ui_state.json": STATE, "cat/train.sh": "rm -rf /"}, "not part of an exported run"),
        ({".fluxgym/ui_state.json": STATE}, "not part of an exported run"),
        ({"cat/dataset/a.png": b"x"}, "no ui_state.json"),
        ({"cat/ui_state.json": STATE, "cat/dataset/a.png": b"not an image"}, "a.png"),
        ({"a/ui_state.json": STATE, "cat/ui_state.json": STATE, "cat/dataset/a.png": b"not an image"}, "a.png"),
        ({"cat/ui_state.json": '{"lora_name": "cat", "x": [{"api_token": 1}]}'}, "api_token"),
        ({"cat/ui_state.json": '{"lora_name": ["cat"]}'}, "lora_name must be a single value"),
        ({"cat/ui_state.json": '{"lora_name": "cat", "x": NaN}'}, "not valid JSON"),
        ({"cat/ui_state.json": '{"lora_name": "cat", "x": "\\ud800"}'}, "not valid JSON"),
        ({"cat/ui_state.json": '{"lora_name": "cat", "x": ' + "[" * 100 + "]" * 100 + "}"}, "nested"),
        ({"cat/ui_state.json": '{"lora_name": "cat", "x": "' + "x" * (1 << 20) + '"}'}, "larger than|at most 1024 kB"),
        ({"cat/ui_state.json": "{"}, "not valid JSON"),
        ({"cat/ui_state.json": "[1]"}, "not a ui_state.json"),
        ({"cat/ui_state.json": '{"lora_name": "cat", "hf_token": "x"}'}, "hf_token"),
        ({"cat/ui_state.json": '{"lora_name": "cat", "advanced": {"wandb_api_key": "x"}}'}, "wandb_api_key"),
        ({"cat/ui_state.json": '{"lora_name": "cat", "advanced": {"no_such_flag": 1}}'}, "no_such_flag"),
        ({"cat/ui_state.json": '{"lora_name": "cat", "max_train_epochs": "many"}'}, "many"),
        ({"cat/ui_state.json": '{"lora_name": "../../x"}'}, "slash"),
        ({"cat/ui_state.json": "[" * 100_000}, "not valid JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_forbidden_export_entry_is_refused_with_its_name(files, named, outputs, tmp_path):
    with pytest.raises(ImportRefused, match=named):
        import_file(pack(tmp_path / "x.zip", **files), outputs)
    assert list_sessions(outputs.root) == []
    assert not list((outputs.own / "new").iterdir())


def test_links_zip_bombs_and_too_many_entries_are_refused(outputs, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link("cat/ui_state.json"), "/etc/passwd")
    with pytest.raises(ImportRefused, match="a link"):
        import_file(tmp_path / "link.zip", outputs)
    bomb = pack(tmp_path / "bomb.zip", **{"cat/ui_state.json": STATE, "cat/dataset/a.txt": b"0" * (64 << 20)})
    with pytest.raises(ImportRefused, match=r"larger than \d+ MB when unpacked"):
        import_file(bomb, outputs)
    monkeypatch.setattr(unpack, "MAX_ENTRIES", 1)
    with pytest.raises(ImportRefused, match="at most 1"):
        import_file(pack(tmp_path / "many.zip", **{"a/ui_state.json": STATE, "b/ui_state.json": STATE}), outputs)


@pytest.mark.parametrize(("name", "message"), [("none.zip", "There is no file"), (".", "it is a folder"), ("big.json", "at most 1024 kB")])
def test_file_that_is_not_export_is_refused(name, message, outputs, tmp_path):
    (tmp_path / "big.json").write_text(json.dumps({"lora_name": "cat", "x": "x" * (1 << 20)}))
    with pytest.raises(ImportRefused, match=message):
        import_file(tmp_path / name, outputs)
    assert not outputs.run("cat").folder.exists()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("rocket.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF", "it is not text"),
        ("x.json", b'{"lora_name": ', "it is not valid JSON (line 1, column 15)"),
        ("broken.zip", b"PK no", "it cannot be opened as a .zip"),
        ("empty.zip", b"", "it cannot be opened as a .zip"),
    ],
)
def test_archive_that_is_not_export_is_explained(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImportRefused) as caught:
        import_file(tmp_path / name, OutputsPaths(tmp_path / "outputs"))
    message = str(caught.value)
    assert message.startswith(f"{name} is not a FluxGym export")
    assert problem in message
    assert not any(word in message for word in ("codec", "BadZipFile", "File is", "directory"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"hello": 1}, "x.json is not a FluxGym export: it holds no settings of a training."),
        ({"max_train_epochs": 3}, "x.json cannot be used: it has no lora_name, which is the name of the LoRA."),
    ],
)
def test_file_without_settings_or_name_is_not_answered_as_the_form_is(tmp_path, content, problem):
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(ImportRefused) as caught:
        import_file(tmp_path / "x.json", OutputsPaths(tmp_path / "outputs"))
    assert str(caught.value) == problem


def test_backup_is_refused_with_command_that_restores_it(tmp_path):
    (tmp_path / "backup.tar.gz").write_bytes(gzip.compress(b"x"))
    with pytest.raises(ImportRefused, match=r"tar -xzf backup\.tar\.gz"):
        import_file(tmp_path / "backup.tar.gz", OutputsPaths(tmp_path / "outputs"))


@pytest.mark.parametrize(("make", "what"), [(os.mkfifo, "it is a named pipe"), (os.mkdir, "it is a folder")])
def test_import_tells_what_path_is_that_is_not_file(make, what, tmp_path):
    make(tmp_path / "cat.zip")
    with pytest.raises(ImportRefused, match=rf"cat\.zip cannot be read: {what}\.$"):
        import_file(tmp_path / "cat.zip", OutputsPaths(tmp_path / "outputs"))
    assert not (tmp_path / "outputs").exists()
