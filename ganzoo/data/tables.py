"""Tables of pictures and what is known of them: CSV, TSV and JSON lines, however they were written."""

import csv
import io
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from ganzoo.data.imagefiles import ENDINGS
from ganzoo.data.splits import TESTING, TRAINING
from ganzoo.data.tree import Tree, some
from ganzoo.errors import UsageError, one_line, plain
from ganzoo.files import from_json

FEW_CLASSES = 10
"""A column with up to so many values, or half as many as it has rows, may hold classes."""
NO_COLUMN = "none"
MOST_COLUMNS, MOST_CELLS = 1000, 50_000_000
"""Of a table: memory for rows times columns is taken, whatever rows hold."""
FILE_COLUMNS = (
    "file_name", "filename", "file", "image", "image_name", "path", "filepath", "file_path", "image_path", "img",
    "image_id", "id",
)  # fmt: skip
"""Titles of columns that name pictures, whatever their case; of several that do, the first in this order is taken."""
SPLIT_COLUMNS = ("split", "subset", "partition", "fold", "set")
SPLIT_QUESTIONS = ("is_train", "is_training", "is_test", "is_val", "is_valid", "train", "test", "val")
"""Titles of columns that tell splits by yes and no, which are not read."""
DELIMITERS = ",;\t|"
LOOKED_AT = 20
"""Rows that tell which delimiter is used."""
MISSING = ("NaN", "nan", "None", "NA", "<NA>", "N/A", "n/a", "NULL", "null", "#N/A")
"""What programs write where there is no value; `none` may be a class."""


class Labels(NamedTuple):
    """What a file, or files, say of pictures."""

    of: dict[str, str] | None
    """The class by the picture's name; None: they tell of no classes."""
    told: str
    """Where they come from, in words."""
    format: str
    splits: dict[str, str] = {}
    """What the split of each is called, by the picture's name."""
    splits_told: str = ""
    """Where those come from, in words."""
    by: str = ""
    """The column that names the pictures, in words."""
    missing: str = ""
    """What stands for no label, in words."""


class Table(NamedTuple):
    """Rows of a table, told by the pictures that they are of."""

    files: list[str]
    """The picture of each row."""
    file_column: str
    columns: dict[str, list[str]]
    nested: list[str] = []
    """Columns that hold lists or objects, which are no classes; they are not among the others."""


def clean(value: str) -> str:
    """A picture's name as tables write it, as a name in a tree."""
    return unicodedata.normalize("NFC", value.strip().replace("\\", "/").removeprefix("./"))


def absent(where: str, names: list[str]) -> None:
    """Raises UsageError where `names`, which are not those of pictures, are any."""
    if names:
        raise UsageError(f"{where} names pictures that are not there ({len(names):,}): {some(quoted(names))}")


def once(where: str, twice: list[str]) -> None:
    """Raises UsageError where pictures were named twice."""
    if twice:
        raise UsageError(f"{where} names pictures twice ({len(twice):,}): {some(twice)}")


# Which picture a row is of


class Way(NamedTuple):
    """How values of a column name pictures."""

    key: Callable[[str], str]
    """What is looked up of a value."""
    names: dict[str, str]
    """The picture's name in the tree, by what is looked up."""


