"""Measures the tasks of a plan, one after another; what fails is a row with the reason."""

import gc
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._damage import DAMAGE, MALFORMED, told
from .._types import Array, Model
from ..kernels import cuda
from ._cards import Cards
from ._cases import Case, make_arrays, make_one_hot
from ._machine import available_bytes, describe_machine
from ._plans import PLANS, Plan, Task, list_tasks, narrow
from ._results import Results
from ._tables import Row
from ._timing import Call, compare, host_seconds, measure, median_interval
from .libraries import NAMES, Formula, Library, is_installed, load

FAILURES: tuple[type[Exception], ...] = (*DAMAGE, *MALFORMED, ImportError, MemoryError)
"""What a library, its driver or its compiler raises: a row with the reason, not the end of the run."""
SHARE_OF_MEMORY = 0.5
COPIES = {False: 4, True: 12}
"""Of the gradient's bytes that a case needs at once, without formulas and with what those leave in between."""

Tell = Callable[[str], None]


def load_libraries(
    wanted: Sequence[str], devices: Sequence[str], tell: Tell
) -> tuple[dict[str, Library], list[tuple[str, str]], list[Row]]:
    """Import what is there: libraries by name, pairs of library and device, and a row for each that failed."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # or JAX takes three quarters of a GPU
    names = wanted or [name for name in NAMES if is_installed(name)]
    libraries, places, failures = {}, [], []
    for name in names:
        tell(f"load {name}")
        try:
            library = load(name)
            found = library.devices()
        except FAILURES as error:
            failures.append(_failed({"kind": "many", "library": name, "device": "", "operation": ""}, told(error)))
            continue
        libraries[name] = library
        places += [(name, device) for device in found if not devices or _is_wanted(device, devices)]
    return libraries, places, failures


def _is_wanted(device: str, devices: Sequence[str]) -> bool:
    return device in devices or device.partition(":")[0] in devices


def _failed(names: Mapping[str, Any], reason: str) -> Row:
    return {**names, "measured": {}, "left_out": {"ours": reason.strip().splitlines()[0][:300]}}


class Bench:
    """What is kept from case to case: arrays in NumPy, the clock's start, the cards."""

    def __init__(self, plan: Plan, libraries: Mapping[str, Library], scanned: tuple[str, Model | None, int | None]):
        self.plan, self.libraries, self.scanned = plan, libraries, scanned
        self.cards = Cards()
        self._arrays: tuple[int, Array, Array] | None = None

    def measure(self, task: Task) -> Row:
        """Measure a task, or say why not."""
        names = task.names
        if task.kind == "scan":
            names["network"], _, length = self.scanned
            names["length"] = length or 200
        library = self.libraries[task.library]
        try:
            row = self._measure_case(task, library) if task.case is not None else self._measure_model(task, library)
        except (*FAILURES, *library.ERRORS) as error:
            reason = f"{type(error).__name__}: {told(error)}"
        else:
            state = self.cards.state(task.device, library.bus_id(task.device))
            return names | row | ({"card": state} if state else {})
        gc.collect()  # what a failed case holds by its traceback is memory that the next one wants
        return _failed(names, reason)

    def _measure_case(self, task: Task, library: Library) -> Row:
        assert task.case is not None
        case = self._fitting(task.case, task, library)
        clock = library.clock(task.device)
        calls, left_out = self._calls(case, task, library)
        row = self._time(clock, calls, task)
        if case.positions <= self.plan.positions // 8:  # of few positions it matters what the host does
            row["host_seconds"] = host_seconds(clock, calls["ours"])
        if left_out:
            row["left_out"] = left_out
        return case.names | row

    def _fitting(self, case: Case, task: Task, library: Library) -> Case:
        """Fewer sequences where the memory is too small."""
        item = max(4, cuda.ITEM_BYTES.get(case.dtype, 8))
        each = 4 * item * case.length * COPIES[bool(task.formulas)]
        free = available_bytes()
        if task.device != "cpu":
            each_on_host, on_device = 4 * item * case.length * COPIES[False], library.free_bytes(task.device)
            free = min(free * each // each_on_host, free if on_device is None else on_device)
        most = int(SHARE_OF_MEMORY * free) // each
        if most < 1:
            raise MemoryError(f"one sequence needs {each / 2**20:.0f} MiB, and {free / 2**20:.0f} MiB are free")
        return case._replace(n_sequences=min(case.n_sequences, most))

    def _calls(self, case: Case, task: Task, library: Library) -> tuple[dict[str, Call], dict[str, str]]:
        """Ours, ours into memory that is there, the copy of as many bytes, and others' formulas."""
        grad, codes = self._draw(case)
        work = case.work
        needs_letters = bool(task.formulas) or work.x == "one-hot"
        one_hot = library.array(make_one_hot(codes, case.axis), case.dtype, task.device) if needs_letters else None
        given = library.array(grad, case.dtype, task.device)
        x = None if work.x is None else one_hot if work.x == "one-hot" else library.array(codes, None, task.device)
        calls: dict[str, Call] = {"ours": lambda: work.ours(given, x, case.axis)}
        if library.HAS_OUT and (work.n_whole or work.n_single):
            buffers = self._buffers(case, task, library)
            calls["ours, out="] = lambda: work.ours(given, x, case.axis, buffers)
        calls["copy"] = library.copy(case.bytes, task.device)
        by_name: dict[str, Formula] = {formula.name: formula for formula in library.FORMULAS}
        left_out: dict[str, str] = {}
        for name in task.formulas:
            try:
                call = by_name[name].make(case, given, one_hot)
                library.clock(task.device).wait(call())
            except (*FAILURES, *library.ERRORS) as error:
                left_out[name] = f"{type(error).__name__}: {told(error)}".strip().splitlines()[0][:300]
            else:
                calls[name] = call
        return calls, left_out

    def _buffers(self, case: Case, task: Task, library: Library) -> list[Any]:
        positions = (case.n_sequences, case.length)
        single = "float64" if case.dtype == "float64" else "float32"
        wanted = [(case.shape(), self._whole_dtype(case))] * case.work.n_whole
        wanted += [(positions, single)] * case.work.n_single
        return [library.empty(shape, dtype, task.device) for shape, dtype in wanted]

    @staticmethod
    def _whole_dtype(case: Case) -> str:
        """Of effects of half precision it is float32."""
        half = case.dtype in ("float16", "bfloat16")
        return "float32" if half and case.work.operation == "substitution_effects" else case.dtype

    def _draw(self, case: Case) -> tuple[Array, Array]:
        if self._arrays is None or self._arrays[0] != case.positions:
            self._arrays = None
            self._arrays = (case.positions, *make_arrays(case))
        _, grad, codes = self._arrays
        return grad.reshape(case.shape()), codes.reshape(case.n_sequences, case.length)

    def _measure_model(self, task: Task, library: Library) -> Row:
        from .torch import saliency_calls, scan_calls

        if task.kind == "hook":
            calls = saliency_calls(task.network, task.n_sequences, task.length, task.device)
        else:
            _, model, length = self.scanned
            calls = scan_calls(task.n_sequences, task.device, model, length)
        clock = library.clock(task.device)._replace(device=None)  # the whole call, with the host's part
        return self._time(clock, calls, task)

    def _time(self, clock: Any, calls: dict[str, Call], task: Task) -> Row:
        slow = 1 if task.case is not None and not task.formulas else 4  # formulas and models take longer
        found = measure(clock, list(calls.values()), self.plan.rounds, slow * self.plan.seconds)
        times = dict(zip(calls, found, strict=True))
        row: Row = {"rounds": len(times["ours"]), "measured": {}, "ratios": {}}
        for name, values in times.items():
            ratio = compare(times["ours"], values)
            low, high = median_interval(values)
            row["measured"][name] = {"seconds": ratio["provider_seconds"], "low": low, "high": high}
            if not name.startswith("ours"):
                row["ratios"][name] = [ratio["median_ratio"], ratio["low"], ratio["high"]]
        if "copy" in times:
            best = "ours, out=" if "ours, out=" in times else "ours"
            share = compare(times[best], times["copy"])
            row["share"] = [share["median_ratio"], share["low"], share["high"]]
        return row


def run(
    plan: str = "usual",
    *,
    devices: Sequence[str] = (),
    libraries: Sequence[str] = (),
    operations: Sequence[str] = (),
    lengths: Sequence[int] = (),
    model: Model | None = None,
    model_name: str = "model",
    model_length: int | None = None,
    tell: Tell = lambda text: None,
) -> Results:
    """Measure what this work costs on the devices at hand, over the lengths of sequences.

    Each row compares, in turn within one run, our operation with others' formulas in the same library and with the
    device's own copy of as many bytes, which is the limit. Ctrl-C ends the run and keeps what was measured.

    Parameters
    ----------
    plan : "quick", "usual" or "full"
        Under a minute on two cores; half an hour at most; hours, with all dtypes and every operation at every length.
    devices : sequence of str
        Such as "cpu", "cuda" (all of them) or "cuda:1"; by default all that the libraries see.
    libraries : sequence of str
        Some of "numpy", "torch", "cupy", "jax", "tensorflow"; by default those that are installed.
    operations : sequence of str
        Some of "standard work", the operations, "saliency" and "score_variants"; by default all.
    lengths : sequence of int
        Of sequences, bp, instead of the plan's.
    model : model or `model_files.LoadedModel`, optional
        Of PyTorch, to scan variants with instead of the demo's.
    model_name : str
        What rows call it.
    model_length : int, optional
        Its window, bp, where it does not tell one.
    tell : callable
        Gets a line of text on each step.

    Returns
    -------
    Results

    Raises
    ------
    ValueError
        If a name is unknown, or nothing is left to measure.

    Examples
    --------
    >>> results = run("quick", libraries=["numpy"], operations=["correct"], lengths=[200])  # doctest: +SKIP
    >>> print(results.table())  # doctest: +SKIP
    """
    from ._checking import check_call

    check_call(plan, libraries, operations, lengths)
    chosen = narrow(PLANS[plan], lengths)
    start = time.monotonic()
    results = Results(describe_machine(), {"name": plan, "lengths": list(chosen.lengths), "devices": list(devices)})
    try:
        loaded, places, failures = load_libraries(libraries, devices, tell)
        results.rows += failures
        tasks = list_tasks(chosen, places, loaded, operations)
        if not tasks and not failures:
            raise ValueError("no library sees such a device; gradcorr-fast doctor tells what there is")
        bench = Bench(chosen, loaded, (model_name if model is not None else "demo", model, model_length))
        results.machine["devices"] = {
            device: bench.cards.describe(device, loaded[name].bus_id(device)) for name, device in reversed(places)
        }
        for number, task in enumerate(tasks):
            if time.monotonic() - start > chosen.deadline:
                results.rows.append(
                    _failed(task.names, f"left out: the {chosen.deadline:.0f} s of this plan were over")
                )
                continue
            if number and task.library != tasks[number - 1].library:
                loaded[tasks[number - 1].library].tidy()
            row = bench.measure(task)
            results.rows.append(row)
            seconds = time.monotonic() - start
            tell(f"{seconds:5.1f} s [{number + 1}/{len(tasks)}] {describe_row(row)}")
    except KeyboardInterrupt:
        results.interrupted = True
    results.machine["seconds"] = round(time.monotonic() - start, 1)
    return results


def describe_row(row: Row) -> str:
    """Return a row in one line."""
    names = (row["library"], row["device"], row["operation"], row.get("network"), row.get("layout"), row.get("dtype"))
    text = " ".join(str(name) for name in names if name)
    text += f" {row.get('n_sequences', 0):,} x {row.get('length', 0):,} bp"
    if "ours" not in row["measured"]:
        return f"{text}: {row['left_out']['ours']}"
    seconds = row["measured"].get("ours, out=", row["measured"]["ours"])["seconds"]
    if "bytes" in row:
        return f"{text}: {row['bytes'] / seconds / 1e9:.1f} GB/s" + (
            f", {row['share'][0]:.2f} of the copy" if "share" in row else ""
        )
    return f"{text}: {row['n_sequences'] / seconds:,.0f} sequences a second"
