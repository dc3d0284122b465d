"""Writes the tables of measured speed into docs/speed.md, between markers, from cpu.json and gpu-*.json in results/.

python benchmarks/report.py          the rows that have an aim, and the peers
python benchmarks/report.py --all    every row, to the screen; --results names a file, also one of a GPU
"""

import argparse
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"
AIMS = ("target", "target_seconds", "target_extra_seconds", "target_memory")

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results/cpu.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/speed.md")
    parser.add_argument("--all", action="store_true", help="print every row instead of writing the table")
    args = parser.parse_args()
    results = json.loads(args.results.read_text())
    if args.all:
        of_gpu = "card" in results["header"]
        print(render_gpu(results, results["rows"]) if of_gpu else render(results["header"], results["rows"]))
        return
    text = args.page.read_text()
    if BEGIN not in text or END not in text:
        parser.error(f"{args.page.name} has no lines {BEGIN} and {END}; put them where the table belongs")
    rows = [row for row in results["rows"] if is_main(row)]
    head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
    parts = [render(results["header"], rows)]
    for path in sorted(args.results.parent.glob("gpu-*.json")):
        found = json.loads(path.read_text())
        parts.append(render_gpu(found, [row for row in found["rows"] if any(key in row for key in AIMS)]))
    body = "\n\n".join(parts)
    args.page.write_text(f"{head}{BEGIN}\n{body}\n{END}{tail}")


def is_main(row: Row) -> bool:
    """Whether a row belongs on the page: an aim, a peer at the standard work, or np.copyto."""
    peer = row["operation"] == "standard work" and row["provider"] != "yardstick" and row["x"] == "codes"
    return peer or "np.copyto" in row["provider"] or "scan" in row or any(key in row for key in AIMS)


def render(header: Row, rows: list[Row]) -> str:
    yardsticks = [row for row in rows if row["provider"] == "yardstick"]
    peaks = [row for row in rows if "peak_bytes" in row]
    scans = [row for row in rows if "scan" in row]
    calls = [
        row for row in rows if row not in (*peaks, *scans) and ("median_ratio" not in row or "extra_seconds" in row)
    ]
    libraries = [row for row in rows if "library" in row and row not in peaks]
    rankings = [row for row in rows if "metric" in row]
    others = (*yardsticks, *calls, *libraries, *rankings, *peaks, *scans)
    peers = [row for row in rows if row not in others]
    versions = ", ".join(f"{name} {version}" for name, version in header["versions"].items() if version)
    commits = dict.fromkeys(str(row.get("commit", header["commit"])) for row in rows)
    parts = [
        table(
            ["operation", "layout", "outputs", "x", "GB/s", "yardstick GB/s", "share of the yardstick (95 %)", "aim"],
            [[*name(row), *speeds(row), ratio(row, 2), aim(row)] for row in sorted(yardsticks, key=order)],
        ),
        table(
            ["operation", "layout", "outputs", "x", "sequences", "compared with", "times as fast (95 %)", "aim"],
            [
                [*name(row), f"{row['n_sequences']:,}", row["provider"], ratio(row, 1), aim(row)]
                for row in sorted(peers, key=order)
            ],
        ),
        table(
            ["library", "operation", "layout", "sequences", "compared with", "times as fast (95 %)", "aim"],
            [
                [row["library"], *name(row)[:2], f"{row['n_sequences']:,}", row["provider"], ratio(row, 2), aim(row)]
                for row in libraries
            ],
        ),
        table(
            ["library", "operation", "sequences", "length", "peak, MiB", "compared with", "MiB", "less by", "aim"],
            [peak(row) for row in peaks],
        ),
        table(
            ["metric", "sequences", "length", "compared with", "times as fast (95 %)", "aim"],
            [
                [
                    row["metric"],
                    f"{row['n_sequences']:,}",
                    f"{row['length']:,}",
                    row["provider"],
                    ratio(row, 0),
                    aim(row),
                ]
                for row in rankings
            ],
        ),
        table(
            ["scan", "of", "measured", "aim"],
            [[row["scan"], row["provider"], f"{row['value']:,.3g} {row['unit']}", row["aim"]] for row in scans],
        ),
        table(["one sequence of 200 bp", "what", "time", "aim"], [call(row) for row in calls]),
        f"{header['processor']}, {header['threads']} threads, {header['memory_gib']:.0f} GiB; {versions}; "
        f"commit {', '.join(commits)}, {header['date']}.",
    ]
    return "\n\n".join(part for part in parts if part)


