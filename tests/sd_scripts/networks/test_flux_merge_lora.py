"""A merged model gives the same images as model + LoRA; LoRAs merged into one add up; what is not touched stays byte for byte."""

import hashlib

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from library.models.flux1.layer_names import CLIP_PREFIX, FLUX_PREFIX
from library.models.flux1.loading import load_flux
from library.models.flux1.text_encoders import load_clip_l
from library.models.layer_names import kohya_name
from networks.command_line import run_command
from networks.flux_merge_lora import build_parser, merge, sum_of
from networks.lora_file import LoRAPair, read_lora
from networks.lora_flux import LoRASpec, create_network
from networks.lora_keys import to_diffusers
from tests.support.lora import randomize_lora
from tests.support.tiny_models import PARAMS, flux_inputs, make_clip, make_flux


def go(*argv):
    return run_command(build_parser(), merge, [str(word) for word in argv])


@pytest.fixture(name="files")
def fixture_files(tmp_path):
    """A model in ComfyUI's wrapping, a CLIP, and two LoRAs, one of each form."""
    flux, clip = make_flux(), make_clip()
    save_file(
        {f"model.diffusion_model.{name}": tensor for name, tensor in flux.state_dict().items()}, tmp_path / "flux.safetensors", {"a": "b"}
    )
    save_file({name: tensor.contiguous() for name, tensor in clip.state_dict().items()}, tmp_path / "clip_l.safetensors")
    for seed, name in enumerate(("one", "two")):
        network = create_network({FLUX_PREFIX: flux, CLIP_PREFIX: clip}, LoRASpec(rank=3 + seed, alpha=1.0 + seed), seed=seed)
        randomize_lora(network)
        weights = network.weights()
        save_file(to_diffusers(weights) if seed else weights, tmp_path / f"{name}.safetensors", {"ss_base_model_version": "flux1"})
    return tmp_path


@torch.no_grad()
def drawn_with(files, ratios):
    """Model + LoRAs, each with its ratio, by the modules that a training uses."""
    flux = load_flux(str(files / "flux.safetensors"), dtype=torch.float32, device="cpu")
    for name, ratio in ratios.items():
        lora = read_lora(files / f"{name}.safetensors", "a LoRA")
        network = create_network({FLUX_PREFIX: flux}, LoRASpec(rank=1, alpha=1.0, ranks=lora.ranks()), seed=0)
        network.load_matching_weights(lora.tensors, name)
        network.set_multiplier(ratio)
    return flux(**flux_inputs(PARAMS))


@torch.no_grad()
def test_merged_model_draws_what_model_and_loras_draw(files):
    merged = files / "out" / "merged.safetensors"
    argv = (
        "--flux_model",
        files / "flux.safetensors",
        "--save_to",
        merged,
        "--models",
        files / "one.safetensors",
        files / "two.safetensors",
    )
    assert go(*argv, "--ratios", "0.5", "-0.25") == 0
    ours = load_flux(str(merged), dtype=torch.float32, device="cpu")(**flux_inputs(PARAMS))
    expected = drawn_with(files, {"one": 0.5, "two": -0.25})
    change = (expected - drawn_with(files, {})).norm()
    assert change > 0.1
    assert (ours - expected).norm() < 1e-5 * change
    old, new = load_file(files / "flux.safetensors"), load_file(merged)
    assert set(old) == set(new)
    unchanged = {name for name in old if torch.equal(old[name], new[name])}
    assert {name.split(".")[2] for name in set(old) - unchanged} == {"double_blocks", "single_blocks"}
    assert not any(name.endswith(".weight") for name in unchanged if "_blocks." in name)
    with safe_open(merged, "pt") as file:
        assert file.metadata()["a"] == "b"
        assert file.metadata()["modelspec.merged_from"] == "flux, one, two"


