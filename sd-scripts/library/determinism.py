"""--deterministic: arithmetic that gives the same bits each time, the condition of an exact resume on a GPU. A CPU needs nothing of it."""

import os

import torch


def compute_deterministically() -> None:
    """Forbid kernels whose sums depend on the order of threads; has to come before the first use of the GPU.

    An operation that has no such kernel raises RuntimeError when it is used, and is named in it.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reuses workspaces in varying order otherwise
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False  # picks kernels by timing them
