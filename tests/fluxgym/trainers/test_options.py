"""The command is FluxGym's, flag for flag, and the trainer's parser accepts it."""

import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fluxgym.config.setting_spec import Emit, Setting, SettingType
from fluxgym.config.settings import TrainConfig
from fluxgym.config.vram_tiers import TIERS
from fluxgym.models.catalog import FoundFiles
from fluxgym.runs.launch_spec import to_words
from fluxgym.runs.paths import RunPaths
from fluxgym.trainers.options import setting_options, train_sh, trainer_options
from fluxgym.trainers.script import missing_script, script_command
from library.cli.parse import parse

FILES = FoundFiles(transformer=Path("m/unet.sft"), clip_l=Path("m/clip.safetensors"), t5xxl=Path("m/t5.safetensors"), ae=Path("m/ae.sft"))
ALWAYS = """
    --cache_latents_to_disk --save_model_as safetensors --sdpa --persistent_data_loader_workers --max_data_loader_n_workers 2 --seed 42
    --gradient_checkpointing --mixed_precision bf16 --save_precision bf16 --network_module networks.lora_flux --network_dim 4
    --learning_rate 8e-4 --cache_text_encoder_outputs --cache_text_encoder_outputs_to_disk --fp8_base --highvram --max_train_epochs 16
    --save_every_n_epochs 4 --timestep_sampling shift --discrete_flow_shift 3.1582 --model_prediction_type raw --guidance_scale 1.0
    --loss_type l2
""".split()


def argv(tmp_path, resume=None, **changes):
    (tmp_path / "flux_train_network.py").touch()
    run = RunPaths(tmp_path / "my-cat")
    options = trainer_options(TrainConfig(lora_name="My Cat", **changes), run, FILES, resume=resume)
    return script_command(sys.executable, tmp_path, options)


def pairs(words):
    """Return the flags with their values, as sorted texts."""
    found, current = [], []
    for word in words:
        if word.startswith("--"):
            current = [word]
            found.append(current)
        elif current:
            current.append(word)
    return sorted(" ".join(group) for group in found)


@pytest.mark.parametrize("tier", TIERS)
def test_options_contain_fluxgym_flags(tier, tmp_path):
    words = argv(tmp_path, vram=tier)
    folder = tmp_path / "my-cat"
    files = "--pretrained_model_name_or_path m/unet.sft --clip_l m/clip.safetensors --t5xxl m/t5.safetensors --ae m/ae.sft".split()
    own = ["--dataset_config", str(folder / "dataset.toml"), "--output_dir", str(folder), "--output_name", "my-cat", "--save_state"]
    always = [word for word in ALWAYS if word not in TIERS[tier].without]
    assert pairs(words) == sorted(pairs([*files, *always, *own, *to_words(TIERS[tier].options)]))
    assert "accelerate" not in " ".join(words[:3])
    parse(words[3:])


def test_advanced_settings_replace_and_add_and_no_flag_occurs_twice(tmp_path):
    words = argv(
        tmp_path,
        advanced={
            "network_alpha": 16,
            "gradient_checkpointing": False,
            "optimizer_type": "AdamW",
            "optimizer_args": ["a=1", "b=2"],
            "train_batch_size": 4,
        },
    )
    flags = [word for word in words if word.startswith("--")]
    assert len(flags) == len(set(flags))
    assert "--gradient_checkpointing" not in words
    assert words[words.index("--optimizer_type") + 1] == "AdamW"
    assert words[words.index("--optimizer_args") + 1 :][:2] == ["a=1", "b=2"]
    assert "--train_batch_size" not in words  # it belongs to dataset.toml


def test_samples_resume_and_no_checkpoints(tmp_path):
    words = argv(tmp_path, sample_every_n_steps=40, enable_checkpointing=False, resume=Path("x-state"))
    assert words[words.index("--sample_every_n_steps") + 1] == "40"
    assert "--sample_prompts" in words
    assert "--save_state" not in words
    assert words[words.index("--resume") + 1] == "x-state"


def test_script_contains_same_command(tmp_path):
    words = argv(tmp_path, advanced={"training_comment": 'it\'s a "test"; rm -rf /'})
    script = train_sh(words)
    body = script[script.index("exec ") + 5 :].replace("\\\n", " ")
    assert shlex.split(body) == words


def test_missing_trainer_is_reported(tmp_path):
    (problem,) = missing_script(tmp_path / "nowhere")
    assert "--sd-scripts" in problem.message


def test_hypothetical_row_becomes_option_and_is_left_out_while_it_is_zero():
    row = Setting(name="sharpness", type=SettingType.INTEGER, label="Sharpness", help="A test.", flag="--sharp", emit=Emit.IF_TRUE)
    assert setting_options(SimpleNamespace(sharpness=3), [row]) == {"--sharp": ("3",)}
    assert setting_options(SimpleNamespace(sharpness=0), [row]) == {}


@pytest.mark.parametrize(
    ("advanced", "folder"),
    [
        ({"log_with": "tensorboard"}, "my-cat/logs"), ({"log_with": "wandb"}, "my-cat/logs"), ({"log_with": "all", "logging_dir": "/var/tb"}, "/var/tb"),
        ({"logging_dir": "/var/tb"}, "/var/tb"), ({}, None),
    ],
)  # fmt: skip
def test_logs_are_in_folder_of_run_unless_another_one_is_reported(tmp_path, advanced, folder):
    words = argv(tmp_path, advanced=advanced)
    found = [words[index + 1] for index, word in enumerate(words) if word == "--logging_dir"]
    assert found == ([] if folder is None else [str(tmp_path / folder)])
