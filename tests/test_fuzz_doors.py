"""Files of strangers at every door: exit code 0, 1 or 2 and one line, nothing run, nothing written elsewhere.

`make test` tries a hundred of each kind, the same each time; `make soak` thousands, others each time.
"""

import csv
import io
import json
import os
import pickle
import platform
import shutil
import struct
import sys
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from test_fuzz import COMMON, JSON, TEXT, assert_civil, outcome, paths, put
from test_import import SNAPSHOT

MARKER = "ran.txt"
WATCHED: list[str] = []
"""What a command did that none of these may do: programs started, files written outside its folder."""
HERE: list[str] = []
"""The folder in which a command may write, while one is watched."""


def _watch(event, arguments):
    if not HERE:
        return
    if event in ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn", "os.startfile"):
        WATCHED.append(f"{event} {arguments}")
    elif event == "open" and isinstance(arguments[0], str) and isinstance(arguments[2], int):
        path, _, flags = arguments
        place = os.path.realpath(path)
        if flags & (os.O_WRONLY | os.O_RDWR) and not place.startswith((HERE[0], "/dev/")):
            WATCHED.append(f"open {place}")


sys.addaudithook(_watch)


@pytest.fixture
def here(monkeypatch, tmp_path):
    """A folder that one stands in, with a cache of its own, on a machine of little memory."""
    platform.processor()  # Which asks a program, once.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    for module in ("archives", "arrays", "parquet"):
        if hasattr(sys.modules.get(f"ganzoo.data.{module}"), "memory"):
            monkeypatch.setattr(f"ganzoo.data.{module}.memory", lambda: 2**28)
    return tmp_path


def civil(folder, *arguments):
    """Run a command; however it ended, it was civil, and did nothing but its work."""
    HERE.append(str(folder))
    try:
        code, out, err = outcome(*arguments)
    finally:
        HERE.clear()
    found = WATCHED[:]
    WATCHED.clear()
    assert_civil(arguments, code, err)
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert len(lines) <= 1 or err.startswith("Usage: "), (arguments, err)
    assert not found, (arguments, found)
    assert not (folder / MARKER).exists(), arguments
    return code, out, err


