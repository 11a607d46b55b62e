"""Templates: settings saved under a name to start other trainings from. They hold no LoRA name, images or status."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from fluxgym.config.settings import OWN_KEYS, STATE_KEYS, TrainConfig
from fluxgym.errors import BadName, ReplacesTemplate, SessionNotFound, StorageError
from fluxgym.runs.atomic_files import read_json, write_json
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.state import State, slug_of

OWN = tuple(setting.name for setting in OWN_KEYS if not setting.in_template)


@dataclass(frozen=True, kw_only=True)
class Template:
    """Settings without a LoRA name; `name` is shown to the user, `slug` is the file name."""

    slug: str
    name: str
    settings: State


def save(outputs: OutputsPaths, name: str, state: Mapping[str, Any], *, agreed: Collection[str] = ()) -> Template:
    """Save a state's settings under a name. agreed holds the names of the NeedsConsent errors that the user has agreed to.

    Raises:
        ReplacesTemplate: If a template with other settings has the name, and the user has not agreed.
        ConfigError: For invalid settings.
    """
    if not name.strip():
        raise BadName("Give the template a name.")
    try:
        slug = slug_of(name)
    except BadName as error:
        raise BadName(str(error).replace("The LoRA", "The template"), field=None) from None
    config = TrainConfig.from_state({**state, "lora_name": "template"})
    settings = {key: value for key, value in config.to_state().items() if key not in OWN}
    template = Template(slug=slug, name=name.strip(), settings=settings)
    other = _read(slug, read_json(outputs.templates / f"{slug}.json"))
    if other is not None and other.name != template.name:
        raise BadName(f"The template “{other.name}” has the same file name; choose another name, or delete that one.")
    if other is not None and other.settings != settings and not ReplacesTemplate.is_given(agreed):
        raise ReplacesTemplate(f"There is a template “{other.name}” already. If it is replaced, its settings are lost.")
    write_json(outputs.templates / f"{slug}.json", {"name": template.name, "settings": settings})
    return template


def list_templates(outputs: OutputsPaths) -> list[Template]:
    """Return every template, sorted by name; damaged ones are skipped."""
    found = [_read(path.stem, read_json(path)) for path in outputs.templates.glob("*.json")]
    return sorted((template for template in found if template), key=lambda template: template.name.casefold())


def _read(slug: str, value: Any) -> Template | None:
    try:
        settings = {key: item for key, item in value["settings"].items() if key in STATE_KEYS and key not in OWN}
        return Template(slug=slug, name=str(value["name"]), settings=settings)
    except (AttributeError, KeyError, TypeError):
        return None


def find_template(outputs: OutputsPaths, name: str) -> Template:
    """Return the template with this name.

    Raises:
        SessionNotFound: If there is none; the message lists the existing ones.
    """
    every = list_templates(outputs)
    for template in every:
        if name in (template.slug, template.name):
            return template
    there = ", ".join(template.name for template in every) or "none"
    raise SessionNotFound(f"There is no template “{name[:80]}”; there are: {there}.")


def apply(outputs: OutputsPaths, name: str, state: Mapping[str, Any]) -> State:
    """Return the state with the template's settings applied; LoRA name and trigger word are kept."""
    settings = dict(find_template(outputs, name).settings)
    if state.get("concept_sentence"):
        settings.pop("concept_sentence", None)
    return {**state, **settings}


def delete(outputs: OutputsPaths, name: str) -> None:
    """Delete a template.

    Raises:
        SessionNotFound: If there is no template with this name.
    """
    template = find_template(outputs, name)
    try:
        (outputs.templates / f"{template.slug}.json").unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"The template {template.name} could not be removed: {error.strerror}.") from error
