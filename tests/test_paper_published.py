"""The papers' published data: fetched from a server of our own, and read from small files of the same form."""

import base64
import gc
import hashlib
import json
import shutil
import struct
import sys
import threading
import tracemalloc
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.paper import datasets, published
from gradcorr_fast.paper.published import SOURCES, File, Source, fetch
from tests.conftest import require

CONTENT = bytes(range(256)) * 4_000
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@dataclass
class Server:
    """What a server has, and what it was asked for."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    """Files that break off in the middle, once."""
    was_cut: bool = False
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    require("pooch")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            state.asked.append(name)
            if name not in state.files:
                return self.send_error(404)
            content = state.files[name]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            is_cut = name in state.cut
            state.was_cut |= is_cut
            state.cut.discard(name)
            self.wfile.write(content[: len(content) // 2] if is_cut else content)
            return None

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Server(f"http://127.0.0.1:{http.server_address[1]}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    http.shutdown()
    thread.join()
    http.server_close()
    if state.was_cut:
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):
            gc.collect()  # pooch leaves the socket of a broken download to it


@pytest.fixture
def publish(server: Server, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes a.h5 and b.h5 of the server the published data "it"."""

    def make(url: str = server.url, **options: Any) -> None:
        server.files.update({"a.h5": CONTENT, "b.h5": CONTENT[:1_000]})
        files = File("a.h5", f"{url}/a.h5", **options), File("b.h5", f"{url}/b.h5")
        monkeypatch.setitem(SOURCES, "it", Source("what", "its page", "", "", files))

    return make


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_are_fetched_once_and_checked(
    publish: Any, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(checksum=MD5)
    found = fetch("it", tmp_path)
    assert found == {"a.h5": tmp_path / "it/a.h5", "b.h5": tmp_path / "it/b.h5"}
    assert found["a.h5"].read_bytes() == CONTENT
    assert names_in(tmp_path / "it") == ["a.h5", "b.h5", "checksums.json"]
    assert "100%" in capsys.readouterr().err
    assert fetch("it", tmp_path, quiet=True) == found
    assert server.asked == ["a.h5", "b.h5"]
    assert not capsys.readouterr().err


def test_the_folder_comes_from_the_environment(publish: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish()
    monkeypatch.setenv("GRADCORR_FAST_DATA", str(tmp_path))
    assert fetch("it", files=["b.h5"], quiet=True) == {"b.h5": tmp_path / "it/b.h5"}
    assert names_in(tmp_path / "it") == ["b.h5", "checksums.json"]


def test_a_file_without_a_published_checksum_is_compared_with_its_first_one(
    publish: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish()
    path = fetch("it", tmp_path)["a.h5"]
    assert "a.h5: no checksum of it is published, it is trusted at first sight" in capsys.readouterr().err
    assert json.loads((tmp_path / "it/checksums.json").read_text())["a.h5"] == SHA256
    path.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(OSError, match=r"a\.h5 is not the file that was published, its sha256 is .*; remove it"):
        fetch("it", tmp_path, quiet=True)
    path.unlink()
    assert fetch("it", tmp_path, quiet=True)["a.h5"].read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checksum": MD5}, "its md5 is .* and not"),
        ({"n_bytes": 7}, "it has 1024000 bytes and not 7"),
        ({}, "it is a web page"),
    ],
)
def test_another_file_than_the_published_one_is_not_kept(
    publish: Any, server: Server, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    publish(**options)
    server.files["a.h5"] = b"\n<!DOCTYPE html><title>gone</title>" if not options else CONTENT[::-1]
    with pytest.raises(
        OSError, match=rf"a\.h5 came damaged or changed from {server.url}/a\.h5 \(see its page\), {message}"
    ):
        fetch("it", tmp_path, quiet=True)
    assert names_in(tmp_path / "it") == []


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # see server
@pytest.mark.parametrize("problem", ["404", "cut", "offline"])
def test_what_cannot_be_fetched_is_named_and_leaves_nothing(
    publish: Any, server: Server, tmp_path: Path, problem: str
) -> None:
    publish("http://127.0.0.1:9" if problem == "offline" else server.url)
    if problem == "404":
        del server.files["a.h5"]
    server.cut = {"a.h5"} if problem == "cut" else set()
    reason = {"404": "404 Not Found", "cut": "ChunkedEncodingError|ConnectionError", "offline": "ConnectionError"}
    message = rf"a\.h5 could not be fetched from http.*/a\.h5 \(see its page\), ({reason[problem]});"
    with pytest.raises(OSError, match=message) as error:
        fetch("it", tmp_path, quiet=True)
    assert str(tmp_path / "it") in str(error.value)
    assert names_in(tmp_path / "it") == []


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # see server
def test_the_next_call_fetches_what_an_interruption_left_out(publish: Any, server: Server, tmp_path: Path) -> None:
    publish()
    server.cut = {"b.h5"}
    with pytest.raises(OSError, match="could not be fetched"):
        fetch("it", tmp_path, quiet=True)
    assert names_in(tmp_path / "it") == ["a.h5", "checksums.json"]
    assert fetch("it", tmp_path, quiet=True)["b.h5"].read_bytes() == CONTENT[:1_000]
    assert server.asked == ["a.h5", "b.h5", "b.h5"]


def test_files_can_be_put_in_by_hand(publish: Any, server: Server, tmp_path: Path) -> None:
    publish(checksum=MD5)
    (tmp_path / "it").mkdir()
    (tmp_path / "it/a.h5").write_bytes(CONTENT)
    (tmp_path / "it/b.h5").write_bytes(b"mine")
    assert fetch("it", tmp_path)["b.h5"].read_bytes() == b"mine"
    assert server.asked == []
    (tmp_path / "it/a.h5").write_bytes(b"mine")
    with pytest.raises(OSError, match="its md5 is"):
        fetch("it", tmp_path)


def test_only_downloads_need_another_package(publish: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish()
    (tmp_path / "it").mkdir()
    (tmp_path / "it/b.h5").write_bytes(b"mine")
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert list(fetch("it", tmp_path, files=["b.h5"])) == ["b.h5"]
    with pytest.raises(ImportError, match=r"pooch is not installed; gradcorr-fast\[paper\] brings it: pip install"):
        fetch("it", tmp_path)


@pytest.fixture
def archive(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DOI that leads to a Zenodo record with x_200.h5 and other.zip, which the server answers for."""
    files = {"x_200.h5": CONTENT, "other.zip": b"PK"}
    listed = [
        {"key": name, "checksum": f"md5:{hashlib.md5(content).hexdigest()}", "links": {"self": f"{server.url}/{name}"}}
        for name, content in files.items()
    ]
    server.files.update(files | {"api/1": json.dumps({"id": 1, "files": listed}).encode()})
    monkeypatch.setattr("pooch.downloaders.doi_to_url", lambda *_, **__: "https://zenodo.org/records/1")
    monkeypatch.setattr("pooch.downloaders.ZenodoRepository.base_api_url", f"{server.url}/api")
    for name, pattern in (("some", "*_200*.h5"), ("none", "*.csv")):
        monkeypatch.setitem(SOURCES, name, Source("", "its page", "", "", doi="10.5281/zenodo.1", pattern=pattern))


@pytest.mark.usefixtures("archive")
def test_an_archive_lists_its_files_and_their_checksums(server: Server, tmp_path: Path) -> None:
    assert fetch("some", tmp_path, quiet=True)["x_200.h5"].read_bytes() == CONTENT
    assert json.loads((tmp_path / "some/checksums.json").read_text()) == {"x_200.h5": MD5}
    server.files.clear()
    server.asked.clear()
    assert list(fetch("some", tmp_path)) == ["x_200.h5"]
    assert server.asked == []  # an archive never changes
    (tmp_path / "some/x_200.h5").write_bytes(CONTENT[1:])
    with pytest.raises(OSError, match="its md5 is"):
        fetch("some", tmp_path)


@pytest.mark.usefixtures("archive")
def test_an_archive_without_such_files_says_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"its page has no file \*\.csv, but x_200\.h5, other\.zip"):
        fetch("none", tmp_path)


@pytest.mark.usefixtures("archive")
def test_an_archive_out_of_reach_is_named_or_replaced_by_hand(server: Server, tmp_path: Path) -> None:
    del server.files["api/1"]
    with pytest.raises(OSError, match=r"the list of \*_200\*\.h5 could not be fetched from its page, .* by hand"):
        fetch("some", tmp_path)
    (tmp_path / "some/mine_200.h5").write_bytes(b"mine")
    assert fetch("some", tmp_path) == {"mine_200.h5": tmp_path / "some/mine_200.h5"}


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no published data 'enformer'; pass one of synthetic, chipseq"):
        fetch("enformer", tmp_path)
    with pytest.raises(ValueError, match=r"basset has no file 'train\.h5'; it has basset_testset\.h5"):
        fetch("basset", tmp_path, files=["train.h5"])


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_every_source_says_what_it_is_and_where(source: Source) -> None:
    assert all((source.what, source.where, source.citation, source.licence))
    assert bool(source.files) != bool(source.pattern)
    assert source.doi or not source.pattern
    assert all(file.url.rpartition("/")[2].partition("?")[0] == file.name for file in source.files)


REAL = {
    "chipseq_400": {name: f"peaks/{name}" for name in ("IRF1_400_h3k27ac.h5", "ZBED2_400_h3k27ac.h5")},
    "deepstarr": {f"DeepSTARR.model.{end}": f"models/deepstarr.model.{end}" for end in ("h5", "json")},
}


@pytest.mark.parametrize("name", REAL)
def test_published_files_have_their_published_checksums(shared_data: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    for there, here in REAL[name].items():
        shutil.copy(shared_data / "real" / here, tmp_path / name / there)
    assert list(fetch(name, tmp_path, files=REAL[name])) == list(REAL[name])


# ---- HDF5

CODES = np.random.default_rng(0).choice([0, 1, 2, 3, 255], (30, 25)).astype(np.uint8)
Y = np.random.default_rng(1).integers(0, 2, (30, 3)).astype(np.uint8)
PARTS = {"train": slice(0, 18), "valid": slice(18, 22), "test": slice(22, 30)}


def write(path: Path, x: str, y: str, one_hot: Any = None, labels: Any = Y, parts: Any = PARTS, **options: Any) -> Path:
    require("h5py")
    import h5py

    one_hot = gf.sequences.one_hot(CODES, np.uint8, axis=1) if one_hot is None else one_hot
    with h5py.File(path, "w") as file:
        for part, rows in parts.items():
            file.create_dataset(x.format(part), data=one_hot[rows], **options)
            file[y.format(part)] = labels[rows]
    return path


def assert_read(data: datasets.Dataset, y: Any = Y) -> None:
    np.testing.assert_array_equal(data.codes, CODES)
    np.testing.assert_array_equal(data.y, y)
    assert data.codes.dtype == np.uint8
    assert data.y.dtype == y.dtype
    assert [(rows[0], rows[-1] + 1) for rows in data.split] == [(rows.start, rows.stop) for rows in PARTS.values()]


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(30, 4, 25), (30, 25, 4), (30, 4, 1, 25)], ids=str)
@pytest.mark.parametrize("options", [{}, {"chunks": True, "compression": "gzip"}], ids=["raw", "gzip"])
def test_sequences_of_every_type_and_layout_are_read_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    monkeypatch.setattr(datasets, "BLOCK", 7 * 4 * 25)  # 7 sequences
    one_hot = gf.sequences.one_hot(CODES, dtype, axis=shape.index(4)).reshape(shape)
    assert_read(datasets.load(write(tmp_path / "it.h5", "X_{}", "Y_{}", one_hot, **options)))


def test_the_authors_deepstarr_file_has_activities_by_column(tmp_path: Path) -> None:
    require("h5py")
    import h5py

    y = np.random.default_rng(2).standard_normal((30, 2))
    one_hot = gf.sequences.one_hot(CODES, np.float32)
    with h5py.File(tmp_path / "it.h5", "w") as file:
        for part, rows in PARTS.items():
            file[f"x_{part}"], file[f"y_{part}"] = one_hot[rows], y[rows].T
    assert_read(datasets.load(tmp_path / "it.h5"), y)


def test_the_whole_one_hot_array_is_never_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "BLOCK", 1 << 16)
    one_hot = np.zeros((4_000, 4, 200), np.float32)
    path = write(tmp_path / "it.h5", "{}_in", "{}_out", one_hot, one_hot[:, 0, :1], {**PARTS, "train": slice(None)})
    tracemalloc.start()
    codes = published.basset(path).codes
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < codes.nbytes + one_hot.nbytes / 10


def test_cell_types_of_basset_are_read_and_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "it.h5", "{}_in", "{}_out")
    import h5py

    with h5py.File(path, "a") as file:
        file["target_labels"] = np.array(["8988T", "AoSMC", "Chorion"], "S")
    data = published.basset(path)
    assert_read(data)
    assert data.targets == ("8988T", "AoSMC", "Chorion")
    datasets.save(data, tmp_path / "again.h5")
    assert datasets.load(tmp_path / "again.h5").targets == data.targets


def test_a_test_set_may_stand_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "it.h5", "x_{}", "y_{}", gf.sequences.one_hot(CODES), parts={"test": slice(22, 30)})
    data = published.basset(path)
    np.testing.assert_array_equal(data.codes, CODES[22:])
    assert [len(rows) for rows in data.split] == [0, 0, 8]


def truncate(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


ONE_HOT = gf.sequences.one_hot(CODES, np.uint8, axis=1)


@pytest.mark.parametrize(
    ("keys", "one_hot", "labels", "message"),
    [
        (("x_{}", "labels_{}"), ONE_HOT, Y, "has no y_train; it holds labels_test"),
        (("{}_in", "y_{}"), ONE_HOT, Y, "has no x_train; it holds test_in"),
        (("a_{}", "b_{}"), ONE_HOT, Y, "has no x_train; it holds a_test"),
        (("x_{}", "y_{}"), ONE_HOT[:, :3], Y, r"/x_train has shape \(18, 3, 25\); sequences are \(N, 4, L\) or"),
        (("x_{}", "y_{}"), ONE_HOT * 0 + 1, Y, "/x_train: a position has more than one letter"),
        (("x_{}", "y_{}"), ONE_HOT, Y[:21], r"/y_valid has shape \(3, 3\) for 4 sequences; fetch it again"),
    ],
)
def test_files_of_another_form_are_refused(
    tmp_path: Path, keys: tuple[str, str], one_hot: Any, labels: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        datasets.load(write(tmp_path / "it.h5", *keys, one_hot, labels))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    truncate(write(tmp_path / "it.h5", "X_{}", "Y_{}"), share)
    with pytest.raises(OSError, match=r"it\.h5 cannot be read as HDF5; check that it is whole, or fetch it again"):
        datasets.load(tmp_path / "it.h5")


# ---- DeepSTARR


@pytest.fixture
def deepstarr(tmp_path: Path) -> Path:
    """A folder of the published form, and y.npy beside it."""
    require("pysam")
    require("pyarrow")
    rng = np.random.default_rng(0)
    y = rng.standard_normal((30, 2)).astype(np.float32)
    columns = ["Dev_log2_enrichment", "Hk_log2_enrichment", "Dev_log2_enrichment_scaled", "Hk_log2_enrichment_scaled"]
    for part, rows in zip(("Train", "Val", "Test"), PARTS.values(), strict=True):
        texts = gf.sequences.decode(CODES[rows])
        lines = [f">chr2L_{k}_{k + 24}_+_positive_peak\n{text}\n" for k, text in enumerate(texts)]
        (tmp_path / f"Sequences_{part}.fa").write_text("".join(lines))
        table = ["\t".join(columns), *("\t".join(f"{n:.9g}" for n in (*row, *row / 2)) for row in y[rows])]
        (tmp_path / f"Sequences_activity_{part}.txt").write_text("\n".join(table) + "\n")
    np.save(tmp_path / "y.npy", y)
    return tmp_path


def test_deepstarr_is_read_in_the_order_of_its_files(deepstarr: Path) -> None:
    data = published.deepstarr(deepstarr)
    assert_read(data, np.load(deepstarr / "y.npy"))
    assert data.targets == ("Dev", "Hk")


def test_deepstarr_is_fetched_without_its_model(
    deepstarr: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("base")
    deepstarr.rename(base / "deepstarr")
    monkeypatch.setenv("GRADCORR_FAST_DATA", str(base))
    files = tuple(file._replace(checksum=None) for file in SOURCES["deepstarr"].files)
    monkeypatch.setitem(SOURCES, "deepstarr", SOURCES["deepstarr"]._replace(files=files))
    assert published.deepstarr().codes.shape == (30, 25)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("Sequences_Val.fa", ">chr2L_3", "", "Sequences_Val.fa is cut short or no FASTA, fetch it again"),
        ("Sequences_activity_Test.txt", "Hk_log2_enrichment\t", "", "no whole table with Dev_log2_enrichment, Hk_log2"),
        ("Sequences_activity_Train.txt", "\t", ",", "Sequences_activity_Train.txt is no whole table"),
    ],
)
def test_deepstarr_files_of_another_form_are_refused(
    deepstarr: Path, name: str, old: str, new: str, message: str
) -> None:
    (deepstarr / name).write_text((deepstarr / name).read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        published.deepstarr(deepstarr)


@pytest.mark.parametrize(
    ("name", "n_lines", "message"),
    [
        (
            "Sequences_Test.fa",
            -2,
            r"Sequences_Test\.fa has 7 sequences and .*Test\.txt 8 activities; one of them is cut",
        ),
        ("Sequences_activity_Val.txt", -1, r"Sequences_Val\.fa has 4 sequences and .*Val\.txt 3 activities"),
    ],
)
def test_sequences_and_activities_must_be_as_many(deepstarr: Path, name: str, n_lines: int, message: str) -> None:
    lines = (deepstarr / name).read_text().splitlines(keepends=True)
    (deepstarr / name).write_text("".join(lines[:n_lines]))
    with pytest.raises(ValueError, match=message):
        published.deepstarr(deepstarr)


@pytest.mark.parametrize("name", ["Sequences_Train.fa", "Sequences_activity_Test.txt"])
def test_files_of_deepstarr_that_are_cut_or_missing_are_named(deepstarr: Path, name: str) -> None:
    truncate(deepstarr / name, 0.97)
    with pytest.raises(ValueError, match=rf"{name} .*fetch"):
        published.deepstarr(deepstarr)
    (deepstarr / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf'{name} does not exist; published\.fetch\("deepstarr"\) brings it'):
        published.deepstarr(deepstarr)


# ---- GOPHER

PROFILES = np.random.default_rng(3).random((30, 24, 3)).astype(np.float16)
STATISTICS = {"seq_length": 25, "target_length": 24, "num_targets": 3, "test_seqs": 30}


# Two examples as TensorFlow 2.21 writes them: 18 letters, the fifth 0.25 each and the sixth 0, rolled by one in the
# second; 9 bins of 2 tracks, k / 8, and 1 more in the second.
WRITTEN = (
    "eJz7xQABAg/95nJ9Z+Qy4mIrSSxKTy0R0uBS41IByhgwmDCYMVgwWDJYMVgz2DTYMNg22DLYNdgx2DfYMzg4OHBJc3El5+cXpWTmJZakCvFycXNxJmcU"
    "GcYbxBtacC1m5OIoTi0sTc1LThWaxsg1mZFrAiODDQMMYGeZQCEDmqwNmlpcNIkqOH5nPv1FICSw+LzB4YADg6ODY4PjAUcGJwcnnCEBhJY4QgLmkkES"
    "IoFRbaoAvTdGAA=="
)


def test_records_of_tensorflow_are_read_without_it(tmp_path: Path) -> None:
    (tmp_path / "tfrecords").mkdir()
    (tmp_path / "tfrecords/valid-0.tfr").write_bytes(base64.b64decode(WRITTEN))
    (tmp_path / "statistics.json").write_text('{"seq_length": 18, "target_length": 9, "num_targets": 2}')
    data = published.atac(tmp_path)
    assert gf.sequences.decode(data.codes) == ["ACGTNNCAAAAACCCCGG", "GACGTNNCAAAAACCCCG"]
    np.testing.assert_array_equal(data.y[:, :, 1], np.arange(1, 18, 2) / 8 + [[0], [1]])
    assert data.targets == ()
    np.testing.assert_array_equal(data.split.valid, [0, 1])


def encode_field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer."""
    length, rest = len(content), b""
    while length > 127:
        rest, length = rest + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + rest + bytes([length]) + content


def write_shard(path: Path, rows: range, dtype: str) -> None:
    """Write sequences and profiles as TensorFlow does."""
    records = b""
    for row in rows:
        one_hot = gf.sequences.one_hot(CODES[row], dtype)
        features = {"coordinate": b"chr1", "sequence": one_hot.tobytes(), "target": PROFILES[row].tobytes()}
        entries = [
            encode_field(1, key.encode()) + encode_field(2, encode_field(1, encode_field(1, value)))
            for key, value in features.items()
        ]
        example = encode_field(1, b"".join(encode_field(1, entry) for entry in entries))
        records += struct.pack("<Q4x", len(example)) + example + bytes(4)
    path.write_bytes(zlib.compress(records))


@pytest.fixture
def gopher(tmp_path: Path) -> Path:
    """A folder of the published form: a test set in three files."""
    folder = tmp_path / "gopher"
    (folder / "tfrecords").mkdir(parents=True)
    (folder / "statistics.json").write_text(json.dumps(STATISTICS))
    (folder / "targets.txt").write_text("index\tidentifier\tdescription\n0\tA549\tx\n1\tPC-3\tx\n2\t5\tx\n")
    write_shard(folder / "tfrecords/test-0.tfr", range(11), "float16")
    write_shard(folder / "tfrecords/test-2.tfr", range(11, 15), "uint8")
    write_shard(folder / "tfrecords/test-10.tfr", range(15, 30), "float16")
    return folder


def test_files_of_records_are_read_in_the_order_of_their_numbers(gopher: Path) -> None:
    data = published.atac(gopher)
    np.testing.assert_array_equal(data.codes, CODES)
    np.testing.assert_array_equal(data.y, PROFILES)
    assert data.y.dtype == np.float16
    assert data.targets == ("A549", "PC-3", "5")
    np.testing.assert_array_equal(data.split.test, np.arange(30))


def test_profiles_are_averaged_over_bins(gopher: Path) -> None:
    expected = PROFILES.astype(np.float64).reshape(30, 3, 8, 3).mean(2)
    y = published.atac(gopher, bin_size=8).y
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="bin_size is 7; it must divide the 24 positions"):
        published.atac(gopher, bin_size=7)


@pytest.mark.parametrize("bin_size", [1, 8])
def test_test_sets_of_one_cell_line_are_read(tmp_path: Path, bin_size: int) -> None:
    require("h5py")
    import h5py

    with h5py.File(tmp_path / "cell_line_13.h5", "w") as file:
        file["X"], file["y"] = gf.sequences.one_hot(CODES), PROFILES.astype(np.float32)
    data = published.atac(tmp_path / "cell_line_13.h5", bin_size=bin_size)
    np.testing.assert_array_equal(data.codes, CODES)
    np.testing.assert_allclose(data.y, PROFILES.astype(np.float32).reshape(30, -1, bin_size, 3).mean(2), rtol=1e-6)
    assert [len(rows) for rows in data.split] == [0, 0, 30]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_records_that_are_cut_short_are_refused(gopher: Path, share: float) -> None:
    truncate(gopher / "tfrecords/test-2.tfr", share)
    with pytest.raises(OSError, match=r"test-2\.tfr is no whole TFRecord file with zlib compression; fetch it again"):
        published.atac(gopher)


def test_a_file_without_records_is_no_error(gopher: Path) -> None:
    write_shard(gopher / "tfrecords/test-11.tfr", range(0), "float16")
    np.testing.assert_array_equal(published.atac(gopher).y, PROFILES)


def test_records_of_another_shape_are_refused(gopher: Path) -> None:
    (gopher / "statistics.json").write_text(json.dumps(STATISTICS | {"seq_length": 26}))
    with pytest.raises(ValueError, match=r"test-0\.tfr: example 0 has no sequence of 26 letters"):
        published.atac(gopher)
    (gopher / "statistics.json").write_text('{"seq_length": 25}')
    with pytest.raises(ValueError, match=r"statistics\.json has no num_targets, target_length; unpack"):
        published.atac(gopher)


def test_missing_records_are_told(gopher: Path) -> None:
    (gopher / "tfrecords/test-2.tfr").unlink()
    with pytest.warns(UserWarning, match=r"holds 26 sequences of test, and 30 by its statistics\.json"):
        assert len(published.atac(gopher).codes) == 26
    shutil.rmtree(gopher / "tfrecords")
    with pytest.raises(FileNotFoundError, match=r"lacks statistics\.json or tfrecords/test-\*\.tfr"):
        published.atac(gopher)
