"""A checkout of kohya-ss/sd-scripts: how to recognize it, which options it has, which Python runs it, how it resumes. Only reads files."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fluxgym.contract.block_numbers import INDICES, block_numbers, count_blocks
from fluxgym.errors import ConfigError, Level, Problem, problem_of
from fluxgym.models.identify import tensor_names
from fluxgym.runs.checkpoints import Checkpoint
from fluxgym.runs.launch_spec import LaunchSpec, TrainerOptions
from fluxgym.runs.paths import RunPaths
from fluxgym.trainers.kohya.flags import CheckoutFlags, read_flags
from fluxgym.trainers.kohya.progress import KohyaProgress
from fluxgym.trainers.kohya.states import read_state_folder
from fluxgym.trainers.script import missing_script, script_command
from fluxgym.trainers.trainer_verdicts import LABELS, TrainerQuestion, TrainerVerdicts

MARKERS = (Path("library", "train_util.py"), Path("train_network.py"))
_LISTED = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif", ".jxl")  # library/train_util.py; the last two if their plugins are installed
EXTENSIONS = frozenset(_LISTED) | {extension.upper() for extension in _LISTED}
PYTHONS = (Path(".venv", "bin", "python"), Path("venv", "bin", "python"))


class KohyaBackend:
    """A kohya checkout: it writes no progress.jsonl, saves accelerate's state folders and resumes inexactly."""

    name = "kohya"
    title = "a kohya checkout, set by --sd-scripts"
    resumes_exactly = False
    checks_lease = False
    trains_all_lines = False
    pickle_flags: tuple[str, ...] = ("--network_weights", "--base_weights")
    has_pickled_checkpoints = True

    def matches(self, trainer_dir: Path) -> bool:
        """Return True if a folder has one of the files that only kohya's repository has."""
        return any((trainer_dir / name).is_file() for name in MARKERS)

    def check_flags(self, options: TrainerOptions, trainer_dir: Path) -> tuple[Problem, ...]:
        """Return the problems that the script is missing or unreadable, or that its parser does not have an option or refuses a value."""
        if problems := missing_script(trainer_dir):
            return problems
        try:
            flags = read_flags(trainer_dir)
        except OSError as error:
            return (Problem(level=Level.ERROR, message=f"The trainer in {trainer_dir} cannot be read: {error.strerror}."),)
        unknown = ", ".join(flag for flag in options if flag not in flags.names)
        if not unknown:
            return tuple(_refused_values(flags, options, trainer_dir))
        message = f"The trainer in {trainer_dir} does not know {unknown}. Remove that setting, or train without --sd-scripts."
        return (Problem(level=Level.ERROR, message=message, field="advanced"),)

    def check_with_trainer(self, question: TrainerQuestion, verdicts: TrainerVerdicts, *, may_run_trainer: bool) -> tuple[Problem, ...]:
        """Return the blocks of --network_args that the model does not have. The trainer is not run: that would load all of kohya's trainer."""
        options = question.options
        names = tensor_names(Path((options.get("--pretrained_model_name_or_path") or ("",))[0]))
        pairs = (pair.partition("=")[::2] for pair in options.get("--network_args") or ())
        return tuple(_refused_blocks(((key, text) for key, text in pairs if names and key in INDICES), names))

    def skipped_images(self, names: Sequence[str]) -> list[str]:
        """Return the images whose extension kohya does not list: also those with an extension of mixed case, such as .Png."""
        return [name for name in names if Path(name).suffix not in EXTENSIONS]

    def command(self, spec: LaunchSpec, run: RunPaths) -> list[str]:
        """Return the command of an attempt, run by the checkout's own virtual environment if it has one."""
        trainer_dir = Path(spec.trainer_dir)
        resume = {} if spec.resume_from is None else self._resume_options(trainer_dir, Path(spec.resume_from))
        return script_command(python_of(trainer_dir), trainer_dir, {**spec.options, **resume})

    def read_checkpoint(self, folder: Path, *, verify: bool) -> Checkpoint | None:
        """Return a state folder of kohya's as a checkpoint if it is complete; with verify, checksums are computed too."""
        return read_state_folder(folder, verify=verify)

    def follow_progress(self, run: RunPaths, spec: LaunchSpec) -> KohyaProgress:
        """Return what writes progress.jsonl from training.log."""
        return KohyaProgress(run, spec.attempt)

    def resume_notice(self) -> str:
        """Return what a resumed kohya training does differently."""
        return "inexactly: kohya's trainer takes the images in another order than without the stop"

    def _resume_options(self, trainer_dir: Path, folder: Path) -> TrainerOptions:
        """Return the options that resume from a state in the right epoch, which kohya itself miscounts from the second resume on."""
        resume: TrainerOptions = {"--resume": (str(folder),)}
        checkpoint = read_state_folder(folder)
        if checkpoint is None or "--initial_epoch" not in read_flags(trainer_dir).names:
            return resume
        return {**resume, "--initial_epoch": (str(checkpoint.epoch + 1),)}


def python_of(trainer_dir: Path) -> str:
    """Return the Python of a checkout's virtual environment, this process's Python if it has none."""
    own = (trainer_dir / name for name in PYTHONS)
    return next((str(path) for path in own if path.is_file()), sys.executable)


def _refused_values(flags: CheckoutFlags, options: TrainerOptions, trainer_dir: Path) -> Iterator[Problem]:
    """Yield a problem for each value that the checkout's parser refuses, beside its field."""
    for flag, values in options.items():
        if (why := flags.refused_value(flag, values)) is not None:
            row = LABELS.get(flag)
            label, name = (flag.removeprefix("--"), "advanced") if row is None else (row.label, row.name)
            yield problem_of(ConfigError(f"{label}: the trainer in {trainer_dir} {why}", field=name))


def _refused_blocks(chosen: Iterable[tuple[str, str]], names: frozenset[str]) -> Iterator[Problem]:
    """Yield a problem for each choice of blocks that a model with tensors of these names does not have."""
    for key, text in chosen:
        try:
            block_numbers(text.strip(), count_blocks(key, names))
        except ValueError as error:
            yield problem_of(ConfigError(f"network_args {key}={text} is not supported; {error}.", field="advanced"))
