"""`gradcorr-fast doctor`: what is installed, what each device will use, and how to get what is missing."""

import click

from .._installing import install_command
from ..runtime import extras, info

GPU_BUILDS = {
    "torch": "pip uninstall torch, then pip install torch, whose build for Linux has CUDA",
    "tensorflow": "pip uninstall tensorflow-cpu, then pip install 'tensorflow[and-cuda]'",
    "jax": "pip install 'jax[cuda13]'",
}
"""What brings a library's build for NVIDIA GPUs."""


@click.command()
def doctor() -> None:
    """Show versions, devices, threads and caches, and the command for everything that is missing.

    \b
    Example:
      gradcorr-fast doctor
    """
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
    missing: dict[str, list[str]] = {}
    for package, extra in brought.items():
        if versions[package] is None:
            missing.setdefault(extra, []).append(package)
    if missing:
        click.echo("\nmissing:")
    width = max((len(", ".join(packages)) for packages in missing.values()), default=0)
    for extra, packages in missing.items():
        click.echo(f"  {', '.join(packages):<{width}}  {install_command(extra)}")
    if machine["gpu"]:
        for library in report["cpu_builds"]:
            click.echo(f"\nthere is an NVIDIA GPU, and {library} is a build for the CPU: {GPU_BUILDS[library]}")
