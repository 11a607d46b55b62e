"""Settings with which nothing, or likely nothing, is learned."""

import pytest

from fluxgym.contract.learning import RATES, learns_little, learns_nothing


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("value", [1e-45, 1e-30, 9e-13])
def test_rate_that_leaves_weights_as_they_are_is_reported(name, value):
    assert learns_nothing(name, value) == "is so small that nothing would be learned; it must be at least 1e-12, such as 1e-4"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 1e-12),
        ("text_encoder_lr", 0),
        ("max_grad_norm", 0),
        ("network_alpha", 0),
        ("network_alpha", 1e-3),
        ("seed", 1e-45),
    ],
)
def test_value_that_is_off_or_can_be_used_is_not_named(name, value):
    assert learns_nothing(name, value) == ""


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"learning_rate": 1e-9}, ["learning_rate"]),
        ({"learning_rate": 5.0}, ["learning_rate"]),
        ({"unet_lr": 1, "text_encoder_lr": [0, 1e-4, 0.2], "optimizer_type": "adamw8bit"}, ["unet_lr", "text_encoder_lr"]),
        ({"learning_rate": 0.2, "optimizer_type": "adafactor", "optimizer_args": ["relative_step=False"]}, ["learning_rate"]),
        ({"text_encoder_lr": [0, 1e-9, 1e-4]}, ["text_encoder_lr"]),
        ({"unet_lr": 1e-9, "learning_rate": 1e-4}, ["unet_lr"]),
        ({"max_grad_norm": 1e-8}, ["max_grad_norm"]),
        ({"scale_weight_norms": 1e-3}, ["scale_weight_norms"]),
        ({"network_alpha": 1e-4, "network_dim": 16}, ["network_alpha"]),
        ({"network_dropout": 0.99, "module_dropout": 0.95}, ["network_dropout", "module_dropout"]),
        ({"loss_type": "huber", "huber_c": 1e-6}, ["huber_c"]),
        ({"caption_dropout_rate": 1.0}, ["caption_dropout_rate"]),
        ({"caption_dropout_every_n_epochs": 1}, ["caption_dropout_every_n_epochs"]),
        ({"caption_tag_dropout_rate": 1}, ["caption_tag_dropout_rate"]),
    ],
)
def test_value_that_likely_teaches_nothing_is_reported(values, names):
    assert [name for name, _, _ in learns_little(values)] == names


@pytest.mark.parametrize(
    "values",
    [
        {"learning_rate": 1e-6, "network_alpha": 1, "network_dim": 4096, "network_dropout": 0.5, "max_grad_norm": 1.0},
        {"max_grad_norm": 0, "scale_weight_norms": 0, "text_encoder_lr": 0},
        {"loss_type": "l2", "huber_c": 1e-6},
        {"caption_tag_dropout_rate": 1, "keep_tokens": 1},
        {"caption_dropout_every_n_epochs": 2, "caption_dropout_rate": 0.99},
        {"learning_rate": None, "network_dim": True, "network_alpha": "1e-9"},
        {"network_dropout": 1.5, "rank_dropout": 1, "module_dropout": -0.5},  # refused as what they are
        {"learning_rate": 0.1, "unet_lr": 0.05, "text_encoder_lr": [1e-4, 0.1]},
        {"learning_rate": 1.0, "optimizer_type": "Prodigy"},
        {"learning_rate": 2.0, "optimizer_type": "dadaptation.experimental.DAdaptAdanIP"},
        {"learning_rate": 1.0, "optimizer_type": "adafactor"},
        {"learning_rate": 1.0, "optimizer_type": "Adafactor", "optimizer_args": ["relative_step=False", "warmup_init=True"]},
    ],
)
def test_usual_values_are_not_named(values):
    assert list(learns_little(values)) == []
