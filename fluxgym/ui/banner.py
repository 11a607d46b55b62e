"""What stands at the top of every tab: the navigation and the list of sessions."""

import gradio as gr

from fluxgym.ui.handlers.sessions import SessionHandlers
from fluxgym.ui.part import part


def place_navigation() -> gr.HTML:
    """Place the line with Train, Run and what the machine has."""
    return part("nav", elem_id="fg-navigation")


def place_sessions(handlers: SessionHandlers) -> gr.HTML:
    """Place "Active Training Sessions"; its `open` event names a run whose settings the form is to show."""
    return part("banner", server=(handlers.sessions, handlers.act, handlers.sweep), events=("open",), elem_id="fg-banner")
