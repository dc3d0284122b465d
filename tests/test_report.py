"""Reports: what they say is what was written, every string in them is text, and a browser shows them as meant."""

import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import gradcorr_fast as gf
from gradcorr_fast.cli import main

torch = pytest.importorskip("torch")
for package in ("jinja2", "matplotlib", "logomaker", "pysam", "zarr"):
    pytest.importorskip(package)
pytestmark = pytest.mark.filterwarnings("ignore:.* records lie on contigs", "ignore:.* are not (scored|attributed)")

LENGTH = 40
EVIL = '<script>alert("1")</script>'
"""A contig, and whatever else users name."""
RNG = np.random.default_rng(8)
GENOME = {name: "".join(RNG.choice(list("ACGT"), 1200)) for name in ("chr1", EVIL, "it's&amp;")}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECTIONS = Path(gf.__file__).parent / "report" / "templates"


class Network(torch.nn.Module):
    """A smooth little network with two outputs."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.convolution = torch.nn.Conv1d(4, 6, 7, padding=3)
        self.dense = torch.nn.Linear(6 * LENGTH, 2)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, std=0.4, generator=generator)

    def forward(self, x: Any) -> Any:
        return self.dense(torch.nn.functional.softplus(self.convolution(x)).flatten(1))


def other(letter: str, k: int = 1) -> str:
    return "ACGT"[("ACGT".index(letter) + k) % 4]


def make_variants() -> list[tuple[str, int, str | None, str, str]]:
    found = []
    for name, letters in GENOME.items():
        for pos in range(60, 1100, 35):
            ref = letters[pos - 1]
            found.append((name, pos, f"<img src=x onerror=alert({pos})>" if pos % 2 else None, ref, other(ref)))
    first = GENOME["chr1"][200]
    found += [
        ("chr1", 201, "insertion", first, first + "GATTACA"),
        ("chr1", 301, "deletion", GENOME["chr1"][300:304], GENOME["chr1"][300]),
        ("chr1", 400, "symbolic", GENOME["chr1"][399], "<DEL>"),
        ("chr7<b>", 400, "elsewhere", "A", "C"),
    ]
    return found


VARIANTS = make_variants()
OPTIONS: dict[str, Any] = {"length": LENGTH, "batch_size": 16, "shard_size": 40}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A genome, a scan of variants, one of regions, and attributions in files, each corrected."""
    folder = tmp_path_factory.mktemp("report")
    fasta = folder / "genome.fa"
    fasta.write_text("".join(f">{name}\n{letters}\n" for name, letters in GENOME.items()))
    gf.scan.score_variants(Network(), fasta, VARIANTS, folder / "scan", **OPTIONS)
    regions = [(name, 40 * k, 40 * k + 40) for name in GENOME for k in range(1, 20)]
    gf.scan.attribute_regions(Network(), fasta, regions, folder / "peaks", keep_uncorrected=True, **OPTIONS)
    grad = RNG.standard_normal((30, 4, 150)).astype(np.float32)
    np.save(folder / "grad.npy", grad)
    np.save(folder / "codes.npy", RNG.integers(0, 4, (30, 150)).astype(np.uint8))
    gf.io.correct_file(folder / "grad.npy", folder / "corrected.npy", summary=folder / "angles.json")
    return folder


KINDS = {"scan": {}, "peaks": {}, "grad.npy": {"x": "codes.npy"}, "angles.json": {}}
"""What reports are of, with what else they are told."""


