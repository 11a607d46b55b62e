"""Check a training's settings before Start with the built-in trainer's own parser and checks, in a separate process.

The process takes seconds, so its results are cached, and the form runs it only when nothing is typed; Start and the terminal always wait for it.
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

from fluxgym.config.settings import IN_ADVANCED, OWN_KEYS, SCHEDULERS, TrainConfig
from fluxgym.errors import ConfigError, Level, Problem, problem_of
from fluxgym.runs.gpus import has_gpu
from fluxgym.runs.launch_spec import TrainerOptions, to_words

CHECK_SCRIPT = Path("library", "cli", "check_settings.py")
TIMEOUT_S = 120.0
MAX_KEPT = 256
LABELS = {row.flag: row for row in (*OWN_KEYS, *IN_ADVANCED) if row.flag.startswith("--")}
# Their values are checked completely by the settings table, so that the trainer need not check them.
PLAIN = ("network_alpha", "train_batch_size", "save_every_n_steps", "reg_data_dir", "enable_bucket")
SAVED_IN = ("--output_dir", "--output_name", "--dataset_config", "--sample_prompts", "--resume")


@dataclass(frozen=True, kw_only=True)
class CheckedData:
    """A data set as the trainer's check needs it: dataset.toml, and the optimizer steps of an epoch, None if they are not known."""

    toml: str
    steps_per_epoch: int | None = None


@dataclass(frozen=True, kw_only=True)
class _Question:
    """A command line and a data set that the trainer in a folder has to check; has_gpu is True if it would train on a GPU."""

    trainer_dir: Path
    words: tuple[str, ...]
    data: CheckedData
    has_gpu: bool


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    """The trainer's verdict.

    refusal is an error message, "" if it accepts the settings. unchecked are the flags that name a class which the check did not import.
    """

    refusal: str
    unchecked: tuple[str, ...]


class _CheckFailed(Exception):
    """The check itself did not work, so that nothing is known."""


def needs_trainer(config: TrainConfig) -> bool:
    """Return True if settings were chosen that only the trainer itself can check."""
    # The trainer accepts every flag that is off.
    unusual = {name for name, value in config.advanced.items() if name not in PLAIN and value is not False}
    if config.advanced.get("lr_scheduler") in ("", None, *SCHEDULERS):
        unusual.discard("lr_scheduler")
    return bool(unusual)


class SettingsCheck:
    """The trainer's verdicts on settings. It checks one training at a time, and equal settings once. Thread-safe."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._answers: dict[_Question, _Verdict] = {}

    def problems(self, options: TrainerOptions, data: CheckedData, trainer_dir: Path, *, may_ask: bool) -> tuple[Problem, ...] | None:
        """Return the trainer's refusal of these options and this data set, beside the field that it is about; () if it accepts them.

        Returns None if the result is not cached and may_ask is False. A trainer without the check is not run.
        """
        if not (trainer_dir / CHECK_SCRIPT).is_file():
            return ()
        asked = {flag: values for flag, values in options.items() if flag not in SAVED_IN}
        words = tuple(to_words(asked))
        question = _Question(trainer_dir=trainer_dir, words=words, data=data, has_gpu=has_gpu())
        try:
            verdict = self._ask(question) if may_ask else self._answers.get(question)
        except _CheckFailed as error:
            message = f"The trainer could not check the advanced settings ({error}); it checks them when it starts."
            return (Problem(level=Level.WARNING, message=message, field="advanced"),)
        return None if verdict is None else _problems(verdict)

    def _ask(self, question: _Question) -> _Verdict:
        with self._asking:
            verdict = self._answers.get(question) or _ask(question)
            if len(self._answers) >= MAX_KEPT:
                self._answers.pop(next(iter(self._answers)), None)
            self._answers[question] = verdict
            return verdict


def _problems(verdict: _Verdict) -> tuple[Problem, ...]:
    problems = [_own_class(name) for name in verdict.unchecked]
    return (*problems, _refusal(verdict.refusal)) if verdict.refusal else tuple(problems)


def _ask(question: _Question) -> _Verdict:
    with tempfile.TemporaryDirectory(prefix="fluxgym-check-") as folder:
        toml = Path(folder) / "dataset.toml"
        toml.write_text(question.data.toml, encoding="utf-8")
        argv = [*question.words, "--output_dir", folder, "--output_name", "x", "--dataset_config", str(toml)]
        try:
            done = subprocess.run(
                [sys.executable, str(question.trainer_dir / CHECK_SCRIPT)],
                input=json.dumps({"argv": argv, "steps_per_epoch": question.data.steps_per_epoch, "has_gpu": question.has_gpu}),
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
