"""Checks of a network's settings, without PyTorch and without a model."""

from fluxgym.contract.limits import MAX_DROPOUT, MAX_RANK
from library.config import NetworkConfig, NetworkModule, TrainerConfig
from library.errors import TrainerError
from networks import lycoris_args
from networks.network_args import check_rank, parse_network_args

T5_SWITCH = "train_t5xxl"


def check_network(config: TrainerConfig) -> None:
    """Refuse settings of the network that cannot be trained.

    Raises:
        TrainerError: If flags or --network_args are unknown or contradict each other, or a package is not installed.
    """
    if config.network.network_module == NetworkModule.LYCORIS:
        lycoris_args.check(config.network, config.save.save_keys)
    else:
        check_rank(config.network.network_dim, MAX_RANK)
    trains_t5 = is_on(config.network, T5_SWITCH)
    _check_parts(config.network)
    if trains_t5 and config.data.cache_text_encoder_outputs:
        raise TrainerError("--network_args train_t5xxl=True trains what --cache_text_encoder_outputs keeps fixed; leave one of them out.")
    if config.placement.torch_compile and _has_dropout(config.network):
        raise TrainerError(
            "--torch_compile and dropout in the network exclude each other: each step would be compiled again; leave one out."
        )


def is_on(config: NetworkConfig, switch: str) -> bool:
    """Return True if a switch of --network_args is on; LyCORIS has none that choose parts."""
    return config.network_module == NetworkModule.LORA and bool(getattr(parse_network_args(config.network_args), switch))


def _check_parts(config: NetworkConfig) -> None:
    if config.network_train_unet_only and config.network_train_text_encoder_only:
        raise TrainerError("--network_train_unet_only and --network_train_text_encoder_only contradict each other; give one of them.")
    if config.network_train_unet_only and is_on(config, T5_SWITCH):
        raise TrainerError("--network_train_unet_only and --network_args train_t5xxl=True contradict each other; give one of them.")
    if not 0 <= config.network_dropout <= MAX_DROPOUT:
        raise TrainerError(
            f"--network_dropout {config.network_dropout} must be at least 0 and at most {MAX_DROPOUT}; above, nothing would be learned."
        )
    if config.dim_from_weights and not config.network_weights:
        raise TrainerError("--dim_from_weights reads the ranks from --network_weights, which is missing.")


def _has_dropout(config: NetworkConfig) -> bool:
    """Return True if our LoRA modules have dropout; False for LyCORIS, which implements its own."""
    if config.network_module == NetworkModule.LYCORIS:
        return False
    options = parse_network_args(config.network_args)
    return bool(config.network_dropout or options.rank_dropout or options.module_dropout)