@torch.no_grad()
def test_text_encoders_part_goes_into_text_encoder(files, capsys):
    merged = files / "clip_merged.safetensors"
    argv = ("--clip_l", files / "clip_l.safetensors", "--clip_l_save_to", merged, "--models", files / "one.safetensors", "--ratios", "1")
    assert go(*argv) == 0
    assert "16 modules belong to a model that was not given" in capsys.readouterr().out
    clip = make_clip()
    clip.load_state_dict(load_file(files / "clip_l.safetensors"))
    lora = read_lora(files / "one.safetensors", "a LoRA")
    network = create_network({CLIP_PREFIX: clip}, LoRASpec(rank=1, alpha=1.0, ranks=lora.ranks()), seed=0)
    network.load_matching_weights(lora.tensors, "one")
    ids = torch.randint(1, 800, (2, 77), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(load_clip_l(str(merged), dtype=None, device="cpu")(ids), clip(ids), atol=1e-5)


@pytest.mark.parametrize("precision", [None, "bf16"])
def test_models_precision_is_kept_unless_another_is_asked_for(precision, files):
    half = {name: tensor.half() for name, tensor in load_file(files / "flux.safetensors").items()}
    save_file(half, files / "half.safetensors")
    argv = (
        "--flux_model",
        files / "half.safetensors",
        "--save_to",
        files / "m.safetensors",
        "--models",
        files / "one.safetensors",
        "--ratios",
        "1",
    )
    assert go(*argv, *(["--save_precision", precision] if precision else [])) == 0
    assert {tensor.dtype for tensor in load_file(files / "m.safetensors").values()} == {torch.bfloat16 if precision else torch.float16}


@torch.no_grad()
def test_concatenated_loras_equal_sum_of_effects(files):
    argv = (
        "--models",
        files / "one.safetensors",
        files / "two.safetensors",
        "--ratios",
        "0.5",
        "-0.25",
        "--save_to",
        files / "sum.safetensors",
    )
    assert go(*argv, "--concat") == 0
    expected = drawn_with(files, {"one": 0.5, "two": -0.25})
    assert (drawn_with(files, {"sum": 1.0}) - expected).norm() < 1e-5 * expected.norm()
    with safe_open(files / "sum.safetensors", "pt") as file:
        notes, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert (notes["ss_network_dim"], notes["ss_base_model_version"], len(notes["sshs_model_hash"])) == ("7", "flux1", 64)  # 3 + 4
    assert len(tensors) == 3 * 22


def test_without_concat_sum_is_cut_to_highest_rank_with_least_loss():
    random = torch.Generator().manual_seed(0)
    pairs = [LoRAPair("a", torch.randn(rank, 12, generator=random), torch.randn(16, rank, generator=random), 0.5) for rank in (2, 3)]
    exact = 0.7 * pairs[0].delta() - 0.2 * pairs[1].delta()
    weighted = list(zip(pairs, (0.7, -0.2), strict=True))
    down, up = sum_of(weighted, exact=True)
    assert torch.allclose(up @ down, exact, atol=1e-5)
    down, up = sum_of(weighted, exact=False)
    u, s, vh = torch.linalg.svd(exact)
    assert len(down) == 3
    assert torch.allclose(up @ down, u[:, :3] * s[:3] @ vh[:3], atol=1e-5)


def test_invalid_input_prints_one_error_message_and_writes_no_file(files, capsys):
    one, out = files / "one.safetensors", files / "out.safetensors"
    save_file({"blocks.scale_weight": torch.ones(1)}, files / "scaled.safetensors")
    save_file(make_clip().state_dict() | {"x": torch.ones(1)}, files / "other.safetensors")
    before = hashlib.sha256(one.read_bytes()).hexdigest()
    for argv, named in (
        (["--models", one, "--ratios", "1", "1", "--save_to", out], "--ratios 2"),
        (["--models", one, "--ratios", "1"], "--save_to"),
        (["--models", one, "--ratios", "1", "--flux_model", files / "flux.safetensors"], "--save_to"),
        (["--models", one, "--ratios", "1", "--save_to", files / "out.ckpt"], ".safetensors"),
        (["--models", files / "no.safetensors", "--ratios", "1", "--save_to", out], "no.safetensors"),
        (["--models", one, "--ratios", "1", "--save_to", out, "--flux_model", files / "scaled.safetensors"], "scales"),
        (["--models", one, "--ratios", "1", "--save_to", out, "--flux_model", files / "other.safetensors"], "another model"),
    ):
        assert go(*argv) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert named in error
    assert not out.exists()
    assert hashlib.sha256(one.read_bytes()).hexdigest() == before


def test_lora_whose_layers_are_unknown_is_refused_and_writes_nothing(files, capsys):
    weights = {name.replace(".", "_.", 1): tensor for name, tensor in load_file(files / "one.safetensors").items()}
    save_file(weights, files / "odd.safetensors")
    argv = ("--models", files / "one.safetensors", files / "odd.safetensors", "--ratios", "1", "1", "--save_to", files / "out.safetensors")
    assert go(*argv) == go(*argv, "--flux_model", files / "flux.safetensors") == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == second
    assert "odd.safetensors: the tensor lora_" in first
    assert "belongs to no layer of FLUX" in first
    assert not (files / "out.safetensors").exists()


def test_lora_of_another_program_merges_with_one_of_kohya(files):
    weights = load_file(files / "one.safetensors")
    flux = {name: tensor for name, tensor in weights.items() if name.startswith(FLUX_PREFIX)}
    paths = {kohya_name(FLUX_PREFIX, path): path for path, _ in make_flux().named_modules()}
    save_file(
        {f"diffusion_model.{paths[name.split('.')[0]]}.{name.split('.', 1)[1]}": t for name, t in flux.items()}, files / "comfy.safetensors"
    )
    go(
        "--models",
        files / "one.safetensors",
        files / "comfy.safetensors",
        "--ratios",
        "0.5",
        "0.5",
        "--concat",
        "--save_to",
        files / "out.safetensors",
    )
    merged = {pair.name: pair.delta() for pair in read_lora(files / "out.safetensors", "the merged one").pairs()}
    assert set(load_file(files / "out.safetensors")) == set(weights)
    for pair in read_lora(files / "one.safetensors", "the first").pairs():
        if pair.name.startswith(FLUX_PREFIX):
            assert torch.allclose(merged[pair.name], pair.delta(), atol=1e-5)
