"""LyCORIS over our FLUX: trained, saved under its own names, loaded again; unsupported settings are reported."""

import importlib.util

import pytest
import torch
from lycoris.kohya import create_network_from_weights
from safetensors.torch import save_file

from library.errors import TrainerError
from library.models.family import TRANSFORMER
from library.models.flux1.family import LORA_PARTS
from library.models.flux1.layer_names import CLIP_PREFIX, FLUX_PREFIX
from library.models.flux1.text_encoders import CLIP
from library.placement.activations import BlockCheckpointing
from library.placement.quantization import quantize_blocks
from networks import factory, lycoris_args, network_checks
from networks.factory import parameter_groups
from networks.lora_flux import LoRASpec, create_network
from tests.support.tiny_models import PARAMS, flux_inputs, make_clip, make_flux
from tests.support.trainer_config import trainer_config

ON_A_TINY_MODEL = [algo for algo in lycoris_args.ALGORITHMS if algo != "boft"]  # its factors do not divide so small a width


def config_of(*network_args, **flags):
    defaults = {"network_module": "lycoris.kohya", "network_args": network_args, "network_dim": 4, "network_alpha": 2.0}
    return trainer_config(**defaults | {"seed": 3, "learning_rate": 1e-2} | flags)


def create(config, flux, clip):
    models = {TRANSFORMER: flux} | ({CLIP: clip} if clip else {})
    return factory.create(config.network, LORA_PARTS, models, seed=config.run.seed)


def training(config):
    flux = make_flux()
    network = create(config, flux, make_clip())
    return flux, network, torch.optim.AdamW(parameter_groups(config.optim, network, LORA_PARTS))


def train(flux, network, optimizer, steps):
    flux.block_runner = BlockCheckpointing()
    for step in steps:
        network.start_micro_step(step, 0)
        x = flux_inputs(PARAMS)
        x["img"].requires_grad_(True)
        flux(**x).square().mean().backward()
        optimizer.step()
        network.after_step()
        optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def output(flux):
    return flux(**flux_inputs(PARAMS))


@pytest.mark.parametrize("algo", ON_A_TINY_MODEL)
def test_lora_saved_and_loaded_gives_same_output(algo):
    config = config_of(f"algo={algo}")
    flux, network, optimizer = training(config)
    before = output(flux)
    train(flux, network, optimizer, range(2))
    trained = output(flux)
    assert (trained - before).norm() > 0.01
    again = make_flux()
    create(config, again, make_clip()).load(network.weights(), "a file")
    assert torch.equal(output(again), trained)
    network.set_multiplier(0)
    assert torch.allclose(output(flux), output(make_flux()), atol=1e-5)


def test_lycoris_itself_reads_what_was_saved(tmp_path):
    flux, network, optimizer = training(config_of("algo=lokr"))
    train(flux, network, optimizer, range(2))
    weights = network.weights()
    assert {name.split(".")[1].split("_")[0] for name in weights} == {"lokr", "alpha"}
    assert all(name.startswith((FLUX_PREFIX, CLIP_PREFIX)) for name in weights)
    save_file(weights, tmp_path / "lokr.safetensors")
    again = make_flux()
    with torch.no_grad():
        theirs, _ = create_network_from_weights(1.0, str(tmp_path / "lokr.safetensors"), None, [make_clip()], again)
    theirs.apply_to([make_clip()], again, True, True)
    assert torch.allclose(output(again), output(flux), atol=1e-5)


def test_resume_repeats_lycoris_own_dropout():
    config = config_of("algo=lokr", "rank_dropout=0.3", "module_dropout=0.2")
    straight = training(config)
    train(*straight, range(4))
    stopped = training(config)
    train(*stopped, range(2))
    torch.manual_seed(99)  # whatever else drew meanwhile
    resumed = training(config)
    resumed[1].load(stopped[1].weights(), "a file")
    resumed[2].load_state_dict(stopped[2].state_dict())
    train(*resumed, range(2, 4))
    assert all(torch.equal(a, b) for a, b in zip(straight[1].parameters(), resumed[1].parameters(), strict=True))


def test_lycoris_trains_with_float8_base():
    flux = make_flux()
    quantize_blocks(flux.blocks, "fp8", torch.float32)
    config = config_of("algo=lokr")
    network = create(config, flux, None)
    before = output(flux)
    train(flux, network, torch.optim.AdamW(parameter_groups(config.optim, network, LORA_PARTS)), range(2))
    assert (output(flux) - before).norm() > 0.01


