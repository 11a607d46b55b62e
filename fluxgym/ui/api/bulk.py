"""Routes of actions on several runs: count what would be lost, forget with undo, delete, forget old runs, and put removed ones back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from fluxgym.app_settings import Settings
from fluxgym.errors import FluxGymError, SessionNotFound
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import name_of
from fluxgym.sessions import removed_runs
from fluxgym.sessions.cleanup import remove_in_background
from fluxgym.sessions.delete import move_to_deleted
from fluxgym.sessions.folder_contents import FolderContents, contents
from fluxgym.sessions.forget import forget, sweep, sweepable, undo_forget
from fluxgym.sessions.transfer import usable_runs
from fluxgym.ui.api.action_answers import ActionResult, BulkResult, Contents, Refused, RemovedItem, RemovedRuns, SweepPreview
from fluxgym.ui.api.responses import new_router

MAX_DAYS = 100_000
SHOWN_NAMES = 5


@dataclass(frozen=True, kw_only=True)
class SelectedRun:
    """A selected run; run_id is that of the row that was selected."""

    slug: str
    run_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class BulkRequest:
    """The runs of an action."""

    runs: list[SelectedRun]


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """Forget ended runs that were started more than this many days ago."""

    days: Annotated[int, Field(ge=0, le=MAX_DAYS)]


class BulkRoutes:
    """Routes of actions on several runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._outputs = OutputsPaths(settings.outputs)

    @property
    def router(self) -> APIRouter:
        """The routes, to be included in the application."""
        router = new_router()
        router.add_api_route("/selection/contents", self.contents, methods=["POST"], response_model=Contents)
        router.add_api_route("/selection/forget", self.forget, methods=["POST"], response_model=BulkResult)
        router.add_api_route("/selection/undo-forget", self.undo_forget, methods=["POST"], response_model=BulkResult)
        router.add_api_route("/selection/delete", self.delete, methods=["POST"], response_model=BulkResult)
        router.add_api_route("/selection/exported", self.exported, methods=["POST"], response_model=BulkResult)
        router.add_api_route("/removed", self.removed, response_model=RemovedRuns)
        router.add_api_route("/removed/{removed_id}", self.put_back, methods=["POST"], response_model=ActionResult)
        router.add_api_route("/sweep", self.sweep_preview, response_model=SweepPreview)
        router.add_api_route("/sweep", self.sweep, methods=["POST"], response_model=BulkResult)
        return router

    def contents(self, request: BulkRequest) -> Contents:
        """Count what the folders of runs hold."""
        runs = [self._outputs.run(selected.slug) for selected in request.runs]
        contents = [one for run in runs if (one := _contents(run))]
        if not contents:
            raise SessionNotFound("There is no run left of those that are selected.")
        return Contents(
            num_files=sum(one.num_files for one in contents),
            num_bytes=sum(one.num_bytes for one in contents),
            num_loras=sum(len(one.lora_files) for one in contents),
            num_checkpoints=sum(one.num_checkpoints for one in contents),
            num_samples=sum(one.num_samples for one in contents),
            num_images=sum(one.num_images for one in contents),
        )

    def forget(self, request: BulkRequest) -> BulkResult:
        """Take runs off the list; their files stay, and undo_forget puts them back."""
        return self._each(request.runs, lambda run, run_id: forget(run, run_id=run_id))

    def undo_forget(self, request: BulkRequest) -> BulkResult:
        """Put forgotten runs back on the list."""
        return self._each(request.runs, lambda run, _: undo_forget(run))

    def delete(self, request: BulkRequest) -> BulkResult:
        """Delete runs with all their files."""
        result = self._each(request.runs, lambda run, run_id: move_to_deleted(run, run_id=run_id))
        remove_in_background(self._outputs)
        return result

    def exported(self, request: BulkRequest) -> BulkResult:
        """Return which runs an archive of them holds; the others are refused with the reason."""
        usable, left_out = usable_runs([self._outputs.run(selected.slug) for selected in request.runs])
        refused = [Refused(slug=run.slug, message=f"{name_of(run)} is not included: {error}") for run, error in left_out]
        return BulkResult(slugs=[run.slug for run in usable], refused=refused)

    def _each(self, runs: Sequence[SelectedRun], action: Callable[[RunPaths, str | None], object]) -> BulkResult:
        """Do an action with each run and its run_id; one that is refused does not prevent the others."""
        done: list[str] = []
        refused: list[Refused] = []
        for selected in runs:
            try:
                action(self._outputs.run(selected.slug), selected.run_id)
            except FluxGymError as error:
                refused.append(Refused(slug=selected.slug, message=str(error)))
            else:
                done.append(selected.slug)
        return BulkResult(slugs=done, refused=refused)

    def removed(self) -> RemovedRuns:
        """Return the runs that were forgotten or replaced, and can be put back."""
        return RemovedRuns(runs=[_removed_item(run) for run in removed_runs.list_removed(self._outputs)])

    def put_back(self, removed_id: str) -> ActionResult:
        """Put a run that was forgotten or replaced back on the list; the answer has its slug."""
        return ActionResult(slug=removed_runs.put_back(self._outputs, removed_id).slug)

    def sweep_preview(self, days: int = Query(ge=0, le=MAX_DAYS)) -> SweepPreview:
        """Count the runs that a sweep would take off the list."""
        runs = sweepable(self._settings.outputs, days)
        return SweepPreview(count=len(runs), names=[run.name for run in runs[:SHOWN_NAMES]])

    def sweep(self, request: SweepRequest) -> BulkResult:
        """Take ended runs that were started some days ago off the list."""
        return BulkResult(slugs=sweep(self._settings.outputs, request.days))


def _removed_item(run: removed_runs.RemovedRun) -> RemovedItem:
    return RemovedItem(id=run.id, name=run.name, removal=run.removal, removed_at=run.removed_at, num_loras=len(run.lora_files))


def _contents(run: RunPaths) -> FolderContents | None:
    """Return the content of a run's folder, None if it was deleted meanwhile."""
    try:
        return contents(run)
    except SessionNotFound:
        return None
