"""The layouts in which people keep pictures and their classes, recognised without being told.

A folder, a zip and a tar are read alike: each is a tree of names. Where the classes are is asked of the tree: in a
`dataset.json` (StyleGAN's), a `metadata.csv` or `metadata.jsonl` (Hugging Face's), another CSV of files and labels, in
`.cls` files beside the pictures (webdataset's), or in the folders. An `.npz` holds images as they are.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ganzoo.data.archives import Pixels, Source, is_archive, members, stamp_of
from ganzoo.data.arrays import read_npz
from ganzoo.data.imagefiles import ENDINGS
from ganzoo.data.parquet import read_parquet
from ganzoo.data.sides import look_paired, paired, unpaired
from ganzoo.data.tree import (
    TABLES,
    TESTING,
    TRAINING,
    Pictures,
    Tree,
    by_beginning,
    class_order,
    shards,
    some,
    walked,
    within,
)
from ganzoo.errors import UsageError, one_line, plain
from ganzoo.files import from_json

MOST_CLASSES = 10_000
FEW_CLASSES = 10
"""A column with up to so many values, or half as many as it has rows, may hold classes."""
NO_COLUMN = "none"
MOST_COLUMNS, MOST_CELLS = 1000, 50_000_000
"""Of a table: memory for rows times columns is taken, whatever rows hold."""
LONGEST_CLS = 2**12
"""Bytes of a `.cls` file."""


def read_pictures(
    root: Path, label_column: str | None = None, skip_unlabelled: bool = False, folders_only: bool = False,
    pairs: bool = False,
) -> Pictures:  # fmt: skip
    """The pictures in a folder, a zip, a tar or an `.npz`, and their classes.

    Args:
        root: where they are.
        label_column: the column of a table that holds the classes; `none`: no column does.
        skip_unlabelled: whether pictures without a class are left out where others have one.
        folders_only: whether folders alone say what the classes are, in the order of their names as text, and splits
            are folders named `train` and `test`, as in version 0.1.0.
        pairs: whether folders A and B hold what is to be made from each other. CycleGAN's folders are always known.

    Raises:
        UsageError: there are none, or it is not clear what is meant; in one line.
    """
    if not root.exists():
        raise UsageError(f"there is no folder {root}" if not root.suffix else f"there is no file or folder {root}")
    if root.is_dir():
        tree, notes = walked(root)
        if not folders_only and not tree.pictures:
            parquet = [root / name for name in tree.files if name.lower().endswith(".parquet")]
            if parquet:
                return _parquet(root, parquet, label_column, skip_unlabelled)
            tree = shards(tree, notes)
    elif root.suffix.lower() == ".npz":
        if label_column not in (None, NO_COLUMN):
            raise UsageError(f"--label-column is for tables of labels: {root} has none")
        return _arrays(root)
    elif is_archive(root):
        files, left_out = members(root)
        tree = Tree("a zip" if root.suffix.lower() == ".zip" else "a tar", root, within(files))
        notes = [f"{left_out} links or devices in {root} are left out"] if left_out else []
    elif root.suffix.lower() == ".parquet":
        return _parquet(root.parent, [root], label_column, skip_unlabelled)
    else:
        raise UsageError(f"--data-root {root} is not a folder, and no .zip, .tar or .npz of pictures either")
    if not tree.pictures:
        hint = f"; {notes[0]}" if notes else ""
        raise UsageError(f"no images in {root} (looked for {' '.join(ENDINGS)}){hint}")
    if pairs:
        found = paired(tree)
    else:
        sets = None if folders_only else unpaired(tree)
        found = sets or _labelled(tree, label_column, skip_unlabelled, folders_only)
        if not folders_only and look_paired(tree):
            notes.append("A and B are taken for classes; their pictures have equal names: --layout pairs for pairs")
    return Pictures(
        found.format, found.names, found.sources, found.labels, found.splits, notes + found.notes,
        found.partners, found.others,
    )  # fmt: skip


def _arrays(path: Path) -> Pictures:
    images, labels = read_npz(path)
    try:
        mark = stamp_of(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    c, h, w = images.shape[1:]
    header = f"P{5 if c == 1 else 6} {w} {h} 255\n".encode()  # Each as a PGM or PPM file: a few bytes and the pixels.
    names = [f"{i:06d}" for i in range(len(images))]
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    sources: list[Source] = [
        Pixels(f"image {name} in {path}", header + pixels[i].tobytes(), mark) for i, name in enumerate(names)
    ]
    classes = None if labels is None else [str(label) for label in labels.tolist()]
    return Pictures(f"an .npz of images{' and labels' if classes else ''}", names, sources, classes)


def _parquet(root: Path, paths: list[Path], label_column: str | None, skip_unlabelled: bool) -> Pictures:
    """Parquet files, split by how their names begin, as Hugging Face's are."""
    split, unused = by_beginning(path.name for path in paths)
    notes = [f"beside the files of the two splits, {some(unused)} are left out"] if unused else []
    paths = [path for path in paths if not split or path.name in split]
    if len({path.name for path in paths}) < len(paths):
        raise UsageError(f"{root} holds two Parquet files of one name: give one of their folders")
    rows = read_parquet(paths)
    where = str(paths[0]) if len(paths) == 1 else f"{root}/*.parquet"
    files: dict[str, Source] = dict(zip(rows.names, rows.sources, strict=True))
    if not files:
        raise UsageError(f"no images in {where}: it has no rows")
    splits = [split[file] for file in rows.files] if split else None
    table = Table(rows.names, "image", rows.columns)
    labels = _column(where, Path(where).name, table, label_column, notes) if rows.columns else None
    told = f" (beside {some(rows.unread)})" if rows.unread else ""
    if label_column not in (None, NO_COLUMN) and labels is None:
        raise UsageError(f"--label-column {label_column}: {where} has no column of text or whole numbers{told}")
    if labels is None and rows.unread:
        notes.append(f"columns of {where} that hold neither text nor whole numbers are not used{told}")
    found = Pictures("Parquet, without classes", rows.names, rows.sources, None, splits, notes)
    return found if labels is None else _with_labels(found, labels, "Parquet", where, skip_unlabelled)


