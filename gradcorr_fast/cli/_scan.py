"""What the commands of scans share: options, the model they name, and how they end."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from ._errors import told

MODEL_OPTIONS = ("weights", "trust_model", "custom_objects")


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """Whole numbers with commas between them."""

    name = "int,int,..."

    def convert(self, value: Any, param: Any, context: Any) -> Any:
        """Read them."""
        try:
            return tuple(int(part) for part in value.split(",")) if isinstance(value, str) else value
        except ValueError:
            self.fail(f"{value!r} must be whole numbers such as -1,0,1", param, context)


class Share(click.ParamType):  # type: ignore[type-arg]
    """The i-th of n parts."""

    name = "i/n"

    def convert(self, value: Any, param: Any, context: Any) -> Any:
        """Read i and n."""
        if not isinstance(value, str):
            return value
        i, _, n = value.partition("/")
        if not (i.isdigit() and n.isdigit() and 1 <= int(i) <= int(n)):
            self.fail(f"{value!r} must be i/n with i from 1 to n, such as 3/16", param, context)
        return int(i), int(n)


def auto_or_number(context: Any, parameter: Any, value: str) -> int | str:
    """Read a size."""
    if value == "auto":
        return value
    if not value.isdigit() or int(value) < 1:
        raise click.BadParameter(f'{value!r} must be "auto" or a positive number')
    return int(value)


MODEL = (
    click.option(
        "--model", "-m", required=True, help="module:callable, TorchScript, .pt2 of torch.export, or Keras .keras, .h5."
    ),
    click.option("--weights", help="State dict or weights for the model that module:callable makes."),
    click.option("--trust-model", is_flag=True, help="Load files that run code when they are loaded."),
    click.option("--custom-objects", multiple=True, metavar="NAME=MODULE:CLASS", help="For Keras; repeatable."),
    click.option("--fasta", "-f", required=True, help="Genome, plain or compressed by bgzip."),
)
SHARED = (
    click.option("--length", type=int, help="Window, bp; by default the length of the model's input if it tells."),
    click.option("--axis", type=int, help="Letter axis of the model's input: 1 for (N, 4, L), -1 for (N, L, 4)."),
    click.option("--target", "-t", "targets", multiple=True, help="Of the output, such as 3 or mean(); repeatable."),
    click.option("--output", help="Head of a model that returns several."),
    click.option("--batch-size", "-b", default="auto", callback=auto_or_number, help="Rows in the model at a time."),
    click.option("--device", help="Such as cuda:0; by default where the model is."),
    click.option("--precision", type=click.Choice(["float32", "tf32", "bfloat16", "float16"]), default="float32"),
    click.option("--rc", is_flag=True, help="Average over both strands."),
    click.option(
        "--rc-output", type=click.Choice(["same", "flip_bins"]), default="same", help="The other strand's output."
    ),
    click.option("--shifts", type=Numbers(), default="0", help="Average over shifts, bp."),
    click.option("--edges", type=click.Choice(["pad", "reject"]), default="pad", help="Windows that leave the contig."),
    click.option("--max-n", type=float, default=0.05, help="Largest share of N in a window that is used."),
    click.option("--resume", is_flag=True, help="Go on with the scan in OUT, or begin it."),
    click.option("--force", is_flag=True, help="Replace what is in OUT."),
    click.option("--quiet", is_flag=True, help="Show no progress."),
)
VARIANTS = (
    click.option(
        "--vcf",
        "-v",
        "variants",
        help="Variants: VCF, BCF, TSV with a header, .bim, .pvar, or lines chr:pos:ref:alt; - is stdin. Without, every "
        "substitution in --regions.",
    ),
    click.option(
        "-o", "--out", required=True, help="A folder, or a .parquet, .tsv, .tsv.gz, .vcf, .vcf.gz, .bcf file."
    ),
    click.option(
        "--scores",
        help="Some of ref_score,alt_score,delta,taylor,grad_times_input,angle (all); the rest is not computed.",
    ),
    click.option("--windows", default="centred", help="centred, or grid:STEP to share reference windows."),
    click.option("--top", type=int, metavar="K", help="Score exactly only the K largest of each reference window."),
    click.option("--exact", is_flag=True, help="With --top: the exact scores, as is the default."),
    click.option(
        "--flank", type=click.Choice(["right", "both"]), default="right", help="Side that an indel's window follows."
    ),
    click.option("--chrom", "chroms", multiple=True, help="Only variants there; repeatable."),
    click.option("--regions", help="Only variants in this BED file, or in chr:start-end."),
    click.option("--shard-size", type=int, default=16384, help="Alleles that are done whole or not at all."),
)


def scan_options(*own: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of a scan, among them its own."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed((*MODEL, *own, *SHARED)):
            command = option(command)
        return command

    return decorate


def prepare(options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the model that options name, and the other options as Python takes them."""
    from ..model_files import load_model

    given = dict(options)
    weights, trust, custom_objects = (given.pop(name) for name in MODEL_OPTIONS)
    model = load_model(
        given.pop("model"), weights=weights, trust=trust, custom_objects=custom_objects, device=given["device"]
    )
    given["targets"] = given["targets"] or ("0",)
    given["verbose"] = not given.pop("quiet")
    if given["output"] is not None and given["output"].isdigit():
        given["output"] = int(given["output"])
    return model, given


def prepare_variants(options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Do what `prepare` does, and read the options of variants."""
    if options["exact"] and options["top"] is None:
        raise click.UsageError("--exact says what --top does; give --top K, or leave both away for exact scores of all")
    model, given = prepare({name: value for name, value in options.items() if name != "exact"})
    given["chroms"] = given["chroms"] or None
    scores = given.pop("scores")
    if scores:
        given["scores"] = tuple(scores.split(","))
    return model, given


def show_counts(counts: Mapping[str, int]) -> str:
    """Write alleles or regions by status as a small table, the most first."""
    width = max(map(len, counts), default=0)
    return "\n".join(f"  {name:<{width}}  {n:>12,}" for name, n in sorted(counts.items(), key=lambda item: -item[1]))


def show_result(table: Any) -> int:
    """Show where a table is, what became of its rows, and why the model failed; return the exit status."""
    from ..scan import read_metadata

    metadata = read_metadata(table)
    click.echo(f"{table}\n{show_counts(metadata['counts'])}")
    for reason, n in metadata.get("reasons", {}).items():
        click.echo(f"Warning: {reason} ({n:,} sequences)", err=True)
    return 1 if metadata["counts"].get("model_failed") else 0


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
                try:
                    yield
                except (RuntimeError, MemoryError) as error:
                    raise click.ClickException(str(error)) from error
        except (click.ClickException, KeyboardInterrupt) as error:
            from ..scan import Folder, folder_of

            place = None if out is None or isinstance(error, click.UsageError) else folder_of(out)
            if place is not None and Folder(place).record is not None:
                click.echo(f"\nWhat is done is kept in {place}; the same call with --resume goes on.", err=True)
            raise
