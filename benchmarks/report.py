"""Writes the tables of measured speed into docs/, between markers, from cpu.json and gpu-*.json in results/.

python benchmarks/report.py          speed.md: rows that have an aim, and the peers; exact-effects.md: substitutions;
                                     peers.md: attributions beside other packages
python benchmarks/report.py --all    every row, to the screen; --results names a file, also one of a GPU
"""

import argparse
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"
SUBSTITUTIONS = "substitutions of "
BY_LENGTH = " by length"
"""How operations begin and end that have tables in exact-effects.md."""
THREADS = ("1 threads", "2 threads")
BESIDE_PEERS = "beside peers"
"""What rows have for outputs that have a table in peers.md."""
WHOLE = "whole passes of "
"""How the providers of scans begin that have a table there too."""
AIMS = ("target", "target_seconds", "target_extra_seconds", "target_memory")

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results/cpu.json")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    parser.add_argument("--all", action="store_true", help="print every row instead of writing the table")
    args = parser.parse_args()
    results = json.loads(args.results.read_text())
    if args.all:
        of_gpu = "card" in results["header"]
        print(render_gpu(results, results["rows"]) if of_gpu else render(results["header"], results["rows"]))
        return
    parts = [render(results["header"], [row for row in results["rows"] if is_main(row)])]
    for path in sorted(args.results.parent.glob("gpu-*.json")):
        found = json.loads(path.read_text())
        parts.append(render_gpu(found, [row for row in found["rows"] if any(key in row for key in AIMS)]))
    write(args.docs / "speed.md", "\n\n".join(parts))
    rows = [row for row in results["rows"] if is_of_engines(row)]
    write(args.docs / "exact-effects.md", render_substitutions(results["header"], rows))
    rows = [row for row in results["rows"] if is_beside_peers(row)]
    write(args.docs / "peers.md", render_peers(results["header"], rows))


def write(page: Path, body: str) -> None:
    """Put tables between the markers of a page."""
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{page.name} has no lines {BEGIN} and {END}; put them where the tables belong")
    head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
    page.write_text(f"{head}{BEGIN}\n{body}\n{END}{tail}")


def is_main(row: Row) -> bool:
    """Whether a row belongs on the page: an aim, a peer at the standard work, or np.copyto."""
    if is_of_engines(row) or is_beside_peers(row):
        return False
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
        source(header, rows),
    ]
    return "\n\n".join(part for part in parts if part)


def source(header: Row, rows: list[Row]) -> str:
    """Where and with what rows were measured."""
    versions = ", ".join(f"{name} {version}" for name, version in header["versions"].items() if version)
    commits = dict.fromkeys(str(row.get("commit", header["commit"])) for row in rows)
    return (
        f"{header['processor']}, {header['threads']} threads, {header['memory_gib']:.0f} GiB; {versions}; "
        f"commit {', '.join(commits)}, {header['date']}."
    )


def render_substitutions(header: Row, rows: list[Row]) -> str:
    """Tables of whole networks, of the length of sequences, of other packages, and of scans."""
    scans = [row for row in rows if row["provider"].startswith(WHOLE)]
    lengths = [row for row in rows if row["operation"].endswith(BY_LENGTH)]
    peers = [row for row in rows if row["provider"].startswith(("tangermeme", "yuzu"))]
    of_network: dict[Any, dict[str, Row]] = {}
    for row in rows:
        if row not in (*lengths, *peers, *scans):
            of_network.setdefault((network(row), row["length"]), {})[row["outputs"]] = row
    parts = [
        table(
            ["network", "bp", "compared with", "one thread (95 %)", "two threads (95 %)", "aim"],
            [
                [
                    name,
                    f"{length:,}",
                    compared(found),
                    *(ratio(found[n], 1) if n in found else "" for n in THREADS),
                    aim(next(iter(found.values()))),
                ]
                for (name, length), found in of_network.items()
            ],
        ),
        table(
            ["network", "bp", "compared with", "one thread (95 %)"],
            [[network(row), f"{row['length']:,}", compared({"": row}), ratio(row, 1)] for row in lengths],
        ),
        table(
            ["network", "bp", "mutants", "compared with", "threads", "times as fast (95 %)"],
            [
                [
                    network(row),
                    f"{row['length']:,}",
                    f"{row['n_sequences']:,}",
                    row["provider"],
                    row["outputs"].partition(" ")[0],
                    ratio(row, 1),
                ]
                for row in peers
            ],
        ),
        table(
            ["scan", "model", "bp", "variants", "two threads (95 %)"],
            [[scan_of(row), row["x"], f"{row['length']:,}", f"{row['n_sequences']:,}", ratio(row, 1)] for row in scans],
        ),
        source(header, rows),
    ]
    return "\n\n".join(part for part in parts if part)


def render_peers(header: Row, rows: list[Row]) -> str:
    """A table of how many times as fast each method is as a peer's, by the number of sequences, and of its memory."""
    times = [row for row in rows if "peak_bytes" not in row]
    peaks = {(row["provider"], row["operation"]): row for row in rows if "peak_bytes" in row}
    counts = sorted({row["n_sequences"] for row in times})
    found: dict[tuple[str, str], dict[int, Row]] = {}
    for row in times:
        found.setdefault((row["provider"], row["operation"]), {})[row["n_sequences"]] = row
    lines = [
        [*key, *(ratio(of[n], 1) if n in of else "" for n in counts), both_peaks(peaks.get(key))]
        for key, of in sorted(found.items(), key=lambda item: str(item[0]).casefold())
    ]
    head = ["beside", "method", *("1 sequence" if n == 1 else f"{n:,}" for n in counts), "MiB, theirs and ours"]
    return "\n\n".join(part for part in (table(head, lines), source(header, rows)) if part)


def both_peaks(row: Row | None) -> str:
    """Memory of theirs and ours, and of how many sequences."""
    if row is None:
        return ""
    theirs, ours = (row[key] / 2**20 for key in ("provider_peak_bytes", "peak_bytes"))
    return f"{theirs:,.0f}, {ours:,.0f} ({row['n_sequences']:,})"


def is_beside_peers(row: Row) -> bool:
    """Whether a row compares attributions, or their memory, with those of another package."""
    return str(row["outputs"]).endswith(BESIDE_PEERS)


def is_of_engines(row: Row) -> bool:
    """Whether a row compares what substitutions change with whole passes."""
    return row["operation"].startswith(SUBSTITUTIONS) or row["provider"].startswith(WHOLE)


def scan_of(row: Row) -> str:
    """What was scanned, and for which scores."""
    scores, kind = row["operation"].removeprefix("score_variants, ").split(", ", 1)
    return f"{kind}, {scores}"


def network(row: Row) -> str:
    """The network whose substitutions were measured."""
    text = str(row["operation"]).removeprefix(SUBSTITUTIONS).removesuffix(BY_LENGTH)
    return text.partition(", engine=")[0]


def compared(found: dict[str, Row]) -> str:
    """What rows on one thread and on two are compared with; batches are the best of each."""
    providers = [str(row["provider"]) for row in found.values()]
    sizes = [text.partition(", batches of ")[2] for text in providers]
    return f"full passes, batches of {', '.join(dict.fromkeys(sizes))}" if all(sizes) else providers[0]


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
    by_hand = f" ({row['seconds_by_hand'] * 1e6:.1f} us by hand)" if "seconds_by_hand" in row else ""
    return [row["operation"], row["provider"], f"{row['seconds'] * 1e6:.1f} us{by_hand}", aim_us]


if __name__ == "__main__":
    main()
