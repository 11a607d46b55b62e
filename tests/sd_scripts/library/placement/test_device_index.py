"""Every torch.cuda call of the trainer that takes a device receives one with an index; only the calls into C are stubs."""

import ast
from pathlib import Path

import pytest
import torch

from library.placement.block_swap import CudaBlockTransfer, fits
from library.placement.device_index import with_index
from library.placement.float8_matmul import can_multiply
from library.placement.layout import choose_device
from library.training.progress_log import memory_in_use
from tests.support import cuda_stubs
from tests.support.cuda_stubs import GIB

TRAINER = Path(__file__).parents[4] / "sd-scripts"
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, where tests/gpu makes the real calls")
COVERED = {
    "block_swap.py": {"Stream", "stream", "current_stream", "mem_get_info", "get_per_process_memory_fraction", "memory_allocated"},
    "float8_matmul.py": {"get_device_capability"},
    "progress_log.py": {"memory_reserved"},
}
WITHOUT_DEVICE = {"is_available", "empty_cache", "is_initialized", "current_device"}


@pytest.fixture(name="calls")
def fixture_calls(monkeypatch):
    return cuda_stubs.install(monkeypatch)


class HostTensor:
    """Stands for a tensor in pinned memory and for its copy on the device, which a CPU build of PyTorch cannot make."""

    def __init__(self):
        self.device = self.stream = None

    def to(self, device, *, non_blocking):
        copy = HostTensor()
        copy.device = device
        return copy

    def record_stream(self, stream):
        self.stream = stream


def use_fits(device):
    assert fits(18 * GIB, device)
    assert not fits(20 * GIB, device)


def use_block_transfer(device):
    transfer = CudaBlockTransfer(device)
    pending = transfer.start({"weight": HostTensor()})
    (copy,) = transfer.finish(pending).values()
    assert copy.device == torch.device("cuda", 0)
    assert copy.stream.device == torch.device("cuda", 0)
    transfer.drop(pending)
    transfer.start({"weight": HostTensor()})


def use_float8(device):
    assert can_multiply(device)


def use_progress(_device):
    assert memory_in_use()["vram_mb"] == 2048


@pytest.mark.usefixtures("calls")
def test_choose_device_with_gpu_returns_index():
    assert choose_device() == torch.device("cuda", 0)


def test_with_index_of_device_that_has_one_or_needs_none_keeps_it():
    assert [with_index(name) for name in ("cpu", "cuda:1")] == [torch.device("cpu"), torch.device("cuda", 1)]
    assert with_index("cuda") == torch.device("cuda", 0)


@pytest.mark.parametrize("device", [None, torch.device("cuda")], ids=["chosen", "without an index"])
@pytest.mark.parametrize("use", [use_fits, use_block_transfer, use_float8, use_progress])
def test_torch_cuda_calls_with_any_cuda_device_receive_index(use, device, calls):
    use(device or choose_device())
    assert calls
    assert all(type(index) is int for name, index in calls), calls


def test_torch_cuda_calls_of_trainer_are_all_covered_here():
    found = {}
    for path in TRAINER.rglob("*.py"):
        called = {node.func.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call) and is_cuda(node.func)}
        if called - WITHOUT_DEVICE:
            found[path.name] = called - WITHOUT_DEVICE
    assert found == COVERED


def is_cuda(function):
    return isinstance(function, ast.Attribute) and ast.unparse(function.value) == "torch.cuda"