def fresh(folder):
    for path in folder.iterdir():
        if path.name not in ("cache", "runs"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def look(folder, data, path):
    """One of the commands that take pictures."""
    command = data.draw(
        st.sampled_from(
            [
                ("data", "inspect", path), ("data", "inspect", path, "--label-column", "label"),
                ("data", "convert", path, "out.zip"), ("data", "convert", path, "out", "--skip-broken"),
                ("data", "convert", path, "out", "--image-size", "8", "--skip-broken", "--skip-unlabelled"),
                ("run", "plain", "--dataset", "folder", "--data-root", path, "--image-size", "8", "--batch-size", "2",
                 "--dry-run"),
            ]
        )
    )  # fmt: skip
    civil(folder, *command)


def picture(size=(9, 8), mode="RGB", kind="PNG"):
    data = io.BytesIO()
    Image.new(mode, size, 77 if mode in ("L", "I;16") else None).save(data, kind)
    return data.getvalue()


PNG = picture()
SPOILS = st.sampled_from(["no", "no", "cut", "flip", "stretch", "twice", "zeros"])


def spoilt(content, data):
    """The bytes, changed in one of the ways that files go wrong."""
    how = data.draw(SPOILS)
    at = data.draw(st.integers(0, max(len(content) - 1, 0)))
    if how == "cut":
        return content[:at]
    if how == "flip" and content:
        return content[:at] + bytes([content[at] ^ data.draw(st.integers(1, 255))]) + content[at + 1 :]
    if how == "stretch":
        return content[:at] + data.draw(st.binary(max_size=40)) + content[at:]
    if how == "zeros":
        return content[:at] + bytes(data.draw(st.integers(1, 64))) + content[at + 8 :]
    return content * 2 if how == "twice" else content


# Archives

SOME_NAMES = """
a.png b.png dog/a.png dog/b.png cat/a.png train/a.png test/a.png train/dog/a.png test/dog/b.png ../out.png /etc/out.png
a/../../b.png C:/x.png C:\\x.png dog\\c.png ./a.png a.PNG .hidden.png __MACOSX/a.png a.cls b.cls a.json dataset.json
metadata.csv metadata.jsonl labels.csv x.tsv x/ a.png/ a//b.png train/metadata.csv x.tar x.parquet
"""
NAMES = st.one_of(
    st.sampled_from(SOME_NAMES.split()),
    TEXT.map(lambda text: f"{text}.png"),
    st.integers(1, 400).map(lambda n: "d/" * (n % 90) + "n" * n + ".png"),
)
TEXTS = st.one_of(
    st.sampled_from(
        [
            "file,label\na.png,x\nb.png,y\n", "file_name,label\na.png,1\nb.png,2\n", "a.png\tx\nb.png\ty", "dog",
            '{"labels": [["a.png", 0], ["b.png", 1]]}', '{"labels": null}', '{"labels": [["../a.png", 0]]}', "[]",
            '{"file_name": "a.png", "label": 1}\n{"file_name": "b.png", "label": 2}\n', '{"labels": [[1, 2]]}',
            "file,file\na.png,x\n", '"a.png', "[" * 5000, '{"a":' * 5000, "\ufeffa.png;x\nb.png;x\n", ",,,,\n", "\0",
        ]
    ),
    st.text(st.sampled_from("ab.png,;\t\n\"'x1{}[]:"), max_size=60),
    JSON.map(json.dumps),
).map(lambda text: text.encode(errors="replace"))  # fmt: skip
CONTENTS = st.one_of(st.just(PNG), st.just(PNG), TEXTS, st.binary(max_size=30), st.just(bytes(100_000)))
MEMBERS = st.lists(st.tuples(NAMES, CONTENTS), max_size=6)


def zipped(members, data):
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")  # A name may be there twice.
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename = name
            info.compress_type = data.draw(st.sampled_from([0, 0, 8, 12, 14]))
            if data.draw(st.integers(0, 9)) == 0:
                info.external_attr = data.draw(st.sampled_from([0o120777, 0o060666, 0o010666, 0o040755])) << 16
            archive.writestr(info, content)
            if data.draw(st.integers(0, 19)) == 0:
                info.flag_bits |= 1
            if data.draw(st.integers(0, 19)) == 0:
                info.file_size = data.draw(st.sampled_from([0, 1, 2**20, 2**31, 2**40]))
    return stream.getvalue()


def tarred(members, data, mode):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode, format=data.draw(st.sampled_from([0, 1, 2]))) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.type = data.draw(st.sampled_from([b"0"] * 8 + [b"1", b"2", b"3", b"4", b"5", b"6", b"S", b"x"]))
            info.linkname = data.draw(st.sampled_from(["", "/etc/passwd", "../x", "a.png"]))
            info.size = len(content) if info.type == b"0" else 0
            try:
                archive.addfile(info, io.BytesIO(content) if info.type == b"0" else None)
            except ValueError:  # Such a name is none in this format.
                continue
    return stream.getvalue()


@COMMON
@given(data=st.data(), members=MEMBERS)
def test_any_archive_gets_an_answer(here, data, members):
    fresh(here)
    name = data.draw(st.sampled_from(["a.zip", "a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2", "a.npz"]))
    ending = name.rpartition(".")[2]
    if data.draw(st.integers(0, 19)) == 0:
        ending = data.draw(st.sampled_from(["zip", "tar", "gz"]))  # Not what its name says.
    packers = {"zip": lambda: zipped(members, data), "npz": lambda: zipped(members, data)}
    mode = {"tar": "w", "gz": "w:gz", "xz": "w:xz", "bz2": "w:bz2"}.get(ending, "w")
    Path(name).write_bytes(spoilt(packers.get(ending, lambda: tarred(members, data, mode))(), data))
    look(here, data, name)


@COMMON
@given(data=st.data(), members=MEMBERS)
def test_any_folder_of_pictures_and_tables_gets_an_answer(here, data, members):
    fresh(here)
    Path("p").mkdir()
    for name, content in [("a.png", PNG), ("b.png", PNG), *members]:
        path = Path(os.path.normpath(f"p/{name.lstrip('/')}"))
        if path.parts[0] != "p" or len(path.name.encode(errors="replace")) > 200 or len(str(path)) > 900:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(spoilt(content, data))
        except OSError:  # One of the names is a folder already.
            continue
    for name in data.draw(
        st.lists(st.sampled_from(["dataset.json", "metadata.csv", "metadata.jsonl", "x.tsv"]), max_size=2)
    ):
        Path(f"p/{name}").write_bytes(data.draw(TEXTS))
    look(here, data, "p")


