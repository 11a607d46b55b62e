"""Adopt: another FluxGym's folder becomes sessions here, and stays as it was."""

import json
import os
import shutil
import struct
from pathlib import Path

import pytest

from fluxgym.dataset.folder import ImageFolder
from fluxgym.errors import SessionNotFound, StorageError
from fluxgym.runs.exit_record import ExitRecord, write_exit_record
from fluxgym.runs.files import MIN_FREE_BYTES
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import identify
from fluxgym.runs.state import read_state
from fluxgym.sessions.adopt import adopt
from fluxgym.sessions.cleanup import forget
from fluxgym.sessions.listing import list_sessions
from tests.support.photos import write_cats
from tests.support.runs import make_run, record_processes

TRAIN_SH = """accelerate launch \\
  --mixed_precision bf16 \\
  sd-scripts/flux_train_network.py \\
  --pretrained_model_name_or_path "/models/flux1-schnell.sft" \\
  --seed 7 --learning_rate 8e-4 --network_dim 16 --save_state \\
  --max_train_epochs 12 --guidance_scale 1 --timestep_sampling shift
"""
DATASET = '[[datasets]]\nresolution = 768\n[[datasets.subsets]]\nclass_tokens = "sks cat"\nnum_repeats = 5\n'


def model(path, cut=0):
    header = json.dumps({"__metadata__": {"ss_seed": "3"}, "x": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}).encode()
    path.write_bytes((struct.pack("<Q", len(header)) + header + bytes(8))[: -cut or None])


@pytest.fixture(name="theirs")
def fixture_theirs(tmp_path):
    folder = tmp_path / "theirs"
    run = folder / "outputs" / "my-cat"
    (run / "sample").mkdir(parents=True)
    model(run / "my-cat.safetensors")
    model(run / "my-cat-000004.safetensors")
    (run / "train.sh").write_text(TRAIN_SH)
    (run / "dataset.toml").write_text(DATASET)
    (run / "sample_prompts.txt").write_text("sks cat in the snow\n")
    (run / "sample" / "my-cat_000100_00_20250101000000.png").write_bytes(b"x")
    write_cats(folder / "datasets" / "my-cat", count=2, size=64, caption="sks cat")
    cut = folder / "outputs" / "cut"
    cut.mkdir()
    model(cut / "cut.safetensors", cut=4)
    hardened = folder / "outputs" / "hardened"
    hardened.mkdir()
    (hardened / "ui_state.json").write_text('{"lora_name": "Hard", "max_train_epochs": 9, "timestamp": 1700000000.0, "status": "running"}')
    (folder / "outputs" / "empty").mkdir()
    return folder


