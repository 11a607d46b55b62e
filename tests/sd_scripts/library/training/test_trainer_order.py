"""The order of draws, casts, model calls and phases of two small trainings, as it was before the loop was taken apart.

Bits depend on it. `python -m tests.sd_scripts.library.training.test_trainer_order` records it again; a change of it is a change of behavior.
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import tomli_w

from tests.support.photos import write_cats
from tests.support.tiny_models import model_flags, write_tiny_models

ROOT = Path(__file__).parents[4]
RECORDED = Path(__file__).with_name("trainer_order.json.gz")
CASES = {
    "all is encoded at each step, CLIP and T5 are trained": (
        "--mixed_precision", "bf16", "--network_args", "train_t5xxl=True", "rank_dropout=0.2", "--network_dropout", "0.1",
        "--ip_noise_gamma", "0.1", "--ip_noise_gamma_random_strength", "--gradient_accumulation_steps", "2", "--ema_decay", "0.5",
        "--masked_loss", "--timestep_sampling", "flux_shift", "--model_prediction_type", "sigma_scaled", "--weighting_scheme", "cosmap",
        "--sample_every_n_steps", "2", "--validate_every_n_steps", "1", "--save_every_n_steps", "2", "--save_state", "--sample_at_first",
        "--max_train_epochs", "3",
    ),
    "all is cached, one step is cut off": (
        "--cache_latents", "--cache_text_encoder_outputs", "--network_train_unet_only", "--timestep_sampling", "sigma",
        "--weighting_scheme", "mode", "--model_prediction_type", "additive", "--sample_every_n_epochs", "1", "--save_every_n_epochs", "1",
        "--save_n_epoch_ratio", "3", "--gradient_checkpointing", "--max_train_steps", "5",
    ),
}  # fmt: skip


def record(case: str, folder: Path) -> dict[str, list]:
    """Run one case and return its record."""
    write_tiny_models(folder / "models")
    images, preserved = write_cats(folder / "cats", count=4, size=64), write_cats(folder / "kept", count=2, size=64)
    subsets = [
        {"image_dir": str(images), "caption_extension": ".txt", "flip_aug": True},
        {"image_dir": str(preserved), "caption_extension": ".txt", "custom_attributes": {"diff_output_preservation": True}},
    ]
    (folder / "d.toml").write_text(tomli_w.dumps({"datasets": [{"resolution": 64, "batch_size": 2, "subsets": subsets}]}))
    (folder / "prompts.txt").write_text("a cat --w 64 --h 64 --s 2\na dog --w 64 --h 64 --s 1 --l 2 --n blurry --d 5\n")
    argv = [
        *model_flags(folder / "models"), "--dataset_config", str(folder / "d.toml"), "--output_dir", str(folder / "out"), "--output_name",
        "cat", "--seed", "7", "--network_module", "networks.lora_flux", "--network_dim", "2", "--learning_rate", "1e-3",
        "--validation_split", "0.5", "--sample_prompts", str(folder / "prompts.txt"), "--max_data_loader_n_workers", "1", *CASES[case],
    ]  # fmt: skip
    command = [sys.executable, "-m", "tests.support.recorder", str(folder / "record.json"), *argv]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "record.json").read_text())


@pytest.mark.parametrize("case", CASES)
def test_order_of_draws_casts_and_phases_equals_recorded_one(case, tmp_path):
    expected = json.loads(gzip.decompress(RECORDED.read_bytes()))[case]
    found = record(case, tmp_path)
    assert found["phases"] == expected["phases"]
    for number, (one, other) in enumerate(zip(found["events"], expected["events"], strict=False)):
        assert one == other, f"event {number}"
    assert len(found["events"]) == len(expected["events"])


def main() -> None:
    """Write the record beside this file."""
    records = {}
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            records[case] = record(case, Path(folder))
    RECORDED.write_bytes(gzip.compress(json.dumps(records).encode(), mtime=0))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "sd-scripts"))
    main()
