"""The check of a network against the headers of the models' files."""

from library.config import TrainerConfig
from library.models.family import ModelFamily
from library.models.registry import find_family
from networks.factory import check_fit, trained_parts


def find_fitting_family(config: TrainerConfig) -> ModelFamily:
    """Return the family of the models; by their headers, refuse a network that does not fit them before minutes of loading.

    Raises:
        TrainerError: If a file is missing, damaged, or of another model, or the models lack a block that --network_args names.
    """
    family = find_family(config.model)
    train = trained_parts(config.network, family.lora_parts)
    check_fit(config.network, family.lora_parts, family.empty_models(config.model, train))
    return family
