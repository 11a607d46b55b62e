"""What the form answers to what is typed: errors beside their fields, steps, checks, the command and dataset.toml. Starts nothing."""

from collections.abc import Mapping
from pathlib import Path

from fluxgym.app_settings import Settings
from fluxgym.config.settings import OTHER_FLAGS, SETTINGS, TrainConfig
from fluxgym.dataset.dataset_spec import dataset_toml
from fluxgym.errors import FluxGymError
from fluxgym.models.catalog import FoundFiles, get_model, regularization_folder
from fluxgym.planning.checks import Preflight, check
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.state import slug_of
from fluxgym.trainers.options import train_sh, trainer_argv
from fluxgym.ui import form_values
from fluxgym.ui.api.answers import Answer
from fluxgym.ui.form_values import Errors, State

HELP = {setting.name: setting.help for setting in SETTINGS.values()}
NOTHING_TO_TELL: Answer = {"steps": None, "explain": "", "command": "", "toml": ""}


class Form:
    """Looks at a state as the form holds it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._outputs = OutputsPaths(settings.outputs)

    def answer(self, state: State, errors: Errors, images: Path, *, pressed: bool = False) -> Answer:
        """Return everything that stands beside the fields; `pressed` after a press on Start, when an empty name is named too."""
        errors = dict(errors)
        config = form_values.check(state, errors)
        lines = check(config.to_state(), images, self._settings.models, self._settings.outputs)
        answer: Answer = {"help": HELP, "trigger": config.concept_sentence, "lines": _lines(lines, errors), "pressed": pressed}
        can_tell = not set(errors) - {"lora_name"}  # a field that cannot be used was replaced by its default above
        answer |= (_steps(lines, config) | self._recipe(config, lines.files)) if can_tell else NOTHING_TO_TELL
        if not pressed and not state["lora_name"].strip():
            del errors["lora_name"]
        if errors:
            answer["lines"].append({"level": "error", "text": f"{_settings(len(errors))} cannot be used yet; the reason stands beside it."})
        return answer | {"errors": errors}

    def _recipe(self, config: TrainConfig, files: FoundFiles | None) -> Answer:
        """Return the command and dataset.toml as Start would write them; nothing while something stands in the way."""
        if files is None:
            return {"command": "", "toml": ""}
        run = self._outputs.run(slug_of(config.lora_name))
        try:
            argv = trainer_argv(config, run, files, sd_scripts=self._settings.sd_scripts)
            toml = dataset_toml(config, run.dataset, regularization_folder(config, self._settings.models))
        except FluxGymError:
            return {"command": "", "toml": ""}  # the checks have said it already
        return {"command": train_sh(argv), "toml": toml}

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
        """Return the state with an emptied field said aloud, so that nothing fills it with the model's default again."""
        advanced = self.defaults(state["base_model"])["advanced"]
        return state | {"advanced": {name: form_values.when_empty(name) for name in advanced} | state["advanced"]}


def _lines(checked: Preflight, errors: Errors) -> list[Answer]:
    """Return the checks' lines but those whose sentence stands beside its field already; new ones go beside theirs."""
    lines = []
    for line in checked.lines:
        if line.field is not None and line.level == "error" and line.field in SETTINGS and line.field != OTHER_FLAGS:
            errors.setdefault(line.field, line.text)
        if errors.get(line.field or "") != line.text:
            lines.append({"level": line.level, "text": line.text})
    return lines


def _settings(number: int) -> str:
    return "One setting" if number == 1 else f"{number} settings"


def _steps(checked: Preflight, config: TrainConfig) -> Answer:
    """Return the expected steps and what they are made of."""
    if checked.steps is None:
        return {"steps": None, "explain": ""}
    batch = config.advanced.get("train_batch_size", 1)
    epochs = f"{config.max_train_epochs} epoch{'s' * (config.max_train_epochs != 1)}"
    size = f", {batch} images a step" if batch != 1 else ""
    prior = ", and as many regularization images beside them" if config.advanced.get("reg_data_dir") else ""
    return {"steps": checked.steps, "explain": f"each image {config.num_repeats} times in each of {epochs}{prior}{size}"}
