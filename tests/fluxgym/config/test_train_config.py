"""FluxGym's defaults, the guide's keys, and one plain sentence for every value that cannot be used."""

import pytest

from fluxgym.config.settings import TrainConfig
from fluxgym.errors import ConfigError

GUIDE = {
    "lora_name": "my-cat-lora", "concept_sentence": "catsy style", "base_model": "flux-dev", "vram": "20G", "num_repeats": 10,
    "max_train_epochs": 16, "enable_checkpointing": True, "enable_monitoring": True, "timestamp": 1234567890.123, "status": "starting",
}  # fmt: skip


def test_the_guides_state_is_a_config_with_fluxgyms_defaults():
    config = TrainConfig.from_state(GUIDE)
    assert (config.resolution, config.learning_rate, config.network_dim, config.seed, config.workers) == (512, "8e-4", 4, 42, 2)
    assert (config.timestep_sampling, config.guidance_scale, config.save_every_n_epochs, config.sample_every_n_steps) == (
        "shift",
        1.0,
        4,
        0,
    )
    assert TrainConfig.from_state(config.to_state()) == config


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"lora_name": None}, "lora_name"),
        ({"learning_rate": "abc"}, "learning_rate"),
        ({"learning_rate": "0"}, "learning_rate"),
        ({"learning_rate": "inf"}, "learning_rate"),
        ({"max_train_epochs": 0}, "max_train_epochs"),
        ({"max_train_epochs": "many"}, "max_train_epochs"),
        ({"max_train_epochs": 1.5}, "max_train_epochs"),
        ({"num_repeats": -1}, "num_repeats"),
        ({"resolution": 10**9}, "resolution"),
        ({"vram": "2G"}, "vram"),
        ({"timestep_sampling": "random"}, "timestep_sampling"),
        ({"seed": True}, "seed"),
        ({"guidance_scale": "nan"}, "guidance_scale"),
        ({"enable_checkpointing": "perhaps"}, "enable_checkpointing"),
        ({"advanced": {"frobnicate": 1}}, "advanced"),
        ({"advanced": [1]}, "advanced"),
        ({"concept_sentence": "a\0b"}, "concept_sentence"),
        ({"concept_sentence": "half a letter \ud800"}, "concept_sentence"),
        ({"learning_rate": "1_0"}, "learning_rate"),
        ({"learning_rate": "١e-4"}, "learning_rate"),
        ({"seed": 2**53}, "seed"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_field(changes, field):
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_state({**GUIDE, **changes})
    assert caught.value.field == field
    assert str(caught.value).count("\n") == 0


def test_hand_edited_numbers_may_be_text():
    config = TrainConfig.from_state({**GUIDE, "max_train_epochs": "20", "seed": "7", "enable_monitoring": "false"})
    assert (config.max_train_epochs, config.seed, config.enable_monitoring) == (20, 7, False)
