"""One row of the settings table: a setting's type, texts, limits, and how it reaches the trainer."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fluxgym.config.values import MAX_RATE, MIN_RATE, decimal_hint, is_rate, short, to_integer, to_number, to_switch, unwritable
from fluxgym.errors import ConfigError


class SettingType(StrEnum):
    """The type of a setting's value, and with it the kind of its form field."""

    TEXT = "text"
    LINES = "lines"
    INTEGER = "integer"
    NUMBER = "number"
    RATE = "rate"
    CHOICE = "choice"
    SWITCH = "switch"


class Emit(StrEnum):
    """Where the trainer reads a setting: on the command line (ALWAYS, IF_TRUE), in dataset.toml (DATASET, SUBSET), or nowhere (NEVER)."""

    ALWAYS = "always"
    IF_TRUE = "if_true"
    NEVER = "never"
    DATASET = "dataset"
    SUBSET = "subset"


class Group(StrEnum):
    """The part of the form that a field is in."""

    LORA = "lora"
    ADVANCED = "advanced"


class Section(StrEnum):
    """The group of a setting in Advanced, as the form calls it."""

    OPTIMIZER = "Optimizer"
    NETWORK = "Network"
    LOSS = "Loss"
    DATASET = "Dataset"
    SAVING = "Saving"
    LOGGING = "Logging"
    OTHER = "Other flags"


@dataclass(frozen=True)
class Choice:
    """One value that a setting can have, with its label in the form."""

    value: str
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of a training.

    name is its key in ui_state.json, or in the table "advanced" there if in_advanced. flag is the trainer's flag, as the form shows it;
    dataset_key is its key in dataset.toml; replaces are other trainer flags that are left out because of it. metadata_key is its key in
    the metadata that kohya writes into a LoRA file. beside is the name of the setting to its right in the form; section is its group in
    Advanced. If stripped, spaces at the ends of the text are removed.
    """

    name: str
    type: SettingType
    label: str
    help: str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Choice, ...] = ()
    placeholder: str = ""
    flag: str = ""
    emit: Emit = Emit.NEVER
    dataset_key: str = ""
    replaces: tuple[str, ...] = ()
    metadata_key: str = ""
    group: Group = Group.ADVANCED
    section: Section | None = None
    in_advanced: bool = False
    in_template: bool = True
    beside: str = ""
    stripped: bool = False

    def parse(self, value: Any) -> Any:
        """Return a value from JSON or a form as this setting's type.

        Raises:
            ConfigError: If it cannot be converted.
        """
        try:
            match self.type:
                case SettingType.INTEGER:
                    return to_integer(value)
                case SettingType.NUMBER:
                    return to_number(value)
                case SettingType.SWITCH:
                    return to_switch(value)
        except ValueError as error:
            raise self._error(str(error)) from None
        return str(value).strip() if self.stripped else str(value)

    def check(self, value: Any, *, typed: str | None = None) -> None:
        """Raise ConfigError if a value of this setting's type is outside its range or choices.

        typed is the text that the value was read from, which the message quotes.
        """
        match self.type:
            case SettingType.INTEGER | SettingType.NUMBER:
                self._check_range(value, short(value if typed is None else typed))
            case SettingType.RATE:
                if not value.strip():
                    raise self.empty(self.default)
                if not is_rate(value):
                    raise self._error(
                        f"must be a number from {MIN_RATE:g} to {MAX_RATE}, such as {self.default}, not “{short(value)}”.{decimal_hint(value)}"
                    )
            case SettingType.CHOICE if self.choices:
                values = [choice.value for choice in self.choices]
                if value not in values:
                    raise self._error(f"must be one of {', '.join(values)}, not “{short(value)}”.")
            case SettingType.TEXT | SettingType.LINES | SettingType.CHOICE if complaint := unwritable(value):
                raise self._error(complaint)

    def _check_range(self, value: float, quoted: str) -> None:
        whole = self.type is SettingType.INTEGER
        low, high = self.minimum or 0, self.maximum or 0
        if low <= value <= high and (isinstance(value, int) or not whole):
            return
        raise self._error(f"must be a {'whole ' * whole}number from {low:g} to {high:.16g}, not “{quoted}”.")

    def empty(self, default: Any) -> ConfigError:
        """Return the error of an empty number field; the message gives default as an example, except 0, which turns a feature off."""
        return self._error(f"is empty. Enter a number{f', such as {default}' if default else ''}.")

    def _error(self, text: str) -> ConfigError:
        return ConfigError(f"{self.label} {text}", field=self.name)