def everything(folder):
    return sorted((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*"))


def test_adopt_copies_what_the_files_record(theirs, tmp_path):
    before = everything(theirs)
    outputs = OutputsPaths(tmp_path / "outputs")
    assert [run.slug for run in adopt(theirs, outputs)] == ["cut", "hardened", "my-cat"]
    run = outputs.run("my-cat")
    state = read_state(run)
    known = {
        "max_train_epochs": 12, "seed": 7, "network_dim": 16, "learning_rate": "8e-4", "resolution": 768, "num_repeats": 5,
        "base_model": "flux-schnell",
        "concept_sentence": "sks cat", "sample_prompts": "sks cat in the snow", "enable_checkpointing": True, "status": "completed",
    }  # fmt: skip
    assert {name: state[name] for name in known} == known
    assert sorted(path.name for path in run.lora_files()) == ["my-cat-000004.safetensors", "my-cat.safetensors"]
    assert ImageFolder(run.dataset).count() == 2
    assert run.samples.is_dir()
    rows = {session.slug: (session.lora_name, str(session.status), session.max_train_epochs) for session in list_sessions(outputs.root)}
    assert rows == {"my-cat": ("my-cat", "completed", 12), "cut": ("cut", "stopped", None), "hardened": ("Hard", "stopped", 9)}
    assert everything(theirs) == before
    with pytest.raises(SessionNotFound, match="not here already"):
        adopt(theirs, outputs)


def test_our_own_bare_folders_get_a_state(theirs):
    outputs = OutputsPaths(theirs / "outputs")
    hardened = (theirs / "outputs" / "hardened" / "ui_state.json").read_bytes()
    assert [run.slug for run in adopt(theirs, outputs)] == ["cut", "my-cat"]
    assert (theirs / "outputs" / "hardened" / "ui_state.json").read_bytes() == hardened
    assert ImageFolder(outputs.run("my-cat").dataset).count() == 2


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x01", struct.pack("<Q", 1 << 62) + b"{}", struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 20) + b'{"__metadata__": [1]}',
        struct.pack("<Q", 30) + b'{"x":{"data_offsets":[0,"b"]}}', struct.pack("<Q", 1 << 20) + b"[" * (1 << 20),
    ],
    ids=["empty", "byte", "long", "list", "metadata", "offsets", "nested"],
)  # fmt: skip
def test_a_damaged_model_is_not_a_completed_training(content, tmp_path):
    run = RunPaths(tmp_path / "outputs" / "cat")
    run.folder.mkdir(parents=True)
    run.lora.write_bytes(content)
    (adopted,) = adopt(tmp_path, OutputsPaths(tmp_path / "outputs"))
    assert read_state(adopted)["status"] == "stopped"


def test_a_run_of_ours_keeps_its_end_and_its_images(tmp_path):
    run = make_run(tmp_path / "outputs", status="failed", max_train_epochs=7)
    model(run.lora)
    write_cats(run.dataset, count=2, size=64)
    write_exit_record(run, ExitRecord(run_id="id-cat", attempt=1, status="failed", reason_code="nan", reason="The loss became NaN."))
    (elsewhere,) = adopt(tmp_path / "outputs", OutputsPaths(tmp_path / "new"))
    assert ImageFolder(elsewhere.dataset).count() == 2
    forget(run)
    (again,) = adopt(tmp_path / "outputs", OutputsPaths(tmp_path / "outputs"))
    for adopted in (elsewhere, again):
        state = read_state(adopted)
        assert (state["status"], state["reason_code"], state["run_id"], adopted.lora.exists()) == ("failed", "nan", "id-cat", True)
    (row,) = list_sessions(tmp_path / "outputs")
    assert (row.status, row.reason) == ("failed", "The loss became NaN.")


def test_a_living_run_whose_state_was_removed_is_left_alone(tmp_path):
    run = make_run(tmp_path)
    run.ui_state.unlink()
    run.train_sh.write_text(TRAIN_SH)
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 1, me, me)
    with pytest.raises(SessionNotFound):
        adopt(tmp_path, OutputsPaths(tmp_path))
    assert not run.ui_state.exists()


def test_images_that_cannot_be_copied_are_reported(theirs, tmp_path):
    (theirs / "datasets" / "my-cat" / "cat 1.txt").write_bytes(b"caf\xe9")
    adopt(theirs, OutputsPaths(tmp_path / "outputs"))
    run = OutputsPaths(tmp_path / "outputs").run("my-cat")
    assert "cat 1.txt is not UTF-8" in read_state(run)["reason"]
    assert not run.dataset.exists()


def test_a_folder_that_cannot_be_read_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(SessionNotFound, match="Permission denied"):
        adopt(tmp_path, OutputsPaths(tmp_path / "outputs"))


def refuse(self):
    raise PermissionError(13, "Permission denied")


def test_a_folder_that_leaves_too_little_room_for_trainings_is_not_copied(theirs, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=MIN_FREE_BYTES + 10))
    with pytest.raises(StorageError, match="reserved for trainings"):
        adopt(theirs, OutputsPaths(tmp_path / "outputs"))
    assert list_sessions(tmp_path / "outputs") == []
