"""Where the papers' data and weights are published, and fetching them: files are whole and checked, or not there."""

import fnmatch
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from .._check import optional
from ..io.replacing import replacing

CHECKSUMS = "checksums.json"
CHUNK = 1 << 20  # bytes that are written at once
FOLDER = "GRADCORR_FAST_DATA"
"""Environment variable that names the folder of all data."""


class File(NamedTuple):
    """A file that is published."""

    name: str
    url: str
    """Of HTTP, or a DOI and the name, doi:10.5281/zenodo.5502060/Sequences_Test.fa."""
    n_bytes: int | None = None
    """Its size, where it is known exactly."""
    checksum: str | None = None
    """Such as md5:7e53a9..., where one is published."""


class Source(NamedTuple):
    """Files that are published together."""

    what: str
    where: str
    """The page to look at."""
    citation: str
    licence: str
    files: tuple[File, ...] = ()
    doi: str = ""
    """An archive that lists the files, where they are not named here."""
    pattern: str = ""
    """Which of its files are meant."""


def _dropbox(name: str, key: str, n_bytes: int | None = None) -> File:
    return File(name, f"https://www.dropbox.com/s/{key}/{name}?dl=1", n_bytes)


def _zenodo(name: str, record: int, md5: str) -> File:
    return File(name, f"doi:10.5281/zenodo.{record}/{name}", checksum=f"md5:{md5}")


GB23 = "Majdandzic, Rajesh, Koo, Genome Biology 24:109 (2023)"
NOT_STATED = "see the page; the code of the paper is under the MIT licence"
_KOO = "https://raw.githubusercontent.com/p-koo/exponential_activations/7e48054b64a565364439c45932338a09eb2eb4d3/data/"

SOURCES = {
    "synthetic": Source(
        "synthetic regulatory code: 20,000 sequences of 200 bp, labels, and the probabilities they were drawn from",
        "https://doi.org/10.5281/zenodo.7011631",
        "Koo, Ploenzke, Nature Machine Intelligence 3:258 (2021)",
        NOT_STATED,
        (_dropbox("synthetic_code_dataset.h5", "5iww0ootxkr6e21"),),
    ),
    "chipseq": Source(
        "ChIP-seq of ten transcription factors in GM12878, 200 bp",
        "https://doi.org/10.5281/zenodo.7011631",
        GB23,
        NOT_STATED,
        doi="10.5281/zenodo.7011631",
        pattern="*_200*.h5",
    ),
    "chipseq_400": Source(
        "ChIP-seq of IRF1 and ZBED2, 400 bp, of the earlier paper of one of the authors",
        "https://github.com/p-koo/exponential_activations",
        "Koo, Ploenzke, Nature Machine Intelligence 3:258 (2021)",
        "MIT",
        (
            File(
                "IRF1_400_h3k27ac.h5",
                f"{_KOO}IRF1_400_h3k27ac.h5",
                1_685_323,
                "sha256:bde3a684307494cdc4a584177f317ee6e2f9462f35a9b944f2acf85cb2d07b64",
            ),
            File(
                "ZBED2_400_h3k27ac.h5",
                f"{_KOO}ZBED2_400_h3k27ac.h5",
                2_107_653,
                "sha256:4ab4ebf246097571b8c79a0506de53b3b6a73a28dafde57f0d549bb54815705e",
            ),
        ),
    ),
    "deepstarr": Source(
        "DeepSTARR: 484,052 sequences of 249 bp, their enhancer activities, and the published model; 196 MB",
        "https://doi.org/10.5281/zenodo.5502060",
        "de Almeida, Reiter, Pagani, Stark, Nature Genetics 54:613 (2022)",
        "see the page; its code is under the MIT licence",
        (
            _zenodo("Sequences_Train.fa", 5502060, "fe474a31c23db2daf7dc4d1fc49a8e5a"),
            _zenodo("Sequences_Val.fa", 5502060, "9d1a0e5c9228aa033378af93074109e6"),
            _zenodo("Sequences_Test.fa", 5502060, "c2d831a6e2cfb9345fa5e52de76bb453"),
            _zenodo("Sequences_activity_Train.txt", 5502060, "4e65afa021fd426c74dbf24c31b8bbf9"),
            _zenodo("Sequences_activity_Val.txt", 5502060, "5f30e863b2239e4f9ade6e7b81b3ff3c"),
            _zenodo("Sequences_activity_Test.txt", 5502060, "011690ca80cf967d56fefd0c1386419f"),
            _zenodo("DeepSTARR.model.json", 5502060, "9b796f79441e53dc75dd79b911fff872"),
            _zenodo("DeepSTARR.model.h5", 5502060, "7e53a9351b2520a4713a5ffdb5f1566c"),
        ),
    ),
    "deepstarr_hdf5": Source(
        "the same sequences and activities in one file, as the gradient correction was evaluated on them",
        "https://github.com/p-koo/GradientCorrection",
        GB23,
        NOT_STATED,
        (_dropbox("deepstarr_data.h5", "g7guotjybwf6p6r", 128_270_757),),
    ),
    "basset": Source(
        "test set of Basset, 71,886 sequences of 600 bp with 164 labels, and the weights of two models of Basset",
        "https://github.com/p-koo/GradientCorrection",
        f"{GB23}; Kelley, Snoek, Rinn, Genome Research 26:990 (2016)",
        NOT_STATED,
        (
            _dropbox("basset_testset.h5", "w38mycvausljkxd", 41_608_326),
            _dropbox("basset_relu.hdf5", "6b1vlhss1p2dk8l", 16_607_152),
            _dropbox("basset_exponential.hdf5", "m9ji39gtptxtehl", 16_607_152),
        ),
    ),
    "basset_sites": Source(
        "all 2,071,886 sites of Basset (hg19) and their labels, of which its scripts make encode_roadmap.h5",
        "https://github.com/davek44/Basset",
        "Kelley, Snoek, Rinn, Genome Research 26:990 (2016)",
        "see the page",
        (
            _dropbox("encode_roadmap.bed.gz", "h1cqokbr8vjj5wc"),
            _dropbox("encode_roadmap_act.txt.gz", "8g3kc0ai9ir5d15"),
        ),
    ),
    "atac": Source(
        "GOPHER: test sets and trained models for ATAC-seq profiles of 15 cell lines, in archives to unpack",
        "https://doi.org/10.5281/zenodo.6464031",
        "Toneyan, Tang, Koo, Nature Machine Intelligence 4:1088 (2022)",
        "see the page; its code is under the MIT licence",
        doi="10.5281/zenodo.6464031",
        pattern="*",
    ),
    "paper": Source(
        "data and trained weights of the gradient correction: the whole archive",
        "https://doi.org/10.5281/zenodo.7011631",
        GB23,
        NOT_STATED,
        doi="10.5281/zenodo.7011631",
        pattern="*",
    ),
}
"""What `fetch` knows, by name."""


