"""docs/settings.md is derived from the settings table."""

from pathlib import Path

from fluxgym.config.setting_spec import Setting, SettingType
from fluxgym.config.settings import SETTINGS
from fluxgym.config.settings_docs import document


def test_committed_document_is_current():
    committed = Path("docs/settings.md").read_text(encoding="utf-8")
    assert committed == document(), "run: python -m fluxgym.config.settings_docs > docs/settings.md"


def test_every_setting_has_one_row():
    lines = document().splitlines()
    for name, setting in SETTINGS.items():
        (row,) = [line for line in lines if f"| `{name}`" in line]
        assert row.startswith(f"| {setting.label} |")


def test_hypothetical_row_is_documented_with_its_range_flag_and_default():
    row = Setting(
        name="sharpness", type=SettingType.INTEGER, label="Sharpness", help="A test.", default=3, minimum=1, maximum=9, flag="--sharp"
    )
    last = document([row]).splitlines()[-1]
    assert last == "| Sharpness | `sharpness` | `--sharp` | a whole number from 1 to 9 | `3` | A test. |"
