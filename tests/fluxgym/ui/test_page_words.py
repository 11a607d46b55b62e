"""What the user reads on the page has typographic apostrophes and quotation marks."""

import ast
import re
from pathlib import Path

import pytest

from fluxgym.sessions.advice import EDIT_LABEL
from fluxgym.ui.api import row_actions
from fluxgym.ui.page import ASSETS

SCRIPTS = sorted(path for path in ASSETS.glob("*.js") if path.name != "types.js")
PYTHON = sorted(ASSETS.parent.rglob("*.py"))
COMMENT = re.compile(r"^\s*(?://|/?\*).*$|(?<=[;{,)\s])//\s.*$|/\*\*.*?\*/", re.MULTILINE)
LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`')
STRAIGHT = re.compile(r"[A-Za-z]'[a-z]|\\\"\w")


def sentences_of(script: str) -> list[str]:
    """Return the literals of a script that have a space, which are what a user reads."""
    return [text for found in LITERAL.findall(COMMENT.sub("", script)) for text in found if " " in text]


def texts_of(module: str) -> list[str]:
    """Return the literals of a Python module except docstrings."""
    tree = ast.parse(module)
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare
    ]


def test_straight_apostrophe_is_found():
    assert [bool(STRAIGHT.search(text)) for text in sentences_of('// it\'s\nh("the run\'s log", "the run’s log");')] == [True, False]
    assert [bool(STRAIGHT.search(text)) for text in texts_of('"""It\'s."""\nA = "the run\'s log"\n')] == [True]


def test_texts_of_run_actions_are_in_python_only():
    offered = {text for text in texts_of(Path(row_actions.__file__).read_text(encoding="utf-8")) if " " in text.strip()}
    typed = {text for path in SCRIPTS for text in sentences_of(path.read_text(encoding="utf-8"))}
    typed |= {text for path in PYTHON if path.name != "row_actions.py" for text in texts_of(path.read_text(encoding="utf-8"))}
    assert offered & typed == set()
    assert [text for text in typed if EDIT_LABEL in text] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_messages_of_script_have_typographic_marks(path):
    assert [text for text in sentences_of(path.read_text(encoding="utf-8")) if STRAIGHT.search(text)] == []


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_messages_of_module_have_typographic_marks(path):
    assert [text for text in texts_of(path.read_text(encoding="utf-8")) if STRAIGHT.search(text) and "=>" not in text] == []
