"""docs/trainer-flags.md out of the parser's own rows: `python sd-scripts/library/cli/flag_docs.py > docs/trainer-flags.md`."""

import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from library.cli.flags import rows

HEAD = """# The trainer's flags

Made by `python sd-scripts/library/cli/flag_docs.py > docs/trainer-flags.md`; a test holds it equal to the parser. Every flag of kohya's FLUX LoRA
trainer is here, none is silently ignored: **honored** does what it does there, **no effect** is accepted with one printed warning, **refused** ends
with one sentence, which is the reason given here.

"""
LABELS = {"honored": "honored", "ignored": "no effect", "refused": "refused"}


def table() -> str:
    """Return the whole document."""
    found = rows()
    own, kohyas = [row for row in found if "help" in row], [row for row in found if "help" not in row]
    counts = ", ".join(f"{sum(row['support'] == support for row in kohyas)} {label}" for support, label in LABELS.items())
    lines = [f"{len(kohyas)} of kohya's: {counts}.", "", "| flag | default | what happens | why |", "|---|---|---|---|"]
    lines += [f"| `{row['flag']}` | {_default(row)} | {LABELS[row['support']]} | {_cell(row['reason'])} |" for row in kohyas]
    lines += ["", "## Beyond kohya's", "", "| flag | default | what it is for |", "|---|---|---|"]
    lines += [f"| `{row['flag']}` | {_default(row)} | {_cell(row['help'])} |" for row in own]
    return HEAD + "\n".join(lines) + "\n"


def _default(row: dict[str, Any]) -> str:
    empty = row["default"] is None or row["default"] == "" or row["type"] == "flag"
    return "" if empty else f"`{row['default']}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(table())
