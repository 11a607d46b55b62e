"""Prints docs/trainer-flags.md, made from the parser's flags: `python sd-scripts/library/cli/flag_docs.py > docs/trainer-flags.md`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from library.cli.flags import Flag, Support, all_flags

HEAD = """# The trainer's flags

Made by `python sd-scripts/library/cli/flag_docs.py > docs/trainer-flags.md`; a test holds it equal to the parser. Every flag of kohya's FLUX LoRA
trainer is here, none is silently ignored: **honored** does what it does there, **no effect** is accepted with one printed warning, **refused** ends
with exit code 2 and an error message, which is the reason given here.

"""
LABELS = {Support.HONORED: "honored", Support.IGNORED: "no effect", Support.REFUSED: "refused"}


def table() -> str:
    """Return the whole document."""
    flags = all_flags().values()
    additions = [flag for flag in flags if flag.help is not None]
    kohyas = [flag for flag in flags if flag.help is None]
    counts = ", ".join(f"{sum(flag.support == support for flag in kohyas)} {label}" for support, label in LABELS.items())
    lines = [f"{len(kohyas)} of kohya's: {counts}.", "", "| flag | default | what happens | why |", "|---|---|---|---|"]
    lines += [f"| `{flag.option}` | {_default(flag)} | {LABELS[flag.support]} | {_cell(flag.reason)} |" for flag in kohyas]
    lines += ["", "## Beyond kohya's", "", "| flag | default | what it is for |", "|---|---|---|"]
    lines += [f"| `{flag.option}` | {_default(flag)} | {_cell(flag.help or '')} |" for flag in additions]
    return HEAD + "\n".join(lines) + "\n"


def _default(flag: Flag) -> str:
    is_empty = flag.default is None or flag.default == "" or flag.is_switch
    return "" if is_empty else f"`{flag.default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(table())