@pytest.mark.parametrize("kind", ["fp8", "int8", "nf4"])
@pytest.mark.parametrize("asked", [("algo=lokr", "dora_wd=True"), ("algo=diag-oft",)])
def test_weight_decomposition_with_quantized_weights_is_refused(kind, asked):
    flux = make_flux()
    quantize_blocks(flux.blocks, kind, torch.float32)
    with pytest.raises(TrainerError, match=rf"{asked[-1]}.*base_quantization"):
        create(config_of(*asked), flux, None)


def test_norms_are_limited_and_parts_have_rates():
    config = config_of("algo=lokr", "loraplus_lr_ratio=4", scale_weight_norms=0.002, unet_lr=1e-3, text_encoder_lr=[1e-4])
    flux, network, optimizer = training(config)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 1e-4]
    assert [group["lr"] for group in training(config_of("loraplus_lr_ratio=4"))[2].param_groups] == [1e-2, 4e-2] * 2
    train(flux, network, optimizer, range(3))
    norms = [lora.get_weight(lora.shape).norm().item() for lora in network.inner.unet_loras]
    assert max(norms) == pytest.approx(0.002, rel=1e-3)


def test_lycoris_trains_text_encoder_only():
    network = create(config_of("algo=lokr", network_train_text_encoder_only=True), make_flux(), make_clip())
    assert network.trainable_parameters(CLIP_PREFIX)
    assert not network.trainable_parameters(FLUX_PREFIX)


def test_lycoris_starts_from_file(tmp_path):
    flux, network, optimizer = training(config_of("algo=loha"))
    train(flux, network, optimizer, range(1))
    save_file(network.weights(), tmp_path / "loha.safetensors")
    again = make_flux()
    create(config_of("algo=loha", network_weights=str(tmp_path / "loha.safetensors")), again, make_clip())
    assert torch.equal(output(again), output(flux))
    lora = create_network({FLUX_PREFIX: make_flux()}, LoRASpec(rank=2, alpha=1.0), seed=0).weights()
    save_file(lora, tmp_path / "lora.safetensors")
    with pytest.raises(TrainerError, match=r"lora\.safetensors does not fit"):
        create(config_of("algo=loha", network_weights=str(tmp_path / "lora.safetensors")), make_flux(), None)


@pytest.mark.parametrize(
    "pair",
    [
        "algo=full", "algo=magic", "use_scalar=True", "rs_lora=True", "train_norm=True", "train_t5xxl=True", "factors=8", "factor=x", "algo",
        "decompose_both=1", "preset=nowhere.toml", "algo=boft",
    ],
)  # fmt: skip
def test_invalid_value_is_reported(pair):
    config = config_of(pair)
    with pytest.raises(TrainerError, match="--network_args"):
        create_checked(config)


def create_checked(config):
    network_checks.check_network(config)
    create(config, make_flux(), None)


def test_unsupported_flags_are_reported():
    for changes, named in (({"dim_from_weights": True}, "--dim_from_weights"), ({"save_keys": "diffusers"}, "--save_keys")):
        with pytest.raises(TrainerError, match=named):
            network_checks.check_network(config_of("algo=lokr", **changes))


@pytest.mark.parametrize(
    ("pair", "limit"),
    [
        ("loraplus_lr_ratio=1e308", "at most 1e+06"), ("factor=1e3", "whole number"), ("block_size=99999999999999999999", "at most 2147483647"),
        ("conv_alpha=x", "finite number"), ("preset=nowhere.toml", "neither a file"),
    ],
)  # fmt: skip
def test_argument_out_of_range_is_refused_before_models_are_loaded(pair, limit):
    with pytest.raises(TrainerError, match=f"--network_args {pair.split('=')[0]}") as caught:
        network_checks.check_network(config_of(pair))
    assert limit in str(caught.value)


def test_rank_is_limited_and_lokr_may_have_full_one():
    network_checks.check_network(config_of("algo=lokr", network_dim=100_000))
    for algo, rank, limit in (("loha", 4097, 4096), ("lokr", 10**20, 1_000_000)):
        with pytest.raises(TrainerError, match=f"--network_dim {rank} is too large; it must be at most {limit}"):
            network_checks.check_network(config_of(f"algo={algo}", network_dim=rank))


def test_missing_package_is_reported_with_install_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainerError, match=r"pip install -r requirements-lycoris\.txt"):
        network_checks.check_network(config_of("algo=lokr"))


def test_dropout_draws_between_begin_and_end_of_step_alone():
    network = training(config_of("algo=lokr", "dropout=0.5"))[1]
    assert not network.inner.training
    network.start_micro_step(0, 0)
    assert network.inner.training
    network.after_step()
    assert not network.inner.training
