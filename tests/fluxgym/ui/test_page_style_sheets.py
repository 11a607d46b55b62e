"""The style sheets have no unused rules: each class in a selector is given to some element of the page."""

import re

import pytest

from fluxgym.ui.page import ASSETS

SHEETS = sorted(path.name for path in ASSETS.glob("*.css"))
SCRIPTS = sorted(path for path in ASSETS.glob("*.js") if path.name != "types.js")
PYTHON = sorted(ASSETS.parent.glob("*.py"))
# Classes of elements that Gradio or uPlot makes.
OTHERS = {
    "gradio-container", "main", "fillable", "toast-wrap", "html-container", "block", "form", "container", "wrap", "wrap-inner", "secondary-wrap",
    "icon-wrap", "input-container", "uplot", "u-hz", "u-cursor-x",
}  # fmt: skip
# Classes whose names are put together when the page runs: the kinds of fields (form.py), the shapes of a status and the colors of a bar.
COMPUTED = {"fg-kind-check", "fg-kind-choice", "running", "stopped", "queued", "failed", "done", "none"}
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
SELECTOR = re.compile(r"([^{};]+)\{")
CLASS = re.compile(r"\.(-?[A-Za-z_][\w-]*)")
LITERAL = re.compile(r'"([^"\n]*)"|`([^`]*)`')
# Where a script or the page gives classes to elements; the literals after it hold them.
GIVEN = re.compile(
    r"\bclass: |\bclassList\.|\bclassName\b|\"class\"|\belem_classes=|\bicon\(|class=\"|\buse\(|LEVELS =|KEYS =|\bkey\(|Button\(\"btn|stepOf\("
)


def used_in(sheet: str) -> set[str]:
    """Return the classes in the selectors of a style sheet."""
    return {name for selector in SELECTOR.findall(COMMENT.sub("", sheet)) for name in CLASS.findall(selector)}


def given_in(code: str) -> set[str]:
    """Return the words of all literals on lines that give classes to elements."""
    lines = [line for line in code.splitlines() if GIVEN.search(line)]
    literals = (found for line in lines for found in LITERAL.findall(line.replace('class="', 'class="" "')))
    return {word for literal in literals for word in re.findall(r"[\w-]+", " ".join(literal))}


def test_class_that_no_element_has_is_found():
    assert used_in("/* .old {} */ #a { .b > .c-d:not(.e) { margin: .5px; } }") == {"b", "c-d", "e"}
    assert given_in('h("p", { class: "b c-d" }, "other")\nconst text = "e f";\n') == {"p", "b", "c-d", "other"}


@pytest.mark.parametrize("sheet", SHEETS)
def test_every_class_of_style_sheet_is_given_to_element(sheet):
    given = set().union(*(given_in(path.read_text(encoding="utf-8")) for path in [*SCRIPTS, *PYTHON]))
    assert used_in((ASSETS / sheet).read_text(encoding="utf-8")) - given - OTHERS - COMPUTED == set()


def test_named_classes_are_in_style_sheet():
    every = set().union(*(used_in((ASSETS / sheet).read_text(encoding="utf-8")) for sheet in SHEETS))
    assert every >= OTHERS | COMPUTED
