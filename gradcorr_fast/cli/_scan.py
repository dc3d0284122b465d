"""What the commands of scans share: options, the model they name, and how they end."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, get_args

import click

from ..hooks._options import PRESETS, Option, own_table, owners_of
from ..runtime import count_gpus
from ..scan.running.options import ModelOptions, scan_table
from ._errors import WrongCallError, told
from ._parameters import FILE, Text

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]

MODEL_OPTIONS = ("weights", "trust_model", "custom_objects")


MODEL = (
    click.option(
        "--model",
        "-m",
        required=True,
        type=FILE,
        help="module:callable, TorchScript, .pt2 of torch.export (export-model writes one), or Keras .keras, .h5.",
    ),
    click.option("--weights", type=FILE, help="State dict or weights for the model that module:callable makes."),
    click.option("--trust-model", is_flag=True, help="Load files that run code when they are loaded."),
    click.option("--custom-objects", multiple=True, metavar="NAME=MODULE:CLASS", help="For Keras; repeatable."),
    click.option("--fasta", "-f", required=True, type=FILE, help="Genome, plain or compressed by bgzip."),
)
SCAN = (
    click.option("--resume", is_flag=True, help="Go on with the scan in OUT, or begin it."),
    click.option("--force", is_flag=True, help="Replace what is in OUT."),
    click.option("--quiet", is_flag=True, help="Show no progress."),
)
WORKERS = (
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        help="Processes that share the work, with their share of the threads; with --device cuda a GPU for each.",
    ),
    click.option("--dask", metavar="ADDRESS|FILE", help="A Dask scheduler whose workers do the work, or its file."),
    click.option("--report", type=FILE, help="Dask's own page on how the workers spent their time, for them."),
)
VARIANTS = (
    click.option(
        "--vcf",
        "-v",
        "variants",
        type=FILE,
        help="Variants: VCF, BCF, TSV with a header, .bim, .pvar, or lines chr:pos:ref:alt; - is stdin. Without, every "
        "substitution in --regions.",
    ),
    click.option(
        "-o",
        "--out",
        required=True,
        type=FILE,
        help="A folder, or a .parquet, .tsv, .tsv.gz, .vcf, .vcf.gz, .bcf file.",
    ),
    click.option("--exact", is_flag=True, help="With --top: the exact scores, as is the default."),
)


def scan_options(kind: type, *arguments: Decorator) -> Decorator:
    """Give a command the model, its own arguments, and the options of a kind of scan, those of every scan last."""
    table = scan_table(kind)
    names = sorted((name for name in table if table[name].help), key=lambda name: name in ModelOptions.__annotations__)
    options: list[Decorator] = [*MODEL, *arguments, *(make_option(name, table[name]) for name in names), *SCAN]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def make_option(name: str, option: Option) -> Decorator:
    """Return an option of the command line."""
    flags = option.flags or (f"--{name.replace('_', '-')}",)
    if option.default is False:
        return click.option(*flags, name, is_flag=True, default=False, help=option.help)
    numbers = [kind for kind in (int, float) if kind in (option.type, *get_args(option.type))]
    reader: Any = Text(option.read or str, option.metavar or "text")
    if option.metavar == "FILE":
        reader = FILE
    elif option.choices:
        reader = click.Choice(option.choices)
    elif numbers and option.read is None:
        reader = numbers[0]
    return click.option(
        *flags, name, type=reader, default=option.default, multiple=option.is_repeatable, metavar=option.metavar,
        show_default=_show_default(name) or option.default != (), help=option.help,
        callback=lambda context, parameter, value: option.default if value == () else value,
    )  # fmt: skip


def _show_default(name: str) -> str:
    """Return what an option is by default of the methods that have it, if not all have."""
    defaults = [
        f"{method} {PRESETS['paper'].get(method, {}).get(name, own_table(method)[name].default)}"
        for method in owners_of(name)
    ]
    return ", ".join(defaults)


def prepare(options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the model that options name, and the other options as Python takes them."""
    from ..model_files import load_model

    given = dict(options)
    weights, trust, custom_objects = (given.pop(name) for name in MODEL_OPTIONS)
    model = load_model(
        given.pop("model"), weights=weights, trust=trust, custom_objects=custom_objects, device=given["device"]
    )
    given["verbose"] = not given.pop("quiet")
    return model, given


