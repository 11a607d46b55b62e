"""FluxGym's own trainer: it writes progress.jsonl itself, and its checkpoints have a manifest and resume bit for bit."""

import sys
from collections.abc import Sequence
from pathlib import Path

from fluxgym.contract.checkpoint_manifest import Manifest, find_fault, find_state_fault, find_unlisted
from fluxgym.contract.files import MANIFEST, TRAIN_STATE
from fluxgym.errors import Problem
from fluxgym.runs.atomic_files import read_json
from fluxgym.runs.checkpoints import Checkpoint
from fluxgym.runs.launch_spec import LaunchSpec, TrainerOptions
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.storage_errors import raise_if_exhausted
from fluxgym.trainers.script import missing_script, script_command
from fluxgym.trainers.trainer_verdicts import TrainerQuestion, TrainerVerdicts


class BuiltinBackend:
    """The trainer in sd-scripts/ of this repository."""

    name = "builtin"
    title = "FluxGym's own trainer, used without --sd-scripts"
    resumes_exactly = True
    checks_lease = True
    trains_all_lines = True
    pickle_flags: tuple[str, ...] = ()
    has_pickled_checkpoints = False

    def matches(self, trainer_dir: Path) -> bool:
        """Return True: every folder that no other backend recognizes is treated as the built-in trainer."""
        return True

    def check_flags(self, options: TrainerOptions, trainer_dir: Path) -> tuple[Problem, ...]:
        """Return the problem that the script is missing; a test compares the options with the trainer's parser."""
        return missing_script(trainer_dir)

    def check_with_trainer(
        self, question: TrainerQuestion, verdicts: TrainerVerdicts, *, may_run_trainer: bool
    ) -> tuple[Problem, ...] | None:
        """Return what the trainer's own checks refuse, from a process that loads no model."""
        return verdicts.problems(question, may_run_trainer=may_run_trainer)

    def skipped_images(self, names: Sequence[str]) -> list[str]:
        """Return []: the trainer reads all image formats that the app reads."""
        return []

    def command(self, spec: LaunchSpec, run: RunPaths) -> list[str]:
        """Return the command of an attempt."""
        resume = {} if spec.resume_from is None else {"--resume": (spec.resume_from,)}
        return script_command(sys.executable, Path(spec.trainer_dir), {**spec.options, **resume})

    def read_checkpoint(self, folder: Path, *, verify: bool) -> Checkpoint | None:
        """Return a checkpoint if its manifest has every required file, and all of them exist and are complete; with verify, the hashes are computed too."""
        try:
            manifest = Manifest.from_json(read_json(folder / MANIFEST))
            if find_unlisted(manifest) or find_fault(folder, manifest, verify=verify) or not _has_sound_state(folder, manifest):
                return None
            written_at = (folder / MANIFEST).stat().st_mtime
        except (OSError, ValueError) as error:
            raise_if_exhausted(error, folder)
            return None
        return Checkpoint(folder=folder, step=manifest.step, epoch=manifest.epoch, total_steps=manifest.total_steps, written_at=written_at)

    def follow_progress(self, run: RunPaths, spec: LaunchSpec) -> None:
        """Return None: the trainer writes progress.jsonl itself."""

    def resume_notice(self) -> str:
        """Return an empty text: a resumed training is exact."""
        return ""


def _has_sound_state(folder: Path, manifest: Manifest) -> bool:
    """Return True if the trainer will accept the values of a checkpoint's train_state.json."""
    return not find_state_fault(read_json(folder / TRAIN_STATE), manifest)
