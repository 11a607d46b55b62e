"""The trainer as a process with the kinds of networks beyond the plain one: dropout over a stop, T5, LyCORIS, base weights, other keys."""

import json

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from library.models.flux1.layer_names import CLIP_PREFIX
from networks.lora_flux import LoRASpec, create_network
from tests.support.lora import randomize_lora
from tests.support.stops import Stop, run_until
from tests.support.tiny_models import make_clip
from tests.support.trainer_process import run_trainer, same_tensors, trainer_flags, write_dataset_toml


def without_cached_text(argv):
    return [word for word in argv if not word.startswith("--cache_text_encoder_outputs")]


def test_stop_and_resume_with_dropout_gives_same_lora(models, images, tmp_path):
    extra = [
        "--network_dropout",
        "0.1",
        "--scale_weight_norms",
        "1",
        "--network_args",
        "rank_dropout=0.2",
        "module_dropout=0.2",
        "split_qkv=True",
    ]
    dataset = write_dataset_toml(tmp_path / "dataset.toml", images, repeats=2)
    straight = run_trainer(*trainer_flags(models, dataset, tmp_path / "straight", *extra, epochs=1))
    assert straight.returncode == 0, straight.stderr
    out = tmp_path / "stopped"
    assert run_until(trainer_flags(models, dataset, out, *extra, epochs=1), out, Stop(2)) == 143
    (state,) = out.glob("cat-step*-state")
    resumed = run_trainer(*trainer_flags(models, dataset, out, *extra, "--resume", str(state), epochs=1))
    assert resumed.returncode == 0, resumed.stderr
    assert same_tensors(tmp_path / "straight" / "cat.safetensors", out / "cat.safetensors")


def test_lycoris_network_is_saved_under_lycoris_names(models, images, tmp_path):
    dataset = write_dataset_toml(tmp_path / "dataset.toml", images, repeats=1)
    lokr = ["--network_module", "lycoris.kohya", "--network_args", "algo=lokr", "rank_dropout=0.2"]
    done = run_trainer(*trainer_flags(models, dataset, tmp_path / "out", *lokr, "--network_train_unet_only", epochs=1))
    assert done.returncode == 0, done.stderr
    weights = load_file(tmp_path / "out" / "cat.safetensors")
    assert {name.split(".")[1].split("_")[0] for name in weights} == {"lokr", "alpha"}
    assert all(weights[name].abs().sum() > 0 for name in weights)


def test_t5_clip_and_flux_on_merged_lora_train_and_save_diffusers_keys(models, images, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("sks cat --w 64 --h 64 --s 1 --d 7\n")
    dataset = write_dataset_toml(tmp_path / "dataset.toml", images, repeats=1)
    network = create_network({CLIP_PREFIX: make_clip()}, LoRASpec(rank=2, alpha=1.0), seed=0)
    randomize_lora(network)
    save_file(network.weights(), tmp_path / "base.safetensors")
    argv = without_cached_text(trainer_flags(models, dataset, tmp_path / "out", epochs=1))
    extra = [
        "--network_args", "train_t5xxl=True", "loraplus_lr_ratio=4", "--network_dropout", "0.1", "--text_encoder_lr", "1e-3", "1e-4",
        "--base_weights", str(tmp_path / "base.safetensors"), "--base_weights_multiplier", "0.5", "--save_keys", "diffusers",
        "--sample_prompts", str(prompts), "--sample_every_n_epochs", "1", "--scale_weight_norms", "1.0",
    ]  # fmt: skip
    done = run_trainer(*argv, *extra)
    assert done.returncode == 0, done.stderr
    weights = load_file(tmp_path / "out" / "cat.safetensors")
    assert {name.split(".")[0] for name in weights} == {"transformer", "text_encoder", "text_encoder_2"}
    assert all(weights[name].abs().sum() > 0 for name in weights if "lora_B" in name)
    with safe_open(tmp_path / "out" / "cat.safetensors", "pt") as file:
        notes = file.metadata()
    assert json.loads(notes["ss_network_args"]) == {"train_t5xxl": "True", "loraplus_lr_ratio": "4", "dropout": 0.1}
    assert (notes["ss_network_dropout"], notes["ss_scale_weight_norms"]) == ("0.1", "1.0")
    assert len(list((tmp_path / "out" / "sample").iterdir())) == 1