def fetch(
    name: str, folder: str | Path | None = None, *, files: Iterable[str] | None = None, quiet: bool = False
) -> dict[str, Path]:
    """Fetch published data; files that are there already are checked and not fetched again.

    Parameters
    ----------
    name : str
        One of `SOURCES`.
    folder : str or Path, optional
        For all data; each set has a folder of its name in it. By default the environment variable GRADCORR_FAST_DATA,
        or else the cache folder of the user.
    files : iterable of str, optional
        Names of the files that are wanted, if not all are.
    quiet : bool
        Whether no progress is shown on stderr.

    Returns
    -------
    dict of str to Path
        Where each file lies.

    Raises
    ------
    ValueError
        If there is no such set or no such file in it.
    OSError
        If a file cannot be fetched, or is not the one that was published. It may be put into the folder by hand.
    MissingBackendError
        If pooch or tqdm is not installed and something has to be fetched.

    Notes
    -----
    A file is checked against the checksum that is published: in `SOURCES`, or by the archive with its DOI. Where there
    is none, its SHA-256 is written to checksums.json beside it when it is first seen, and compared from then on.
    An interrupted download leaves nothing; the next call fetches what is missing.

    Examples
    --------
    >>> fetch("basset", files=["basset_testset.h5"])  # doctest: +SKIP
    """
    if name not in SOURCES:
        raise ValueError(f"there is no published data {name!r}; pass one of {', '.join(SOURCES)}")
    source = SOURCES[name]
    folder = _data_folder(folder) / name
    folder.mkdir(parents=True, exist_ok=True)
    recorded = json.loads((folder / CHECKSUMS).read_text()) if (folder / CHECKSUMS).exists() else {}
    published = source.files or _list_archive(source, folder, recorded)
    found = {}
    for file in _select(published, name, files):
        path = folder / file.name
        file = file._replace(checksum=file.checksum or recorded.get(file.name))
        if path.exists():
            problem = _find_problem(path, file)
            if problem:
                raise OSError(f"{path} is not the file that was published, {problem}; remove it to have it fetched")
        else:
            _download(file, path, source, quiet)
        if file.checksum is None and source.files:
            recorded[file.name] = f"sha256:{_digest(path, 'sha256')}"
            _record(folder, recorded)
            if not quiet:
                sys.stderr.write(
                    f"{file.name}: no checksum of it is published, it is trusted at first sight "
                    f"({recorded[file.name]}, kept in {folder / CHECKSUMS})\n"
                )
        found[file.name] = path
    return found


