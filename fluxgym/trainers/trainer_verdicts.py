"""The built-in trainer's verdicts on a training's settings before Start, from its own parser and checks, in a separate process.

The process takes seconds, so the verdicts are cached, and the form asks only when nothing is typed; Start and the terminal always ask.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from fluxgym.config.settings import IN_ADVANCED, OWN_KEYS, SCHEDULERS, TrainConfig
from fluxgym.errors import ConfigError, Level, Problem, problem_of
from fluxgym.runs.gpus import has_gpu
from fluxgym.runs.launch_spec import TrainerOptions, to_words

CHECK_SCRIPT = Path("library", "cli", "check_settings.py")
TIMEOUT_S = 120.0
MAX_VERDICTS = 256
LABELS = {row.flag: row for row in (*OWN_KEYS, *IN_ADVANCED) if row.flag.startswith("--")}
# Their values are checked completely by the settings table, so that the trainer need not check them.
PLAIN = ("network_alpha", "train_batch_size", "save_every_n_steps", "reg_data_dir", "enable_bucket")
SAVED_IN = ("--output_dir", "--output_name", "--dataset_config", "--sample_prompts", "--resume")


@dataclass(frozen=True, kw_only=True)
class TrainerQuestion:
    """What the trainer in a folder is asked about.

    chosen are the unusual settings; steps_per_epoch are optimizer steps, None if they are not known.
    """

    options: TrainerOptions
    chosen: tuple[str, ...]
    toml: str
    steps_per_epoch: int | None
    trainer_dir: Path


class _Key(NamedTuple):
    """What decides the verdict on a question: its command line, what of it was chosen, and whether it would train on a GPU."""

    trainer_dir: Path
    words: tuple[str, ...]
    chosen: tuple[str, ...]
    toml: str
    steps_per_epoch: int | None
    has_gpu: bool

    @classmethod
    def of(cls, question: TrainerQuestion) -> Self:
        """Return the key of a question, without the flags that name where files are saved."""
        options = {flag: values for flag, values in question.options.items() if flag not in SAVED_IN}
        return cls(question.trainer_dir, tuple(to_words(options)), question.chosen, question.toml, question.steps_per_epoch, has_gpu())


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    """The trainer's verdict.

    refusal is an error message, "" if it accepts the settings. unchecked are the flags that name a class which the check did not import.
    """

    refusal: str
    unchecked: tuple[str, ...]


class _CheckFailed(Exception):
    """The check itself did not work, so that nothing is known."""


def unusual_settings(config: TrainConfig) -> tuple[str, ...]:
    """Return the names of the chosen settings that only the trainer itself can check."""
    # The trainer accepts every flag that is off.
    unusual = {name for name, value in config.advanced.items() if name not in PLAIN and value is not False}
    if config.advanced.get("lr_scheduler") in ("", None, *SCHEDULERS):
        unusual.discard("lr_scheduler")
    return tuple(sorted(unusual))


class TrainerVerdicts:
    """The trainer's verdicts on settings. The trainer checks one training at a time, and the same settings only once. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._verdicts: dict[_Key, _Verdict] = {}

    def problems(self, question: TrainerQuestion, *, may_run_trainer: bool) -> tuple[Problem, ...] | None:
        """Return what the trainer refuses of a training, beside the field that it is about; () if it accepts it.

        Returns None if the verdict is not known and may_run_trainer is False. A trainer without the check is not run.
        """
        if not (question.trainer_dir / CHECK_SCRIPT).is_file():
            return ()
        key = _Key.of(question)
        try:
            verdict = self._check_once(key) if may_run_trainer else self._verdicts.get(key)
        except _CheckFailed as error:
            message = f"The trainer could not check the advanced settings ({error}); it checks them when it starts."
            return (Problem(level=Level.WARNING, message=message, field="advanced"),)
        return None if verdict is None else _problems(verdict)

    def _check_once(self, key: _Key) -> _Verdict:
        with self._lock:
            verdict = self._verdicts.get(key) or _run_check(key)
            if len(self._verdicts) >= MAX_VERDICTS:
                self._verdicts.pop(next(iter(self._verdicts)), None)
            self._verdicts[key] = verdict
            return verdict


def _problems(verdict: _Verdict) -> tuple[Problem, ...]:
    problems = [_own_class(name) for name in verdict.unchecked]
    return (*problems, _refusal(verdict.refusal)) if verdict.refusal else tuple(problems)


def _run_check(key: _Key) -> _Verdict:
    with tempfile.TemporaryDirectory(prefix="fluxgym-check-") as folder:
        toml = Path(folder) / "dataset.toml"
        toml.write_text(key.toml, encoding="utf-8")
        argv = [*key.words, "--output_dir", folder, "--output_name", "x", "--dataset_config", str(toml)]
        try:
            done = subprocess.run(
                [sys.executable, str(key.trainer_dir / CHECK_SCRIPT)],
                input=json.dumps({"argv": argv, "chosen": key.chosen, "steps_per_epoch": key.steps_per_epoch, "has_gpu": key.has_gpu}),
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},  # nothing is computed, and a busy GPU has no room for another process
                check=True,
            )
            result = json.loads(done.stdout)
            return _Verdict(refusal=result["error"] or "", unchecked=tuple(result["unchecked"]))
        except subprocess.TimeoutExpired:
            raise _CheckFailed(f"no answer within {TIMEOUT_S:.0f} s") from None
        except subprocess.CalledProcessError as error:
            raise _CheckFailed(((error.stderr or "").strip().splitlines() or ["no reason given"])[-1][:200]) from None
        except (OSError, ValueError, KeyError) as error:
            raise _CheckFailed(str(error)[:200]) from None


def _own_class(name: str) -> Problem:
    message = f"{name} names a class of your own. It is imported when the training starts, so whether it can be used is not known before."
    return Problem(level=Level.WARNING, message=message, field="advanced")


def _refusal(sentence: str) -> Problem:
    """Return a refusal in the terms of the form: without the path of a file that is not written yet, with a field's label for its flag."""
    sentence = re.sub(r"^\S*dataset\.toml(, [^:]*)?: ", "", sentence)
    flag = re.match(r"--\w+", sentence)
    row = LABELS.get(flag[0]) if flag else None
    field = "advanced" if row is None else row.name
    if row is not None and flag is not None:
        sentence = row.label + sentence[flag.end() :]
    plain = re.sub(r"(^|(?<=\s))--(?=\w)", "", sentence)
    return problem_of(ConfigError(f"{plain[0].upper() if row else plain[0]}{plain[1:]}", field=field))
