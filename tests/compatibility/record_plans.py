"""Generate 200 states, and one for each type of user error, and record what the code makes of them: `python -m tests.compatibility.record_plans`.

The recording was made once, with the code before the restructuring. Make it again only for an intended change of behavior, and review the changes.
"""

import gzip
import json
import random
from pathlib import Path
from typing import Any

from tests.compatibility import current_code

RECORDED = Path(__file__).parent / "recorded" / "plans.json.gz"
SEED, COUNT, FLAGS_PER_STATE = 20251, 200, 4

VALID: dict[str, list[Any]] = {
    "lora_name": ["My Cat", "кот", "貓 2", "a_b-c.d", " padded ", "X" * 64, "cat/dog", "Ünïcödé"],
    "concept_sentence": ["", "sks cat", "a “quoted” 'trigger' \\ $HOME", "зелёный кот", 'with "quotes"\nand a line'],
    "base_model": ["flux-dev", "flux-schnell", "pocket", "someone/else", ""],
    "vram": ["24G", "20G", "16G", "12G", "10G", "8G"],
    "num_repeats": [1, 10, 10_000, "7", 3.0, "1e2"],
    "max_train_epochs": [1, 16, 100_000, "4", 2.0],
    "sample_prompts": [
        "",
        "sks cat --w 64 --h 32 --d 5 --s 4",
        "# comment\n\none\ntwo --d 1 --n blurry",
        "a cat -- not a flag",
        "  x  \r\ny",
    ],
    "sample_every_n_steps": [0, 1, 100, "250", 10_000_000],
    "resolution": [32, 64, 512, 768, 1024, 4096, "256", 1040.0],
    "enable_checkpointing": [True, False, "true", "off", 1, "No"],
    "resume_from_checkpoint": ["", "cat-4-state", "/x/cat-000004-state"],
    "enable_monitoring": [True, False, "yes", 0],
    "seed": [0, 42, 2**53 - 1, "7", 7.0],
    "workers": [0, 2, 64, "1"],
    "learning_rate": ["8e-4", "1e-3", "+0.01", ".5", "10", 1e-5, "1.", " 4e-4 "],
    "save_every_n_epochs": [1, 4, 100_000, "2"],
    "guidance_scale": [0, 1.0, 3.5, 100, "2.5", "1e1"],
    "timestep_sampling": ["shift", "sigmoid", "flux_shift", "uniform", "sigma"],
    "network_dim": [1, 4, 16, 4096, "32", 8.0],
}
NOT_A_NUMBER = ["", "abc", True, "nan", "inf", [1], {"a": 1}, "1_0x", "²"]
INVALID: dict[str, list[Any]] = {
    "lora_name": [None, "x\0y", "y" * 20_001, "\ud800", "🐱", "../", ""],
    "concept_sentence": ["a\0b", "\udfff", "z" * 20_001],
    "base_model": ["b\0", "q" * 20_001],
    "vram": ["", "99G", "20g", 20, "x" * 60],
    "num_repeats": [*NOT_A_NUMBER, 0, 10_001, -1, 1.5, "2.5", 10**400],
    "max_train_epochs": [*NOT_A_NUMBER, 0, 100_001, 0.5],
    "sample_prompts": ["p\0", "w" * 20_001],
    "sample_every_n_steps": [*NOT_A_NUMBER, -1, 10_000_001],
    "resolution": [*NOT_A_NUMBER, 16, 31, 4097, 100, 500, 1000, 512.5],
    "enable_checkpointing": ["", "maybe", 2, [], "tru"],
    "resume_from_checkpoint": ["c\0"],
    "enable_monitoring": ["?", -1, {}],
    "seed": [*NOT_A_NUMBER, -1, 2**53, 1e300],
    "workers": [*NOT_A_NUMBER, -1, 65],
    "learning_rate": ["", "abc", "0", "-1e-3", "11", "1_0", "١", "nan", "1e999", "1e-999", True, [1], "8e-4x", "8,4"],
    "save_every_n_epochs": [*NOT_A_NUMBER, 0, 100_001],
    "guidance_scale": [*NOT_A_NUMBER, -0.1, 100.1, 1e308],
    "timestep_sampling": ["", "Shift", "logit", 5],
    "network_dim": [*NOT_A_NUMBER, 0, 4097],
    "advanced": [
        [], "text", 5, {"no_such_flag": 1}, {"network_alpa": 1}, {"output_dir": "/x"}, {"huggingface_token": "t"}, {"seed": 1},
        {"max_train_steps": 5}, {"network_dim": 4}, {"network_alpha": "x"}, {"network_alpha": True}, {"network_alpha": float("inf")},
        {"train_batch_size": 0}, {"train_batch_size": 1.5}, {"train_batch_size": "2"}, {"save_every_n_steps": -1}, {"save_every_n_steps": []},
        {"lr_scheduler": "wavy"}, {"lr_scheduler": 3}, {"reg_data_dir": 5}, {"reg_data_dir": "--x"}, {"enable_bucket": "yes"},
        {"enable_bucket": 1}, {"network_args": ["a=1", 2]}, {"network_args": ["--evil"]}, {"optimizer_args": ["x" * 20_001]},
        {"bucket_reso_steps": 7}, {"min_bucket_reso": 4096}, {"bad\0name": 1}, {"max_grad_norm": "big"}, {"caption_prefix": "p\0"},
    ],
}  # fmt: skip


