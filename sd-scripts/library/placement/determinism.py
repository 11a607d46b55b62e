"""Deterministic algorithms of PyTorch (--deterministic)."""

import os

import torch


def compute_deterministically() -> None:
    """Make PyTorch use deterministic algorithms only; call it before the first use of the GPU.

    Afterwards, an operation without a deterministic implementation raises RuntimeError.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reuses workspaces in varying order otherwise
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False  # picks kernels by timing them
