"""Parquet files with the bytes of images in them, as Hugging Face has them; read where pyarrow is installed."""

import io
from decimal import Decimal
from importlib import import_module
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ganzoo.data.archives import BOMB, LARGEST_UNPACKED, Held, Source, stamp_of
from ganzoo.data.tree import distinct
from ganzoo.errors import UsageError, one_line, plain
from ganzoo.files import from_json, memory, regular

MOST_ROWS, MOST_CELLS = 2_000_000, 50_000_000
"""Rows of a file, and values beside and with images: memory is taken for each, and a file of any size can tell of any
number."""
BROKEN = "\0"
"""Stands for a number that is not whole, in whose column there are no classes."""
USUAL = ("image", "img")
"""The column that is meant where several hold bytes."""


class Rows(NamedTuple):
    """What is in the files, row by row."""

    names: list[str]
    """FILE/ROW of each, or FOLDER/FILE/ROW: unique, and the same whenever the file is read."""
    sources: list[Source]
    files: list[str]
    """The file that each row is in, by its name below the root."""
    columns: dict[str, list[str]]
    """The other columns that hold text or whole numbers; numbers of named classes as their names, none as ''.

    A column of whole numbers with gaps is one of floats in many programs.
    """
    unread: list[str]
    """The columns that hold neither."""
    notes: list[str]
    """What a user should know of them, a line each."""


def read_parquet(root: Path, files: list[str]) -> Rows:
    """The images in Parquet files and what stands beside them; all are held in memory.

    `files` are their names below `root`.

    Raises:
        UsageError: pyarrow is not installed; or a file is damaged, too large, or holds no bytes of images.
    """
    try:
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError:
        raise UsageError(f"{root / files[0]}: Parquet is read with pyarrow: `pip install 'ganzoo[parquet]'`") from None
    found = Rows([], [], [], {}, [], [])
    left = min(LARGEST_UNPACKED, memory() // 4)
    unique = len({PurePosixPath(name).stem for name in files}) == len(files)
    for name in files:
        path = root / name
        short = PurePosixPath(name).stem if unique else str(PurePosixPath(name).with_suffix(""))
        try:
            with regular(path) as stream:
                left = _append(found, path, name, short, parquet, stream, left)
        except (UsageError, MemoryError):
            raise
        except Exception as error:  # pyarrow's kinds are many.
            raise UsageError(f"{path} is damaged, or no Parquet file: {one_line(error)[:200]}") from error
    for name in [name for name, texts in found.columns.items() if BROKEN in texts]:
        del found.columns[name]
        found.unread.append(name)
    return found


def _append(found: Rows, path: Path, name: str, short: str, parquet: Any, stream: Any, left: int) -> int:
    """Add the rows of a file to those found, if they take no more than `left` bytes; how many bytes are left then.

    `short` is what its rows are named by. What a file has not that others have, is empty in its rows.

    Columns of bytes and text are read as lists of different values and an index for each row: a value that is stored
    once may be named by a million rows.
    """
    mark, first = stamp_of(path), parquet.ParquetFile(stream)
    schema, about = first.schema_arrow, first.metadata
    image, named = _image_column(path, schema), _class_names(schema)
    named = {title: distinct(names, f"column '{plain(title)[:80]}'", found.notes) for title, names in named.items()}
    kept = [f.name for f in schema if f.name != image and _is_plain(str(f.type))]
    if about.num_rows > MOST_ROWS or about.num_rows * (1 + len(kept)) > MOST_CELLS:
        raise UsageError(f"{path} has {about.num_rows:,} rows of {1 + len(kept)} columns, more than are read")
    if sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups)) > left:
        raise UsageError(f"{path}: Parquet files of more than {left:,} bytes are not held in memory")
    before = len(found.names)
    for column in kept:
        found.columns.setdefault(column, [""] * before)
    found.unread.extend([f.name for f in schema if f.name not in (image, *kept, *found.unread)])
    leaves = [first.schema.column(i) for i in range(len(first.schema))]
    listed = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    (times, least), row, claimed, size = BOMB, 0, 0, stream.seek(0, io.SEEK_END)
    stream.seek(0)
    # By whole groups: the list of a part is that of all parts before it, too. And one by one: within structs pyarrow
    # puts the lists of several together wrongly.
    file, columns = parquet.ParquetFile(stream, read_dictionary=listed), [image, *kept]
    groups = (file.iter_batches(MOST_ROWS, row_groups=[i], columns=columns) for i in range(about.num_row_groups))
    for batch in chain.from_iterable(groups):
        column = batch.column(image)
        structs = str(column.type).startswith("struct")
        different, which = _listed(column.field("bytes") if structs else column)
        if structs and not any(different) and column.type.get_field_index("path") >= 0:
            paths = [value for value in column.field("path").to_pylist() if value]
            if paths:
                told = f"but paths of them ({plain(str(paths[0]))[:100]}): save it with the images in it"
                raise UsageError(f"{path} holds no bytes of images, {told}")
        left -= sum(len(data) for data in different if data)
        claimed += sum(len(different[place] or b"") for place in which if place is not None)
        if claimed > max(least, times * size):
            raise UsageError(f"{path} is refused: {size:,} bytes claim to hold images of {claimed:,} (a bomb?)")
        if left < 0 or row + len(which) > about.num_rows:
            raise UsageError(f"{path} holds more than it says, or more than is held in memory")
        for place in which:
            found.names.append(f"{short}/{row:08d}")
            found.files.append(name)
            # Without bytes it is a broken picture.
            found.sources.append(
                Held(f"row {row + 1} of {path}", (place is not None and different[place]) or b"", mark)
            )
            row += 1
        for title in kept:
            values, which = _listed(batch.column(title))
            texts = _texts(f"{path}: column '{plain(title)[:80]}'", values, named.get(title, []))
            left -= sum(map(len, texts))
            found.columns[title] += ["" if place is None else texts[place] for place in which]
    if len(found.columns) * len(found.names) > MOST_CELLS:
        raise UsageError(f"{path} and those before it have {len(found.columns):,} columns, more than are read")
    for texts in found.columns.values():
        texts += [""] * (len(found.names) - len(texts))
    return left