def prepare_variants(options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Do what `prepare` does, without what says the default."""
    if options["exact"] and options["top"] is None:
        raise click.UsageError("--exact says what --top does; give --top K, or leave both away for exact scores of all")
    return prepare({name: value for name, value in options.items() if name != "exact"})


@contextmanager
def taking_workers(options: dict[str, Any]) -> Iterator[Any]:
    """Yield the client of the workers that options name, None without, and take them from the options."""
    n, address, report = (options.pop(name) for name in ("workers", "dask", "report"))
    if n is not None and address is not None:
        raise click.UsageError("--workers starts processes and --dask takes those that there are; give one of them")
    if n is None and address is None:
        if report is not None:
            raise click.UsageError("--report is of workers; give --workers or --dask too")
        yield None
        return
    from ..scan.running.dask.cluster import connected, local_workers, reporting

    device = options["device"] or ""
    if n is not None and device.startswith("cuda:"):
        raise click.UsageError(f"each worker sees one GPU, which is cuda and not {device}; give --device cuda")
    is_on_gpus = device.startswith("cuda")
    workers = connected(address) if n is None else local_workers(n, count_gpus() if is_on_gpus else 0)
    with workers as client, reporting(report):
        yield client


def show_counts(counts: Mapping[str, int]) -> str:
    """Write alleles or regions by status as a small table, the most first."""
    width = max(map(len, counts), default=0)
    return "\n".join(f"  {name:<{width}}  {n:>12,}" for name, n in sorted(counts.items(), key=lambda item: -item[1]))


def show_result(table: Path) -> int:
    """Show where a table is, what became of its rows, and why the model failed; return the exit status."""
    from ..scan import read_metadata

    metadata = read_metadata(table)
    counts = metadata["counts"]
    click.echo(f"{table}\n{show_counts(counts)}")
    for line in metadata.get("unreadable", ()):
        click.echo(f"Warning: unreadable: {line}", err=True)
    for reason, n in metadata.get("reasons", {}).items():
        click.echo(f"Warning: {reason} ({n:,} sequences)", err=True)
    if not counts.get("ok"):
        click.echo(f"Error: there is no result at all: {_tell_nothing(metadata['kind'], counts)}", err=True)
    return 0 if counts.get("ok") and not counts.get("model_failed") else 1


def show_share(out: str, shard: tuple[int, int]) -> int:
    """Show how far a scan is when a share of it is done, and what became of that; return the exit status.

    A share in which nothing is scored is no failure where others have something; that in none there is anything, the
    plan knows already.
    """
    from ..scan import Folder, folder_of, read_metadata, status

    whole, counts = status(out), status(out, shard).counts
    planned = Folder(folder_of(out)).record or read_metadata(out)
    click.echo(f"{whole.n_done} of {whole.n_shards} shards are done; merge {out} joins them when all are")
    if not planned["counts"].get("ok"):
        reason = _tell_nothing(planned["kind"], planned["counts"])
        click.echo(f"Error: there is no result at all, in no share: {reason}", err=True)
        return 1
    if any(counts.values()) and not counts.get("ok"):
        reason = _tell_nothing(planned["kind"], counts)
        click.echo(f"Warning: this share has no result, others may: {reason}", err=True)
    return 1 if counts.get("model_failed") else 0


def _tell_nothing(kind: str, counts: Mapping[str, int]) -> str:
    """Return the likely cause where nothing was scored."""
    from ..scan.running.planning import tell_unused

    if not any(counts.values()):
        return "the input holds no records"
    return tell_unused(kind, counts) or "no record lies in the regions and contigs that were asked for"


@contextmanager
def ending(out: str | None = None) -> Iterator[None]:
    """Show warnings and errors as messages; after an interruption of a scan, say how to go on."""

    def show(message: Warning | str, *rest: Any, **options: Any) -> None:
        click.echo(f"Warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        try:
            with told():
                yield
        except (click.ClickException, KeyboardInterrupt) as error:
            if out is not None and not isinstance(error, click.UsageError | WrongCallError):
                _show_kept(out)
            raise


def _show_kept(out: str) -> None:
    """Say what an interrupted scan leaves, and how to go on."""
    from ..scan import Folder, folder_of

    folder = Folder(folder_of(out))
    record = folder.record
    if record is None:
        click.echo("\nNo scan has begun, and nothing is kept.", err=True)
        return
    n_shards = record["shards"]
    n_done = sum(folder.manifest(number) is not None for number in range(n_shards))
    what = f"{n_done:,} of {n_shards:,} shards are done and kept" if n_done else f"None of {n_shards:,} shards is done"
    rest = "" if n_done else "; nothing is kept but the plan,"
    click.echo(f"\n{what}{rest} in {folder.path}; the same call with --resume goes on.", err=True)
