"""A part of the page that is drawn by our own script: an empty gr.HTML whose script module lives in assets/ and talks to server functions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from fluxgym.ui.fields import NAMES

ASSETS = Path(__file__).with_name("assets")
ROOT = 'new URL(window.gradio_config?.root ?? ".", location.href).pathname.replace(/\\/$/, "")'
MEMORY = f"await import(`${{{ROOT}}}/fluxgym/assets/memory.js`)"
OPENED = f"async () => {{ const memory = {MEMORY}; return [memory.draft(), memory.viewed(), JSON.stringify(memory.unsent())]; }}"
CHANGED = (
    f"async (...typed) => {{ const memory = {MEMORY}; const names = {json.dumps(NAMES)}; "
    "const values = Object.fromEntries(names.map((name, index) => [name, typed[index + 3]])); "
    "return [memory.keepUnsent(values, typed[2]), ...typed.slice(1)]; }"
)
SETTLED = (
    f"async (...typed) => {{ const pictures = await import(`${{{ROOT}}}/fluxgym/assets/pictures.js`); "
    "typed[1] = await pictures.settled(typed[1]); return typed; }"
)
ServerFunction = Callable[[Any], dict[str, Any]]


def part(
    name: str, *, value: Any = None, server: tuple[ServerFunction, ...] = (), events: tuple[str, ...] = (), elem_id: str | None = None
) -> gr.HTML:
    """Place the part that assets/<name>.js draws; `events` are the names that its script may trigger."""
    script = (
        f"import(`${{{ROOT}}}/fluxgym/assets/{name}.js`).then((part) => part.mount({{ element, trigger, props, watch, server }}));\n"
        f"// events: {', '.join(repr(event) for event in events)}"
    )
    return gr.HTML(
        value=value,
        html_template="",
        js_on_load=script,
        server_functions=[_plain(function) for function in server] or None,
        apply_default_css=False,
        elem_id=elem_id,
    )


def _plain(function: ServerFunction) -> ServerFunction:
    """Wrap a method in a function, as Gradio marks what may be called by an attribute that methods cannot have."""

    def served(data: Any = None) -> dict[str, Any]:
        return function(data)

    served.__name__ = function.__name__
    return served


def head(root_path: str = "") -> str:
    """Return what stands in the page's head: the style sheet itself, and the scripts to fetch beforehand."""
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    scripts = "".join(
        f'<link rel="modulepreload" href="{root_path}/fluxgym/assets/{script.name}">' for script in sorted(ASSETS.glob("*.js"))
    )
    return f"<style>{style}</style>{scripts}"


def place_notices() -> gr.HTML:
    """Place the log of notices, folded and hidden until there is one."""
    markup = '<details id="fg-notices" class="fg-notices" hidden><summary>Notices</summary><ul></ul></details>'
    return gr.HTML(markup, js_on_load=None, apply_default_css=False)