def table(tree: Tree, name: str, names: list[str], place: str, notes: list[str]) -> Table | None:
    """The table in a file; None, and a note, where no column names pictures.

    Args:
        tree: where it lies.
        name: of the file.
        names: of the pictures that it may name, which are those below `place`.
        place: the folder that it lies in, `/` at its end; empty at the top.
        notes: is added to.

    Raises:
        UsageError: it is damaged, or names pictures that are not there, or two columns may name them.
    """
    where, base = f"{tree.root / name}", name.removeprefix(place).lower()
    huggingface = base in ("metadata.csv", "metadata.jsonl")
    ways = [Way(lambda value: value, {clean(n.removeprefix(place)): n for n in names})]
    if not huggingface:
        ways += [
            Way(lambda value: value, _only(names, lambda n: PurePosixPath(n).name)),
            # Paths of another machine, and names in another case or with another ending.
            Way(_base, _only(names, lambda n: PurePosixPath(n).name.casefold())),
            Way(_stem, _only(names, _stem)),
            # Last: a count of rows, or a class, may be the stem of some picture.
            Way(lambda value: value, _only(names, lambda n: PurePosixPath(n).stem)),
        ]
    known = set().union(*(way.names for way in ways))
    columns, nested = _columns(tree, name, where, known)
    if huggingface and "file_name" not in columns:
        raise UsageError(f"{where} has no column `file_name` (it has: {some([*columns])})")
    if huggingface and (bare := [i for i, value in enumerate(columns["file_name"], 1) if not value.strip()]):
        raise UsageError(f"{where}: {len(bare):,} rows have no `file_name`, the first of them row {bare[0]}")
    # Each value is looked at once: in most columns there are few.
    cleaned = {c: {v: clean(v) for v in {*columns[c]}} for c in (["file_name"] if huggingface else columns)}
    best = "", 0
    for way in ways:
        found = {
            column: {v: file for v, plainly in of.items() if (file := way.names.get(way.key(plainly))) is not None}
            for column, of in cleaned.items()
        }
        hits = {c: sum(v in of for v in columns[c]) if of else 0 for c, of in found.items()}
        fits = [c for c in found if columns[c] and (huggingface or hits[c] * 2 > len(columns[c]))]
        best = max([best, *((c, n) for c, n in hits.items())], key=lambda pair: pair[1])
        if fits:
            column = _file_column(where, fits, {c: len(columns[c]) - hits[c] for c in fits})
            absent(where, [cleaned[column][v] for v in columns[column] if v not in found[column]])
            files = [found[column][v] for v in columns[column]]
            once(where, [file for file, count in Counter(files).items() if count > 1])
            return Table(files, column, columns, nested)
    why = "none of its columns names the pictures"
    if best[1]:
        why += f" ('{plain(best[0])[:80]}' names {best[1]:,} with {len(columns[best[0]]):,} rows)"
    elif names and any(columns.values()):
        column, values = next((c, v) for c, v in columns.items() if v)
        why += f" ('{plain(column)[:80]}' has '{plain(clean(values[0]))[:80]}', a picture is {plain(names[0])[:80]})"
    notes.append(f"{where} is not used: {why}")
    return None


def _file_column(where: str, fits: list[str], missing: Mapping[str, int]) -> str:
    """The column that names the pictures, of those that may."""
    usual = [title for title in FILE_COLUMNS for c in fits if c.casefold() == title]
    if usual:
        return next(c for c in fits if c.casefold() == usual[0])
    titled = [c for c in fits if c and not c.startswith("Unnamed:")] or fits  # Those without are counts of rows.
    best = [c for c in titled if not missing[c]] or titled
    if len(best) > 1:
        raise UsageError(
            f"{where} has several columns that may name the pictures ({some(best)}): call the one that does `file_name`"
        )
    return best[0]


def _only(names: list[str], key: Callable[[str], str]) -> dict[str, str]:
    """Names by what is theirs alone."""
    keys = [clean(key(name)) for name in names]
    count = Counter(keys)
    return {k: name for k, name in zip(keys, names, strict=True) if count[k] == 1}


def _base(value: str) -> str:
    """A path's last part in lower case, where it is one of a picture."""
    return PurePosixPath(value).name.casefold() if value.lower().endswith(ENDINGS) else ""


def _stem(value: str) -> str:
    return PurePosixPath(_base(value)).stem


# Rows and columns