# Splits and classes


class Labels(NamedTuple):
    """What a file, or files, say of pictures."""

    of: dict[str, str]
    """The class by the picture's name."""
    told: str
    """Where they come from, in words."""
    format: str


def _labelled(tree: Tree, label_column: str | None, skip_unlabelled: bool, folders_only: bool) -> Pictures:
    notes: list[str] = []
    tops = _splits(tree, folders_only, notes)
    names = [name for name in tree.pictures if not tops or name.split("/")[0] in tops]
    if empty := next((top for top in tops if not any(name.startswith(f"{top}/") for name in names)), None):
        link = "; links to folders are not followed" if (tree.root / empty).is_symlink() else ""
        raise UsageError(f"no images in {tree.root / empty} (looked for {' '.join(ENDINGS)}){link}")
    splits = [tops[name.split("/")[0]] for name in names] if len(set(tops.values())) > 1 else None
    found = None if folders_only else _files_of_labels(tree, names, [*tops], label_column, notes)
    if label_column not in (None, NO_COLUMN) and (found is None or found.format != "a table"):
        raise UsageError(f"--label-column is for tables of labels: {tree.root} has none that names its pictures")
    if found is None:
        return _by_folders(tree, names, tops, splits, folders_only, notes)
    if found.format == "none":
        sources = [tree.files[name] for name in names]
        return Pictures(f"{tree.kind} with {found.told}, without labels", names, sources, None, splits, notes)
    all_of_them = Pictures(tree.kind, names, [tree.files[name] for name in names], None, splits, notes)
    return _with_labels(all_of_them, found, tree.kind, str(tree.root), skip_unlabelled)


