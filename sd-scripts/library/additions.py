"""Flags that this trainer has beyond kohya's, as rows of the form of kohya_flags.json, with what each is for."""

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
]
