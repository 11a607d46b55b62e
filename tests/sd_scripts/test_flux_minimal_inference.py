"""The terminal generates the same image as the trainer from the same model, LoRA and seed; a LoRA changes the image in proportion to its strength."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from flux_minimal_inference import build_parser, main
from library.placement.cpu import multiplies_bfloat16
from networks.lora_keys import to_diffusers
from tests.support.photos import write_cats
from tests.support.tiny_models import model_flags

ROOT = Path(__file__).parents[2]
POCKET = ROOT / "models" / "pocket"
PROMPT = "a red circle on a white background"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", name="trained")
def fixture_trained(tmp_path_factory):
    """A training of three steps, wild enough that its LoRA shows, with an image before the first and after the last."""
    folder = tmp_path_factory.mktemp("trained")
    write_cats(folder / "images" / "1_sks cat", count=1, size=64)
    (folder / "prompts.txt").write_text(f"{PROMPT} --w 64 --h 64 --s 4 --d 11 --g 3.5\n")
    command = [
        sys.executable, ROOT / "sd-scripts" / "flux_train_network.py", *model_flags(POCKET), "--train_data_dir", folder / "images",
        "--caption_extension", ".txt", "--resolution", "64", "--output_dir", folder / "out", "--output_name", "cat", "--network_module",
        "networks.lora_flux", "--network_dim", "4", "--network_alpha", "4", "--learning_rate", "2e-2", "--optimizer_type", "AdamW",
        "--max_train_steps", "3", "--sample_prompts", folder / "prompts.txt", "--sample_every_n_steps", "3", "--sample_at_first", "--seed", "1",
        "--cache_latents", "--cache_text_encoder_outputs", "--max_data_loader_n_workers", "0",
    ]  # fmt: skip
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "out"


def drawn(tmp_path, *more):
    flags = dict(zip(("--ckpt_path", "--ae", "--clip_l", "--t5xxl"), model_flags(POCKET)[1::2], strict=True))
    words = [word for pair in flags.items() for word in pair]
    size = ["--width", "64", "--height", "64", "--steps", "4", "--seed", "11", "--dtype", "float32", "--output_dir", str(tmp_path / "out")]
    assert main([*words, "--prompt", PROMPT, *size, *map(str, more)]) == 0
    (path,) = (tmp_path / "out").glob("*.png")
    image = pixels(path)
    path.unlink()
    return image


def pixels(path):
    return np.asarray(Image.open(path)).astype(float)


def sample(folder, step):
    return pixels(next((folder / "sample").glob(f"cat_{step}_00_*_11.png")))


def test_image_equals_trainer_sample(trained, tmp_path):
    before, after = sample(trained, "000000"), sample(trained, "000003")
    assert np.abs(before - after).mean() > 3  # the LoRA shows
    assert np.abs(drawn(tmp_path) - before).mean() < 0.1
    assert np.abs(drawn(tmp_path, "--lora_weights", trained / "cat.safetensors") - after).mean() < 0.1


def test_lora_with_diffusers_names_gives_same_image(trained, tmp_path):
    save_file(to_diffusers(load_file(trained / "cat.safetensors")), tmp_path / "peft.safetensors")
    plain = drawn(tmp_path, "--lora_weights", trained / "cat.safetensors")
    assert np.abs(drawn(tmp_path, "--lora_weights", tmp_path / "peft.safetensors") - plain).mean() < 0.1


def test_strengths_are_summed_and_merging_is_equivalent(trained, tmp_path):
    lora = trained / "cat.safetensors"
    whole = drawn(tmp_path, "--lora_weights", lora)
    halves = drawn(tmp_path, "--lora_weights", f"{lora};0.25", f"{lora};0.75")
    merged = drawn(tmp_path, "--lora_weights", lora, "--merge_lora_weights")
    assert np.abs(halves - whole).mean() < 0.5
    assert np.abs(merged - whole).mean() < 0.5
    assert np.abs(drawn(tmp_path, "--lora_weights", f"{lora};0") - drawn(tmp_path)).max() == 0


@pytest.mark.parametrize("kind", ["fp8", "bfloat16"])
def test_lower_precisions_give_similar_image(kind, tmp_path):
    difference = np.abs(drawn(tmp_path, "--flux_dtype", kind) - drawn(tmp_path)).mean()
    is_float32 = kind == "bfloat16" and not multiplies_bfloat16()  # of this CPU
    assert difference == 0 if is_float32 else 0 < difference < 12


def test_guidance_by_negative_prompt_changes_image(tmp_path):
    guided = drawn(tmp_path, "--cfg_scale", "3", "--negative_prompt", "blue")
    assert np.abs(guided - drawn(tmp_path)).mean() > 1


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--lora_weights", "nowhere.safetensors"], "nowhere.safetensors is missing"),
        (["--lora_weights", "x;much"], "much is not a number"),
        (["--seed", str(2**64)], "--seed 18446744073709551616 must lie"),
        (["--dtype", "fp16"], "overflows in float16"),
        (["--steps", "0"], "--steps 0 must lie between 1 and 1000"),
        (["--negative_prompt", "x"], "needs a --cfg_scale"),
        (["--ckpt_path", str(POCKET / "ae.safetensors")], "it is a VAE"),
        (["--interactive"], "--interactive"),
    ],
)
def test_user_error_prints_one_error_message(extra, words, capsys):
    paths = ["--ckpt_path", "--ae", "--clip_l", "--t5xxl"]
    flags = [word for flag, path in zip(paths, model_flags(POCKET)[1::2], strict=True) for word in (flag, path)]
    assert main([*flags, *extra]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert error.count("\n") == 1


def test_lora_of_another_model_or_name_is_reported(trained, tmp_path, capsys):
    weights = load_file(trained / "cat.safetensors")
    first = next(iter(weights)).split(".")[0]
    for name, tensors, words in (
        (
            "deep",
            {key.replace(first, "lora_unet_double_blocks_40_img_mod_lin"): value for key, value in weights.items()},
            "double_blocks_40",
        ),
        ("peft", {f"transformer.{key}": value for key, value in weights.items()}, "transformer."),
        ("half", {f"{first}.lora_down.weight": weights[f"{first}.lora_down.weight"]}, "lora_up"),
    ):
        save_file(tensors, tmp_path / f"{name}.safetensors")
        paths = zip(["--ckpt_path", "--ae", "--clip_l", "--t5xxl"], model_flags(POCKET)[1::2], strict=True)
        assert main([*(word for pair in paths for word in pair), "--lora_weights", str(tmp_path / f"{name}.safetensors")]) == 2
        assert words in capsys.readouterr().err


def test_flags_match_kohya():
    """The names of kohya's script, but for its interactive mode."""
    own = {action.dest for action in build_parser()._actions}
    kohyas = """ckpt_path model_type clip_l t5xxl ae apply_t5_attn_mask prompt output_dir dtype clip_l_dtype ae_dtype t5xxl_dtype flux_dtype seed
        steps guidance negative_prompt cfg_scale offload lora_weights merge_lora_weights width height""".split()
    assert own >= set(kohyas)
