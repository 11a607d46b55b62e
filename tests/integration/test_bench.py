"""The benches run, and their tables consist of measured figures, each beside its peer. No time is asserted."""

from bench import launcher, queue, sessions
from bench.table import table


def test_sessions_bench_runs(monkeypatch):
    monkeypatch.setattr(sessions, "COUNT", 30)
    figures = {figure.what: figure for figure in sessions.measure(1)}
    assert all(figure.ours is not None for figure in figures.values())  # 0 bytes is what is sent when nothing changed
    assert figures["first banner"].ratio > 0
    assert "| first banner |" in table(list(figures.values()))


def test_launcher_bench_runs(monkeypatch):
    monkeypatch.setattr(launcher, "WATCHED_S", 0.2)
    figures = {figure.what: figure.ours for figure in launcher.measure(1)}
    assert figures["supervisor's RSS"] > 1
    assert figures["Start → trainer process alive"] > 0


def test_queue_bench_runs(monkeypatch):
    monkeypatch.setattr(queue, "COUNT", 2)
    monkeypatch.setattr(queue, "WATCHED_S", 0.2)
    figures = {figure.what: figure.ours for figure in queue.measure(1)}
    assert figures["processes of 2 waiting runs"] == 1
    assert figures["their RSS"] > 1