def _with_labels(pictures: Pictures, found: Labels, kind: str, where: str, skip_unlabelled: bool) -> Pictures:
    """The pictures that have a label, with it.

    Raises:
        UsageError: some have none, and are not to be left out; or there are too many classes.
    """
    names, splits, notes = pictures.names, pictures.splits, pictures.notes
    missing = [name for name in names if not found.of.get(name)]
    if missing and not skip_unlabelled:
        raise UsageError(
            f"{len(missing):,} of {len(names):,} pictures in {where} have no label in {found.told} "
            f"({some(missing)}): label them, or leave them out with --skip-unlabelled"
        )
    if missing:
        notes.append(f"{len(missing):,} of {len(names):,} pictures have no label and are left out ({some(missing)})")
    kept = [i for i, name in enumerate(names) if found.of.get(name)]
    if not kept:
        raise UsageError(f"none of the pictures in {where} has a label in {found.told}")
    result = pictures.at(kept)
    result.format, result.labels = f"{kind} with {found.told}", [found.of[name] for name in result.names]
    if splits is not None and len(set(result.splits or ())) == 1:
        notes.append(f"only the pictures in one split have labels: {splits[kept[0]]}")
        result.splits = None
    if (count := len(set(result.labels))) > MOST_CLASSES:
        raise UsageError(f"{found.told} tells of {count:,} classes, more than {MOST_CLASSES:,}: name another column")
    notes.append(f"classes are those of {found.told}: {some(class_order(set(result.labels)))}")
    return result


def _splits(tree: Tree, folders_only: bool, notes: list[str]) -> dict[str, str]:
    """The folders at the top that are splits, `train` or `test` of each; none where the pictures are not split."""
    tops = list(dict.fromkeys(name.split("/")[0] for name in tree.pictures if "/" in name))
    if folders_only:
        there = (tree.root / "train").is_dir() and (tree.root / "test").is_dir()
        return {"train": "train", "test": "test"} if there else {}
    if tree.root.is_dir():  # An empty one is a mistake, not none.
        tops = list(dict.fromkeys([*tops, *(p.name for p in sorted(tree.root.iterdir()) if p.is_dir())]))
    training = [top for top in tops if top.casefold() in TRAINING]
    testing = sorted((t for t in tops if t.casefold() in TESTING), key=lambda t: TESTING.index(t.casefold()))
    holding = {name.split("/")[0] for name in tree.pictures if "/" in name}
    filled = [top for top in tops if top in holding]
    if len(training) > 1:
        raise UsageError(f"{tree.root} holds {' and '.join(training)}: which of them is to be trained on?")
    if not training or (not testing and filled != training):
        return {}
    flat = [name for name in tree.pictures if "/" not in name]
    others = [top for top in filled if top not in (*training, *testing[:1])]
    if others or flat:
        what = [*others, *flat]
        used = " and ".join(f"{top}/" for top in (training[0], *testing[:1]))
        notes.append(f"beside {used}, {some(what)} are left out")
    return {training[0]: "train"} | ({testing[0]: "test"} if testing else {})


