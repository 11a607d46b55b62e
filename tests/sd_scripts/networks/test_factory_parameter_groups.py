"""Every part is trained at the rate of its flag; a rate of 0 trains nothing and costs nothing."""

import pytest

from library.models.flux1.family import LORA_PARTS
from library.models.flux1.layer_names import CLIP_PREFIX, FLUX_PREFIX, T5_PREFIX
from networks.factory import parameter_groups
from networks.lora_flux import LoRASpec, create_network
from networks.network_args import parse_network_args
from tests.support.tiny_models import make_clip, make_flux, make_t5
from tests.support.trainer_config import trainer_config


def groups(network_args=(), **rates):
    options = parse_network_args(network_args)
    models = {FLUX_PREFIX: make_flux(), CLIP_PREFIX: make_clip()} | ({T5_PREFIX: make_t5()} if options.train_t5xxl else {})
    network = create_network(models, LoRASpec(rank=2, alpha=1.0, options=options), seed=0)
    config = trainer_config(**{"learning_rate": 1e-3} | rates).optim
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    found = [(group["lr"], {names[id(p)] for p in group["params"]}) for group in parameter_groups(config, network, LORA_PARTS)]
    return network, found


def test_parts_without_own_learning_rate_share_default():
    network, found = groups()
    assert [rate for rate, _ in found] == [1e-3, 1e-3]
    assert found[0][1] | found[1][1] == {name for name, _ in network.named_parameters()}
    assert all(name.startswith("lora_unet_") for name in found[0][1])


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({"unet_lr": 5e-4}, [5e-4, 1e-3, 1e-3]),
        ({"text_encoder_lr": [1e-5]}, [1e-3, 1e-5, 1e-5]),
        ({"text_encoder_lr": [1e-5, 2e-6]}, [1e-3, 1e-5, 2e-6]),
        ({"text_encoder_lr": []}, [1e-3, 1e-3, 1e-3]),
    ],
)
def test_each_part_has_its_own_rate(rates, expected):
    _, found = groups(["train_t5xxl=True"], **rates)
    assert [rate for rate, _ in found] == expected
    assert [next(iter(names)).split("_")[1] for _, names in found] == ["unet", "te1", "te3"]


def test_learning_rate_of_zero_freezes_part():
    network, found = groups(text_encoder_lr=[0.0])
    assert len(found) == 1
    assert all(p.requires_grad == name.startswith("lora_unet_") for name, p in network.named_parameters())


def test_lora_plus_multiplies_learning_rate_of_up_matrices():
    _, found = groups(["loraplus_lr_ratio=4", "loraplus_text_encoder_lr_ratio=16"], text_encoder_lr=[1e-5])
    rates = {next(iter(names)).split("_")[1] + ("_up" if "lora_up" in next(iter(names)) else ""): rate for rate, names in found}
    assert rates == pytest.approx({"unet": 1e-3, "unet_up": 4e-3, "te1": 1e-5, "te1_up": 16e-5})
    assert all(len({"lora_up" in name for name in names}) == 1 for _, names in found)


def test_learning_rate_by_name_has_precedence():
    _, found = groups(["network_reg_lrs=single_blocks_0=1e-5,single_blocks=2e-5", "loraplus_unet_lr_ratio=2"])
    by_rate = {rate: {name.split(".")[0] for name in names} for rate, names in found}
    assert sorted(rate for rate in by_rate if rate < 1e-3) == [1e-5, 2e-5, 4e-5]  # 2e-5: single 0's ups and single 1's downs
    assert by_rate[1e-5] == {f"lora_unet_single_blocks_0_{part}" for part in ("linear1", "linear2", "modulation_lin")}
    assert any("single_blocks_1" in name for name in by_rate[4e-5])
