"""Flags that this trainer has beyond kohya's, as rows of the form of kohya_flags.json, with what each is for. Without them a training is kohya's."""

from typing import Any

ADDITIONS: list[dict[str, Any]] = [
    {
        "flag": "--ema_decay",
        "type": "float",
        "default": None,
        "help": "save and sample a running average of the LoRA's weights in place of the last ones; 0.99 to 0.9999, the share kept each step",
    },
    {
        "flag": "--deterministic",
        "type": "flag",
        "default": False,
        "help": "use only GPU kernels that give the same bits each time, so that a resumed training is exact on a GPU too; slower",
    },
    {
        "flag": "--base_quantization",
        "type": "str",
        "default": None,
        "choices": ["fp8", "int8", "nf4"],
        "help": "store the frozen blocks in 8 bits (fp8 is --fp8_base, int8) or in bitsandbytes' 4 bits (nf4)",
    },
    {
        "flag": "--fp8_matmul",
        "type": "flag",
        "default": False,
        "help": "with --fp8_base, multiply in float8 where the GPU can: faster, and rounds activations too",
    },
    {
        "flag": "--save_keys",
        "type": "str",
        "default": "kohya",
        "choices": ["kohya", "diffusers"],
        "help": "under which names the LoRA is saved: kohya's, for ComfyUI and Forge, or those of diffusers and PEFT",
    },
]