@COMMON
@given(
    data=st.data(),
    rows=st.lists(st.lists(st.one_of(TEXT, st.sampled_from(["a.png", "b.png", "c.png", ""])), max_size=4)),
)
def test_any_table_gets_an_answer(here, data, rows):
    fresh(here)
    Path("p").mkdir()
    for name in "abc":
        Path(f"p/{name}.png").write_bytes(PNG)
    name = data.draw(st.sampled_from(["metadata.csv", "labels.csv", "x.tsv", "metadata.jsonl", "dataset.json"]))
    stream = io.StringIO()
    if name.endswith("sv"):
        csv.writer(stream, delimiter="\t" if name == "x.tsv" else data.draw(st.sampled_from(",;"))).writerows(rows)
    elif name.endswith("jsonl"):
        heads = data.draw(st.lists(st.sampled_from(["file_name", "label", "x"]), min_size=4, max_size=4))
        stream.write("\n".join(json.dumps(dict(zip(heads, row, strict=False))) for row in rows))
    else:
        stream.write(json.dumps({"labels": [[*row[:1], data.draw(JSON)] for row in rows]}))
    Path(f"p/{name}").write_bytes(spoilt(stream.getvalue().encode(errors="replace"), data))
    look(here, data, "p")


# Arrays and Parquet

DTYPES = ["u1", "i1", "u2", "i8", "u8", "f2", "f4", "f8", "?", "c8", "O", "S3", "U2", "M8[s]", "V4", ">i4", ">f8"]


@COMMON
@given(data=st.data())
def test_any_npz_gets_an_answer(here, data):
    fresh(here)
    draw, arrays = np.random.default_rng(0), {}
    for name in data.draw(st.sampled_from([["images"], ["images", "labels"], ["labels"], ["images", "x"], []])):
        shape = data.draw(st.lists(st.sampled_from([0, 1, 2, 3, 8, 9]), max_size=5)) if name == "x" else None
        shapes = [(2, 3, 8, 8), (2, 8, 8, 3), (2, 8, 8), (3, 1, 9, 8), (0, 1, 8, 8), (2,), (), (2, 2, 8, 8)]
        shape = shape or data.draw(st.sampled_from(shapes if name == "images" else [(2,), (3,), (2, 1), (0,)]))
        dtype = data.draw(st.sampled_from([*DTYPES, "u1", "u1", "i8", "f4"]))
        value = draw.integers(0, data.draw(st.sampled_from([2, 250, 300])), shape)
        arrays[name] = np.full(shape, Evil(), object) if dtype == "O" else value.astype(dtype)
    stream = io.BytesIO()
    packer = data.draw(st.sampled_from([np.savez, np.savez_compressed]))
    packer(stream, **arrays)
    Path("a.npz").write_bytes(spoilt(stream.getvalue(), data))
    look(here, data, "a.npz")


class Evil:
    """What leaves a mark where it is unpickled."""

    def __reduce__(self):
        return os.system, (f"touch {MARKER}",)


CELLS = {
    "binary": [PNG, b"", b"x", None], "string": ["a", "", None, "b"], "int64": [0, 1, -1, None],
    "float64": [0.5, None], "bool": [True, False], "timestamp": [0, 1], "list": [[1], []],
    "struct": [{"bytes": PNG, "path": "a"}, {"bytes": None, "path": ""}, None], "dictionary": ["a", "b", None],
}  # fmt: skip


