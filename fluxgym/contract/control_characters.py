"""Characters that no text of a training may hold, because nobody sees them: they come from a damaged copy and would be trained as words."""

import unicodedata

WHITE = "\t\n\r"


def control_character_in(text: str) -> str:
    """Return the first control character of a text as U+0007; "" if it has none. Tabs and line ends are not counted."""
    found = next((each for each in text if unicodedata.category(each) == "Cc" and each not in WHITE), "")
    return f"U+{ord(found):04X}" if found else ""


def complaint_about(text: str) -> str:
    """Return the end of a sentence about the first control character of a text, "" if it has none."""
    found = control_character_in(text)
    return f"holds the control character {found}, which cannot be seen; delete it, or type the text again" if found else ""
