"""The trainer's own flags, beyond kohya's 215, as rows of the same form as kohya_flags.json."""

from typing import Any

ADDITIONS: dict[str, dict[str, Any]] = {
    "save_keys": {"flag": "--save_keys", "type": "str", "default": "kohya", "choices": ["kohya", "diffusers"]},
}