def _by_folders(
    tree: Tree, names: list[str], tops: dict[str, str], splits: list[str] | None, folders_only: bool, notes: list[str]
) -> Pictures:
    """Classes are the topmost folders, or there are none."""
    depth = 1 if tops else 0
    labels = [name.split("/")[depth] if name.count("/") > depth else "" for name in names]
    for top in tops or {"": ""}:
        here = {label: name for name, label in zip(names, labels, strict=True) if not top or name.startswith(f"{top}/")}
        if "" in here and len(here) > 1:
            other = min(label for label in here if label)
            raise UsageError(
                f"{tree.root / top} holds images ({here[''].split('/')[-1]}, ...) beside folders of images ({other}, "
                "...): leave only the folders, one for each class, or only the images, without classes"
            )
    if splits is not None:
        of = {s: {label for label, split in zip(labels, splits, strict=True) if split == s} for s in ("train", "test")}
        train, test = ({top: tree.root / top for top in tops}[next(t for t in tops if tops[t] == s)] for s in of)
        if ("" in of["train"]) != ("" in of["test"]):
            raise UsageError(f"of {train} and {test}, one has a folder for each class, the other not")
        if strange := sorted(of["test"] - of["train"]):
            raise UsageError(f"{test} has classes that are not in {train}: {', '.join(strange)}")
    kinds = set(labels)
    if kinds == {""}:
        kind, order = f"{tree.kind} of pictures, without classes", [*range(len(names))]
    else:
        rank = {c: i for i, c in enumerate(sorted(kinds) if folders_only else class_order(kinds))}
        kind = f"{tree.kind} of class folders"
        order = sorted(range(len(names)), key=lambda i: rank[labels[i]])
        if len(kinds) == 1 and not folders_only:
            (only,) = kinds
            notes.append(f"all pictures are of one class, '{only}', the one folder in {tree.root}")
    found = Pictures(kind, names, [tree.files[name] for name in names], None if kinds == {""} else labels, splits)
    found = found.at(order)
    found.notes = notes
    return found


def _files_of_labels(
    tree: Tree, names: list[str], tops: list[str], label_column: str | None, notes: list[str]
) -> Labels | None:
    """What a file says of the classes: one at the root, else one in each split's folder; None where there is none."""
    found = _file_of_labels(tree, names, "", label_column, notes)
    if found is not None or not tops:
        return found
    parts = [
        _file_of_labels(tree, [n for n in names if n.startswith(f"{top}/")], f"{top}/", label_column, notes)
        for top in tops
    ]
    there = [part for part in parts if part is not None]
    if not there:
        return None
    of = {name: label for part in there for name, label in part.of.items()}
    return Labels(of, " and ".join(dict.fromkeys(part.told for part in there)), there[0].format)


def _file_of_labels(
    tree: Tree, names: list[str], place: str, label_column: str | None, notes: list[str]
) -> Labels | None:
    """What the files directly in the folder `place` say of the classes of the pictures in it, which are `names`."""
    here = [n for n in tree.files if n.startswith(place) and "/" not in n.removeprefix(place)]
    candidates: list[tuple[str, Labels | None]] = []
    for name in here:
        base = name.removeprefix(place).lower()
        if base == "dataset.json":
            candidates.append((name, _dataset_json(tree, name, names, place, notes)))
        elif base == "metadata.jsonl" or base.endswith(TABLES):
            table = _table(tree, name, names, place)
            if table is None:
                notes.append(f"{tree.root / name} is not used: none of its columns names the pictures")
            else:
                candidates.append((name, _column(str(tree.root / name), name, table, label_column, notes)))
    if len(candidates) > 1:
        raise UsageError(
            f"{tree.root} holds {' and '.join(name for name, _ in candidates)}, each with a say on its pictures: "
            "leave one of them"
        )
    if candidates:
        return candidates[0][1]
    return _beside(tree, names, place, notes)


def _absent(where: str, absent: list[str]) -> None:
    if absent:
        raise UsageError(f"{where} names pictures that are not there ({len(absent):,}): {some(absent)}")


def _once(where: str, twice: list[str]) -> None:
    if twice:
        raise UsageError(f"{where} names pictures twice ({len(twice):,}): {some(twice)}")