@COMMON
@given(data=st.data())
def test_any_parquet_file_gets_an_answer(here, data):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    fresh(here)
    kinds = {
        "timestamp": pyarrow.timestamp("s"), "list": pyarrow.list_(pyarrow.int64()),
        "struct": pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()}),
        "dictionary": pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
    }  # fmt: skip
    rows, columns = data.draw(st.integers(0, 5)), {}
    names = ["image", "label", "img", "x", "file_name"]
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True)):
        kind = data.draw(st.sampled_from(["binary", "binary", "struct"] if name == "image" else [*CELLS]))
        cells = data.draw(st.lists(st.sampled_from(CELLS[kind]), min_size=rows, max_size=rows))
        columns[name] = pyarrow.array(cells, kinds.get(kind) or pyarrow.type_for_alias(kind))
    table = pyarrow.table(columns)
    if data.draw(st.booleans()):
        about = (
            {"info": {"features": {"label": {"names": data.draw(JSON)}}}}
            if data.draw(st.booleans())
            else data.draw(JSON)
        )
        table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    stream = io.BytesIO()
    parquet.write_table(
        table, stream, compression=data.draw(st.sampled_from(["none", "snappy", "zstd", "gzip"])),
        use_dictionary=data.draw(st.booleans()), row_group_size=data.draw(st.integers(1, 9)),
    )  # fmt: skip
    Path("a.parquet").write_bytes(spoilt(stream.getvalue(), data))
    look(here, data, "a.parquet")


# Pickles

PIECES = [
    *(b"(", b")", b"}", b"]", b"t", b"\x85", b"R", b"b", b"s", b"u", b"a", b"e", b"\x94", b"h\0", b"0", b"2", b"\x93"),
    *(b"K\1", b"X\1\0\0\0a", b"Q", b".", b"\x81", b"cos\nsystem\n", b"ctorch._utils\n_rebuild_tensor_v2\n"),
    *(b"cdnnlib.util\nEasyDict\n", b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n"),
]
"""Of a program for the machine that reads pickles."""


@COMMON
@given(data=st.data())
def test_any_snapshot_gets_an_answer(here, data):
    fresh(here)
    content = SNAPSHOT.read_bytes()
    evil = pickle.dumps(Evil(), protocol=data.draw(st.sampled_from([0, 2, 4])))
    how = data.draw(st.sampled_from(["real", "real", "evil", "inside", "opcodes", "random"]))
    if how == "evil":
        content = evil
    elif how == "inside":
        at = data.draw(st.integers(2, len(content) - 1))
        content = content[:at] + evil[2:-1] + content[at:]
    elif how == "opcodes":
        content = b"\x80\4" + b"".join(data.draw(st.lists(st.sampled_from(PIECES), max_size=40))) + b"."
    elif how == "random":
        content = data.draw(st.binary(max_size=200))
    Path("s.pkl").write_bytes(spoilt(content, data))
    code, _, _ = civil(here, "import", "s.pkl", "-o", "r")
    if code == 0:
        assert Path("r/run.json").exists()


# Pictures, extractors, runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A translator's run and an ordinary one, of two steps each."""
    from ganzoo.launch import start
    from ganzoo.plugins import registry
    from ganzoo.settings import resolve

    folder = tmp_path_factory.mktemp("doors")
    for model, dataset in (("tiny-translator", "small-pairs"), ("tiny", "small-digits")):
        options = {"dataset": dataset, "batch_size": 32, "loggers": (), "steps": 2}
        start(resolve(registry().get("models", model), options), registry(), folder / model)
    return folder


KINDS = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "TGA"]


@COMMON
@given(data=st.data())
def test_any_picture_to_translate_gets_an_answer(here, runs, data):
    fresh(here)
    Path("p").mkdir()
    for i in range(data.draw(st.integers(1, 3))):
        kind = data.draw(st.sampled_from(KINDS))
        mode = data.draw(st.sampled_from(["RGB", "L", "RGBA", "P", "1", "LA", "I;16", "I", "F", "CMYK"]))
        size = data.draw(st.sampled_from([(8, 8), (1, 1), (1, 300), (40, 9)]))
        try:
            content = picture(size, mode, kind)
        except (OSError, KeyError, ValueError, TypeError):  # It keeps no such pixels.
            content = PNG
        ending = data.draw(st.sampled_from([kind.lower(), "png", "jpg", "txt"]))
        Path(f"p/{data.draw(st.sampled_from(['a', 'b', 'ü ', '-c']))}{i}.{ending}").write_bytes(spoilt(content, data))
    start = data.draw(st.sampled_from(["p", str(next(Path("p").iterdir())), "nothing", "test"]))
    civil(
        here,
        "sample",
        str(runs / "tiny-translator"),
        "--from",
        start,
        "-o",
        data.draw(st.sampled_from(["o", "o.png", "o.npz"])),
    )


