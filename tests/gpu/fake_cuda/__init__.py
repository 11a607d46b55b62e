"""A CUDA device that computes nothing, for measuring a training step without a GPU.

`shim.cpp` registers the device in a CPU build of PyTorch, so that FakeTensors (shapes without data) on "cuda" run the trainer's own forward,
autocast, checkpointing and backward. `ledger.py` records each operation, its bytes and FLOP, and which memory is live; `allocator.py` models
what PyTorch's caching allocator reserves for it; `step.py` lays out a VRAM tier and runs one step.

The shim changes the whole process, so it runs in a process of its own: `python -m tests.gpu.fake_cuda --help`.
"""