def generate() -> list[dict[str, Any]]:
    """Return the states: every second one has one invalid value, by turns of each setting; the flags take turns over all states."""
    source = random.Random(SEED)
    names = [name for name in current_code.flags() if _is_accepted(name)]
    wrong = list(_by_turns(INVALID))
    return [_state(source, names, index, wrong) for index in range(COUNT)]


def single_mistakes() -> list[dict[str, Any]]:
    """Return states that hold nothing but one invalid value each, and one for each flag that no run may set."""
    states = [{"lora_name": "cat", name: value} for name, options in INVALID.items() for value in options]
    refused = [name for name in current_code.flags() if not _is_accepted(name)]
    return states + [{"lora_name": "cat", "advanced": {name: _value(random.Random(SEED), name)}} for name in refused]


def _is_accepted(name: str) -> bool:
    state = {"lora_name": "cat", "advanced": {name: _value(random.Random(SEED), name)}}
    return "error" not in current_code.plan(state)["config"]


def _by_turns(table: dict[str, list[Any]]) -> Any:
    for turn in range(max(map(len, table.values()))):
        yield from ((name, options[turn]) for name, options in table.items() if turn < len(options))


def _state(source: random.Random, names: list[str], index: int, wrong: list[tuple[str, Any]]) -> dict[str, Any]:
    state = {name: source.choice(options) for name, options in VALID.items() if name == "lora_name" or source.random() < 0.7}
    first = index // 2 * FLAGS_PER_STATE
    chosen = [names[(first + offset) % len(names)] for offset in range(FLAGS_PER_STATE)] if index % 2 == 0 else source.sample(names, 2)
    state["advanced"] = {name: _value(source, name) for name in chosen}
    if source.random() < 0.3:
        state["advanced"] |= {"train_batch_size": source.choice([1, 2, 4]), "gradient_accumulation_steps": source.choice([1, 3])}
    if source.random() < 0.3:
        state["advanced"] |= {"reg_data_dir": "pocket/prior", "enable_bucket": source.choice([True, False])}
    if index % 2:
        name, value = wrong[index // 2 * len(wrong) // (COUNT // 2)]
        state[name] = state["advanced"] | value if name == "advanced" and isinstance(value, dict) else value
    return state


def _value(source: random.Random, name: str) -> Any:
    """Return a value of the flag's own kind."""
    flag = current_code.flags()[name]
    if flag["choices"]:
        value: Any = source.choice([item for item in flag["choices"] if item is not None])
    elif flag["type"] == "flag":
        value = source.random() < 0.8
    elif flag["type"] == "int":
        value = max(int(flag["minimum"] or 0), source.choice([1, 2, 16, 64]))
    elif flag["type"] in ("float", "int_or_float"):
        value = max(flag["minimum"] or 0.0, source.choice([0.5, 0.1, 1.0, 0.25]))
    else:
        value = source.choice(["text", "two words", "a=1", "/a/folder", "0.5"])
    return [value] if flag["nargs"] else value


def compute(states: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the whole recording, made of plain JSON values."""
    recording = {
        "states": [
            {"state": state, "plan": current_code.plan(state), "form": current_code.form_of(state), "filled": current_code.filled(state)}
            for state in states
        ],
        "form fields": current_code.form_fields(),
        "flags": current_code.flags(),
        "model defaults": current_code.model_defaults(),
    }
    return dict(json.loads(json.dumps(recording)))


def load() -> dict[str, Any]:
    """Return the recording."""
    return dict(json.loads(gzip.decompress(RECORDED.read_bytes())))


if __name__ == "__main__":
    RECORDED.parent.mkdir(exist_ok=True)
    RECORDED.write_bytes(gzip.compress(json.dumps(compute([*generate(), *single_mistakes()])).encode(), 9, mtime=0))
