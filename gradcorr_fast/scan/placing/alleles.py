"""Variants against a genome: alleles trimmed, aligned and checked, and each variant in a window and with a status."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..._types import Array
from ..._warn import warn
from ..inputs.genome import Genome
from ..inputs.regions import is_inside
from .letters import Texts, compare, count_moves, trim, write
from .windows import WindowOptions, by_contig

STATUSES = {
    "unreadable": "the line is no record; the id tells which it is",
    "contig_missing": "the genome has no such contig",
    "no_alt": "there is no ALT allele, or it equals REF",
    "spanning_deletion": "ALT is *, for a deletion that begins before",
    "symbolic": "ALT is symbolic or a breakend, such as <DEL> or N[chr2:123[",
    "not_acgt": "an allele has other letters than A, C, G, T and N, or none",
    "outside_regions": "the variant lies outside of the regions or contigs that were asked for",
    "too_long": "an allele is too long for the window",
    "out_of_bounds": "the variant, or a window that must not, leaves its contig",
    "swapped": "REF is not the genome, and ALT is",
    "ref_mismatch": "REF is not the genome",
    "n_in_window": "an allele, the genome under REF, or too much of the window is unknown",
    "model_failed": "the model gave no finite number",
    "ok": "scored",
}
"""What may become of a variant; of several, the first."""
N_FIRST, N_FEW = 10_000, 100
"""Variants after which a scan stops if most do not fit the genome, and from which on a warning at the end says so."""
MARGIN_BP = 64
"""Letters before a window that moving an indel is likely to look at."""
_UNFIT = ("contig_missing", "swapped", "ref_mismatch")
_NOT_COMPARED = ("unreadable", "no_alt", "spanning_deletion", "symbolic", "not_acgt", "outside_regions")


def place(batch: pa.RecordBatch, genome: Genome, options: WindowOptions) -> pa.RecordBatch:
    """Check variants against a genome, trim and left-align their alleles, and find their windows.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        Of `variants.read_variants`.
    genome : Genome
    options : WindowOptions

    Returns
    -------
    pyarrow.RecordBatch
        The columns of `batch`, and

        * norm_pos : int64, 1-based; norm_ref, norm_alt : string, upper case: the variant as scored;
        * status : string, of `STATUSES` the first that applies;
        * ref_match : bool, whether REF is the genome; null where REF or the genome has an N there and nothing else
          differs, and where they were not compared;
        * window_start : int64, 0-based, the same for both alleles; negative where it lies before the contig;
        * strand : string, "+": windows are those of the genome's strand;
        * n_fraction : float32, unknown letters of the contig in the window of REF, divided by its length;
        * pad_bp : int32, letters of that window outside of the contig, which n_fraction does not count.

        norm_*, window_start, n_fraction and pad_bp are null where REF was not compared with the genome, or differs.
        Of a record that is "unreadable", pos is null too.

    Notes
    -----
    Alleles lose the suffix they share, then the prefix. What remains of an indel moves to the left as far as that means
    the same sequence, and is written with the letter before it (at the beginning of a contig, with the letter after
    it), as `bcftools norm` does. Substitutions of several letters stay whole. Lower case equals upper case.

    A variant is "swapped" if a known letter of REF differs from the genome and ALT equals it; nothing is exchanged.
    Without such a difference, N in an allele or in the genome under REF makes "n_in_window". Regions and the ends of
    the contig are compared with REF as it was given, lengths with the trimmed alleles.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from gradcorr_fast.scan.inputs.variants import read_variants
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = Path(folder, "tiny.fa").write_text(">1\\nACGTTTGCAGGCAT\\n")
    ...     (batch,) = read_variants(["chr1:6:TG:G", "1:1:A:C", "1:2:G:T", "1:2:G:C", "2:1:A:C"])
    ...     rows = place(batch, Genome(f"{folder}/tiny.fa"), WindowOptions(length=8))
    >>> for row in rows.select(["norm_pos", "norm_ref", "norm_alt", "status", "window_start", "pad_bp"]).to_pylist():
    ...     print(*row.values())
    3 GT G ok -2 2
    1 A C ok -4 4
    None None None ref_mismatch None None
    None None None swapped None None
    None None None contig_missing None None
    """
    ref, alt = Texts.of(batch["ref"]), Texts.of(batch["alt"])
    cores = trim(ref, alt)
    pos0 = pc.fill_null(batch["pos"], 0).to_numpy() - 1
    is_ = {status: np.zeros(len(batch), bool) for status in STATUSES} | _check_form(batch)
    is_["too_long"] = np.maximum(cores[0].lengths, cores[1].lengths) > options.max_allele_bp
    contigs = list(by_contig(batch["chrom"], genome))
    for contig, _, rows in contigs:
        if contig is None:
            is_["contig_missing"][rows] = True
        else:
            starts, stops = pos0[rows], (pos0 + ref.lengths)[rows]
            is_["outside_regions"][rows] = ~_is_wanted(options, genome, contig, starts, stops)
            is_["out_of_bounds"][rows] = (starts < 0) | (stops > genome.lengths[contig])
    is_compared = ~np.logical_or.reduce(list(is_.values()))
    found = _Found(*(np.zeros(len(batch), np.int64) for _ in _Found._fields))
    for contig, _, on_contig in contigs:
        if contig is None:
            continue
        for rows in _by_slice(on_contig[is_compared[on_contig]], pos0, genome.slice_bp):
            alleles = [texts.take(rows) for texts in (ref, alt, *cores)]
            for column, part in zip(found, _find(genome, contig, alleles, pos0[rows], options), strict=True):
                column[rows] = part
    is_["swapped"], is_["ref_mismatch"] = found.swapped > 0, found.differs > 0
    is_["out_of_bounds"] |= (found.n_outside > 0) & (options.edges == "reject")
    is_["n_in_window"] = (found.unknown > 0) | (found.n_unknown > options.max_n * options.length) | alt.have_unknown()
    is_["ok"][:] = True
    status = pa.DictionaryArray.from_arrays(np.argmax(list(is_.values()), axis=0), list(STATUSES)).cast(pa.string())
    return _add_columns(batch, status, is_compared, cores, found, options.length)


def _check_form(batch: pa.RecordBatch) -> dict[str, Array]:
    """Return which statuses the alleles' texts alone give."""
    ref, alt = batch["ref"], pc.fill_null(batch["alt"], "")
    is_ = {
        "unreadable": batch["pos"].is_null(),
        "no_alt": pc.or_(batch["alt"].is_null(), pc.equal(pc.ascii_upper(ref), pc.ascii_upper(alt))),
        "spanning_deletion": pc.equal(alt, "*"),
        "symbolic": pc.match_substring_regex(alt, r"[<>\[\].]"),
        "not_acgt": pc.invert(pc.and_(*(pc.match_substring_regex(x, "^[ACGTNacgtn]+$") for x in (ref, alt)))),
    }
    return {status: column.to_numpy(zero_copy_only=False) for status, column in is_.items()}


