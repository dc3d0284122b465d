"""Examples of byte strings in compressed TFRecord files, read without TensorFlow."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

BYTES = 2  # wire type of byte strings and messages in protocol buffers


def read_examples(path: Path) -> Iterator[dict[str, memoryview]]:
    """Yield the features of each example of a file: the first byte string of each, by its name.

    A file is a zlib or gzip stream of records: length (8 bytes), a checksum of it (4), the example, and its checksum
    (4). The checksum of the stream is the one that is compared.
    """
    try:
        content = memoryview(zlib.decompress(path.read_bytes(), wbits=47))  # 32 + 15: zlib or gzip
        start = 0
        while start < len(content):
            (length,) = struct.unpack_from("<Q", content, start)
            yield _features(content[start + 12 : start + 12 + length])
            start += 16 + length
    except (zlib.error, struct.error, IndexError, StopIteration, ValueError) as error:
        raise OSError(f"{path} is no whole TFRecord file with zlib compression; fetch it again ({error})") from error


def _features(example: memoryview) -> dict[str, memoryview]:
    """Read Example {Features {map of a name to Feature {BytesList {bytes}}}}."""
    features = {}
    for entry in _fields(_first(example)):
        name, feature = _fields(entry)
        features[bytes(name).decode()] = _first(_first(feature))
    return features


def _first(message: memoryview) -> memoryview:
    return next(_fields(message))


def _fields(message: memoryview) -> Iterator[memoryview]:
    """Yield the fields of a message, all of which must be byte strings or messages."""
    start = 0
    while start < len(message):
        tag, start = _number(message, start)
        if tag & 7 != BYTES:
            raise ValueError("an example holds numbers where bytes should be")
        length, start = _number(message, start)
        yield message[start : start + length]
        start += length


def _number(message: memoryview, start: int) -> tuple[int, int]:
    """Read a number of seven bits a byte, lowest first, and return it with the place after it."""
    number = shift = 0
    while True:
        byte = message[start]
        number |= (byte & 127) << shift
        start, shift = start + 1, shift + 7
        if byte < 128:
            return number, start
