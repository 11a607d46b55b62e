"""Routes of one run of the list: the actions of its buttons and menu, and its history."""

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import APIRouter

from fluxgym.app_settings import Settings
from fluxgym.engines.registry import engine_for, status_of
from fluxgym.errors import SessionError, SessionNotFound
from fluxgym.planning.plan import Planner
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import name_of, read_state
from fluxgym.sessions import history
from fluxgym.sessions.control import stop
from fluxgym.sessions.create import duplicate, free_copy_name
from fluxgym.sessions.delete import delete
from fluxgym.sessions.forget import forget
from fluxgym.sessions.requeue import requeue, start_again
from fluxgym.sessions.resume import ResumeRequest, resume_planned, resumed_message
from fluxgym.sessions.templates import save
from fluxgym.ui.api.action_answers import ActionResult, CopyName
from fluxgym.ui.api.responses import UNKNOWN_REQUEST, new_router
from fluxgym.ui.api.run_answers import HistoryPage
from fluxgym.ui.api.run_parts import history_versions


@dataclass(frozen=True, kw_only=True)
class ActionRequest:
    """A button's action; run_id is that of the run that the button was drawn for, agreed the codes of errors that the user agreed to."""

    run_id: str | None = None
    name: str = ""
    version: str = ""
    checkpoint: str = ""
    epochs: int | None = None
    agreed: tuple[str, ...] = ()


Action = Callable[[RunPaths, ActionRequest], ActionResult]


class ActionRoutes:
    """Routes of a run's buttons and menu."""

    def __init__(self, settings: Settings, planner: Planner) -> None:
        self._settings, self._planner = settings, planner
        self._outputs = OutputsPaths(settings.outputs)
        self._engine = engine_for(self._outputs)
        self._actions = self._build_actions()

    @property
    def router(self) -> APIRouter:
        """The routes, to be included in the application."""
        router = new_router()
        router.add_api_route("/sessions/{slug}/history", self.history, response_model=HistoryPage)
        router.add_api_route("/sessions/{slug}/copy-name", self.copy_name, response_model=CopyName)
        router.add_api_route("/sessions/{slug}/{action}", self.act, methods=["POST"], response_model=ActionResult)
        return router

    def act(self, slug: str, action: str, request: ActionRequest) -> ActionResult:
        """Do the action of a run's button and return its result."""
        run = self._existing(slug)
        if request.run_id and read_state(run).get("run_id") != request.run_id:
            raise SessionError(
                f"{name_of(run)} was started again after the page showed this button, so nothing was changed. Reload the page."
            )
        if action not in self._actions:
            raise SessionError(UNKNOWN_REQUEST)
        return self._actions[action](run, request)

    def _resume(self, run: RunPaths, request: ActionRequest) -> ActionResult:
        checkpoint = request.checkpoint[:200] or None
        resumption = ResumeRequest(from_checkpoint=checkpoint, epochs=request.epochs, agreed=request.agreed)
        resume_planned(run, self._planner, resumption)
        return ActionResult(notice=resumed_message(run))

    def _build_actions(self) -> dict[str, Action]:
        """Return the function of each action, which takes the run and the request."""
        silent: dict[str, Callable[[RunPaths], object]] = {
            "stop": stop,
            "kill": lambda run: stop(run, now=True),
            "next": lambda run: self._engine.queue.move(run, 1),
            "repair": history.repair,
        }
        return {name: _without_result(_of_run(action)) for name, action in silent.items()} | {
            "forget": _without_result(lambda run, request: forget(run, run_id=request.run_id)),
            "delete": _without_result(lambda run, request: delete(run, run_id=request.run_id)),
            "resume": self._resume,
            "start": _without_result(lambda run, request: start_again(run, self._planner, run_id=request.run_id, agreed=request.agreed)),
            "requeue": _without_result(lambda run, request: requeue(run, self._planner, run_id=request.run_id, agreed=request.agreed)),
            "duplicate": lambda run, request: ActionResult(slug=duplicate(run, request.name[:300]).slug),
            "restore": lambda run, request: ActionResult(changed=history.restore(run, request.version[:200])),
            "template": lambda run, request: ActionResult(template=self._save_template(run, request)),
        }

    def _save_template(self, run: RunPaths, request: ActionRequest) -> str:
        return save(self._outputs, request.name[:300], read_state(run), agreed=request.agreed).name

    def history(self, slug: str) -> HistoryPage:
        """Return the earlier settings of a run."""
        run = self._existing(slug)
        state = read_state(run)
        versions = history_versions(run, state, self._settings.models, status=status_of(run, state).status)
        return HistoryPage(versions=versions, unreadable=history.unreadable_versions(run))

    def copy_name(self, slug: str) -> CopyName:
        """Return a free name for a copy of a run."""
        return CopyName(name=free_copy_name(self._existing(slug)))

    def _existing(self, slug: str) -> RunPaths:
        """Return a run whose folder exists; its ui_state.json may be missing, as after Forget."""
        run = self._outputs.run(slug)
        if not run.folder.is_dir():
            raise SessionNotFound(f"There is no run called “{run.slug}”. Reload the page.")
        return run


def _of_run(action: Callable[[RunPaths], object]) -> Callable[[RunPaths, ActionRequest], object]:
    return lambda run, _: action(run)


def _without_result(action: Callable[[RunPaths, ActionRequest], object]) -> Action:
    def act(run: RunPaths, request: ActionRequest) -> ActionResult:
        action(run, request)
        return ActionResult()

    return act
