"""`gradcorr-fast doctor`: what is installed, what each device will use, and how to get what is missing."""

import click

from ..runtime import extras, info


@click.command()
def doctor() -> None:
    """Show versions, devices, threads and caches, and the command for everything that is missing."""
    report = info()
    versions, machine = report["versions"], report["machine"]
    click.echo(f"gradcorr_fast {versions['gradcorr_fast']}, Python {versions['python']}, {machine['system']}")
    click.echo(
        f"{machine['processor']}, {machine['cores']} cores; large arrays are spread over {report['threads']} threads"
    )
    click.echo(f"compiled kernels are kept in {report['cache'] or 'memory: no folder can be written'}")
    click.echo(f"\n{'arrays':<12}{'version':<16}{'device':<9}runs on")
    for library, devices in report["backends"].items():
        version = versions[library] or "-"
        for number, (device, how) in enumerate(devices.items()):
            name = (library, version) if number == 0 else ("", "")
            click.echo(f"{name[0]:<12}{name[1]:<16}{device:<9}{how}")
            if versions[library] is None:
                break
    click.echo("\nnative: our kernels; reference: the plain formula in the library's own operations")
    brought = extras()
    if brought is None:
        click.echo("\nthis checkout is not installed, so its optional packages are unknown: pip install -e .")
        return
    missing = [(package, extra) for package, extra in brought.items() if versions[package] is None]
    if missing:
        click.echo("\nmissing:")
    for package, extra in missing:
        click.echo(f"  {package:<14}pip install 'gradcorr-fast[{extra}]'")
