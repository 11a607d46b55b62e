"""File names are those of earlier versions and of kohya."""

from fluxgym.contract import files
from fluxgym.contract.files import STATE_FOLDER, epoch_suffix, lora_name, sample_name, state_name, step_suffix


def test_names_are_those_of_earlier_versions():
    values = {name: value for name, value in vars(files).items() if name.isupper() and name != "STATE_FOLDER"}
    assert values == {
        "UI_STATE": "ui_state.json", "PROGRESS": "progress.jsonl", "TRAINING_LOG": "training.log", "MONITOR_LOG": "monitor.log",
        "TRAINING_PID": "training.pid", "MONITOR_PID": "monitor.pid", "DATASET_TOML": "dataset.toml", "SAMPLE_PROMPTS": "sample_prompts.txt",
        "TRAIN_SH": "train.sh", "README": "README.md", "DATASET_FOLDER": "dataset", "SAMPLE_FOLDER": "sample", "HISTORY_FOLDER": "history",
        "PRIVATE_FOLDER": ".run", "RUN_ID_VARIABLE": "FLUXGYM_RUN_ID", "ATTEMPT_VARIABLE": "FLUXGYM_ATTEMPT", "LORA_ENDING": ".safetensors",
        "STATE_ENDING": "-state", "PARTIAL_ENDING": ".partial", "MANIFEST": "manifest.json", "NETWORK": "model.safetensors",
        "OPTIMIZER": "optimizer.safetensors", "OPTIMIZER_JSON": "optimizer.json", "SCHEDULER": "scheduler.json",
        "TRAIN_STATE": "train_state.json", "KOHYA_NETWORKS": ("model.safetensors", "pytorch_model.bin"), "KOHYA_OPTIMIZER": "optimizer.bin",
        "KOHYA_SCHEDULER": "scheduler.bin", "KOHYA_RANDOM_STATES": "random_states_0.pkl", "KOHYA_POSITION": "fluxgym_place.json",
        "CACHE_FOLDER": ".fluxgym-cache", "LOGS_FOLDER": "logs",
    }  # fmt: skip


def test_saved_files_have_kohya_names():
    assert lora_name("cat") == "cat.safetensors"
    assert lora_name("cat", epoch_suffix(4)) == "cat-000004.safetensors"
    assert state_name("cat", step_suffix(120)) == "cat-step00000120-state"
    assert sample_name("cat", "e000004", 1, stamp="20240102030405", seed=7) == "cat_e000004_01_20240102030405_7.png"
    assert sample_name("cat", "000120", 0, stamp="20240102030405", seed=None) == "cat_000120_00_20240102030405.png"


def test_state_folder_matches_three_kinds_of_names():
    for name, epoch, step in (
        ("cat-000004-state", "000004", None), ("cat-step00000120-state", None, "00000120"), ("cat-state", None, None),
    ):  # fmt: skip
        match = STATE_FOLDER.search(name)
        assert (match["epoch"], match["step"]) == (epoch, step)
    assert STATE_FOLDER.search("cat-state-2") is None
