"""What the commands of scans share: options, the model they name, and how they end."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from ._errors import told

SCORES = ("ref_score", "alt_score", "delta", "taylor", "grad_times_input", "angle")
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


def batch_size(context: Any, parameter: Any, value: str) -> int | str:
    """Read a batch size."""
    if value == "auto":
        return value
    if not value.isdigit() or int(value) < 1:
        raise click.BadParameter(f'{value!r} must be "auto" or a positive number')
    return int(value)


OPTIONS = (
    click.option(
        "--model", "-m", required=True, help="module:callable, TorchScript, .pt2 of torch.export, or Keras .keras, .h5."
    ),
    click.option("--weights", help="State dict or weights for the model that module:callable makes."),
    click.option("--trust-model", is_flag=True, help="Load files that run code when they are loaded."),
    click.option("--custom-objects", multiple=True, metavar="NAME=MODULE:CLASS", help="For Keras; repeatable."),
    click.option("--fasta", "-f", required=True, help="Genome, plain or compressed by bgzip."),
    click.option(
        "--vcf",
        "-v",
        "variants",
        required=True,
        help="Variants: VCF, BCF, TSV with a header, .bim, .pvar, or lines chr:pos:ref:alt; - is stdin.",
    ),
    click.option(
        "-o", "--out", required=True, help="A folder, or a .parquet, .tsv, .tsv.gz, .vcf, .vcf.gz, .bcf file."
    ),
    click.option("--length", type=int, help="Window, bp; by default the length of the model's input if it tells."),
    click.option("--axis", type=int, help="Letter axis of the model's input: 1 for (N, 4, L), -1 for (N, L, 4)."),
    click.option("--target", "-t", "targets", multiple=True, help="What is scored, such as 3 or mean(); repeatable."),
    click.option("--output", help="Head of a model that returns several."),
    click.option("--scores", help=f"Some of {','.join(SCORES)} (all); the rest is not computed."),
    click.option("--batch-size", "-b", default="auto", callback=batch_size, help="Rows in the model at a time."),
    click.option("--device", help="Such as cuda:0; by default where the model is."),
    click.option("--precision", type=click.Choice(["float32", "tf32", "bfloat16", "float16"]), default="float32"),
    click.option("--rc", is_flag=True, help="Average over both strands."),
    click.option(
        "--rc-output", type=click.Choice(["same", "flip_bins"]), default="same", help="The other strand's output."
    ),
    click.option("--shifts", type=Numbers(), default="0", help="Average over shifts, bp."),
    click.option("--windows", default="centred", help="centred, or grid:STEP to share reference windows."),
    click.option("--top", type=int, metavar="K", help="Score exactly only the K largest of each reference window."),
    click.option("--exact", is_flag=True, help="With --top: the exact scores, as is the default."),
    click.option(
        "--flank", type=click.Choice(["right", "both"]), default="right", help="Side that an indel's window follows."
    ),
    click.option("--edges", type=click.Choice(["pad", "reject"]), default="pad", help="Windows that leave the contig."),
    click.option("--max-n", type=float, default=0.05, help="Largest share of N in a window that is scored."),
    click.option("--chrom", "chroms", multiple=True, help="Only variants there; repeatable."),
    click.option("--regions", help="Only variants in this BED file, or in chr:start-end."),
    click.option("--shard-size", type=int, default=16384, help="Alleles that are done whole or not at all."),
    click.option("--resume", is_flag=True, help="Go on with the scan in OUT, or begin it."),
    click.option("--force", is_flag=True, help="Replace what is in OUT."),
    click.option("--quiet", is_flag=True, help="Show no progress."),
)


def scan_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a scan."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def prepare(options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the model that options name, and the other options as Python takes them."""
    from ..model_files import load_model

    given = dict(options)
    if given.pop("exact") and given["top"] is None:
        raise click.UsageError("--exact says what --top does; give --top K, or leave both away for exact scores of all")
    weights, trust, custom_objects = (given.pop(name) for name in MODEL_OPTIONS)
    model = load_model(
        given.pop("model"), weights=weights, trust=trust, custom_objects=custom_objects, device=given["device"]
    )
    given["targets"] = given["targets"] or ("0",)
    given["chroms"] = given["chroms"] or None
    given["scores"] = tuple(given["scores"].split(",")) if given["scores"] else SCORES
    given["verbose"] = not given.pop("quiet")
    if given["output"] is not None and given["output"].isdigit():
        given["output"] = int(given["output"])
    return model, given


def show_counts(counts: Mapping[str, int]) -> str:
    """Write alleles by status as a small table, the most first."""
    width = max(map(len, counts), default=0)
    return "\n".join(f"  {name:<{width}}  {n:>12,}" for name, n in sorted(counts.items(), key=lambda item: -item[1]))


@contextmanager
def ending(out: str) -> Iterator[None]:
    """Show warnings and errors as messages; after an interruption, say how to go on."""

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

            if not isinstance(error, click.UsageError) and Folder(folder_of(out)).record is not None:
                click.echo(
                    f"\nWhat is scored is kept in {folder_of(out)}; the same call with --resume goes on.", err=True
                )
            raise
