"""The reply of the form to an edit: errors beside their fields, steps, checks, the command and dataset.toml. Starts nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fluxgym.app_settings import Settings
from fluxgym.config.defaults import DEFAULTS, when_empty
from fluxgym.config.settings import OTHER_FLAGS, SETTINGS
from fluxgym.config.vram_tiers import TIERS
from fluxgym.contract.wording import counted
from fluxgym.engines.base import Engine
from fluxgym.engines.registry import engine_for, is_executing
from fluxgym.errors import Detail, FluxGymError, Level, Problem
from fluxgym.models.catalog import get_model
from fluxgym.planning.plan import Planner, PlanningCaches, TrainingPlan
from fluxgym.planning.start_checks import trigger_of_captions
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.state import State
from fluxgym.sessions.index import SessionIndex
from fluxgym.sessions.past_speed import PastSpeeds, TimeEstimate, device_kind
from fluxgym.sessions.preconditions import first_free_run
from fluxgym.sessions.start import is_name_taken
from fluxgym.trainers.options import train_sh
from fluxgym.ui import form_values
from fluxgym.ui.api.answers import ChangedSetting, FormChecks, FormLine
from fluxgym.ui.form_values import Errors, FormValues

LORA_NAME = "lora_name"
ADVANCED = "advanced"  # the field of errors about flags without a row in the table
NO_GPU = " No GPU found: training runs on the CPU."


@dataclass(frozen=True, kw_only=True)
class PlannedForm:
    """The plan of the form's training, and what is shown beside its fields."""

    plan: TrainingPlan
    checks: FormChecks


class FormPlanner:
    """Plans the form's training and reports its errors."""

    def __init__(self, settings: Settings, index: SessionIndex, caches: PlanningCaches | None = None) -> None:
        self._settings = settings
        self._planner = Planner(settings, caches)
        self._outputs = OutputsPaths(settings.outputs)
        self._engine = engine_for(self._outputs)
        self._speeds = PastSpeeds(self._outputs, index)

    def plan(self, state: State, errors: Errors, images: Path, *, pressed: bool = False, ask: bool = False) -> PlannedForm:
        """Return the plan and everything that is shown beside the fields. `pressed` is True after a click on Start; an empty name is then an error too.

        errors are those of fields whose content is not a value at all. With `pressed` or `ask`, the checks are made that take
        seconds (see `Planner.checked`); otherwise the answer says that they are not made yet.
        """
        errors = dict(errors)
        unchecked = self._planner.plan_unchecked(form_values.usable(state, errors), images)
        plan = self._planner.checked(unchecked, may_wait=pressed or ask)
        plan = replace(plan, problems=_without_warnings_of(plan.problems, errors))
        lines = _lines(plan, errors)
        is_whole = not set(errors) - {LORA_NAME}  # what the plan has a default for is not shown as a number of steps
        note = self._note_on_name(plan, errors)
        if not pressed and not state[LORA_NAME].strip():
            errors.pop(LORA_NAME, None)
        steps = plan.steps if is_whole else None
        estimate = self._speeds.estimate(plan, device_kind(self._engine)) if is_whole else TimeEstimate(time="", note="")
        can_show_command = is_whole and bool(plan.options and plan.dataset_toml)
        checks = FormChecks(
            trigger=trigger_of_captions(plan.config),
            lines=lines,
            errors=errors,
            pressed=pressed,
            checking=not plan.is_checked,
            details=_details(plan, errors),
            notes=_notes(plan, self._engine) | note,
            images=plan.images.count,
            changed=self._changed(state),
            steps=steps,
            explain="" if steps is None else _factors(plan),
            time=estimate.time,
            time_note=estimate.note,
            command=train_sh(plan.launch_spec().argv) if can_show_command else "",
            toml=plan.dataset_toml if can_show_command else "",
        )
        return PlannedForm(plan=plan, checks=checks)

    def _note_on_name(self, plan: TrainingPlan, errors: Errors) -> dict[str, str]:
        """Return what Start will do about a name that a run has already, to be shown below the name."""
        run = plan.run
        try:
            if LORA_NAME in errors or not is_name_taken(run):
                return {}
            version = first_free_run(self._outputs, run.slug, first_version=2).slug
            others = "" if is_executing(run) else f", or replace {run.slug}"
        except FluxGymError:
            return {}  # Start says what is wrong with the folder
        return {LORA_NAME: f"{run.slug} exists already. Start asks first: it can use the new name {version}{others}."}

    def _changed(self, state: State) -> list[ChangedSetting]:
        """Return the settings of Advanced that differ from the model's defaults, with both values as the form shows them."""
        values = form_values.from_state(state)
        defaults = form_values.from_state(self.defaults(state["base_model"]))
        return [
            ChangedSetting(name=name, label=setting.label, value=values[name], default=defaults[name])
            for name, setting in SETTINGS.items()
            if setting.section is not None and values[name] != defaults[name]
        ]

    def defaults_of(self, model: str, names: Iterable[str]) -> FormValues:
        """Return what the fields of some settings show for a model's defaults."""
        defaults = form_values.from_state(self.defaults(model))
        return {name: defaults[name] for name in names if name in defaults}

    def with_other_model(self, state: State, before: str) -> State:
        """Return the state after another model was chosen: settings with the earlier model's defaults get the new model's."""
        old, new = self.defaults(before), self.defaults(state["base_model"])
        changed = {name: new[name] if value == old.get(name) and name != "advanced" else value for name, value in state.items()}
        untouched = {name for name, value in old["advanced"].items() if state["advanced"].get(name) == value}
        edited = {name: value for name, value in state["advanced"].items() if name not in untouched}
        return changed | {"base_model": state["base_model"], "advanced": new["advanced"] | edited}

    def defaults(self, model: str) -> State:
        """Return FluxGym's defaults, overridden by the model's defaults."""
        try:
            own: Mapping[str, object] = get_model(model, self._settings.models).defaults
        except FluxGymError:
            own = {}
        return {**DEFAULTS, "base_model": model, "advanced": {}, **own}

    def explicit(self, state: State) -> State:
        """Return the state with an emptied field as an explicit value, so that the model's default does not fill it again."""
        advanced = self.defaults(state["base_model"])["advanced"]
        return state | {"advanced": {name: when_empty(name) for name in advanced} | state["advanced"]}


