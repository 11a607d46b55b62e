"""What argparse says about a wrong command line, as plain sentences that name the flag."""

import re

NEEDED = {"int": "a whole number", "float": "a number", "number": "a number"}
MAX_SHOWN = 40
# What argparse says, and the sentence that replaces it.
SENTENCES = (
    (r"argument (?P<flag>\S+): invalid (?P<type>\w+) value: '(?P<value>.*)'", "{flag} needs {type}, not “{value}”."),
    (r"argument (?P<flag>\S+): (?P<value>.*) is not a finite number", "{flag} needs a number, not “{value}”."),
    (
        r"argument (?P<flag>\S+): invalid choice: (?P<value>.*?) \(choose from (?P<choices>.*)\)",
        "{flag} must be one of {choices}, not “{value}”.",
    ),
    (r"argument (?P<flag>\S+): expected .*", "{flag} needs a value."),
    (r"argument (?P<flag>\S+): ignored explicit argument (?P<value>.*)", "{flag} takes no value; remove “{value}”."),
    (r"argument (?P<flag>\S+): (?P<rest>.*)", "{flag}: {rest}."),
    (r"unrecognized arguments: (?P<value>.*)", "“{value}” is not known."),
    (r"the following arguments are required: (?P<flag>.*)", "{flag} is missing."),
)


def plain_sentence(message: str) -> str:
    """Return an error message of argparse as a sentence that names the flag."""
    for pattern, sentence in SENTENCES:
        if found := re.fullmatch(pattern, message, re.DOTALL):
            parts = found.groupdict()
            parts["type"] = NEEDED.get(parts.get("type", ""), "another value")
            parts["value"] = parts.get("value", "").strip("'")[:MAX_SHOWN]
            parts["choices"] = parts.get("choices", "").replace("'", "")
            return sentence.format(**parts)
    return f"{message[0].upper()}{message[1:]}."
