"""The Run page: one session with its progress, curve, samples, log and files."""

import gradio as gr

from fluxgym.ui.handlers.pictures import PictureHandlers
from fluxgym.ui.handlers.run_view import RunHandlers
from fluxgym.ui.handlers.sessions import SessionHandlers
from fluxgym.ui.part import part


def place_run(sessions: SessionHandlers, runs: RunHandlers, pictures: PictureHandlers) -> gr.HTML:
    """Place the page; its `open` event asks for this run's settings in the form, in place of what `pictures.held` tells of."""
    with gr.Column(elem_id="fg-run"):
        return part("run", server=(runs.run_view, sessions.act, pictures.held), events=("open",))