def _dataset_json(tree: Tree, name: str, names: list[str], place: str, notes: list[str]) -> Labels | None:
    """StyleGAN's: {"labels": [[FILE, NUMBER], ...]}, or null for none."""
    where, known = f"{tree.root / name}", set(names)
    try:
        value = from_json(tree.text(name).encode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not valid JSON: {one_line(error)[:200]}") from error
    listed = value.get("labels") if isinstance(value, dict) else value
    if not isinstance(value, dict) or "labels" not in value:
        raise UsageError(f"{where} has no `labels`, which StyleGAN's has: rename it if it is another's")
    if listed is None:
        several = len({name.rpartition("/")[0] for name in names}) > 1
        more = ", also not by their folders, as --layout folders takes them" if several else ""
        notes.append(f"{where} tells of no labels (null): the pictures have no classes{more}")
        return Labels({}, name, "none")
    titles = value.get("classes")  # Not StyleGAN's: `ganzoo data convert` keeps the names of classes there.
    if not (isinstance(titles, list) and all(isinstance(title, str) and title for title in titles)):
        titles = []
    of: dict[str, str] = {}
    twice: list[str] = []
    for pair in listed if isinstance(listed, list) else [None]:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise UsageError(f"{where} is damaged: labels are a list of [file, number], not {plain(str(pair))[:80]}")
        given = -1 if pair[1] is None else pair[1]
        if isinstance(given, bool) or not isinstance(given, int) or (given < 0 and pair[1] is not None):
            raise UsageError(f"{where}: the label of {plain(pair[0])[:80]} is {plain(str(pair[1]))[:40]}, no class")
        file = place + _clean(pair[0])
        twice += [file] if file in of else []
        of[file] = "" if given < 0 else titles[given] if given < len(titles) else str(given)
    _absent(where, [file for file in of if file not in known])
    _once(where, twice)
    return Labels(of, name, "dataset.json")


class Table(NamedTuple):
    """Rows of a table, told by the pictures that they are of."""

    files: list[str]
    """The picture of each row."""
    file_column: str
    columns: dict[str, list[str]]


def _table(tree: Tree, name: str, names: list[str], place: str) -> Table | None:
    """The table in a file; None where no column names pictures.

    Raises:
        UsageError: it is damaged, or names pictures that are not there.
    """
    where, base = f"{tree.root / name}", name.removeprefix(place).lower()
    huggingface = base in ("metadata.csv", "metadata.jsonl")
    known = set(names)
    ways: list[dict[str, str]] = [{n.removeprefix(place): n for n in names}]
    if not huggingface:
        ways += [_only(names, os.path.basename), _only(names, lambda n: PurePosixPath(n).stem)]
    columns = dict(_rows(tree, name, where, {place + n for n in ways[0]}.union(*ways), place))
    if huggingface and "file_name" not in columns:
        raise UsageError(f"{where} has no column `file_name` (it has: {some([*columns])})")
    if huggingface and (bare := [i for i, value in enumerate(columns["file_name"], 1) if not value.strip()]):
        raise UsageError(f"{where}: {len(bare):,} rows have no `file_name`, the first of them row {bare[0]}")
    for way in ways:
        for column in ["file_name"] if huggingface else columns:
            given = [_clean(value) for value in columns[column]]
            found = [way.get(value, place + value) for value in given]
            hits = sum(file in known for file in found)
            if given and (huggingface or hits * 2 > len(given)):
                _absent(where, [value for value, file in zip(given, found, strict=True) if file not in known])
                _once(where, [file for file, count in Counter(found).items() if count > 1])
                return Table(found, column, columns)
    return None


def _clean(value: str) -> str:
    return value.strip().replace("\\", "/").removeprefix("./")


def _only(names: list[str], key: Any) -> dict[str, str]:
    """Names by what is theirs alone."""
    count = Counter(map(key, names))
    return {key(name): name for name in names if count[key(name)] == 1}


def _rows(tree: Tree, name: str, where: str, known: set[str], place: str) -> Iterator[tuple[str, list[str]]]:
    """The columns of a table by their names."""
    text = tree.text(name)
    if name.lower().endswith(".jsonl"):
        rows = []
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
        for key in keys:
            yield str(key), ["" if row.get(key) is None else str(row[key]) for row in rows]
        return
    first = text.split("\n", 1)[0]
    delimiter = "\t" if name.lower().endswith(".tsv") else max(",;\t", key=first.count)
    try:
        lines = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    except csv.Error as error:
        raise UsageError(f"{where} is damaged: {one_line(error)}") from error
    if not lines:
        return
    head = [cell.strip() for cell in lines[0]]
    _few_columns(where, len(head), len(lines))
    if any(_clean(cell) in known or place + _clean(cell) in known for cell in head):
        # Its first row is of a picture: there is no header.
        head = [str(i + 1) for i in range(len(head))]
    else:
        lines = lines[1:]
    if len(set(head)) < len(head):
        raise UsageError(f"{where} has two columns of one name: {some([c for c, n in Counter(head).items() if n > 1])}")
    for number, cells in enumerate(lines, 1):
        if len(cells) > len(head):
            raise UsageError(f"{where}, row {number}, has {len(cells)} values, and there are {len(head)} columns")
    for i, title in enumerate(head):
        yield title, [cells[i].strip() if i < len(cells) else "" for cells in lines]


def _few_columns(where: str, count: int, rows: int) -> None:
    if count > MOST_COLUMNS:
        raise UsageError(f"{where} has {count:,} columns, more than {MOST_COLUMNS:,}")
    if count * rows > MOST_CELLS:
        raise UsageError(f"{where} has {rows:,} rows of {count:,} columns, more than {MOST_CELLS:,} values")


def _column(where: str, name: str, table: Table, label_column: str | None, notes: list[str]) -> Labels | None:
    """The column that holds the classes: the one that is named, or the only one that may."""
    others = [column for column in table.columns if column != table.file_column]
    if label_column == NO_COLUMN:
        return None
    if label_column is not None:
        if label_column not in others:
            raise UsageError(f"--label-column {label_column}: {where} has no such column (it has: {some(others)})")
        chosen = label_column
    else:
        kinds = {column: set(table.columns[column]) - {""} for column in others}
        most = min(len(table.files) - 1, max(FEW_CLASSES, len(table.files) // 2))
        few = [column for column in others if 0 < len(kinds[column]) <= max(1, most)]
        if len(few) > 1:
            raise UsageError(
                f"{where} has several columns that may hold classes ({some(few)}): name one with --label-column, or "
                f"--label-column {NO_COLUMN}"
            )
        if not few:
            notes.append(f"{where} is not used: none of its columns ({some(others) or 'no others'}) looks like classes")
            return None
        (chosen,) = few
    return Labels(
        dict(zip(table.files, table.columns[chosen], strict=True)),
        f"column '{plain(chosen)[:80]}' of {name}",
        "a table",
    )


def _beside(tree: Tree, names: list[str], place: str, notes: list[str]) -> Labels | None:
    """Webdataset's: KEY.jpg and KEY.cls; the key goes up to the first point of the file's name."""
    classes = [name for name in tree.files if name.startswith(place) and name.lower().endswith(".cls")]
    if not classes:
        unused = {_key(name) for name in tree.files if name.lower().endswith(".json")} & set(map(_key, names))
        if unused:
            notes.append(f"{len(unused):,} .json files beside pictures are not used: classes are read of .cls files")
        return None
    of_key = {_key(name): name for name in classes}
    keys = Counter(map(_key, names))
    if twice := [key for key, count in keys.items() if count > 1]:
        raise UsageError(f"{tree.root}: keys have several pictures ({len(twice):,}): {some(twice)}")
    _absent(f"{tree.root} has .cls files, which", [name for key, name in of_key.items() if key not in keys])
    of = {name: tree.text(of_key[_key(name)], LONGEST_CLS).strip()[:200] for name in names if _key(name) in of_key}
    return Labels(of, "the .cls files", "webdataset")


def _key(name: str) -> str:
    folder, _, base = name.rpartition("/")
    return f"{folder}/{base.split('.')[0]}"
