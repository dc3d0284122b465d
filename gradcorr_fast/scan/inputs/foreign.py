"""Files of other kinds than those that are read, known by their first bytes, and how to make one of these of them."""

import codecs

_KINDS = {
    b"\xfd7zXZ\x00": ("compressed by xz", "decompress it: xz -d"),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "decompress it: zstd -d"),
    b"BZh": ("compressed by bzip2", "decompress it: bzip2 -d"),
    b"PK\x03\x04": ("a zip archive", "unpack it: unzip"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "unpack it: 7z x"),
    b"\x04\x22\x4d\x18": ("compressed by lz4", "decompress it: lz4 -d"),
    codecs.BOM_UTF16_LE: ("text in UTF-16", "convert it: iconv -f UTF-16 -t UTF-8"),
    codecs.BOM_UTF16_BE: ("text in UTF-16", "convert it: iconv -f UTF-16 -t UTF-8"),
    codecs.BOM_UTF32_BE: ("text in UTF-32", "convert it: iconv -f UTF-32 -t UTF-8"),
    b"PAR1": ("Parquet", "pass it as a table: pyarrow.parquet.read_table(path)"),
    b"\x89HDF": ("HDF5", "write its rows as text"),
    b"BAM\x01": ("BAM", "give variants or regions, not reads"),
    b"CRAM": ("CRAM", "give variants or regions, not reads"),
    b"l\x1b": ("PLINK's genotypes", "give the .bim or .pvar file beside it"),
    b"%PDF": ("PDF", "give a table as text"),
}
"""Name and mend, by the bytes that a file begins with."""


def refuse_foreign(head: bytes, name: str) -> None:
    """Raise ValueError if a file begins as those of another kind do; four bytes are needed, six are best."""
    for start, (kind, mend) in _KINDS.items():
        if head.startswith(start):
            raise ValueError(f"{name} is {kind}, which is not read; {mend}")
    if b"\x00" in head[:4] and head[:4].replace(b"\x00", b"").isascii() and head[:4].strip(b"\x00"):
        raise ValueError(f"{name} seems to be text in UTF-16; convert it: iconv -f UTF-16LE -t UTF-8")
