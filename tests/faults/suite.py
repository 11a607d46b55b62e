"""The rows of the fault suite in named groups. A group takes at most MAX_MINUTES, so that it can be run by itself, in the background."""

from tests.faults import files, images, load, network, processes, resume, sessions
from tests.faults.modules import PytestModules
from tests.faults.result import Row

MAX_MINUTES = 20
SECURITY = "tests/fluxgym/ui/security"
GROUPS: dict[str, tuple[Row, ...]] = {
    "processes": (
        Row(title="A dead trainer's PID is given to another process", fault=processes.reused_pids, count=1000, minutes=0.6, short=10),
        Row(
            title="A dead trainer's PID is given to another group's leader while a daemon is ended", fault=processes.reused_groups, count=100,
            minutes=4, short=4,
        ),
        Row(title="The machine or container restarts under a training", fault=processes.reboots, count=100, minutes=1, short=1),
        Row(
            title="A trainer leaves deaf daemons in sessions of their own", fault=processes.escaping_children, count=100, minutes=8.5, short=4
        ),
    ),
    "sessions": (
        Row(title="One name is started 50 times at the same moment", fault=sessions.parallel_starts, count=100, minutes=1.5, short=1),
        Row(
            title="Starts, stops, kills, freezes, reboots in any order (two runs, one device)", fault=sessions.model_of_truth, count=500,
            minutes=8,
        ),
        Row(
            title="Waiting runs are killed, moved, canceled, deleted; two apps share one queue", count=2, minutes=5,
            fault=PytestModules(("tests/integration/test_queue.py", "tests/integration/test_two_apps.py")),
        ),
        Row(title="A training is frozen in each phase", fault=PytestModules(("tests/integration/test_stall.py",)), count=1, minutes=2),
        Row(
            title="A healthy but slow training is watched (five phases each)", fault=sessions.healthy_phases, count=1000, minutes=0.6, short=30
        ),
    ),
    "files": (
        Row(
            title="A ui_state.json is cut, flipped, swapped, re-encoded", fault=files.damaged_states, count=100_000, minutes=1.5, short=400
        ),
        Row(title="A process is killed while it writes a state", fault=files.killed_writes, count=500, minutes=0.8, short=5),
        Row(title="The disk is full or fails after any number of bytes", fault=files.failing_disks, count=100, minutes=5, short=4),
        Row(
            title="A volume refuses flock, chmod, fsync, mmap or links, in all combinations", count=1, minutes=3,
            fault=PytestModules(("tests/integration/test_volumes.py",)),
        ),
        Row(
            title="Each file of a run is a link, a pipe, a device or a giant", count=1, minutes=2,
            fault=PytestModules(("tests/integration/test_hostile_run.py",)),
        ),
        Row(
            title="No file can be opened any more", count=1, minutes=1,
            fault=PytestModules(("tests/fluxgym/sessions/test_control_open_files.py",)),
        ),
    ),
    "images": (
        Row(title="An image file of any format is damaged", fault=images.damaged_images, count=10_000, minutes=1, short=60),
        Row(title="A small image file claims or contains very much", fault=images.image_bombs, count=200, minutes=3, short=12),
        Row(title="A document, program, pipe, link or device has an image's name", fault=images.posing_files, count=500, minutes=0.5, short=12),
        Row(title="Images with captions are uploaded, one after the other", fault=load.uploads, count=10_000, minutes=14, short=30),
    ),
    "network": (
        Row(
            title="Every route is requested without a token, with a wrong one, with signs of a proxy", count=1, minutes=2,
            fault=PytestModules(
                (
                    f"{SECURITY}/test_guard_routes.py::test_no_route_answers_without_token", f"{SECURITY}/test_local_request.py",
                    f"{SECURITY}/test_token_auth.py", f"{SECURITY}/test_guard.py",
                )
            ),
        ),
        Row(
            title="Another site, a rebound name or a form requests every route", count=1, minutes=1,
            fault=PytestModules(
                (
                    f"{SECURITY}/test_guard_routes.py::test_no_route_answers_another_site_or_host_even_with_token",
                    f"{SECURITY}/test_guard_routes.py::test_no_form_of_another_site_is_read_as_json", f"{SECURITY}/test_host_rules.py",
                    f"{SECURITY}/test_hosts.py",
                )
            ),
        ),
        Row(title="An address leads out of the folders", fault=network.traversals, count=10_000, minutes=1, short=100),
        Row(
            title="Odd names, bodies and values in every route and every key of a state", count=1, minutes=2,
            fault=PytestModules(("tests/fluxgym/ui/test_server_odd_input.py", "tests/fluxgym/ui/test_server.py")),
        ),
        Row(
            title="Names, captions, reasons and logs contain HTML and scripts", count=1, minutes=1,
            fault=PytestModules(
                ("tests/fluxgym/ui/test_server_injection.py", "tests/browser/test_page.py::test_typed_text_is_never_rendered_as_html")
            ),
        ),
        Row(title="A request is cut at any byte; hundreds of its kind stay open", fault=network.half_sent_requests, count=5000, minutes=1, short=60),
        Row(
            title="Connections are held, trickle, read nothing or are reset", count=1, minutes=2,
            fault=PytestModules(
                (
                    f"{SECURITY}/test_connections.py", f"{SECURITY}/test_unread_body.py", "tests/integration/test_app_disconnects.py",
                    "tests/integration/test_app.py::test_half_sent_requests_at_1024_files_stop_neither_page_nor_log",
                )
            ),
        ),
    ),
    "resume": (
        Row(title="A training is stopped, frozen and killed at random steps, then resumed", fault=resume.exact_resumes, count=40, minutes=14),
        Row(title="A process is killed while it writes and removes checkpoints", fault=resume.killed_saves, count=500, minutes=2, short=5),
        Row(title="A checkpoint is damaged or forged", fault=resume.tampered_checkpoints, count=2000, minutes=2, short=32),
    ),
    "load": (
        Row(title="20 pages watch a training for minutes", fault=load.watchers, count=450, minutes=15.5, short=2),
        Row(title="50 pages watch a training while two upload images", fault=load.watchers_and_uploaders, count=60, minutes=2.5, short=2),
    ),
}  # fmt: skip
ROWS = tuple(row for rows in GROUPS.values() for row in rows)