def _listed(column: Any) -> tuple[list[Any], list[int | None]]:
    """The different values of a column, and which of them each row has; None where it has none."""
    if (kind := str(column.type)).endswith("_view"):  # Which have no such lists.
        column = column.cast(f"large_{kind.removesuffix('_view')}")
    if not str(column.type).startswith("dictionary"):
        column = column.dictionary_encode()
    return column.dictionary.to_pylist(), column.indices.to_pylist()


def _image_column(path: Path, schema: Any) -> str:
    kinds = {f.name: str(f.type) for f in schema}
    fits = [f.name for f in schema if _holds_bytes(f.type)]
    chosen = [name for name in fits if name in USUAL] if len(fits) > 1 else fits
    if len(chosen) != 1:
        what = f"several columns of bytes ({', '.join(fits)})" if fits else f"no column of bytes ({', '.join(kinds)})"
        raise UsageError(f"{path} has {plain(what)[:200]}: images are bytes in a column named 'image'")
    return chosen[0]


def _holds_bytes(kind: Any) -> bool:
    """Whether a column is of bytes, or of structs with a field `bytes`."""
    if str(kind).startswith("struct<"):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_bytes(kind[place].type)
    kinds = ("binary", "large_binary", "binary_view")
    return str(kind) in kinds or (str(kind).startswith("dictionary") and str(kind.value_type) in kinds)


def _is_plain(kind: str) -> bool:
    texts = kind in ("string", "large_string", "string_view", "bool")
    return texts or kind.startswith(("int", "uint", "dictionary", "float", "double", "halffloat", "decimal"))


def _class_names(schema: Any) -> dict[str, list[str]]:
    """The names of classes by column, where Hugging Face's description of the columns has them."""
    try:
        features = from_json((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            name: [str(title) for title in about["names"]]
            for name, about in features.items()
            if isinstance(about, dict) and isinstance(about.get("names"), list)
        }
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


def _texts(where: str, values: list[Any], titles: list[str]) -> list[str]:
    """Values of a column as text; raises UsageError where a class without a name is a number that names another."""
    beyond = [v for v in values if titles and isinstance(v, int) and v >= len(titles) and str(v) in titles]
    if beyond:
        raise UsageError(f"{where} has class {beyond[0]} without a name, and another class is called so: name both")
    return [_text(value, titles) for value in values]


def _text(value: Any, titles: list[str]) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float | Decimal):
        if value % 1 != 0:
            return BROKEN
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and titles:
        return titles[value] if 0 <= value < len(titles) else "" if value < 0 else str(value)  # -1: not labelled.
    return str(value).strip()
