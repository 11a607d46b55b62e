"""Settings of a network that contradict each other are refused without a model."""

import pytest

from library.errors import TrainerError
from networks import network_checks
from tests.support.trainer_config import trainer_config


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"network_train_unet_only": True, "network_train_text_encoder_only": True}, "--network_train_text_encoder_only"),
        ({"network_train_unet_only": True, "network_args": ["train_t5xxl=True"]}, "train_t5xxl"),
        ({"cache_text_encoder_outputs": True, "network_args": ["train_t5xxl=True"]}, "--cache_text_encoder_outputs"),
        ({"network_dropout": 1.0}, "--network_dropout 1.0"),
        ({"dim_from_weights": True}, "--network_weights"),
        ({"torch_compile": True, "network_dropout": 0.1}, "--torch_compile and dropout"),
        ({"torch_compile": True, "network_args": ["module_dropout=0.1"]}, "--torch_compile and dropout"),
        ({"network_args": ["img_attn=4"]}, "img_attn=4"),
    ],
)
def test_contradicting_arguments_are_reported(changes, named):
    with pytest.raises(TrainerError, match=named):
        network_checks.check_network(trainer_config(**changes))