def _is_wanted(options: WindowOptions, genome: Genome, contig: str, starts: Array, stops: Array) -> Array:
    if options.chroms is not None and contig not in map(genome.resolve, options.chroms):
        return np.zeros(len(starts), bool)
    if options.regions is None:
        return np.ones(len(starts), bool)
    return is_inside(options.regions, genome, contig, starts, stops)


def _by_slice(rows: Array, pos0: Array, slice_bp: int) -> list[Array]:
    """Sort rows of a contig, and part those that one slice of the genome does not hold: it is read once for a part."""
    rows = rows[np.argsort(pos0[rows], kind="stable")]
    return np.split(rows, np.flatnonzero(np.diff(pos0[rows] // slice_bp)) + 1) if rows.size else []


class _Found(NamedTuple):
    """What comparing variants with the genome tells."""

    differs: Array
    """Whether REF differs at a letter that both know."""
    swapped: Array
    """Whether ALT is the genome where REF differs."""
    unknown: Array
    """Whether REF or the genome there has unknown letters."""
    moves: Array
    """How far an indel moved to the left."""
    anchor: Array
    """Code of the letter that an indel is written with, otherwise -1."""
    is_before: Array
    """Whether that stands before it."""
    pos0: Array
    """Position as scored."""
    window: Array
    """Where the window begins."""
    n_unknown: Array
    """Unknown letters of the contig in the window."""
    n_outside: Array
    """Letters of the window outside of the contig."""


def _find(genome: Genome, contig: str, alleles: Sequence[Texts], pos0: Array, options: WindowOptions) -> _Found:
    """Compare REF and ALT, given and trimmed, with their contig, move indels to the left, and find the windows."""
    ref, alt, *cores = alleles
    differs, unknown, swapped = np.zeros((3, len(pos0)), bool)
    longest, margin = int(max(ref.lengths.max(), alt.lengths.max())), options.length + MARGIN_BP
    for rows, first, codes in genome.spans(contig, pos0 - margin, longest + 2 * margin):  # all that is needed below
        differs[rows], unknown[rows] = compare(ref.take(rows), codes, pos0[rows] - first)
        wrong = rows[differs[rows]]
        swapped[wrong] = ~np.logical_or(*compare(alt.take(wrong), codes, pos0[wrong] - first))
    start, moves = pos0 + cores[0].starts - ref.starts, np.zeros(len(pos0), np.int64)
    is_indel = (cores[0].lengths == 0) | (cores[1].lengths == 0)
    for core in cores:
        rows = np.flatnonzero(is_indel & ~differs & (core.lengths > 0))
        moves[rows] = count_moves(genome, contig, start[rows], core.take(rows))
    start = start - moves
    is_before = start > 0
    beside = np.where(is_before, start - 1, cores[0].lengths)
    anchor = np.full(len(pos0), -1)
    anchor[is_indel] = genome.windows(contig, beside[is_indel], 1)[:, 0]
    placed = np.where(is_indel & is_before, start - 1, start)
    window = options.starts(placed)
    n_unknown = genome.count_unknown(contig, window, options.length)
    n_outside = np.maximum(-window, 0) + np.maximum(window + options.length - genome.lengths[contig], 0)
    return _Found(differs, swapped, unknown, moves, anchor, is_before, placed, window, n_unknown, n_outside)


def _add_columns(
    batch: pa.RecordBatch, status: pa.Array, is_compared: Array, cores: Iterable[Texts], found: _Found, length: int
) -> pa.RecordBatch:
    is_placed = is_compared & (found.differs == 0)
    anchor = np.where(is_placed, found.anchor, -1)
    ref, alt = (
        write(core._replace(lengths=core.lengths * is_placed), found.moves, anchor, found.is_before > 0)
        for core in cores
    )
    is_told = is_placed & (found.unknown == 0) | is_compared & (found.differs > 0)
    columns = {
        "norm_pos": pa.array(found.pos0 + 1, mask=~is_placed),
        "norm_ref": pc.if_else(is_placed, ref, None),
        "norm_alt": pc.if_else(is_placed, alt, None),
        "status": status,
        "ref_match": pa.array(is_placed, mask=~is_told),
        "window_start": pa.array(found.window, mask=~is_placed),
        "strand": pa.repeat("+", len(batch)),
        "n_fraction": pa.array((found.n_unknown / length).astype(np.float32), mask=~is_placed),
        "pad_bp": pa.array(found.n_outside.astype(np.int32), mask=~is_placed),
    }
    return pa.record_batch([*batch.columns, *columns.values()], names=[*batch.schema.names, *columns])


def place_all(batches: Iterable[pa.RecordBatch], genome: Genome, options: WindowOptions) -> Iterator[pa.RecordBatch]:
    """Place batches of variants, see `place`; stop early if the genome is not theirs.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        Of `variants.read_variants`.
    genome : Genome
    options : WindowOptions

    Yields
    ------
    pyarrow.RecordBatch
        As `place` returns them, one for each batch.

    Raises
    ------
    ValueError
        If more than half of the first 10,000 variants that can be compared are "contig_missing", "swapped" or
        "ref_mismatch"; it names the likely cause. Variants that cannot be compared are those without a proper ALT and
        those outside of the regions. Of shorter inputs a warning says it. Or if the genome has not a contig that
        `chroms` names, or none that the regions lie on.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from gradcorr_fast.scan.inputs.variants import read_variants
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = Path(folder, "tiny.fa").write_text(">1\\nACGTTTGCAGGCAT\\n")
    ...     variants = read_variants(["1:1:A:C", "1:2:G:T"])
    ...     batches = list(place_all(variants, Genome(f"{folder}/tiny.fa"), WindowOptions(length=8)))
    >>> [status for batch in batches for status in batch["status"].to_pylist()]
    ['ok', 'ref_mismatch']
    """
    _check_contigs(genome, options)
    first, n_first = [], 0
    schema: pa.Schema = None
    for batch in batches:
        schema = batch.schema
        rows = place(batch, genome, options)
        if n_first < N_FIRST:
            compared = pa.table(rows).filter(pc.invert(pc.is_in(rows["status"], pa.array(_NOT_COMPARED))))
            first.append(compared[: N_FIRST - n_first])
            n_first += len(first[-1])
            if n_first == N_FIRST and (misfit := _find_misfit(first, schema, genome, options)):
                raise ValueError(misfit)
        yield rows
    if N_FEW <= n_first < N_FIRST and (misfit := _find_misfit(first, schema, genome, options)):
        warn(misfit)


def _check_contigs(genome: Genome, options: WindowOptions) -> None:
    on_regions = [] if options.regions is None else options.regions["chrom"].unique().to_pylist()
    for name in options.chroms or ():
        if genome.resolve(name) is None:
            raise ValueError(f"{genome.path} has no contig {name!r}; choose among {genome.suggest(name)}")
    if on_regions and not any(map(genome.resolve, on_regions)):
        raise ValueError(
            f"{genome.path} has no contig of the regions ({', '.join(on_regions[:3])}); its contigs are "
            f"{genome.suggest(on_regions[0])}"
        )


def _find_misfit(found: list[pa.Table], schema: pa.Schema, genome: Genome, options: WindowOptions) -> str | None:
    """Return the likely cause if most variants do not fit the genome."""
    if not found:
        return None
    rows = pa.concat_tables(found)
    counts = Counter(rows["status"].to_pylist())
    unfit = {status: counts[status] for status in _UNFIT if counts[status]}
    if 2 * sum(unfit.values()) <= len(rows):
        return None
    if max(unfit, key=unfit.__getitem__) == "contig_missing":
        missing = rows.filter(pc.equal(rows["status"], "contig_missing"))["chrom"].unique().to_pylist()
        cause = (
            f"the variants have contigs {', '.join(missing[:3])} and the genome {', '.join(list(genome.lengths)[:3])}; "
            f"rename those of one, or use the genome of the variants"
        )
    elif 2 * unfit.get("swapped", 0) > sum(unfit.values()):  # of another genome, a third are by chance
        cause = "REF and ALT seem to be exchanged; exchange them"
    else:
        later = rows.select(schema.names).set_column(3, "pos", pc.add(rows["pos"], 1)).cast(schema).combine_chunks()
        n_fit = pc.sum(place(later.to_batches()[0], genome, options)["ref_match"]).as_py() or 0
        is_zero_based = 2 * n_fit > len(rows)
        cause = (
            "positions seem to be 0-based; add 1"
            if is_zero_based
            else "the variants seem to be of another build of the genome; use its FASTA file"
        )
    told = ", ".join(f"{number:,} {status}" for status, number in unfit.items())
    return f"most of the first {len(rows):,} variants do not fit {genome.path} ({told}): {cause}"


def tell_unscored(
    counts: Mapping[str, int], what: str = "alleles", statuses: Mapping[str, str] = STATUSES
) -> str | None:
    """Say why most alleles are not scored; None if half of them or more are.

    Parameters
    ----------
    counts : mapping
        Numbers of alleles by their status. Those outside of the regions and contigs that were asked for do not count.
    what, statuses
        Those of regions, if these are told of.

    Examples
    --------
    >>> print(tell_unscored({"ok": 5, "not_acgt": 12_000, "no_alt": 2}))
    12,002 of 12,007 alleles are not scored: 12,000 not_acgt (an allele has other letters than A, C, G, T and N, or \
none), 2 no_alt (there is no ALT allele, or it equals REF)
    """
    asked = {status: n for status, n in counts.items() if status != "outside_regions"}
    n_asked, n_scored = sum(asked.values()), asked.pop("ok", 0)
    if 2 * n_scored >= n_asked:
        return None
    reasons = sorted(((n, status) for status, n in asked.items() if n), reverse=True)
    told = ", ".join(f"{n:,} {status} ({statuses[status]})" for n, status in reasons)
    return f"{n_asked - n_scored:,} of {n_asked:,} {what} are not {statuses['ok']}: {told}"
