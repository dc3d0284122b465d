"""Small genomes, written as FASTA files."""

from pathlib import Path


def write_fasta(path: Path, contigs: dict[str, str], width: int = 60, newline: str = "\n") -> Path:
    """Write contigs in lines of `width` letters, with words after their names."""
    lines = []
    for name, letters in contigs.items():
        lines += [f">{name} some words", *(letters[k : k + width] for k in range(0, len(letters), width))]
    path.write_text("".join(line + newline for line in lines), newline="")
    return path


def compress(path: Path) -> Path:
    """Put what bgzip makes of a file into its place."""
    import pysam

    packed = path.with_name(f"{path.name}.gz")
    pysam.tabix_compress(str(path), str(packed), force=True)
    path.unlink()
    return packed
