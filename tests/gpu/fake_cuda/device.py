"""Makes this process's PyTorch treat FakeTensors on "cuda" as a GPU's: autocast, attention, checkpointing and indexing in Python."""

from collections.abc import Callable

import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

_aten = torch.ops.aten
_get_item, _set_item = Tensor.__getitem__, Tensor.__setitem__


def activate() -> None:
    """Patch PyTorch for the rest of this process; the shim must be loaded."""
    nn.Module._apply = _apply
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False
    torch.cuda.is_bf16_supported = lambda *_, **__: True
    torch.nn.functional.scaled_dot_product_attention = _attention
    torch.utils.checkpoint.get_device_states = lambda *_: ([], [])
    torch.utils.checkpoint._infer_device_type = lambda *_: "cuda"
    Tensor.__getitem__, Tensor.__setitem__ = _get, _set


def _attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, **_: object) -> Tensor:
    """Choose the kernel that a GPU takes; PyTorch's own choice asks the driver."""
    if torch.is_autocast_enabled("cuda"):
        q, k, v = (tensor.to(torch.get_autocast_dtype("cuda")) for tensor in (q, k, v))
    if attn_mask is None and q.shape[-1] <= 256:
        return _aten._scaled_dot_product_flash_attention(q, k, v)[0]
    if attn_mask is not None:
        attn_mask = torch.zeros_like(attn_mask, dtype=q.dtype).expand(*q.shape[:3], k.shape[2])
    return _aten._scaled_dot_product_efficient_attention(q, k, v, attn_mask, q.requires_grad)[0]


def _apply(module: nn.Module, convert: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Convert a module by new parameters: PyTorch's way of exchanging them in place refuses FakeTensors that autograd refers to."""
    for each in module.modules() if recurse else (module,):
        for name, parameter in each._parameters.items():
            if parameter is not None:
                each._parameters[name] = nn.Parameter(convert(parameter.detach()), requires_grad=parameter.requires_grad)
        for name, buffer in each._buffers.items():
            if buffer is not None:
                each._buffers[name] = convert(buffer)
    return module


def _is_fake(tensor: Tensor) -> bool:
    return isinstance(tensor, FakeTensor) and tensor.device.type == "cuda"


def _get(tensor: Tensor, index: object) -> Tensor:
    """Index by operations: the C++ path of indexing asks the CUDA runtime, which is not there."""
    if not _is_fake(tensor):
        return _get_item(tensor, index)
    index = index if isinstance(index, tuple) else (index,)
    if any(isinstance(each, Tensor | list) for each in index):
        return _aten.index.Tensor(tensor, list(index))
    num_used = sum(each is not None and each is not Ellipsis for each in index)
    dim = 0
    for each in index:
        if each is Ellipsis:
            dim += tensor.dim() - num_used
        elif each is None:
            tensor, dim = tensor.unsqueeze(dim), dim + 1
        elif isinstance(each, int):
            tensor = tensor.select(dim, each)
        else:
            if each != slice(None):
                stop = torch.iinfo(torch.int64).max if each.stop is None else each.stop
                tensor = _aten.slice.Tensor(tensor, dim, each.start, stop, each.step or 1)
            dim += 1
    return tensor


def _set(tensor: Tensor, index: object, value: object) -> None:
    if not _is_fake(tensor):
        _set_item(tensor, index, value)
    elif isinstance(value, Tensor):
        _get(tensor, index).copy_(value)
    else:
        _get(tensor, index).fill_(value)
