"""The results file, written after every row so that a run that is cut off loses nothing.

python -m benchmarks.gpu.results FILE    the rows with an aim, what went wrong, and exit status 1 if anything did
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def load(path: Path) -> dict[str, Any]:
    empty = {"header": {}, "states": [], "runs": {}, "sanitizers": {}, "rows": []}
    return json.loads(path.read_text()) if path.exists() else empty


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    results = load(path)
    edit(results)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    os.replace(part, path)


def add_row(path: Path, row: dict[str, Any]) -> None:
    rounded = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in row.items()}
    change(path, lambda results: results["rows"].append(rounded))


def problems(results: dict[str, Any]) -> list[str]:
    """What went wrong, a line each."""
    found = []
    for name, run in results["runs"].items():
        found += [f"{name}: {failure['name']} failed" for failure in run["failures"]]
        if not run["finished"]:
            found.append(f"{name}: cut off after {run['passed']} passed")
        if not run["passed"]:
            found.append(f"{name}: nothing passed")
    for tool, outcome in results["sanitizers"].items():
        if outcome["errors"] or outcome["status"] == "failed":
            found.append(f"{tool}: {outcome['errors']} errors, {outcome['status']}")
    return found


def line(row: dict[str, Any]) -> str:
    """A row with its aim."""
    names = (row.get(key) for key in ("operation", "layout", "dtype", "outputs", "x", "provider"))
    found = f"{row['seconds'] * 1e6:.1f} us" if "median_ratio" not in row else f"{row['median_ratio']:.3f}"
    speed = f" {row['gigabytes_per_second']:.0f} GB/s" if "gigabytes_per_second" in row else ""
    aim = row["target"] if "target" in row else f"{row['target_seconds'] * 1e6:g} us"
    return f"{' '.join(str(name) for name in names if name)}:{speed} {found} (aim {aim})"


def main() -> None:
    results = load(Path(sys.argv[1]))
    print(*(line(row) for row in results["rows"] if "target" in row or "target_seconds" in row), sep="\n")
    for name, run in results["runs"].items():
        print(f"{name}: {run['passed']} passed, {run['failed']} failed, skipped: {run['skips']}")
    for tool, outcome in results["sanitizers"].items():
        print(f"{tool}: {outcome['status']}")
    for failure in [failure for run in results["runs"].values() for failure in run["failures"]][:5]:
        print(f"--- {failure['name']}\n{failure['message'][-600:]}")
    found = problems(results)
    print(*found[:20], sep="\n")
    raise SystemExit(1 if found or not results["runs"] else 0)


if __name__ == "__main__":
    main()
