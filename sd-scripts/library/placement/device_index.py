"""The index of a CUDA device, which several torch.cuda functions require."""

import torch


def with_index(device: torch.device | str) -> torch.device:
    """Return `device` with its index: `cuda` becomes the current CUDA device, any other device stays as it is.

    torch.cuda.get_per_process_memory_fraction, for one, raises ValueError for a device without an index, and `cuda:0` and `cuda` do not
    compare equal. Does not initialize CUDA.
    """
    device = torch.device(device)
    if device.type != "cuda" or device.index is not None:
        return device
    return torch.device("cuda", torch.cuda.current_device() if torch.cuda.is_initialized() else 0)
