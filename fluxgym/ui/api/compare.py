"""Route of the comparison of two runs: settings and results side by side, and their loss curves."""

from typing import Annotated

from fastapi import APIRouter, Query

from fluxgym.app_settings import Settings
from fluxgym.config.defaults import DEFAULTS
from fluxgym.dataset.folder import ImageFolder
from fluxgym.errors import SessionError, SessionNotFound
from fluxgym.runs.path_checks import is_regular
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import State, read_state, shown_name
from fluxgym.sessions.run_metrics import AttemptSpans, RunMetrics, metrics_of
from fluxgym.sessions.settings_view import label_of, settings_of, shown_text
from fluxgym.ui.api.loss_curve import Curves
from fluxgym.ui.api.responses import new_router
from fluxgym.ui.api.run_answers import ComparedRun, ComparedSetting, Comparison
from fluxgym.ui.api.run_samples import latest_samples

MAX_COMPARED = 2


class CompareRoutes:
    """Route of the comparison."""

    def __init__(self, settings: Settings) -> None:
        self._outputs = OutputsPaths(settings.outputs)
        self._models = settings.models
        self._curves = Curves()
        self._spans = AttemptSpans()

    @property
    def router(self) -> APIRouter:
        """The route, to be included in the application."""
        router = new_router()
        router.add_api_route("/compare", self.compare, response_model=Comparison)
        return router

    def compare(self, slug: Annotated[list[str], Query()]) -> Comparison:
        """Return two runs side by side."""
        if len(slug) != MAX_COMPARED:
            raise SessionError("Select two runs to compare them.")
        runs = [self._outputs.run(name) for name in slug]
        for run in runs:
            if not is_regular(run.ui_state):
                raise SessionNotFound(f"There is no run {run.slug}.")
        states = [read_state(run) for run in runs]
        names = [shown_name(run.slug, state) for run, state in zip(runs, states, strict=True)]
        columns = [self._column(run, state) for run, state in zip(runs, states, strict=True)]
        labels = list(dict.fromkeys(label for column in columns for label in column))
        return Comparison(
            runs=[ComparedRun(slug=run.slug, name=name, points=self._points(run)) for run, name in zip(runs, names, strict=True)],
            settings=[_compared(label, [column.get(label, "") for column in columns]) for label in labels],
            samples=latest_samples((run, name, self._curves.record(run.progress)) for run, name in zip(runs, names, strict=True)),
        )

    def _column(self, run: RunPaths, state: State) -> dict[str, str]:
        """Return the values of a run by label: settings first, then results."""
        values = settings_of(DEFAULTS | state)
        settings = {label_of(name): shown_text(name, value, self._models) for name, value in values.items() if name != "lora_name"}
        return settings | {"Images": str(len(ImageFolder(run.dataset).names()))} | _results(self._figures(run))

    def _figures(self, run: RunPaths) -> RunMetrics:
        snapshot = RunSnapshot(run, {})
        return metrics_of(snapshot, self._spans.of(snapshot))

    def _points(self, run: RunPaths) -> list[tuple[int, float]]:
        changes, _ = self._curves.changes(run.progress, [])
        return [] if changes is None else [*changes.points, *([changes.last] if changes.last else [])]


def _results(figures: RunMetrics) -> dict[str, str]:
    loss = "" if figures.loss is None else f"{figures.loss:.4f}"
    steps = "" if figures.step is None else f"{figures.step:,}"
    return {"Steps trained": steps, "Last loss": loss, "Duration": _duration(figures.duration_s)}


def _duration(seconds: float | None) -> str:
    """Return a duration as the page's clock.js writes it: "42 s", "22 min 39 s", "2 h 5 min"; "" if it is not known."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{rest} s" if not minutes else f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _compared(label: str, values: list[str]) -> ComparedSetting:
    return ComparedSetting(label=label, values=values, differs=len(set(values)) > 1)
