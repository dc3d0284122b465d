"""t."""
from pathlib import Path

_here = Path(__file__).parent
if not (_here / "kernels").is_dir():  # a checkout: kernels/ lies beside the package
    __path__.append(str(_here.parent))
