"""Adopt: another FluxGym's folder becomes sessions here, and stays as it was."""

import json
import os
import shutil
import struct
from pathlib import Path

import pytest

from fluxgym.config.settings import TrainConfig
from fluxgym.config.vram_tiers import TIERS
from fluxgym.dataset.folder import ImageFolder
from fluxgym.errors import SessionNotFound, StorageError
from fluxgym.models.catalog import FoundFiles
from fluxgym.runs.disk_space import MIN_FREE_BYTES
from fluxgym.runs.exit_record import ExitRecord, write_exit_record
from fluxgym.runs.launch_spec import to_words
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import identify
from fluxgym.runs.state import read_state
from fluxgym.sessions.adopt import adopt
from fluxgym.sessions.forget import forget
from fluxgym.sessions.listing import list_sessions
from fluxgym.trainers.options import train_sh, trainer_options
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


ALL_STEPS = {"ss_seed": "3", "ss_steps": "120", "ss_max_train_steps": "120"}


def model(path, cut=0, metadata=ALL_STEPS):
    header = json.dumps({"__metadata__": metadata, "x": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}).encode()
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


def test_adopt_copies_recorded_settings(theirs, tmp_path):
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


KOHYA_TOML = """[general]
shuffle_caption = false
caption_extension = '.txt'
keep_tokens = 1
flip_aug = true
[[datasets]]
resolution = 512
batch_size = 2
[[datasets.subsets]]
image_dir = "/x"
class_tokens = "sks cat"
num_repeats = 10
caption_dropout_rate = 0.1
[[datasets.subsets]]
image_dir = "/prior"
is_reg = true
"""


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(
    ("path", "base_model"), [("unet/flux1-dev.sft", "flux-dev"), ("pocket/flux.safetensors", "pocket"), ("my/thing.safetensors", "mine")]
)
def test_base_model_tier_and_other_flags_are_kept(tmp_path, tier, path, base_model):
    folder = tmp_path / "theirs" / "cat"
    models = tmp_path / "models"
    models.mkdir()
    entry = "mine:\n  files: {transformer: my/thing.safetensors, ae: a, clip_l: b, t5xxl: c}\n"
    (models / "models.yaml").write_text(entry)
    folder.mkdir(parents=True)
    (folder / "dataset.toml").write_text(KOHYA_TOML)
    files = FoundFiles(transformer=models / path, clip_l=models / "b", t5xxl=models / "c", ae=models / "a")
    advanced = {"color_aug": True, "network_alpha": 8, "gradient_checkpointing": False, "optimizer_args": ["weight_decay=0.1"]}
    config = TrainConfig(lora_name="cat", vram=tier, advanced=advanced)
    words = to_words(trainer_options(config, RunPaths(folder), files))
    (folder / "train.sh").write_text(train_sh(("accelerate", "launch", "--mixed_precision", "bf16", "flux_train_network.py", *words)))
    (adopted,) = adopt(tmp_path / "theirs", OutputsPaths(tmp_path / "outputs"))
    state = read_state(adopted)
    assert (state["vram"], state["base_model"]) == (tier, base_model)
    expected = advanced | {"flip_aug": True, "train_batch_size": 2, "caption_dropout_rate": 0.1, "reg_data_dir": "/prior"}
    assert state["advanced"] == expected


def test_lora_without_step_count_is_not_completed(tmp_path):
    for name, metadata in {"unknown": {}, "short": {"ss_steps": "60", "ss_max_train_steps": "120"}, "full": ALL_STEPS}.items():
        (tmp_path / "theirs" / name).mkdir(parents=True)
        model(tmp_path / "theirs" / name / f"{name}.safetensors", metadata=metadata)
    runs = adopt(tmp_path / "theirs", OutputsPaths(tmp_path / "outputs"))
    ends = {run.slug: (read_state(run)["status"], read_state(run)["reason"].partition("here. ")[2]) for run in runs}
    assert ends == {
        "full": ("completed", "All 120 steps were trained, and full.safetensors was read and is whole."),
        "short": ("stopped", "Its result is not usable as it is: only 60 of 120 steps were trained."),
        "unknown": ("stopped", "unknown.safetensors was read and is whole, but its metadata does not show that all steps were trained."),
    }


def test_own_folder_without_state_gets_state(theirs):
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
def test_damaged_model_is_not_completed_training(content, tmp_path):
    run = RunPaths(tmp_path / "outputs" / "cat")
    run.folder.mkdir(parents=True)
    run.lora.write_bytes(content)
    (adopted,) = adopt(tmp_path, OutputsPaths(tmp_path / "outputs"))
    assert read_state(adopted)["status"] == "stopped"


def test_own_run_keeps_outcome_and_images(tmp_path):
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


def test_live_run_whose_state_was_removed_is_not_changed(tmp_path):
    run = make_run(tmp_path)
    run.ui_state.unlink()
    run.train_sh.write_text(TRAIN_SH)
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 1, me, me)
    with pytest.raises(SessionNotFound):
        adopt(tmp_path, OutputsPaths(tmp_path))
    assert not run.ui_state.exists()


def test_caption_in_another_encoding_is_copied_as_it_is(theirs, tmp_path):
    (theirs / "datasets" / "my-cat" / "cat 1.txt").write_bytes(b"caf\xe9")
    adopt(theirs, OutputsPaths(tmp_path / "outputs"))
    assert (OutputsPaths(tmp_path / "outputs").run("my-cat").dataset / "cat 1.txt").read_bytes() == b"caf\xe9"


def test_images_that_cannot_be_copied_are_reported(theirs, tmp_path):
    caption = theirs / "datasets" / "my-cat" / "cat 1.txt"
    caption.rename(tmp_path / "elsewhere.txt")
    caption.symlink_to(tmp_path / "elsewhere.txt")
    adopt(theirs, OutputsPaths(tmp_path / "outputs"))
    run = OutputsPaths(tmp_path / "outputs").run("my-cat")
    assert "cat 1.txt is not read: it is a link" in read_state(run)["reason"]
    assert not run.dataset.exists()


def test_folder_that_cannot_be_read_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(SessionNotFound, match="Permission denied"):
        adopt(tmp_path, OutputsPaths(tmp_path / "outputs"))


def refuse(self):
    raise PermissionError(13, "Permission denied")


def test_folder_that_leaves_too_little_disk_space_is_not_copied(theirs, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=MIN_FREE_BYTES + 10))
    with pytest.raises(StorageError, match="reserved for trainings"):
        adopt(theirs, OutputsPaths(tmp_path / "outputs"))
    assert list_sessions(tmp_path / "outputs") == []
