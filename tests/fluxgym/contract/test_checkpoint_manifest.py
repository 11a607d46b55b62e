"""Manifests and positions have the content of earlier versions; damage is found."""

import hashlib
import json

import pytest

from fluxgym.contract.checkpoint_manifest import FileDigest, FileFault, KohyaPosition, Manifest, digest, find_fault, find_state_fault

SHA = hashlib.sha256(b"data").hexdigest()
TEXT = '{"files": {"model.safetensors": {"sha256": "' + SHA + '", "bytes": 4}}, "step": 20, "epoch": 2, "total_steps": 40, "run_id": "abc"}'
MANIFEST = Manifest(files={"model.safetensors": FileDigest(sha256=SHA, bytes=4)}, step=20, epoch=2, total_steps=40, run_id="abc")


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"data")
    return tmp_path


def test_manifest_has_json_of_earlier_versions():
    assert json.dumps(MANIFEST.to_json()) == TEXT
    assert Manifest.from_json(json.loads(TEXT)) == MANIFEST


def test_manifest_without_run_id_is_read():
    assert Manifest.from_json({key: value for key, value in json.loads(TEXT).items() if key != "run_id"}).run_id == ""


@pytest.mark.parametrize(
    "change",
    [
        {"files": None},
        {"files": []},
        {"files": {"a": 7}},
        {"files": {"a": {"bytes": 4}}},
        {"step": None},
        {"epoch": "x"},
        {"step": 1e999},
        {"step": -1},
        {"step": True},
        {"step": 2**60},
        {"files": {"../outside": {"sha256": SHA, "bytes": 4}}},
        {"files": {"a": {"sha256": SHA, "bytes": -4}}},
    ],
)
def test_manifest_of_other_content_raises_value_error(change):
    with pytest.raises(ValueError, match="not a manifest"):
        Manifest.from_json(json.loads(TEXT) | change)


@pytest.mark.parametrize("value", [None, [], 7, "text", {}])
def test_manifest_of_another_value_raises_value_error(value):
    with pytest.raises(ValueError, match="not a manifest"):
        Manifest.from_json(value)


STATE = {"step": 20, "epoch": 2, "batch_in_epoch": 3, "total_steps": 40, "seed": 42, "fixed": {}, "losses": [0.5, 1]}


def test_values_that_trainer_writes_have_no_fault():
    assert find_state_fault(STATE, MANIFEST) == ""
    assert find_state_fault({key: value for key, value in STATE.items() if key != "losses"}, MANIFEST) == ""


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"step": "20"}, "has the step '20', which is not a count"),
        ({"step": -1}, "has the step -1, which is not a count"),
        ({"step": 10}, "has the step 10, and the manifest has 20"),
        ({"batch_in_epoch": 1.5}, "has the batch_in_epoch 1.5, which is not a count"),
        ({"batch_in_epoch": None}, "has the batch_in_epoch None, which is not a count"),
        ({"seed": "x"}, "has the seed 'x', which is not a whole number"),
        ({"fixed": []}, "has fixed that are not a table"),
        ({"losses": ["0.5"]}, "has losses that are not a list of numbers"),
        ({"losses": 7}, "has losses that are not a list of numbers"),
        ({"losses": [float("nan")]}, "has losses that are not a list of numbers"),
        ({"log_folder": 7}, "has a log_folder that is not a text"),
    ],
)
def test_each_value_of_another_kind_is_reported(change, fault):
    assert find_state_fault(STATE | change, MANIFEST) == fault


@pytest.mark.parametrize("value", [None, [], "text", 7])
def test_state_of_another_value_is_reported(value):
    assert find_state_fault(value, MANIFEST) == "holds no values"


def test_digest_is_size_and_sha256(folder):
    assert digest(folder / "model.safetensors") == FileDigest(sha256=SHA, bytes=4)


def test_find_fault_of_complete_folder_returns_none(folder):
    assert find_fault(folder, MANIFEST, verify=True) is None


def test_find_fault_names_first_damaged_file(folder):
    path = folder / "model.safetensors"
    path.write_bytes(b"atad")
    assert find_fault(folder, MANIFEST, verify=False) is None
    assert find_fault(folder, MANIFEST, verify=True) == ("model.safetensors", FileFault.CHANGED)
    path.write_bytes(b"dat")
    assert find_fault(folder, MANIFEST, verify=False) == ("model.safetensors", FileFault.CHANGED)
    path.unlink()
    assert find_fault(folder, MANIFEST, verify=False) == ("model.safetensors", FileFault.MISSING)


def test_find_fault_looks_only_into_folder(tmp_path):
    (tmp_path / "outside").write_bytes(b"data")
    (tmp_path / "folder").mkdir()
    manifest = Manifest(files={"../outside": FileDigest(sha256=SHA, bytes=4)}, step=1, epoch=1, total_steps=1)
    assert find_fault(tmp_path / "folder", manifest, verify=True) == ("../outside", FileFault.MISSING)


def test_kohya_position_has_json_of_earlier_versions():
    position = KohyaPosition(step=10, epoch=1, total_steps=40)
    assert position.to_json() == {"step": 10, "epoch": 1, "total_steps": 40}
    assert KohyaPosition.from_json({"step": 10, "epoch": 1, "total_steps": 40}) == position


@pytest.mark.parametrize(
    "value", [None, {}, {"step": 1, "epoch": 1}, {"step": 1, "epoch": 1, "total_steps": True}, {"step": 1.0, "epoch": 1, "total_steps": 1}]
)
def test_kohya_position_of_another_value_raises_value_error(value):
    with pytest.raises(ValueError, match="not a position"):
        KohyaPosition.from_json(value)