def _data_folder(folder: str | Path | None) -> Path:
    chosen = folder or os.environ.get(FOLDER)
    return Path(chosen) if chosen else Path(optional("pooch", "paper").os_cache("gradcorr_fast"))


def _select(published: Sequence[File], name: str, wanted: Iterable[str] | None) -> list[File]:
    by_name = {file.name: file for file in published}
    names = list(by_name) if wanted is None else list(wanted)
    unknown = [each for each in names if each not in by_name]
    if unknown:
        raise ValueError(f"{name} has no file {unknown[0]!r}; it has {', '.join(by_name)}")
    return [by_name[each] for each in names]


def _list_archive(source: Source, folder: Path, recorded: dict[str, str]) -> list[File]:
    """Return the files of an archive: as it lists them or did before, or, out of its reach, those that are there."""
    if not recorded:
        url = f"doi:{source.doi}/"
        try:
            listed = _listing(url)
        except _errors() as error:
            there = [path for path in sorted(folder.glob(source.pattern)) if path.is_file() and path.name[0] != "."]
            if not there:
                raise _unreachable(f"the list of {source.pattern}", source.where, folder, error) from error
            return [File(path.name, url + path.name) for path in there]
        names = fnmatch.filter(listed, source.pattern)
        if not names:
            held = ", ".join(listed) or "nothing"
            raise ValueError(f"{source.where} has no file {source.pattern}, but {held}; fetch them from there")
        recorded.update((name, listed[name]) for name in names)
        _record(folder, recorded)
    return [File(name, f"doi:{source.doi}/{name}", checksum=checksum) for name, checksum in recorded.items()]


def _listing(url: str) -> dict[str, str]:
    """Return the names and checksums of the files behind a DOI."""
    archive = optional("pooch", "paper").create(path=".", base_url=url)
    archive.load_registry_from_doi()
    return dict(archive.registry)


def _record(folder: Path, checksums: dict[str, str]) -> None:
    with replacing([folder / CHECKSUMS], force=True) as (temporary,):
        temporary.write_text(json.dumps(checksums, indent=1) + "\n")


def _download(file: File, path: Path, source: Source, quiet: bool) -> None:
    pooch = optional("pooch", "paper")
    if not quiet:
        optional("tqdm", "paper")
    is_doi = file.url.startswith("doi:")
    make = pooch.DOIDownloader if is_doi else pooch.HTTPDownloader
    origin = source.where if is_doi else f"{file.url} (see {source.where})"
    with replacing([path]) as (temporary,):
        try:
            make(progressbar=not quiet, chunk_size=CHUNK)(file.url, str(temporary), None)
        except _errors() as error:
            raise _unreachable(file.name, origin, path.parent, error) from error
        problem = _find_problem(temporary, file)
        if problem:
            raise OSError(
                f"{file.name} came damaged or changed from {origin}, {problem}; fetch it again, or put it into "
                f"{path.parent} by hand"
            )


def _errors() -> tuple[type[Exception], ...]:
    """Errors of pooch where the network, the DOI or the archive does not answer as it should."""
    return optional("requests", "paper").RequestException, ValueError, KeyError


def _unreachable(what: str, origin: str, folder: Path, error: Exception) -> OSError:
    response = getattr(error, "response", None)
    reason = str(error) if isinstance(error, ValueError) else type(error).__name__
    reason = reason if response is None else f"{response.status_code} {response.reason}"
    return OSError(
        f"{what} could not be fetched from {origin}, {reason}; fetch again with a connection, or put it into {folder} "
        f"by hand"
    )


def _find_problem(path: Path, file: File) -> str:
    """Say in what a file differs from the one that was published, if it does."""
    n_bytes = path.stat().st_size
    if file.n_bytes is not None and n_bytes != file.n_bytes:
        return f"it has {n_bytes} bytes and not {file.n_bytes}"
    with open(path, "rb") as content:
        if content.read(64).lstrip().lower().startswith((b"<!doctype html", b"<html")):
            return "it is a web page"
    if file.checksum is not None:
        algorithm, _, expected = file.checksum.rpartition(":")
        digest = _digest(path, algorithm or "sha256")
        if digest != expected:
            return f"its {algorithm or 'sha256'} is {digest} and not {expected}"
    return ""


def _digest(path: Path, algorithm: str) -> str:
    with open(path, "rb") as content:
        return hashlib.file_digest(content, algorithm).hexdigest()
