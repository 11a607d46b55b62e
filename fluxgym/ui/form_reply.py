"""The reply of the form to what is typed: errors beside their fields, steps, checks, the command and dataset.toml. Starts nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fluxgym.app_settings import Settings
from fluxgym.config.settings import OTHER_FLAGS, SETTINGS
from fluxgym.errors import FluxGymError, Level
from fluxgym.models.catalog import get_model
from fluxgym.planning.plan import TrainingPlan, plan
from fluxgym.trainers.options import train_sh
from fluxgym.ui import form_values
from fluxgym.ui.api.responses import JsonObject
from fluxgym.ui.form_values import Errors, State

HELP = {setting.name: setting.help for setting in SETTINGS.values()}


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The plan of what the form holds, and its answer to the page."""

    planned: TrainingPlan
    answer: JsonObject


class Form:
    """Plans what the form holds and says what is wrong with it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def reply(self, state: State, errors: Errors, images: Path, *, pressed: bool = False) -> Reply:
        """Return the plan and everything that stands beside the fields; `pressed` after a press on Start, when an empty name is an error too.

        errors are those of fields whose content is not a value at all.
        """
        errors = dict(errors)
        planned = plan(form_values.usable(state, errors), images, self._settings)
        lines = _lines(planned, errors)
        answer: JsonObject = {"help": HELP, "trigger": planned.config.concept_sentence, "lines": lines, "pressed": pressed}
        is_whole = not set(errors) - {"lora_name"}  # what the plan has a default for is not shown as a number of steps
        answer |= _steps(planned if is_whole else None) | _recipe(planned if is_whole else None)
        if not pressed and not state["lora_name"].strip():
            errors.pop("lora_name", None)
        if errors:
            lines.append({"level": "error", "text": f"{_settings(len(errors))} cannot be used yet; the reason stands beside it."})
        return Reply(planned=planned, answer=answer | {"errors": errors})

    def with_other_model(self, state: State, before: str) -> State:
        """Return the state after another model was chosen: what still held the earlier model's defaults gets the new one's."""
        old, new = self.defaults(before), self.defaults(state["base_model"])
        changed = {name: new[name] if value == old.get(name) and name != "advanced" else value for name, value in state.items()}
        untouched = {name for name, value in old["advanced"].items() if state["advanced"].get(name) == value}
        kept = {name: value for name, value in state["advanced"].items() if name not in untouched}
        return changed | {"base_model": state["base_model"], "advanced": new["advanced"] | kept}

    def defaults(self, model: str) -> State:
        """Return FluxGym's defaults with those of a model over them."""
        try:
            own: Mapping[str, object] = get_model(model, self._settings.models).defaults
        except FluxGymError:
            own = {}
        return {**form_values.DEFAULTS, "base_model": model, "advanced": {}, **own}

    def explicit(self, state: State) -> State:
        """Return the state with an emptied field as an explicit value, so that the model's default does not fill it again."""
        advanced = self.defaults(state["base_model"])["advanced"]
        return state | {"advanced": {name: form_values.when_empty(name) for name in advanced} | state["advanced"]}


def _lines(planned: TrainingPlan, errors: Errors) -> list[JsonObject]:
    """Return the problems as lines, apart from those whose sentence stands beside its field; errors of fields are added to `errors`."""
    lines: list[JsonObject] = []
    for problem in planned.problems:
        field = problem.field or ""
        if problem.level is Level.ERROR and field in SETTINGS and field != OTHER_FLAGS:
            errors.setdefault(field, problem.message)
        if errors.get(field) != problem.message:
            lines.append({"level": problem.level, "text": problem.message})
    return lines


def _settings(number: int) -> str:
    return "One setting" if number == 1 else f"{number} settings"


def _steps(planned: TrainingPlan | None) -> JsonObject:
    """Return the expected steps and how they are computed."""
    if planned is None or planned.steps is None:
        return {"steps": None, "explain": ""}
    config = planned.config
    batch = config.advanced.get("train_batch_size", 1)
    epochs = f"{config.max_train_epochs} epoch{'s' * (config.max_train_epochs != 1)}"
    size = f", {batch} images per step" if batch != 1 else ""
    prior = ", and as many regularization images" if config.advanced.get("reg_data_dir") else ""
    return {"steps": planned.steps, "explain": f"each image {config.num_repeats} times in each of {epochs}{prior}{size}"}


def _recipe(planned: TrainingPlan | None) -> JsonObject:
    """Return the command and dataset.toml that Start would write; empty if they cannot be known."""
    if planned is None or not (planned.options and planned.dataset_toml):
        return {"command": "", "toml": ""}
    return {"command": train_sh(planned.launch_spec().argv), "toml": planned.dataset_toml}