def _columns(tree: Tree, name: str, where: str, known: set[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The columns of a table by their names, and those that hold lists or objects."""
    text = tree.text(name)
    return _json_lines(text, where) if name.lower().endswith(".jsonl") else (_csv(text, name, where, known), [])


def _json_lines(text: str, where: str) -> tuple[dict[str, list[str]], list[str]]:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text.split("\n"), 1):  # Not splitlines: text may hold other ends of lines.
        if line.strip():
            try:
                row = from_json(line.encode())
            except (ValueError, RecursionError) as error:
                raise UsageError(f"{where}, line {number}, is not valid JSON: {one_line(error)[:200]}") from error
            if not isinstance(row, dict):
                raise UsageError(f"{where}, line {number}, is no JSON object")
            rows.append(row)
    keys = dict.fromkeys(key for row in rows for key in row)
    _few_columns(where, len(keys), len(rows))
    nested = [key for key in keys if any(isinstance(row.get(key), list | dict) for row in rows)]
    return {str(key): [_text(row.get(key)) for row in rows] for key in keys if key not in nested}, nested


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _csv(text: str, name: str, where: str, known: set[str]) -> dict[str, list[str]]:
    first, _, rest = text.partition("\n")
    told = re.fullmatch(r"(?i)sep=(.)", first.strip("\r\n "))  # Excel's.
    if told:
        text = rest
    delimiter = told[1] if told else "\t" if name.lower().endswith(".tsv") else _delimiter(text)
    try:
        lines = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    except csv.Error as error:
        raise UsageError(f"{where} is damaged: {one_line(error)}") from error
    while lines and lines[0][0].startswith("#") and any(len(row) > len(lines[0]) for row in lines[:LOOKED_AT]):
        lines = lines[1:]  # A comment.
    if not lines:
        return {}
    head = [cell.strip() for cell in lines[0]]
    _few_columns(where, len(head), len(lines))
    if any(_is_of_a_picture(cell, known) and _names_pictures(lines[1:], i, known) for i, cell in enumerate(head)):
        # Its first row is of a picture: there is no header.
        head = [str(i + 1) for i in range(len(head))]
    else:
        lines = lines[1:]
    for number, cells in enumerate(lines, 1):
        if len(cells) > len(head):
            raise UsageError(f"{where}, row {number}, has {len(cells)} values, and there are {len(head)} columns")
    columns = [(title, [row[i].strip() if i < len(row) else "" for row in lines]) for i, title in enumerate(head)]
    columns = [(title, values) for title, values in columns if title or any(values)]
    count = Counter(title for title, _ in columns)
    if len(count) < len(columns):
        twice = [title or "(none)" for title, n in count.items() if n > 1]
        raise UsageError(f"{where} has two columns of one name: {some(twice)}")
    return dict(columns)


def _is_of_a_picture(cell: str, known: set[str]) -> bool:
    """Whether a cell names a picture, be it one that is not there; titles of columns do not end as files do."""
    return clean(cell) in known or cell.lower().endswith(ENDINGS)


def _names_pictures(lines: list[list[str]], column: int, known: set[str]) -> bool:
    """Whether most cells of a column are names of pictures; of one row it is thought so."""
    cells = [row[column] for row in lines if column < len(row)]
    return 2 * sum(clean(cell) in known for cell in cells) >= len(cells)


def _delimiter(text: str) -> str:
    """The one that parts the first lines into equally many cells, most of them where several do."""

    def cells(delimiter: str) -> tuple[int, int]:
        try:
            rows = [
                len(row) for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), LOOKED_AT)
            ]
        except csv.Error:
            return 0, 0
        count, times = Counter(n for n in rows if n).most_common(1)[0] if any(rows) else (1, 0)
        return (times, count) if count > 1 else (0, 0)

    return max(DELIMITERS, key=cells)


def _few_columns(where: str, count: int, rows: int) -> None:
    if count > MOST_COLUMNS:
        raise UsageError(f"{where} has {count:,} columns, more than {MOST_COLUMNS:,}")
    if count * rows > MOST_CELLS:
        raise UsageError(f"{where} has {rows:,} rows of {count:,} columns, more than {MOST_CELLS:,} values")


# What is known of a picture


def labels_in(
    where: str, name: str, held: Table, label_column: str | None, notes: list[str], folders: bool = False
) -> Labels | None:
    """What the columns of a table say: the classes, and the split where one says it; None where none says either.

    Args:
        where: the table, in words.
        name: the same, shorter.
        held: its rows.
        label_column: the column with the classes; `none`: no column has them; None: the only one that may.
        notes: is added to.
        folders: whether the pictures lie in folders of classes, beside which a column of one value is none.

    Raises:
        UsageError: there is no such column, or there are several that may hold classes.
    """
    others = [column for column in held.columns if column != held.file_column]
    splits, about_splits = _splits(held, others)
    splits_told = f"column '{about_splits[0]}' of {name}" if splits else ""
    chosen = label_column
    usual = held.file_column.casefold() in ("", *FILE_COLUMNS[:3])
    by = "" if usual else f", by its column '{plain(held.file_column)[:80]}'"
    if label_column is not None and label_column != NO_COLUMN:
        if label_column in held.nested:
            raise UsageError(f"--label-column {label_column}: in {where} it holds lists or objects, no classes")
        if label_column not in others:
            raise UsageError(f"--label-column {label_column}: {where} has no such column (it has: {some(others)})")
    elif label_column is None:
        kinds = {c: set(held.columns[c]) - {"", *MISSING} for c in others if c not in about_splits}
        most = max(1, min(len(held.files) - 1, max(FEW_CLASSES, len(held.files) // 2)))
        few = [column for column, values in kinds.items() if (1 if folders else 0) < len(values) <= most]
        if len(few) > 1:
            raise UsageError(
                f"{where} has several columns that may hold classes ({some(few)}): name one with --label-column, or "
                f"--label-column {NO_COLUMN}"
            )
        if not few and not splits:
            has = some([*others, *held.nested]) or "no others"
            notes.append(f"no column of {where} ({has}) looks like classes: pictures have none of it")
        chosen = few[0] if few else None
    notes += _passed_over(held, [c for c in others if c not in (chosen, *about_splits[:1])], name)
    if chosen is None or chosen == NO_COLUMN:
        return Labels(None, name, "a table", splits, splits_told, by) if splits else None
    values, missing = known_classes(held.columns[chosen])
    if folders:
        notes.append(f"folders are no classes, for {where} tells of them (--label-column {NO_COLUMN}: folders are)")
    of = dict(zip(held.files, values, strict=True))
    return Labels(of, f"column '{plain(chosen)[:80]}' of {name}", "a table", splits, splits_told, by, missing)


def _splits(held: Table, others: list[str]) -> tuple[dict[str, str], list[str]]:
    """The split's word of each picture, where a column says it; and the columns that tell of splits, that one first.

    Such a column holds nothing but names of splits, or some of both: what has another value there is in no split.
    """
    told = [c for c in others if c.casefold() in SPLIT_COLUMNS]
    both = [c for c in told if _tells_both(held.columns[c])]
    words = {*TRAINING, *TESTING}
    found = both + [c for c in told if c not in both and {v.casefold() for v in held.columns[c]} <= words]
    if not both:
        return {}, found
    return {file: value.casefold() for file, value in zip(held.files, held.columns[both[0]], strict=True)}, found


def _tells_both(values: list[str]) -> bool:
    kinds = {value.casefold() for value in set(values)}
    return not kinds.isdisjoint(TRAINING) and not kinds.isdisjoint(TESTING)


def _passed_over(held: Table, columns: list[str], name: str) -> list[str]:
    """A line on each of these columns that seems to tell of splits, for it splits nothing."""
    lines = []
    for column in columns:
        kinds = sorted(set(held.columns[column]))
        told = f"column '{plain(column)[:80]}' of {name}"
        if column.casefold() in (*SPLIT_COLUMNS, *SPLIT_QUESTIONS) and len(kinds) > 1:
            lines.append(f"{told} splits nothing, for it holds {some(quoted(kinds))}: write train and test there")
        elif _tells_both(kinds):
            lines.append(f"{told} holds names of splits and splits nothing: call it `split`")
    return lines


def quoted(values: list[str]) -> list[str]:
    """Values of a column, in which one sees that one is empty."""
    return [value or "''" for value in values]


def known_classes(values: list[str]) -> tuple[list[str], str]:
    """Classes of a column, none as '', whole numbers without `.0`; and what stood for none, in words.

    Whole numbers with gaps are floats in many programs; and systems write one letter in several ways.
    """
    kinds = set(values)
    missing = sorted(kinds & set(MISSING))
    kept = kinds - {"", *missing}
    as_text = {kind: unicodedata.normalize("NFC", kind) for kind in kept} | dict.fromkeys(missing, "")
    if kept and all(re.fullmatch(r"[+-]?\d{1,15}(\.0*)?", kind, re.ASCII) for kind in kept):
        as_text |= {kind: str(math.trunc(float(kind))) for kind in kept if "." in kind}
    return [as_text.get(value, "") for value in values], f", where {some(missing)} is none" if missing else ""
