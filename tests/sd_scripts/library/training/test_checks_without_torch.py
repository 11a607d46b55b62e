"""What is refused before PyTorch is imported; test_flux_train_network.py shows that it is not."""

import pytest
import torch
from safetensors.torch import save as safetensors

from library.errors import TrainerError
from library.training.checks_without_torch import check_without_torch
from tests.support.photos import write_cats
from tests.support.stops import write_dataset
from tests.support.trainer_config import trainer_config


@pytest.fixture(name="config_of")
def fixture_config_of(tmp_path):
    dataset = write_dataset(tmp_path / "d.toml", write_cats(tmp_path / "cats", count=1, size=64), cache_info=True)

    def config_of(**flags):
        return trainer_config(**{"dataset_config": str(dataset), "output_dir": str(tmp_path / "out"), "output_name": "cat"} | flags)

    return config_of


def test_settings_that_can_be_trained_pass_silently_and_write_nothing(config_of, tmp_path, capsys):
    check_without_torch(config_of(network_args=["train_blocks=single"]))
    assert capsys.readouterr() == ("", "")
    assert not (tmp_path / "out").exists()


def test_folder_at_path_of_lora_is_reported(config_of, tmp_path):
    (tmp_path / "out" / "cat.safetensors").mkdir(parents=True)
    with pytest.raises(TrainerError, match="is a folder, so no LoRA can be saved there"):
        check_without_torch(config_of())


WEIGHTS = {
    "missing": (None, "is missing"),
    "pickle": (b"PK\x03\x04" + bytes(600), "is "),
    "page": (b"<!DOCTYPE html><html></html>", "is a web page"),
    "header": (b"\x08" + bytes(7) + b"not json", "is damaged: its header cannot be read"),
    "cut": (safetensors({"x": torch.zeros(100)})[:-40], "is cut short and has"),
}


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("flag", ["network_weights", "base_weights"])
def test_weights_are_checked_by_their_header(flag, kind, config_of, tmp_path):
    content, words = WEIGHTS[kind]
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    given = {"network_weights": str(path)} if flag == "network_weights" else {"base_weights": [str(path)], "base_weights_multiplier": [1.0]}
    with pytest.raises(TrainerError, match=rf"--{flag} \S+w\.safetensors .*{words}"):
        check_without_torch(config_of(**given))


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"network_args": ["nosuch=1"]}, "nosuch=1 is not supported"),
        ({"log_with": "tensorboard"}, "needs --logging_dir"),
        ({"sample_prompts": "nowhere.txt", "sample_at_first": True}, "nowhere.txt is missing"),
        ({"dataset_config": "nowhere.toml"}, "nowhere.toml is missing"),
    ],
)
def test_invalid_value_is_reported(flags, sentence, config_of):
    with pytest.raises(TrainerError, match=sentence):
        check_without_torch(config_of(**flags))


@pytest.mark.parametrize("flag", ["logging_dir", "console_log_file"])
@pytest.mark.parametrize("name", ["file/logs/x", "file/x", "a" * 300 + "/x"])
def test_log_folder_that_cannot_be_written_is_refused(flag, name, config_of, tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / name
    with pytest.raises(TrainerError, match=f"^--{flag} {path} cannot be written: .*; choose another folder.$"):
        check_without_torch(config_of(**{flag: str(path)}))


def test_check_of_log_folders_leaves_nothing_behind(config_of, tmp_path):
    check_without_torch(config_of(logging_dir=str(tmp_path / "logs" / "b"), console_log_file=str(tmp_path / "logs" / "c")))
    assert not (tmp_path / "logs").exists()
    assert not list(tmp_path.glob("fluxgym-check-*"))
