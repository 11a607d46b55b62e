"""A network is compared with the headers of the models' files."""

import pytest

from library.errors import TrainerError
from library.training.preflight.models import find_fitting_family
from tests.support.tiny_models import model_flags, write_tiny_models
from tests.support.trainer_config import trainer_config


def test_network_that_names_a_missing_block_is_refused_by_the_header(tmp_path):
    flags = model_flags(write_tiny_models(tmp_path))
    assert find_fitting_family(trainer_config(*flags)).spec.model_type
    with pytest.raises(TrainerError, match="the model's blocks are 0 to 0"):
        find_fitting_family(trainer_config(*flags, network_args=["train_double_block_indices=0-1"]))
