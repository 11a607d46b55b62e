"""Faults that are test modules: a row runs them in a separate process and counts the cases in pytest's report."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.faults.result import ROOT, Result, first_lost
from tests.support.matrix import FULL_MATRIX


@dataclass(frozen=True)
class PytestModules:
    """A fault: the tests of some modules, or single ones ("module::test"), with all cases of their matrices; `count` is the number of rounds."""

    nodes: tuple[str, ...]

    def __call__(self, folder: Path, count: int, seed: int) -> Result:
        """Run all tests `count` times."""
        return total([self._run(folder / f"round-{number}") for number in range(count)])

    def _run(self, folder: Path) -> Result:
        folder.mkdir()
        report = folder / "report.xml"
        done = run_pytest(f"--basetemp={folder / 'tmp'}", f"--junit-xml={report}", *self.nodes, **{FULL_MATRIX: "1"})
        if done.returncode not in (0, 1) or not report.exists():  # neither passed nor failed: nothing was tested
            return Result(tried=1, held=0, note=first_lost([(done.stdout + done.stderr).strip()[-200:]]))
        return read_report(report)


def run_pytest(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a process of its own, with more variables in its environment."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *argv]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)


def read_report(path: Path) -> Result:
    """Return the result of a JUnit report: a skipped test was not tried, and the note has its reason."""
    cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    lost = [str(case.get("name")) for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [str(found.get("message")) for case in cases if (found := case.find("skipped")) is not None]
    tried = len({case.get("classname", "") + str(case.get("name")) for case in cases}) - len(skipped)
    reasons = f"{len(skipped)} skipped: {skipped[0]}" if skipped else ""
    return Result(tried=tried, held=tried - len(set(lost)), note=first_lost([*lost, reasons] if reasons else lost))


def total(results: list[Result]) -> Result:
    """Return the sum of several rounds."""
    notes = list(dict.fromkeys(result.note for result in results if result.note))
    return Result(tried=sum(result.tried for result in results), held=sum(result.held for result in results), note=first_lost(notes))
