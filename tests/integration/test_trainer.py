"""The trainer as a process, with FluxGym's own flags, on real photos and tiny random models: its files, its stop, its exact resume."""

import json

import pytest
import tomli_w
from safetensors import safe_open
from safetensors.torch import load_file

from tests.support.stops import Stop, run_until
from tests.support.trainer_process import (
    TIER_FLAGS,
    progress_lines,
    run_trainer,
    same_tensors,
    trainer_flags,
    write_dataset_toml,
)


@pytest.mark.parametrize("tier", TIER_FLAGS)
def test_training_with_tier_flags_completes(tier, models, images, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("sks cat --w 64 --h 64 --s 2 --d 7\n")
    out = tmp_path / "out"
    dataset = write_dataset_toml(tmp_path / "dataset.toml", images)
    done = run_trainer(
        *trainer_flags(models, dataset, out, "--save_state", "--sample_prompts", str(prompts), "--sample_every_n_steps", "8", tier=tier)
    )
    assert done.returncode == 0, done.stderr
    names = {path.name for path in out.iterdir()}
    assert names >= {"cat.safetensors", "cat-000001.safetensors", "cat-000001-state", "cat-state", "sample", "progress.jsonl"}
    assert "cat-000002.safetensors" not in names  # not for the last epoch
    assert sorted(path.name.split("_")[1] for path in (out / "sample").iterdir()) == ["000008", "000016"]
    last = progress_lines(out)[-1]
    assert (last["phase"], last["step"], last["total_steps"]) == ("done", 16, 16)
    phases = [line["phase"] for line in progress_lines(out)]
    assert {"loading", "caching", "training", "sampling", "saving", "done"} <= set(phases)
    assert [line["step"] for line in progress_lines(out) if "loss" in line] == list(range(1, 17))
    with safe_open(out / "cat.safetensors", "pt") as file:
        metadata, keys = file.metadata(), list(file.keys())
    assert (metadata["ss_seed"], metadata["ss_steps"], metadata["ss_network_dim"], metadata["ss_num_train_images"]) == (
        "42",
        "16",
        "4",
        "8",
    )
    assert metadata["modelspec.architecture"] == "flux-1-dev/lora"
    assert metadata["modelspec.resolution"] == "64x64"
    assert any(key.startswith("lora_te1_") for key in keys)
    assert any("double" in key for key in keys) == (tier != "12G")
    weights = load_file(out / "cat.safetensors")
    assert all(weights[key].isfinite().all() for key in weights)
    assert all(weights[key].abs().sum() > 0 for key in weights if "lora_up" in key)


MEMORY = ["--base_quantization", "nf4", "--cpu_offload_checkpointing", "--blocks_to_swap", "28", "--disable_mmap_load_safetensors"]


def test_training_with_memory_saving_flags_completes(models, images, tmp_path):
    dataset = write_dataset_toml(tmp_path / "dataset.toml", images, repeats=1)
    done = run_trainer(*trainer_flags(models, dataset, tmp_path / "out", *MEMORY, epochs=1))
    assert done.returncode == 0, done.stderr
    weights = load_file(tmp_path / "out" / "cat.safetensors")
    assert all(weights[key].isfinite().all() and weights[key].abs().sum() > 0 for key in weights if "lora_up" in key)


@pytest.mark.parametrize("accumulation", [3])  # more of it in test_exact_resume.py and sd_scripts/library/test_trainer.py
def test_stopped_and_resumed_training_is_bit_identical(accumulation, models, images, tmp_path):
    dataset = write_dataset_toml(tmp_path / "dataset.toml", images, repeats=5, shuffle_caption=False)
    extra = ["--gradient_accumulation_steps", str(accumulation), "--lr_scheduler", "cosine"]
    straight = run_trainer(*trainer_flags(models, dataset, tmp_path / "straight", *extra, epochs=3))
    assert straight.returncode == 0, straight.stderr
    out = tmp_path / "stopped"
    assert run_until(trainer_flags(models, dataset, out, *extra, epochs=3), out, Stop(4)) == 143
    states = list(out.glob("cat-step*-state"))
    assert len(states) == 1
    stopped_at = json.loads((states[0] / "manifest.json").read_text())["step"]
    resumed = run_trainer(*trainer_flags(models, dataset, out, *extra, "--resume", str(states[0]), epochs=3))
    assert resumed.returncode == 0, resumed.stderr
    assert same_tensors(tmp_path / "straight" / "cat.safetensors", out / "cat.safetensors")
    steps = [line["step"] for line in progress_lines(out) if "loss" in line]
    assert steps == list(range(1, max(steps) + 1))  # none twice, none left out
    assert 4 <= stopped_at < max(steps)


def test_finished_training_with_more_epochs_equals_longer_one(models, images, tmp_path):
    dataset = write_dataset_toml(tmp_path / "dataset.toml", images)
    out, straight = tmp_path / "out", tmp_path / "straight"
    assert run_trainer(*trainer_flags(models, dataset, out, "--save_state", epochs=1)).returncode == 0
    longer = run_trainer(*trainer_flags(models, dataset, out, "--resume", str(out / "cat-state"), epochs=2))
    assert longer.returncode == 0, longer.stderr
    assert run_trainer(*trainer_flags(models, dataset, straight, epochs=2)).returncode == 0
    assert same_tensors(straight / "cat.safetensors", out / "cat.safetensors")


def test_buckets_and_regularization_images_are_counted_in_metadata(models, images, tmp_path):
    from PIL import Image

    wide = tmp_path / "wide"
    wide.mkdir()
    for index, size in enumerate([(160, 96), (96, 160), (96, 96)]):
        Image.open(next(images.glob("*.png"))).resize(size).save(wide / f"{index}.png")
    toml = {
        "datasets": [
            {
                "resolution": 96, "batch_size": 2, "enable_bucket": True, "min_bucket_reso": 64, "max_bucket_reso": 256, "bucket_reso_steps": 32,
                "subsets": [
                    {"image_dir": str(wide), "num_repeats": 2, "class_tokens": "sks cat"},
                    {"image_dir": str(images), "num_repeats": 1, "is_reg": True},
                ],
            }
        ]
    }  # fmt: skip
    (tmp_path / "dataset.toml").write_text(tomli_w.dumps(toml))
    done = run_trainer(*trainer_flags(models, tmp_path / "dataset.toml", tmp_path / "out", "--prior_loss_weight", "0.5", epochs=1))
    assert done.returncode == 0, done.stderr
    with safe_open(tmp_path / "out" / "cat.safetensors", "pt") as file:
        metadata = file.metadata()
    assert (metadata["ss_num_train_images"], metadata["ss_num_reg_images"]) == ("6", "6")


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (["--learning_rat", "1"], "--learning_rat"),
        (["--learning_rate", "abc"], "learning_rate"),
        (["--blocks_to_swap", "99"], "blocks_to_swap"),
        (["--network_args", "conv_dims=4"], "conv_dims"),
        (["--resume", "nowhere"], "nowhere"),
        (["--ae", "missing.safetensors"], "missing.safetensors"),
        (["--optimizer_type", "Lionheart"], "Lionheart"),
        (["--mixed_precision", "fp16"], "fp16"),
    ],
)
def test_invalid_flags_fail_with_one_message(extra, named, models, images, tmp_path):
    dataset = write_dataset_toml(tmp_path / "dataset.toml", images)
    done = run_trainer(*trainer_flags(models, dataset, tmp_path / "out"), *extra)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert named in errors[0]


def test_damaged_model_is_reported_with_its_reason_code(models, images, tmp_path):
    broken = tmp_path / "flux.safetensors"
    broken.write_bytes((models / "flux.safetensors").read_bytes()[:5000])
    dataset = write_dataset_toml(tmp_path / "dataset.toml", images)
    done = run_trainer(*trainer_flags(models, dataset, tmp_path / "out"), "--pretrained_model_name_or_path", str(broken))
    assert done.returncode == 2
    assert str(broken) in done.stderr
    last = progress_lines(tmp_path / "out")[-1]
    assert last["reason_code"] == "bad_model"


def test_nan_loss_stops_training(models, images, tmp_path):
    dataset = write_dataset_toml(tmp_path / "dataset.toml", images)
    done = run_trainer(*trainer_flags(models, dataset, tmp_path / "out", "--optimizer_type", "AdamW", epochs=8), "--learning_rate", "1e30")
    assert done.returncode == 2
    last = progress_lines(tmp_path / "out")[-1]
    assert last["reason_code"] == "nan"
    assert f"step {last['step'] + 1}" in last["reason"]
    assert not (tmp_path / "out" / "cat.safetensors").exists()
