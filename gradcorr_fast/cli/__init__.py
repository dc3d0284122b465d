"""The command line, `gradcorr-fast`: each command is a file here, which loads when it is called."""

import os
import signal
import sys
from functools import partial
from importlib import import_module
from typing import Any

import click

from .._check import MissingBackendError
from ._errors import did_you_mean, explain

COMMANDS = {
    "demo": "Show on planted motifs what the correction does; needs no input.",
    "correct": "Correct the attributions in a file of any size.",
    "score": "Score variants: model, genome and VCF in, a table out; resumable.",
    "plan": "Place the variants, and estimate what scoring them will take.",
    "attribute": "Attribute regions: model, genome and BED in, a store of contributions out; resumable.",
    "export": "Write attributions of regions for TF-MoDISco, Fi-NeMo or a genome browser.",
    "report": "Write an HTML report on what a scan or correct wrote, with pictures.",
    "status": "Tell how far a scan is.",
    "merge": "Join the shards of a scan into one table.",
    "info": "Tell how a table of scores was made.",
    "verify": "Read all that a scan wrote, and say what is damaged.",
    "export-model": "Write a PyTorch model into a file for any batch size.",
    "fold": "Write a copy of a model whose gradients are corrected.",
    "reproduce": "Reproduce figures and tables of the papers, from data to pictures.",
    "bench": "Measure what the work costs on the devices at hand, from 200 bp to half a million.",
    "doctor": "Show what is installed, what each device will use, and how to get the rest.",
}
"""Name of each command, of its file and of the function in it (with "_" for "-"), with a line of help."""


class LazyGroup(click.Group):
    """A group that lists its commands without loading them."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command, and say when what it prints cannot be written, as on a full disk."""
        for name in ("stdout", "stderr"):  # closed by whoever began this process; no file may get their numbers
            if getattr(sys, name) is None:
                setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        try:
            return super().main(*args, **extra)
        except OSError as error:
            if not extra.get("standalone_mode", True):  # who calls it from Python deals with errors
                raise
            click.echo(f"Error: {explain(error)}", err=True)
            raise SystemExit(1) from error
        finally:
            try:
                sys.stdout.flush()
            except OSError:  # what is left of it would fail again when Python ends
                sys.stdout = open(os.devnull, "w")  # noqa: SIM115

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or say which one has a name like that."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and (hint := did_you_mean(name, list(COMMANDS))):
            ctx.fail(f"No such command {name!r}{hint}.")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        if cmd_name not in COMMANDS:
            return None
        file = cmd_name.replace("-", "_")
        try:
            command: click.Command = getattr(import_module(f".{file}", __name__), file)
        except MissingBackendError as error:
            raise click.ClickException(str(error)) from error
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gradcorr-fast")
@click.pass_context
def main(context: click.Context) -> None:
    """Correct, measure and use the input gradients of genomic neural networks.

    Exit status: 0 done, 1 failed, 2 the call was wrong.

    \b
    Example:
      gradcorr-fast demo
      gradcorr-fast correct gradients.npy -o corrected.npy
      gradcorr-fast score -m nets:make -f hg38.fa -v cohort.vcf.gz -o scores.parquet

    \b
    Names are completed with the tab key after this line, in ~/.bashrc (zsh_source for zsh, fish_source for fish):
      eval "$(_GRADCORR_FAST_COMPLETE=bash_source gradcorr-fast)"
    """
    for name in ("SIGTERM", "SIGHUP"):  # ended by a scheduler, or with its terminal: clean up as for Ctrl-C
        number = getattr(signal, name, None)  # Windows lacks the latter
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            before = signal.signal(number, signal.default_int_handler)
            context.call_on_close(partial(signal.signal, number, before or signal.SIG_DFL))
