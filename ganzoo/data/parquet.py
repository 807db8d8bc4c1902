"""Parquet files with the bytes of images in them, as Hugging Face has them; read where pyarrow is installed."""

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ganzoo.data.archives import LARGEST_UNPACKED, Held, Source, stamp_of
from ganzoo.errors import UsageError, one_line, plain
from ganzoo.files import from_json, memory, regular

USUAL = ("image", "img")
"""The column that is meant where several hold bytes."""


class Rows(NamedTuple):
    """What is in the files, row by row."""

    names: list[str]
    """FILE/ROW of each: unique, and the same whenever the file is read."""
    sources: list[Source]
    files: list[str]
    """The name of the file that each row is in."""
    columns: dict[str, list[str]]
    """The other columns that hold text or whole numbers; numbers of named classes as their names, none as ''."""


def read_parquet(paths: list[Path]) -> Rows:
    """The images in Parquet files and what stands beside them; all are held in memory.

    Raises:
        UsageError: pyarrow is not installed; or a file is damaged, too large, or holds no bytes of images.
    """
    try:
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError:
        raise UsageError(f"{paths[0]}: Parquet is read with pyarrow: `pip install 'ganzoo[parquet]'`") from None
    found = Rows([], [], [], {})
    left = most = min(LARGEST_UNPACKED, memory() // 4)
    for path in paths:
        try:
            with regular(path) as stream:
                file = parquet.ParquetFile(stream)
                left -= sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
                if left < 0:
                    raise UsageError(f"{path}: Parquet files of more than {most:,} bytes are not held in memory")
                _append(found, path, file, stamp_of(path))
        except (UsageError, MemoryError):
            raise
        except Exception as error:  # pyarrow's kinds are many.
            raise UsageError(f"{path} is damaged, or no Parquet file: {one_line(error)[:200]}") from error
    return found


def _append(found: Rows, path: Path, file: Any, mark: str) -> None:
    schema, image = file.schema_arrow, _image_column(path, file.schema_arrow)
    named = _class_names(schema)
    kept = [f.name for f in schema if f.name != image and _is_plain(str(f.type))]
    if found.columns and set(found.columns) != set(kept):
        raise UsageError(f"{path} has other columns than the files before it: {plain(', '.join(kept))[:200]}")
    if not found.columns:
        found.columns.update({name: [] for name in kept})
    row = 0
    for batch in file.iter_batches(batch_size=1024, columns=[image, *kept]):
        values = batch.to_pydict()
        for value in values[image]:
            data = value.get("bytes") if isinstance(value, dict) else value
            if not data:
                raise UsageError(f"{path}, row {row + 1}, holds no bytes of an image in column '{image}'")
            name = f"{path.stem}/{row:08d}"
            found.names.append(name)
            found.files.append(path.name)
            found.sources.append(Held(f"row {row + 1} of {path}", data, mark))
            row += 1
        for name in kept:
            titles = named.get(name, [])
            found.columns[name] += [_text(value, titles) for value in values[name]]


def _image_column(path: Path, schema: Any) -> str:
    kinds = {f.name: str(f.type) for f in schema}
    fits = [n for n, kind in kinds.items() if kind in ("binary", "large_binary") or kind.startswith("struct<bytes: ")]
    chosen = [name for name in fits if name in USUAL] if len(fits) > 1 else fits
    if len(chosen) != 1:
        what = f"several columns of bytes ({', '.join(fits)})" if fits else f"no column of bytes ({', '.join(kinds)})"
        raise UsageError(f"{path} has {plain(what)[:200]}: images are bytes in a column named 'image'")
    return chosen[0]


def _is_plain(kind: str) -> bool:
    return kind.startswith(("int", "uint", "dictionary")) or kind in ("string", "large_string", "bool")


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


def _text(value: Any, titles: list[str]) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and titles:
        return titles[value] if 0 <= value < len(titles) else "" if value < 0 else str(value)  # -1: not labelled.
    return str(value)
