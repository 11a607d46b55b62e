"""Flags beyond kohya's, in the form of kohya_flags.json. All of them are honoured; without them a training is kohya's."""

from typing import Any

ADDITIONS: tuple[dict[str, Any], ...] = (
    {"flag": "--base_quantization", "type": "str", "default": None, "choices": ["fp8", "int8", "nf4"],
     "reason": "stores the frozen blocks in 8 bits (fp8 is --fp8_base, int8) or in bitsandbytes' 4 bits (nf4)"},
    {"flag": "--fp8_matmul", "type": "flag", "default": False,
     "reason": "with --fp8_base, multiplies in float8 where the GPU can: faster, and rounds activations too"},
)  # fmt: skip