def safetensors_header(content, data):
    """A safetensors file with something else in its header."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    place = data.draw(st.sampled_from([p for p in paths(header) if p]))
    number = st.sampled_from([0, 1, -1, 2**31, 2**62, 10**30])
    kinds = st.sampled_from(["F32", "F64", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "F4", "C64", "X"])
    new = data.draw(st.one_of(number, kinds, JSON, st.lists(number, max_size=9)))
    text = json.dumps(put(header, place, new)).encode(errors="replace")
    told = len(text) if data.draw(st.integers(0, 9)) else data.draw(st.sampled_from([0, 1, 2**31, 2**63]))
    return struct.pack("<Q", told) + text + content[8 + length :]


@COMMON
@given(data=st.data())
def test_any_run_of_a_stranger_gets_an_answer(here, runs, data):
    fresh(here)
    name = data.draw(st.sampled_from(["tiny", "tiny-translator"]))
    shutil.copytree(runs / name, "r")
    file = data.draw(st.sampled_from(["generator.safetensors", "config.json", "run.json", "link", "missing"]))
    if file == "link":
        victim = data.draw(st.sampled_from(["generator.safetensors", "config.json", "checkpoints", "samples"]))
        shutil.rmtree(f"r/{victim}") if Path(f"r/{victim}").is_dir() else Path(f"r/{victim}").unlink()
        Path(f"r/{victim}").symlink_to(data.draw(st.sampled_from(["/etc/passwd", "..", victim, "/dev/zero"])))
    elif file == "missing":
        Path(f"r/{data.draw(st.sampled_from(['generator.safetensors', 'config.json', 'run.json']))}").unlink()
    elif file.endswith("safetensors"):
        content = Path(f"r/{file}").read_bytes()
        kept = safetensors_header(content, data) if data.draw(st.booleans()) else spoilt(content, data)
        Path(f"r/{file}").write_bytes(kept)
    else:
        value = json.loads(Path(f"r/{file}").read_text())
        place = data.draw(st.sampled_from(list(paths(value))))
        Path(f"r/{file}").write_text(json.dumps(put(value, place, data.draw(JSON))))
    begin = ("run", "tiny", "--dataset", "small-digits", "--batch-size", "32", "--dry-run", "--init-from", "r")
    commands = [("sample", "r", "-n", "2", "-o", "a.png"), ("info", "r"), ("export", "r", "-o", "a.safetensors"), begin]
    commands.append(("eval", "r", "--features", "look", "--metrics", "accuracy", "--n", "4", "-o", "e.json"))
    if name == "tiny-translator":
        commands[0] = ("sample", "r", "--from", "test", "-n", "2", "-o", "o")
    civil(here, *data.draw(st.sampled_from(commands)))


@COMMON
@given(data=st.data())
def test_any_extractors_file_gets_an_answer(here, runs, data):
    fresh(here)
    source = Path(sys.modules["ganzoo_plugins.digits"].__file__).parent / "digits.safetensors"
    content = source.read_bytes()
    how = data.draw(st.sampled_from(["header", "header", "spoilt", "other"]))
    if how == "header":
        content = safetensors_header(content, data)
    elif how == "spoilt":
        content = spoilt(content, data)
    else:
        content = save({"a": torch.zeros(3)}, {"x": "y"})
    Path("e.safetensors").write_bytes(content)
    civil(
        here,
        "eval",
        str(runs / "tiny"),
        "--features",
        "e.safetensors",
        "--n",
        "4",
        "--metrics",
        "accuracy",
        "-o",
        "e.json",
    )


SOME_WORDS = """
ada diffaugment r1 r2 lecam consistency topk none nosuch : , = gamma every p speed target weight policy 1 0 -1 1e9 nan
inf 16 0.5 color x ٣ ada:p=0.5 r1:gamma=1,every=16
"""
WORDS = st.one_of(st.sampled_from(SOME_WORDS.split()), st.just(" "))


@COMMON
@given(
    option=st.sampled_from(["--augment", "--regularise"]),
    texts=st.lists(st.one_of(st.lists(WORDS, max_size=7).map("".join), TEXT), min_size=1, max_size=3),
)
def test_any_ingredient_gets_an_answer(here, option, texts):
    given_ = [word for text in texts for word in (f"{option}={text}",)]
    civil(here, "run", "plain", "--dataset", "small-digits", "--batch-size", "32", "--dry-run", *given_)
