"""A scan in words: the paragraph for the methods section of a paper."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ...hooks._options import METHODS, owners_of
from .metadata import KEY
from .tables import SCORES

PAPER = "Majdandzic, Rajesh and Koo, Genome Biology 24:109, 2023, doi:10.1186/s13059-023-02956-3"
REASONS = {
    "unreadable": "on lines that are no records",
    "contig_missing": "on a contig that the genome lacks",
    "no_alt": "without an alternative allele",
    "spanning_deletion": "for a deletion that spans the site",
    "symbolic": "in symbolic form",
    "not_acgt": "with other letters than A, C, G, T and N",
    "outside_regions": "outside the chosen regions",
    "too_long": "too long for the window",
    "out_of_bounds": "at the end of a contig",
    "swapped": "whose alternative allele is the genome's",
    "ref_mismatch": "whose reference allele is not the genome's",
    "n_in_window": "with too many unknown letters",
    "model_failed": "on which the model failed",
}
"""Why an allele or region was not used, by its status."""
STEPS = {
    "fold": "batch normalisation was folded into the layers beside it",
    "channels_last": "channels were kept last in memory",
    "compile": "the model was compiled by torch.compile",
}
"""What was done to run a model faster."""
DIGITS = 12
"""Of a digest, in text for people."""
Part = Mapping[str, Any]


def describe(metadata: Mapping[str, Any]) -> str:
    """Describe a scan of variants or regions in a paragraph that a paper can print.

    Parameters
    ----------
    metadata : mapping
        As `metadata.read_metadata` returns it. What is missing is left away. Used are "gradcorr_fast" (version);
        "kind", "variants" or "regions"; "model" with "source" and "digest"; "genome" and "input" with "path" and
        "digest"; "options" with "length", "targets", "scores" or "method", "compare", "align_indels", "rc", "shifts",
        "windows", "top", "flank", "edges", "max_n" and "precision"; "counts", number of alleles or regions by status;
        "agreement" of exact and first-order effects with "n" and "pearson" for each target; "versions"; "device";
        "optimization" with "steps".

    Returns
    -------
    str
        One to six sentences.

    Examples
    --------
    >>> describe({"gradcorr_fast": "0.1.0", "options": {"length": 2114}})
    'Variant effects were predicted with gradcorr_fast 0.1.0. The model saw windows of 2,114 bp.'
    """
    options = metadata.get("options") or {}
    sentences = [
        _subject(metadata),
        _counts(metadata),
        _windows(options),
        _maps(options) if "method" in options else _scores(options, metadata.get("agreement") or {}),
        _correction(options) + _angles(metadata.get("angles") or {}),
        _software(metadata, options),
    ]
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences if sentence)


def _subject(metadata: Part) -> str:
    version = metadata.get(KEY)
    means = [
        f"gradcorr_fast {version}" if version else "",
        _file("the model", metadata.get("model")),
        _file("the genome", metadata.get("genome")),
    ]
    source = _file("of", metadata.get("input"))
    what, done = ("regions", "attributed") if _is_of_regions(metadata) else ("variant effects", "predicted")
    return f"{what}{f' {source}' if source else ''} were {done}" + _after(" with ", _listed(means))


def _is_of_regions(metadata: Part) -> bool:
    return metadata.get("kind") == "regions"


def _file(what: str, part: Any) -> str:
    """Name a file with the beginning of its digest."""
    if not part:
        return ""
    name = PurePath(str(part.get("source") or part.get("path") or "")).name
    digest = str(part.get("digest") or "")[:DIGITS]
    return " ".join(text for text in (what, name, f"(digest {digest})" if digest else "") if text)


def _counts(metadata: Part) -> str:
    counts = metadata.get("counts") or {}
    if not counts:
        return ""
    scored, total = counts.get("ok", 0), sum(counts.values())
    reasons = [f"{_number(n)} {REASONS.get(status, status)}" for status, n in counts.items() if status != "ok" and n]
    what, done = ("regions", "attributed") if _is_of_regions(metadata) else ("alleles", "scored")
    text = f"of {_number(total)} {what}, {_number(scored)} {'was' if scored == 1 else 'were'} {done}"
    return text + _after(f"; not {done} were ", _listed(reasons))


def _windows(options: Part) -> str:
    if "length" not in options:
        return ""
    kind, _, step = str(options.get("windows", "")).partition(":")
    where = {"centred": " centred on the variant", "grid": f" on a grid of {step} bp"}.get(kind, "")
    where = " centred on the summit or the middle of each region" if "method" in options else where
    clauses = [f"the model saw windows of {_number(options['length'])} bp{where}"]
    if options.get("edges") == "pad":
        clauses.append("positions beyond the end of a contig were unknown letters")
    if options.get("max_n") is not None:
        clauses.append(f"at most {100 * options['max_n']:g}% of a window were unknown letters")
    if options.get("flank") == "both":
        clauses.append("those of insertions and deletions follow the reference to either side, and the mean is taken")
    views = _views(options)
    return "; ".join([*clauses, *([f"results are means over {views}"] if views else [])])


def _views(options: Part) -> str:
    shifts = list(options.get("shifts") or (0,))
    strands = "both strands" if options.get("rc") else ""
    return _listed([strands, f"shifts of {_listed([str(k) for k in shifts])} bp" if shifts != [0] else ""])


def _scores(options: Part, agreement: Part) -> str:
    texts = [f"{score} is the {SCORES[score]}" for score in options.get("scores") or () if score in SCORES]
    targets = options.get("targets") or ()
    if texts and targets:
        texts[0] = f"for {_few(targets)} of the model, {texts[0]}"
    if compared := options.get("compare") or ():
        texts.append(_comparisons(compared, options.get("align_indels")))
    if options.get("top"):
        texts.append(f"exact effects are of the {options['top']} largest first-order ones in a window and of indels")
    if any(value is not None for value in agreement.get("pearson") or ()):
        texts.append(f"exact and first-order effects correlated with {_correlation(agreement)}")
    return "; ".join(texts)


def _comparisons(compared: Sequence[str], align: str | None) -> str:
    text = f"outputs with both alleles were compared by {_listed(compared)}"
    if align is None:
        return text
    inserted, deleted = align.split(",")
    pooled = {"max": "their largest value", "sum": "their sum"}[inserted]
    lost = {"zero": "as 0", "mask": "not compared", "sum": "added to the bin before them"}[deleted]
    return f"{text}, at indels by the bins of the reference: of inserted ones {pooled}, deleted ones {lost}"


def _few(targets: Sequence[Any]) -> str:
    return _listed([str(target) for target in targets]) if len(targets) <= 3 else f"{len(targets)} outputs"


def _maps(options: Part) -> str:
    settings = {name: value for name, value in options.items() if owners_of(name)}
    given = [f"{name} {value}" for name, value in settings.items() if isinstance(value, str | int | float)]
    what = METHODS[options["method"]].maps if options["method"] in METHODS else options["method"]
    of = _after(" of ", _few(options.get("targets") or ()))
    return f"attributions are {what}{of}" + _after(" with ", _listed(given))


def _correlation(agreement: Part) -> str:
    values = [value for value in agreement["pearson"] if value is not None]
    if len(values) > 1:
        return f"r = {min(values):.3f} to {max(values):.3f}"
    n = max(agreement.get("n") or (0,))
    return f"r = {values[0]:.3f}" + (f" (n = {_number(n)})" if n else "")


def _correction(options: Part) -> str:
    scores = options.get("scores") or ()
    if "grad_times_input" in scores or options.get("method", "saturation_mutagenesis") != "saturation_mutagenesis":
        return f"gradients were corrected by subtracting at each position the mean over the four letters ({PAPER})"
    if "angle" in scores:
        return f"the angle measures how much of the gradient points off the simplex ({PAPER})"
    return ""


def _angles(angles: Part) -> str:
    share = f"{angles['above_30']:.1%}" if angles else ""
    return f"; they lay more than 30 degrees off the simplex at {share} of the positions" if share else ""


def _software(metadata: Part, options: Part) -> str:
    versions = (metadata.get("versions") or {}).items()
    texts = [f"{name} {version}" for name, version in versions if version and name != KEY]
    device, precision = metadata.get("device"), options.get("precision")
    how = [f" on {device}" if device else "", f" in {precision}" if precision else "", _after(" with ", _listed(texts))]
    engine = "; of substitutions, only what they change was computed" if options.get("engine") == "incremental" else ""
    return _after("computations ran", "".join(how)) + engine + _optimization(metadata.get("optimization") or {})


def _optimization(found: Part) -> str:
    steps = _listed([STEPS.get(step, step) for step in found.get("steps") or ()])
    return f"; for speed, {steps}, with results equal to rounding" if steps else ""


def _after(word: str, text: str) -> str:
    return f"{word}{text}" if text else ""


def _number(n: int) -> str:
    return f"{n:,}"


def _listed(texts: Sequence[str]) -> str:
    *first, last = [text for text in texts if text] or [""]
    return f"{', '.join(first)} and {last}" if first else last
