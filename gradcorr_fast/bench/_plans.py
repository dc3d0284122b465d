"""How much is measured: a quick look, the usual, all; and the list of tasks that comes of it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ._cases import AXES, DTYPES, LENGTHS, PEER_LENGTH, PEER_SEQUENCES, STANDARD, WORKS, Case, Work, operation_name
from .libraries import Library

GPU_TIMES_AS_MANY = 10  # positions: a GPU's caches and its queue want more work than a CPU's


BOTH_LAYOUTS = ("torch", "cupy")
OFTEN_EAGER = ("paper, NumPy", "torch eager", "CuPy")


class Plan(NamedTuple):
    """What a run measures."""

    name: str
    positions: int
    """Of all sequences of a case together, at least one sequence; on GPUs ten times as many."""
    lengths: tuple[int, ...]
    formula_lengths: tuple[int, ...]
    """Where others' formulas are measured too."""
    operation_lengths: tuple[int, ...]
    """Where each operation is measured by itself."""
    operations_of_all: bool
    """Whether by every library, or by the first of each device."""
    layouts: tuple[str, ...]
    dtypes: tuple[str, ...]
    rounds: int
    seconds: float
    """For the rounds of one case: it gets fewer, at least three, where they take longer."""
    hook_lengths: tuple[int, ...]
    hook_positions: int
    n_variants: int
    deadline: float
    """Seconds after which nothing new is begun."""


STANDARD_POSITIONS = PEER_SEQUENCES * PEER_LENGTH
QUICK = Plan(
    "quick", STANDARD_POSITIONS, (200, 2_000, 20_000, 524_288), (PEER_LENGTH,), (PEER_LENGTH,), False, tuple(AXES),
    ("float32",), 15, 0.3, (2_000, 20_000), 20_000, 500, 42.0,
)  # fmt: skip
USUAL = Plan(
    "usual", STANDARD_POSITIONS, LENGTHS, LENGTHS, (200, 2_000, 196_608), False, tuple(AXES), DTYPES[:2], 30, 1.0,
    (200, 2_000, 20_000, 196_608), 200_000, 2_000, 1_800.0,
)  # fmt: skip
FULL = Plan(
    "full", 5 * STANDARD_POSITIONS, LENGTHS, LENGTHS, LENGTHS, True, tuple(AXES), DTYPES, 60, 10.0, LENGTHS, 1_000_000,
    10_000, 6 * 3_600.0,
)  # fmt: skip
PLANS = {plan.name: plan for plan in (QUICK, USUAL, FULL)}


class Task(NamedTuple):
    """One row to be."""

    kind: str
    """"many" sequences, "one" sequence, "hook" or "scan"."""
    library: str
    device: str
    case: Case | None = None
    formulas: tuple[str, ...] = ()
    network: str = ""
    n_sequences: int = 0
    length: int = 0

    @property
    def names(self) -> dict[str, Any]:
        """What tells the row from others, of any machine."""
        names: dict[str, Any] = {"kind": self.kind, "library": self.library, "device": self.device}
        if self.case is not None:
            return names | self.case.names
        operation = {"hook": "saliency", "scan": "score_variants"}[self.kind]
        return names | {
            "operation": operation, "network": self.network, "n_sequences": self.n_sequences, "length": self.length
        }  # fmt: skip


def narrow(plan: Plan, lengths: Sequence[int] = ()) -> Plan:
    """Return the plan with other lengths."""
    if not lengths:
        return plan
    chosen = tuple(dict.fromkeys(lengths))
    formulas = chosen if plan is not QUICK else chosen[:1]
    return plan._replace(lengths=chosen, formula_lengths=formulas, operation_lengths=formulas, hook_lengths=chosen)


def list_tasks(
    plan: Plan, places: Sequence[tuple[str, str]], libraries: Mapping[str, Library], operations: Sequence[str] = ()
) -> list[Task]:
    """Return the rows of a plan, those that matter most first; `places` are libraries and devices."""
    first_of_device = {device: library for library, device in reversed(places)}
    tasks = []
    for library, device in places:
        # A quick run has the second layout of some: the kernels are the same in all libraries.
        of_layouts = (
            plan if plan.name != "quick" or library in BOTH_LAYOUTS else plan._replace(layouts=plan.layouts[:1])
        )
        tasks += _standard_tasks(of_layouts, library, device, libraries[library])
    tasks += [task for library, device in places if library == "torch" for task in _model_tasks(plan, device)]
    for library, device in places:
        if plan.operations_of_all or first_of_device[device] == library:
            tasks += _operation_tasks(plan, library, device, libraries[library])
    return [task for task in tasks if not operations or task.names["operation"] in operations]


def _dtypes(plan: Plan, device: str, library: Library) -> Iterable[str]:
    """Half precision is what gradients of GPUs come in; on CPUs only a full run measures it."""
    wanted = plan.dtypes if device != "cpu" or plan.name == "full" else plan.dtypes[:1]
    return [dtype for dtype in wanted if dtype in library.DTYPES]


def _case(plan: Plan, work: Work, device: str, dtype: str, layout: str, length: int) -> Case:
    positions = plan.positions * (1 if device == "cpu" else GPU_TIMES_AS_MANY)
    return Case(work, dtype, layout, max(1, positions // length), length)


def _standard_tasks(plan: Plan, name: str, device: str, library: Library) -> list[Task]:
    tasks = []
    lengths = sorted(plan.lengths, key=lambda length: length not in plan.formula_lengths)
    for dtype in _dtypes(plan, device, library):
        for layout in plan.layouts:
            for length in lengths:
                case = _case(plan, STANDARD, device, dtype, layout, length)
                tasks.append(Task("many", name, device, case, _formulas(plan, library, case)))
        tasks += [
            Task("one", name, device, Case(STANDARD, dtype, plan.layouts[0], 1, length)) for length in plan.lengths
        ]
    return tasks


def _formulas(plan: Plan, library: Library, case: Case) -> tuple[str, ...]:
    """Others' formulas for a case. A quick run compiles in one layout, and leaves out what is seldom run eagerly."""
    if case.length not in plan.formula_lengths:
        return ()
    fitting = [
        formula
        for formula in library.FORMULAS
        if operation_name(case.work) in formula.operations and case.layout in formula.layouts
    ]
    if plan.name == "quick":
        layout = plan.layouts[0]
        fitting = [f for f in fitting if f.name in OFTEN_EAGER or (f.is_compiled and case.layout == layout)]
    return tuple(formula.name for formula in fitting)


def _operation_tasks(plan: Plan, name: str, device: str, library: Library) -> list[Task]:
    tasks = []
    layouts = plan.layouts[:1] if plan.name == "quick" else plan.layouts
    for dtype in _dtypes(plan, device, library):
        for layout in layouts:
            for length in plan.operation_lengths:
                for work in WORKS:
                    case = _case(plan, work, device, dtype, layout, length)
                    tasks.append(Task("many", name, device, case, _formulas(plan, library, case)))
    return tasks


def _model_tasks(plan: Plan, device: str) -> list[Task]:
    positions = plan.hook_positions * (1 if device == "cpu" else GPU_TIMES_AS_MANY)
    tasks = [Task("scan", "torch", device, network="demo", n_sequences=plan.n_variants)]
    for network in ("CNN", "dilated CNN"):
        for length in plan.hook_lengths:
            n_sequences = max(1, positions // length)
            tasks.append(Task("hook", "torch", device, None, (), network, n_sequences, length))
    return tasks
