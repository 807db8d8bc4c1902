"""Small files that claim, or unpack to, more than any machine holds: one line, and no memory is taken for them."""

import gzip
import io
import json
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import PATIENCE, SUPPORT

MANY = 150 * 2**20
"""Bytes of a list of holes that takes several times as much once it is parsed."""
TEXT = 60 * 2**20
"""Bytes of a text that takes fifty times as much."""


def png():
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "PNG")
    return data.getvalue()


def with_text(path, name, text):
    """A zip of a picture and a text, which repeats."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a.png", png())
        archive.writestr(name, (text * (TEXT // len(text))).encode())


def many_members(path):
    """A zip that says that it holds one file, and lists 2.5 million."""
    entry = b"PK\1\2" + bytes(24) + struct.pack("<HHH", 1, 0, 0) + bytes(12) + b"a"
    listing = entry * 2_500_000
    end = b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 1, 1, len(listing), 0, 0)
    path.write_bytes(listing + end)


def behind_zip64(path):
    """The same, where only the long form of the end tells of the list."""
    entry = b"PK\1\2" + bytes(24) + struct.pack("<HHH", 1, 0, 0) + bytes(12) + b"a"
    listing = entry * 2_500_000
    long = b"PK\6\6" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, 1, 1, len(listing), 0)
    locator = b"PK\6\7" + struct.pack("<LQL", 0, len(listing), 1)
    end = b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 1, 1, 0, 0, 0)
    path.write_bytes(listing + long + locator + end)


def sparse(path):
    """A tar with a file whose list of holes does not end."""
    head = tarfile.TarInfo("a.png")
    head.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(head.tobuf(tarfile.GNU_FORMAT))
    block[482] = 1  # It goes on in the next block.
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    more = (b"00000000001\0" * 42)[:504] + b"\1" + bytes(7)
    path.write_bytes(gzip.compress(bytes(block) + more * (MANY // 512), 1))


def folders(path):
    """A tar of a quarter of a million folders."""
    head = tarfile.TarInfo("d/")
    head.type = tarfile.DIRTYPE
    path.write_bytes(gzip.compress(head.tobuf(tarfile.GNU_FORMAT) * 250_000, 1))


def slashes(path):
    """A tar of one picture, a hundred thousand folders deep."""
    data = png()
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a/" * 100_000 + "b.png")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))


def zeros(path):
    """An archive of 3 GiB of black pixels."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (3 * 2**20, 1, 32, 32)}
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("images.npy", "w") as file:
        file.write(header.getvalue() + bytes(2**20))
    content = path.read_bytes()
    size = struct.pack("<L", len(header.getvalue()) + 2**20)
    path.write_bytes(content.replace(size, struct.pack("<L", 3 * 2**30 + len(header.getvalue()))))


def one_value(path):
    """A Parquet file of 2 KB: 20 MB stored once, and named by 200,000 rows."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    value = png() + bytes(20_000_000)
    column = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array(np.zeros(200_000, np.int32)), pyarrow.array([value], pyarrow.binary())
    )
    parquet.write_table(
        pyarrow.table({"image": column}), path, compression="zstd", store_schema=False,
        dictionary_pagesize_limit=2**26,
    )  # fmt: skip


def many_rows(path):
    """A Parquet file of 60 million rows in a few KB."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    column = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array(np.zeros(5_000_000, np.int32)), pyarrow.array([png()], pyarrow.binary())
    )
    parquet.write_table(pyarrow.table({"image": column}), path, compression="zstd", store_schema=False)


BOMBS = {
    "lines.zip": (lambda path: with_text(path, "metadata.jsonl", "{}\n"), "takes more than"),
    "lists.zip": (lambda path: with_text(path, "dataset.json", "[],"), "takes more than"),
    "commas.zip": (lambda path: with_text(path, "labels.csv", ",\n"), "takes more than"),
    "class.zip": (lambda path: with_text(path, "a.cls", "x"), "takes more than"),
    "members.zip": (many_members, "holds more than 2,000,000 files"),
    "long.zip": (behind_zip64, "holds more than 2,000,000 files"),
    "sparse.tar.gz": (sparse, "a header claims to be longer than headers are"),
    "folders.tar.gz": (folders, "no images in"),
    "slashes.tar.gz": (slashes, "more than 100 folders deep"),
    "zeros.npz": (zeros, "takes 3,221,225,472 bytes"),
    "value.parquet": (one_value, "(a bomb?)"),
    "rows.parquet": (many_rows, "has 5,000,000 rows"),
}  # fmt: skip


def test_what_is_small_on_disk_takes_no_memory_beyond_reason(tmp_path):
    for name, (write, _) in BOMBS.items():
        write(tmp_path / name)
    command = [sys.executable, SUPPORT / "small.py", *BOMBS]
    process = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert process.returncode == 0, process.stderr
    found = {name: (code, err) for name, code, err in map(json.loads, process.stdout.splitlines())}
    assert found.keys() == BOMBS.keys()
    for name, (_, told) in BOMBS.items():
        code, err = found[name]
        assert told in err if told else code == 0, (name, code, err)
        assert "memory than there is" not in err, name
        assert len([line for line in err.splitlines() if not line.startswith("note: ")]) <= 1, err
    assert Path(tmp_path / "value.parquet").stat().st_size < 5000