def _lines(plan: TrainingPlan, errors: Errors) -> list[FormLine]:
    """Return all results of the checks, errors of fields in the form's order first; these are added to `errors`."""
    others: list[FormLine] = []
    for problem in plan.problems:
        field = OTHER_FLAGS if problem.field == ADVANCED else problem.field or ""
        if problem.level is Level.ERROR and field in SETTINGS:
            errors.setdefault(field, problem.message)
        if errors.get(field) != problem.message:
            others.append(
                FormLine(level=problem.level, text=problem.message, field=field, images=problem.images, num_images=problem.num_images)
            )
    return [FormLine(level=Level.ERROR, text=errors[name], field=name) for name in SETTINGS if name in errors] + others


def _details(plan: TrainingPlan, errors: Errors) -> dict[str, tuple[Detail, ...]]:
    """Return the lists that belong to the errors shown beside fields, such as the files of the base model that are missing."""
    return {
        problem.field: problem.details
        for problem in plan.errors
        if problem.field and problem.details and errors.get(problem.field) == problem.message
    }


def _notes(plan: TrainingPlan, engine: Engine) -> dict[str, str]:
    """Return what is known about the model's files and the GPU memory, to be shown below these fields."""
    notes = {"vram": f"{TIERS[plan.config.vram].description}.{NO_GPU if engine.devices.names() == ('cpu',) else ''}"}
    if plan.model is not None and plan.files is not None:
        notes["base_model"] = f"All files are on disk. License: {plan.model.license or 'unknown'}."
    return notes


def _without_warnings_of(problems: Iterable[Problem], errors: Errors) -> tuple[Problem, ...]:
    """Return problems without warnings about fields whose content is an error, because those are about the default that the plan uses."""
    return tuple(problem for problem in problems if problem.level is not Level.WARNING or problem.field not in errors)


def _factors(plan: TrainingPlan) -> str:
    """Return how the expected steps are computed."""
    config, images = plan.config, plan.images.count
    batch = config.flag("train_batch_size")
    factors = (counted(images, "image"), counted(config.num_repeats, "repeat"), counted(config.max_train_epochs, "epoch"))
    prior = ", with as many regularization images (Advanced)" if config.flag("reg_data_dir") else ""
    size = f", {batch} images per step" if batch != 1 else ""
    return " × ".join(factors) + prior + size
