"""torch.cuda on a machine without a GPU: only the calls into C are replaced, so that torch's own checks of arguments run."""

from types import SimpleNamespace

import torch

GIB = 1 << 30


def install(monkeypatch) -> list[tuple[str, object]]:
    """Replace the calls into CUDA for one test; returns the list to which each call appends (name, device that it received)."""
    calls: list[tuple[str, object]] = []

    def stub(name, result=None):
        def call(device=None, **kwargs):
            calls.append((name, kwargs.get("device_index", device)))
            return result(device) if callable(result) else result

        return call

    for module in (torch.cuda, torch.cuda.memory):
        monkeypatch.setattr(module, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "_initialized", True)
    monkeypatch.setattr(torch._C, "_has_cuda", True)
    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", lambda: 1, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_getDevice", lambda: 0, raising=False)
    results = {
        "_cuda_getMemoryFraction": 1.0,
        "_cuda_memoryStats": {"allocated_bytes": {"all": {"current": GIB}}, "reserved_bytes": {"all": {"current": 2 * GIB}}},
        "_cuda_getCurrentStream": lambda device: (0, device, 1),
        "_cuda_setStream": None,
    }
    for name, result in results.items():
        monkeypatch.setattr(torch._C, name, stub(name, result), raising=False)
    properties = SimpleNamespace(major=9, minor=0, total_memory=24 * GIB)
    monkeypatch.setattr(torch.cuda, "_get_device_properties", stub("_get_device_properties", properties), raising=False)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: SimpleNamespace(cudaMemGetInfo=stub("cudaMemGetInfo", (20 * GIB, 24 * GIB))))
    for name in ("_exchange_device", "_maybe_exchange_device"):
        monkeypatch.setattr(torch.cuda, name, stub(name, 0))
    _replace_bases(monkeypatch, calls)
    return calls


def _replace_bases(monkeypatch, calls: list[tuple[str, object]]) -> None:
    def new_stream(cls, stream_id=0, device_index=0, device_type=1, **_):
        stream = object.__new__(cls)
        stream.stream_id, stream.device_index, stream.device_type = stream_id, device_index, device_type
        stream.device = torch.device("cuda", device_index)
        calls.append(("Stream", device_index))
        return stream

    stream_base, event_base = torch.cuda.Stream.__mro__[1], torch.cuda.Event.__mro__[1]
    monkeypatch.setattr(stream_base, "__new__", new_stream)
    monkeypatch.setattr(event_base, "__new__", lambda cls, **_: object.__new__(cls))
    for base in (stream_base, event_base):
        monkeypatch.setattr(base, "__init__", lambda *_, **__: None)
    for name in ("record", "wait", "synchronize"):
        monkeypatch.setattr(event_base, name, lambda *_: None, raising=False)