@pytest.fixture(scope="module", params=KINDS)
def report(request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of each kind, with all that it can show."""
    given: dict[str, Any] = {name: folder / value for name, value in KINDS[request.param].items()}
    if request.param == "scan":
        given["model"] = Network()
    return gf.report.write_report(folder / request.param, tmp_path_factory.mktemp("html") / "report.html", **given)


class Document(HTMLParser):
    """Elements, texts and the cells of tables of a page, as a browser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.rows: dict[str, list[list[str]]] = {}
        self._table = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            self._table = dict(attrs).get("id") or "table"
            self.rows.setdefault(self._table, [])
        if tag == "tr":
            self.rows[self._table].append([])
        if tag in ("td", "th"):
            self.rows[self._table][-1].append("")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._table and self.rows[self._table] and self.rows[self._table][-1]:
            self.rows[self._table][-1][-1] += data.strip()

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._table = ""

    def of(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def read(path: Path) -> Document:
    return Document(path.read_text())


def test_reports_are_one_small_file_that_loads_nothing(report: Path) -> None:
    text = report.read_text()
    assert len(text) < 5_000_000
    document = Document(text)
    places = [str(a[name]) for _, a in document.elements for name in ("href", "src", "srcset", "data") if name in a]
    assert [place for place in places if not place.startswith(("#", "data:"))] == []
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", text)
    (policy,) = (e["content"] for e in document.of("meta") if e.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none'")


def test_no_string_of_the_user_becomes_an_element(report: Path) -> None:
    """A contig may be named <script>, and an id <img src=x onerror=...>."""
    document = read(report)
    assert len(document.of("script")) == 1
    assert document.of("img", "b", "iframe", "object") == []
    assert [a for _, attributes in document.elements for a in attributes if a.startswith("on")] == []


def test_strings_of_the_user_are_shown_as_they_are(folder: Path, tmp_path: Path) -> None:
    document = read(gf.report.write_report(folder / "scan", tmp_path / "scan.html", model=Network()))
    rows = document.rows["top"][1:]
    assert {row[1] for row in rows} == set(GENOME)
    assert any(row[3].startswith("<img src=x onerror=alert(") for row in rows)
    titles = [text for text in document.texts if re.match(r"\d+\. ", text)]
    assert [title.split(" ", 1)[1] for title in titles] == [
        f"{row[1]}:{row[2]} {row[4]}\N{RIGHTWARDS ARROW}{row[5]}" for row in rows[: len(titles)]
    ]
    assert len(titles) == 12


def test_reports_can_be_read_aloud_and_walked_by_keyboard(report: Path) -> None:
    document = read(report)
    levels = [int(tag[1]) for tag, _ in document.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) <= 1
    names = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(names) == len(set(names))
    links = {str(a["href"])[1:] for a in document.of("a", "use") if str(a["href"]).startswith("#")}
    assert links <= set(names)
    shown = [svg for svg in document.of("svg") if svg.get("aria-hidden") != "true"]
    assert shown
    assert all(svg["role"] == "img" and len(str(svg["aria-label"])) > 20 for svg in shown)
    assert all(e.get("tabindex") == "0" for e in document.of("div") if "scroll" in str(e.get("class")))
    assert {e["for"] for e in document.of("label")} == {e["id"] for e in document.of("input")}
    assert document.of("html")[0]["lang"] == "en"


def colours(style: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", style))


def luminance(colour: str) -> float:
    channels = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", range(3), ids=["light", "dark", "print"])
def test_text_and_pictures_stand_out_from_their_ground(theme: int) -> None:
    """WCAG 2.2: 4.5 for text, 3 for what is drawn."""
    blocks = re.findall(r":root \{(.*?)\}", (SECTIONS / "style.css").read_text(), re.DOTALL)
    palette = colours(blocks[0]) | colours(blocks[theme])
    for ground in ("page", "panel"):
        low = {name: contrast(palette[name], palette[ground]) for name in ("text", "quiet", "link")}
        assert min(low.values()) >= 4.5, low
        drawn = [name for name in palette if name.startswith(("letter", "band", "bar"))]
        assert min(contrast(palette[name], palette[ground]) for name in drawn) >= 3
    assert contrast(palette["text"], palette["advice"]) >= 4.5
    assert min(contrast(palette[f"letter-{letter}"], palette["mark"]) for letter in "acgt") >= 3


def test_the_table_holds_the_largest_effects(folder: Path, tmp_path: Path) -> None:
    rows = read(gf.report.write_report(folder / "scan", tmp_path / "scan.html", top=7)).rows["top"]
    scores = pq.read_table(folder / "scan/scores.parquet").to_pandas().dropna(subset=["delta"])
    largest = scores.reindex(scores["delta"].abs().sort_values(ascending=False).index).head(7)
    assert [row[2].replace(",", "") for row in rows[1:]] == [str(pos) for pos in largest["pos"]]
    shown = [float(row[rows[0].index("delta")].replace("\N{MINUS SIGN}", "-")) for row in rows[1:]]
    np.testing.assert_allclose(shown, largest["delta"], rtol=1e-3)


def test_every_allele_is_accounted_for(folder: Path, tmp_path: Path) -> None:
    rows = read(gf.report.write_report(folder / "scan", tmp_path / "scan.html")).rows["table"]
    counts = gf.scan.read_metadata(folder / "scan")["counts"]
    found = {row[0]: int(row[1].replace(",", "")) for row in rows if row[0] in counts}
    assert found == counts


@pytest.mark.parametrize("suffix", [".parquet", ".tsv", ".tsv.gz", ".vcf", ".vcf.gz", ".bcf"])
def test_tables_of_all_formats_give_the_same_rows(folder: Path, tmp_path: Path, suffix: str) -> None:
    variants = [variant for variant in VARIANTS if variant[0] == "chr1" and not str(variant[2]).startswith("<")]
    table = tmp_path / f"scores{suffix}"
    gf.scan.score_variants(Network(), folder / "genome.fa", variants, table, **OPTIONS)
    report = gf.report.write_report(table)
    assert report == tmp_path / "scores.html"
    whole = gf.scan.score_variants(Network(), folder / "genome.fa", variants, **OPTIONS).to_pylist()
    scored = [row for row in whole if row["delta"] is not None]
    largest = sorted(scored, key=lambda row: -abs(row["delta"]))
    rows = read(report).rows["top"]
    assert [row[2:6] for row in rows[1:]] == [
        [f"{row['pos']:,}", row["id"] or "", row["ref"], row["alt"]] for row in largest
    ]
    header = rows[0]
    shown = [row[header.index("angle")].replace("\N{MINUS SIGN}", "-") for row in rows[1:]]
    np.testing.assert_allclose(
        [float(s or "nan") for s in shown], [row["angle"] or np.nan for row in largest], rtol=1e-3
    )


def test_maps_of_alleles_are_those_of_the_hooks(folder: Path) -> None:
    from gradcorr_fast.report._alleles import FLANK_BP, surround
    from gradcorr_fast.report._scores import read_scores

    scores = read_scores(folder / "scan")
    model = gf.model_files.describe_model(Network())
    index = np.array([3, 90])  # a substitution, and the insertion
    one, insertion = surround(scores.take(index), scores, folder / "genome.fa", model)
    chrom, pos, _, ref, alt = VARIANTS[3]
    start = pos - 1 - LENGTH // 2
    windows = [GENOME[chrom][start : pos - 1] + letter + GENOME[chrom][pos : start + LENGTH] for letter in (ref, alt)]
    x = gf.sequences.one_hot(gf.sequences.encode(windows), np.float32, 1)
    wanted = gf.hooks.torch.saliency(Network(), x, outputs=("corrected", "angle"))
    assert one is not None
    shown = slice(max(0, LENGTH // 2 - FLANK_BP), LENGTH // 2 + 1 + FLANK_BP)
    for k, part in enumerate(one.maps):
        np.testing.assert_allclose(part.corrected, wanted.corrected[k].T[shown], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(part.angle, wanted.angle[k][shown], rtol=1e-3, atol=1e-3)
    assert one.before + one.ref + one.after == windows[0][shown]
    assert insertion is not None
    assert (insertion.ref, insertion.alt[1:]) == (insertion.ref[:1], "GATTACA") or len(insertion.alt) == 8


def test_another_model_than_that_of_the_scan_is_refused(folder: Path, tmp_path: Path) -> None:
    model = Network()
    torch.nn.init.zeros_(model.dense.bias)
    with pytest.raises(ValueError, match="is not the model of the scan"):
        gf.report.write_report(folder / "scan", tmp_path / "scan.html", model=model)


def test_another_genome_leaves_the_letters_out(folder: Path, tmp_path: Path) -> None:
    fasta = tmp_path / "other.fa"
    fasta.write_text("".join(f">{name}\n{''.join(map(other, letters))}\n" for name, letters in GENOME.items()))
    document = read(gf.report.write_report(folder / "scan", tmp_path / "scan.html", fasta=fasta))
    assert not [text for text in document.texts if "[" in text and "\N{RIGHTWARDS ARROW}" in text]


@pytest.mark.parametrize("n_targets", [2, 20])
def test_one_of_several_targets_is_shown(folder: Path, tmp_path: Path, n_targets: int) -> None:
    """Above 16 targets the scores are a matrix beside the table."""
    wide = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * LENGTH, n_targets))
    targets = list(range(n_targets))
    out = tmp_path / "wide"
    gf.scan.score_variants(wide, folder / "genome.fa", VARIANTS[:20], out, targets=targets, **OPTIONS)
    last = gf.scan.read_metadata(out)["options"]["targets"][-1]
    rows = read(gf.report.write_report(out, target=last)).rows["top"]
    alone = gf.scan.score_variants(wide, folder / "genome.fa", VARIANTS[:20], targets=targets[-1], **OPTIONS)
    assert float(rows[1][rows[0].index("delta")].replace("\N{MINUS SIGN}", "-")) == pytest.approx(
        max(alone["delta"].to_pylist(), key=abs), rel=1e-3
    )
    with pytest.raises(ValueError, match="'nothing' is no target of"):
        gf.report.write_report(out, tmp_path / "other.html", target="nothing")


def test_a_scan_that_scored_nothing_has_a_report_that_tells_why(folder: Path, tmp_path: Path) -> None:
    gf.scan.score_variants(Network(), folder / "genome.fa", [("chr7", 5, "A", "C")], tmp_path / "none", **OPTIONS)
    document = read(gf.report.write_report(tmp_path / "none"))
    assert any("No allele was scored" in text for text in document.texts)
    assert ["contig_missing", "1"] in [row[:2] for row in document.rows["table"]]


@pytest.mark.parametrize("options", [{"method": "saturation_mutagenesis"}, {"targets": [0, 1]}, {"dtype": "float32"}])
def test_reports_of_regions_show_what_there_is(folder: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    regions = [("chr1", 40 * k, 40 * k + 40) for k in range(1, 9)] + [("chr7", 1, 2)]
    gf.scan.attribute_regions(Network(), folder / "genome.fa", regions, tmp_path / "peaks", **OPTIONS, **options)
    report = gf.report.write_report(tmp_path / "peaks")
    assert report == tmp_path / "peaks/report.html"
    document = read(report)
    assert len(document.rows["regions-table"]) == 1 + 8
    assert ("above 30°" in document.rows["regions-table"][0]) == ("method" not in options)
    assert any("--keep-uncorrected" in text for text in document.texts)


def test_the_report_of_corrected_maps_says_so(folder: Path, tmp_path: Path) -> None:
    document = read(gf.report.write_report(folder / "corrected.npy", tmp_path / "corrected.html"))
    assert any("corrected already" in text for text in document.texts)
    before = read(gf.report.write_report(folder / "grad.npy", tmp_path / "grad.html"))
    assert not any("corrected already" in text for text in before.texts)


def test_the_report_of_a_file_has_the_numbers_of_its_summary(folder: Path, tmp_path: Path) -> None:
    summary = json.loads((folder / "angles.json").read_text())
    found = [
        " ".join(read(gf.report.write_report(folder / name, tmp_path / f"{name}.html")).texts)
        for name in ("grad.npy", "angles.json")
    ]
    shares = [f"{100 * share:.1f} %" for share in summary["shares"]]
    assert all(share in text for share in shares for text in found)


@pytest.mark.parametrize(
    ("out", "options", "error", "words"),
    [
        ("nothing", {}, FileNotFoundError, "does not exist"),
        ("genome.fa", {}, ValueError, "no suffix that names a format"),
        ("peaks/regions.parquet", {}, ValueError, "give its folder"),
        ("peaks", {"model": "nets:make"}, ValueError, "leave it away"),
        ("scan", {"x": "codes.npy"}, ValueError, "leave them away"),
        ("scan", {"top": 0}, ValueError, "top must be"),
        ("scan/run.json", {}, ValueError, "no summary of angles"),
        ("codes.npy", {}, ValueError, "holds no array that fits"),
    ],
)
def test_what_has_no_report_is_told_with_the_mend(
    folder: Path, tmp_path: Path, out: str, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        gf.report.write_report(folder / out, tmp_path / "report.html", **options)
    assert not (tmp_path / "report.html").exists()


def test_a_scan_that_is_not_done_has_no_report(folder: Path, tmp_path: Path) -> None:
    gf.scan.score_variants(Network(), folder / "genome.fa", VARIANTS, tmp_path / "part", shard=(1, 2), **OPTIONS)
    with pytest.raises(ValueError, match="is not done; gradcorr-fast status"):
        gf.report.write_report(tmp_path / "part")


def test_names_that_are_no_unicode_are_shown(folder: Path, tmp_path: Path) -> None:
    """The name of a file on Linux may be any bytes, and no encoding takes what Python makes of them."""
    path = tmp_path / "angles\udcff.json"
    try:
        shutil.copy(folder / "angles.json", path)
    except OSError as error:
        pytest.skip(f"this file system wants Unicode: {error}")
    grad = tmp_path / "grad\udcff.npy"
    shutil.copy(folder / "grad.npy", grad)
    assert gf.report.write_report(path, tmp_path / "summary.html").stat().st_size
    assert "grad\\udcff.npy" in gf.report.write_report(grad, tmp_path / "grad.html").read_text()


def test_a_report_in_the_folder_of_a_scan_is_in_nobodys_way(folder: Path, tmp_path: Path) -> None:
    """A file that is not the scan's own had it refuse its folder; and the report of a scan that is gone is wrong."""
    scan = tmp_path / "scan"
    gf.scan.score_variants(Network(), folder / "genome.fa", VARIANTS[:9], scan, **OPTIONS)
    report = gf.report.write_report(scan)
    before = (scan / "scores.parquet").read_bytes()
    assert gf.scan.verify(scan).problems == []
    gf.scan.score_variants(Network(), folder / "genome.fa", VARIANTS[:9], scan, resume=True, **OPTIONS)
    assert (scan / "scores.parquet").read_bytes() == before
    gf.scan.score_variants(Network(), folder / "genome.fa", VARIANTS[:5], scan, force=True, **OPTIONS)
    assert not report.exists()


def test_the_command_writes_the_report(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "scan.html"
    done = CliRunner().invoke(main, ["report", str(folder / "scan"), "-o", str(out)])
    assert (done.exit_code, done.output) == (0, f"{out}\n")
    again = CliRunner().invoke(main, ["report", str(folder / "scan"), "-o", str(out)])
    assert again.exit_code == 2
    assert "--force replaces it" in again.output
    alone = CliRunner().invoke(main, ["report", str(folder / "scan"), "--weights", "w.pt"])
    assert alone.exit_code == 2


HARNESS = """<!doctype html><meta charset="utf-8"><iframe id="frame"></iframe><pre id="result"></pre>
<script>
const frame = document.getElementById("frame");
frame.onload = () => {
  const page = frame.contentDocument, found = {overflow: {}, sorted: {}};
  for (const width of [320, 800, 1600, 1920]) {
    frame.style.width = width + "px";
    found.overflow[width] = page.documentElement.scrollWidth - frame.contentWindow.innerWidth;
  }
  const table = page.querySelector("table.sortable");
  found.plain = page.querySelectorAll("script").length;
  if (table) {
    const column = () => [...table.tBodies[0].rows].map((row) => row.cells[COLUMN].dataset.order);
    const button = table.tHead.rows[0].cells[COLUMN].querySelector("button");
    button.click();
    found.sorted.descending = column();
    found.aria = [table.tHead.rows[0].cells[COLUMN].getAttribute("aria-sort")];
    button.click();
    found.sorted.ascending = column();
    found.aria.push(table.tHead.rows[0].cells[COLUMN].getAttribute("aria-sort"));
    const input = page.querySelector("input[type=search]");
    input.value = "ONERROR script";
    input.dispatchEvent(new frame.contentWindow.Event("input"));
    found.shown = [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => row.textContent);
    found.status = page.querySelector("[role=status]").textContent;
  }
  document.getElementById("result").textContent = JSON.stringify(found);
};
frame.src = "report.html";
</script>"""


def browse(page: Path, *options: str) -> tuple[str, str]:
    """Return the document after its scripts have run, and what went to the console."""
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
        f"--user-data-dir={page.parent / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=3000",
        "--dump-dom", *options, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_reports_open_without_a_word_on_the_console(report: Path, scheme: str) -> None:
    document, console = browse(report, f"--blink-settings=preferredColorScheme={int(scheme == 'light')}")
    assert console == ""
    assert len(Document(document).of("script")) == 1


@needs_chromium
def test_reports_fit_screens_of_all_widths_and_their_tables_sort_and_filter(report: Path) -> None:
    header = next((rows[0] for name, rows in read(report).rows.items() if name in ("top", "regions-table")), [])
    column = next((header.index(name) for name in ("delta", "prediction") if name in header), 0)
    harness = report.parent / "harness.html"
    harness.write_text(HARNESS.replace("COLUMN", str(column)))
    document, console = browse(harness, "--window-size=2000,1000")
    assert console == ""
    found = json.loads(unescape(re.findall(r'<pre id="result">(.*?)</pre>', document, re.DOTALL)[0]))
    assert max(found["overflow"].values()) <= 0
    assert found["plain"] == 1
    if not header:
        return
    values = np.array(found["sorted"]["descending"], float)
    assert len(values) > 10
    assert (np.diff(values) <= 0).all()
    np.testing.assert_array_equal(np.array(found["sorted"]["ascending"], float), values[::-1])
    assert found["aria"] == ["descending", "ascending"]
    assert all("onerror" in text.lower() and "script" in text.lower() for text in found["shown"])
    assert found["status"].startswith(f"{len(found['shown'])} of ")
