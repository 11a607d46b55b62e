"""The page's scripts and style sheets in its headers, head and layout."""

import json
from dataclasses import asdict
from typing import Any

import gradio as gr

from fluxgym.ui.api.assets import ASSETS, VENDOR, PageAssets
from fluxgym.ui.form import NAMES

STYLES = (VENDOR / "uPlot.min.css", *(ASSETS / name for name in ("tokens.css", "components.css", "frame.css", "train.css")))
# With the origin: Chromium resolves a relative address in Gradio's compiled scripts against the page that it compiled them for first,
# which may be that of an app on another port.
ROOT = 'location.origin + new URL(window.gradio_config?.root ?? ".", location.href).pathname.replace(/\\/$/, "")'


class PageScripts:
    """Adds the scripts of one version of the assets to the page."""

    def __init__(self, assets: PageAssets) -> None:
        self._assets = assets

    def imported(self, name: str) -> str:
        """Return the JavaScript expression that imports assets/<name>.js, a promise."""
        return f"import(`${{{ROOT}}}{self._assets.script}`).then(({{ modules }}) => modules.{name})"

    def save_unsent(self) -> str:
        """Return the JavaScript that saves what is typed in the browser until the app has it, also while the app cannot be reached."""
        return f"async (...values) => {{ (await {self.imported('form')}).saveUnsentOf({json.dumps(NAMES)}, values); }}"

    def add_module(self, name: str, setup: Any = None) -> gr.HTML:
        """Add an element that assets/<name>.js fills; setup is a dataclass that the script gets as the element's value."""
        value = None if setup is None else asdict(setup)
        script = f"{self.imported(name)}.then((part) => part.mount({{ element, trigger, props, watch }}));"
        elem_id = f"fg-{name.replace('_', '-')}"
        return gr.HTML(value=value, html_template="", js_on_load=script, apply_default_css=False, elem_id=elem_id)

    def head(self) -> str:
        """Return the HTML of the page's head: the style sheets inline."""
        return f"<style>{''.join(path.read_text(encoding='utf-8-sig') for path in STYLES)}</style>"

    def preload(self, root_path: str = "") -> str:
        """Return the HTTP header `Link` that lets the browser fetch the scripts at once; Gradio adds the head only once its own scripts run."""
        return f"<{root_path}{self._assets.script}>; rel=modulepreload"