def render_gpu(results: Row, rows: list[Row]) -> str:
    """Tables of a file that benchmarks/gpu.sh wrote."""
    header = results["header"]
    pairs = [row for row in rows if "median_ratio" in row]
    streams = [row for row in pairs if "bytes" in row]
    calls = [row for row in rows if "seconds" in row and row not in pairs]
    versions = ", ".join(f"{name} {version}" for name, version in header["versions"].items() if version)
    runs = "; ".join(f"{name}: {run['passed']} passed, {run['failed']} failed" for name, run in results["runs"].items())
    parts = [
        table(
            ["operation", "layout", "dtype", "length", "outputs", "x", "GB/s", "compared with", "ratio (95 %)", "aim"],
            [[*gpu_name(row), speeds(row)[0], gpu_provider(row), ratio(row, 2), aim(row)] for row in streams],
        ),
        table(
            ["operation", "sequences", "compared with", "times as fast (95 %)", "aim"],
            [
                [row["operation"], f"{row['n_sequences']:,}", gpu_provider(row), ratio(row, 2), aim(row)]
                for row in pairs
                if row not in streams
            ],
        ),
        table(
            ["call", "what", "outputs", "median", "least", "aim"],
            [[row["operation"], row["provider"], row.get("outputs", ""), *gpu_times(row)] for row in calls],
        ),
        f"{header['card']}, driver {header['driver']}, {header['power_limit_w']} W; {versions}; commit "
        f"{header['commit']}, {header['date']}; {runs}.",
    ]
    return "\n\n".join(part for part in parts if part)


def gpu_name(row: Row) -> list[str]:
    return [row["operation"], row["layout"], row["dtype"], f"{row['length']:,}", row["outputs"], row["x"] or ""]


def gpu_provider(row: Row) -> str:
    blocks = f"; we: {row['blocks_per_processor']:,} blocks a processor" if "blocks_per_processor" in row else ""
    its = f", {speeds(row)[1]} GB/s" if "bytes" in row else f", {row['provider_seconds']:.2f} s"
    return row["provider"] + its + blocks


def gpu_times(row: Row) -> list[str]:
    """Median, least and aim, in a unit that suits them."""
    scale, unit = (1, "s") if row["seconds"] > 0.01 else (1e6, "us")
    values = row["seconds"], row["least_seconds"], row.get("target_seconds")
    return ["" if value is None else f"{value * scale:.3g} {unit}" for value in values]


def table(columns: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def order(row: Row) -> tuple[Any, ...]:
    return row["operation"] != "standard work", row["operation"], row["provider"], row["layout"], str(row["x"])


def name(row: Row) -> list[str]:
    return [row["operation"], row["layout"], row["outputs"], row["x"] or ""]


def speeds(row: Row) -> list[str]:
    return [f"{row['bytes'] / row[key] / 1e9:.1f}" for key in ("seconds", "provider_seconds")]


def ratio(row: Row, digits: int) -> str:
    return f"{row['median_ratio']:.{digits}f} ({row['low']:.{digits}f} to {row['high']:.{digits}f})"


def aim(row: Row) -> str:
    return f"{row['target']:g}" if "target" in row else ""


def peak(row: Row) -> list[str]:
    ours, theirs = row["peak_bytes"], row["provider_peak_bytes"]
    sizes = [f"{row['n_sequences']:,}", f"{row['length']:,}", f"{ours / 2**20:,.0f}"]
    less = [row["provider"], f"{theirs / 2**20:,.0f}", f"{theirs / ours:.1f}"]
    return [row["library"], row["operation"], *sizes, *less, f"{row.get('target_memory', '')}"]


def call(row: Row) -> list[str]:
    if "extra_seconds" in row:
        text = f"{row['extra_seconds']:.2f} s more than {row['provider']} ({row['provider_seconds']:.2f} s)"
        return [row["operation"], "new process", text, f"{row['target_extra_seconds']:g} s"]
    aim_us = f"{row['target_seconds'] * 1e6:g} us"
    return [row["operation"], row["provider"], f"{row['seconds'] * 1e6:.1f} us", aim_us]


if __name__ == "__main__":
    main()
