"""A pytest plugin that counts outcomes into the results file as they come, so that a run that is killed leaves them.

python -m pytest -p benchmarks.gpu.tally --tally FILE --tally-as NAME ...
"""

import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import results

MESSAGE = 1500  # characters kept of a failure
FAILURES = 25  # of which the message is kept


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tally", type=Path, metavar="FILE", help="results file that outcomes are counted into")
    parser.addoption("--tally-as", default="tests", metavar="NAME", help="name of this run there")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.tally is not None and not hasattr(config, "workerinput"):  # xdist's workers report to us
        config.pluginmanager.register(Tally(config.option.tally, config.option.tally_as))


class Tally:
    """Counts of one run."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.start = self.written = time.monotonic()
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        self.failures: list[dict[str, str]] = []
        self.skips: dict[str, int] = {}
        self.write(finished=False)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.fail(report)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:  # in set-up and tear-down too
            self.fail(report)
        elif report.skipped:
            self.counts["skipped"] += 1
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "expected to fail"
            self.skips[reason] = self.skips.get(reason, 0) + 1
        elif report.when == "call":
            self.counts["passed"] += 1
        if time.monotonic() - self.written > 2:
            self.write(finished=False)

    def pytest_sessionfinish(self, session: Any, exitstatus: int) -> None:
        self.write(finished=exitstatus in (0, 1, 5))

    def fail(self, report: Any) -> None:
        self.counts["failed"] += 1
        message = report.longreprtext[-MESSAGE:] if len(self.failures) < FAILURES else ""
        self.failures.append({"name": report.nodeid, "message": message})

    def write(self, *, finished: bool) -> None:
        self.written = time.monotonic()
        found = {
            **self.counts,
            "finished": finished,
            "seconds": round(self.written - self.start, 1),
            "failures": self.failures,
            "skips": self.skips,
        }
        results.change(self.path, lambda whole: whole["runs"].update({self.name: found}))
