"""The layouts in which people keep pictures and their classes, recognised without being told.

A folder, a zip and a tar are read alike: each is a tree of names. Where the classes are is asked of the tree: in a
`dataset.json` (StyleGAN's), a `metadata.csv` or `metadata.jsonl` (Hugging Face's), another CSV of files and labels, in
`.cls` files beside the pictures (webdataset's), or in the folders. An `.npz` holds images as they are.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from unicodedata import normalize

from ganzoo.data.archives import TAR, ZIP, Pixels, Source, is_archive, members, stamp_of
from ganzoo.data.arrays import read_npz
from ganzoo.data.imagefiles import ENDINGS
from ganzoo.data.parquet import read_parquet
from ganzoo.data.shards import links_left_out, passed_over, shards
from ganzoo.data.sides import look_paired, paired, unpaired
from ganzoo.data.splits import TESTING, TRAINING, alone, by_words, chosen, folders_of, unused, word_in
from ganzoo.data.tables import (
    NO_COLUMN,
    Labels,
    Table,
    absent,
    clean,
    known_classes,
    labels_in,
    once,
    quoted,
    table,
)
from ganzoo.data.tree import TABLES, Pictures, Tree, class_order, distinct, some, tells, walked, within
from ganzoo.errors import UsageError, one_line, plain
from ganzoo.files import from_json

MOST_CLASSES = 10_000
LONGEST_CLS = 2**12
"""Bytes of a `.cls` file."""
STRAY = 10
"""Fewer pictures beside Parquet files or tars are thought to be about them, not the set itself."""


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
    held: list[str] = []
    if root.is_dir():
        tree, notes = walked(root, folders_only)
        if not folders_only and (held := _containers(tree, notes)):
            if held[0].lower().endswith(".parquet"):
                found = _parquet(root, held, label_column, skip_unlabelled, notes)
                tree.used |= {*held}
                return replace(found, notes=found.notes + _not_used(tree))
            tree = shards(tree, held, notes)
    elif root.suffix.lower() == ".npz":
        if label_column not in (None, NO_COLUMN):
            raise UsageError(f"--label-column is for tables of labels: {root} has none")
        return _arrays(root, skip_unlabelled)
    elif is_archive(root):
        files, left_out = members(root)
        inner, around = within(files)
        tree = Tree("a zip" if root.suffix.lower() == ".zip" else "a tar", root, inner)
        notes = links_left_out(left_out, root)
        notes += [passed_over(around)] if around else []
    elif root.suffix.lower() == ".parquet":
        return _parquet(root.parent, [root.name], label_column, skip_unlabelled, [])
    else:
        raise UsageError(f"{root} is no folder, .zip, .tar, .npz or .parquet of pictures")
    if not tree.pictures:
        there = f"; there are {tree.left_out()}" if tree.left_out() else ""
        hint = f"; {notes[0]}" if notes else ""
        raise UsageError(f"no images in {root} (looked for {' '.join(ENDINGS)}){there}{hint}")
    if pairs:
        found = paired(tree)
    else:
        tree = tree if folders_only else _inner(tree, notes)
        sets = None if folders_only else unpaired(tree)
        found = sets or _labelled(tree, label_column, skip_unlabelled, folders_only)
        if not folders_only and look_paired(tree):
            notes.append("A and B are taken for classes; their pictures have equal names: --layout pairs for pairs")
        if found.labels is None and not sets and len(held) > 1:
            notes.append("classes are not told by the names of archives")
    return replace(found, notes=notes + found.notes + _not_used(tree))


def _not_used(tree: Tree) -> list[str]:
    """A line on the files that are none of the set, if there are any."""
    tables = [name for name in tree.files if name.rpartition("/")[2].lower() == "metadata.parquet"]
    notes = [f"{some(tables)} is not read: save it as metadata.csv"] if {*tables} - tree.used else []
    tree.used |= {*tables}
    left = tree.left_out()
    return [*notes, f"files that are not used: {left}"] if left else notes


def _containers(tree: Tree, notes: list[str]) -> list[str]:
    """The Parquet files in a folder, else its archives, where they are the set: pictures beside them are few, or none.

    A zip beside pictures is more likely what these were packed in.
    """
    if len(tree.pictures) >= STRAY:
        return []
    parquet = [name for name in tree.files if name.lower().endswith(".parquet")]
    parquet = [name for name in parquet if name.rpartition("/")[2].lower() != "metadata.parquet"]
    held = parquet or [n for n in tree.files if n.lower().endswith(TAR if tree.pictures else (*TAR, *ZIP))]
    if held and tree.pictures:
        notes.append(f"beside {some(held)}, {some(tree.pictures)} are left out")
    return held


def _inner(tree: Tree, notes: list[str]) -> Tree:
    """What is in the one folder, or the folders, around all pictures, where labels or splits lie within."""
    path: list[str] = []
    folders = {name.rpartition("/")[0] for name in tree.pictures}
    while True:
        start = "".join(f"{part}/" for part in path)
        below = {folder[len(start) :].split("/")[0] for folder in folders}
        telling = any(n.startswith(start) and "/" not in n[len(start) :] and tells(n) for n in tree.files)
        if telling or _two_splits(tree, below) or {"traina", "trainb"} <= {name.casefold() for name in below}:
            break
        if len(below) != 1 or "" in below or any(folder + "/" == start for folder in folders):
            return tree
        path += below
    if not path:
        return tree
    notes.append(f"what is in {start}, the folder around all pictures, is taken for the set")
    return tree.below("/".join(path))


def _two_splits(tree: Tree, tops: set[str]) -> dict[str, str]:
    try:
        return folders_of(sorted(tops))
    except ValueError as error:
        raise UsageError(f"{tree.root} holds {error}: which of them is to be trained on?") from error


def _arrays(path: Path, skip_unlabelled: bool) -> Pictures:
    notes: list[str] = []
    images, labels = read_npz(path, notes, unlabelled=True)
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
    if labels is None:
        return Pictures("an .npz of images", names, sources, None, None, notes)
    classes = ["" if label < 0 else str(label) for label in labels.tolist()]
    found = Pictures("an .npz", names, sources, None, None, notes)
    told = Labels(dict(zip(names, classes, strict=True)), "labels", "an .npz", missing=", -1 is none")
    return _with_labels(found, told, "an .npz", str(path), skip_unlabelled)


def _parquet(
    root: Path, files: list[str], label_column: str | None, skip_unlabelled: bool, notes: list[str]
) -> Pictures:
    """Parquet files below a folder, split by words in their names or folders', as Hugging Face's are."""
    split, left_out = by_words(files)
    if left_out:
        notes.append(f"beside the files of the two splits, {some(left_out)} are left out")
    elif odd := alone(files):
        notes.append(f"{some(odd)} are no test split, for none is named as the training split")
    files = [name for name in files if not split or name in split]
    rows = read_parquet(root, files)
    where = str(root / files[0]) if len(files) == 1 else f"{root}/*.parquet"
    if not rows.names:
        raise UsageError(f"no images in {where}: it has no rows")
    if split and (without := {*split.values()} - {split[name] for name in rows.files}):
        raise UsageError(f"no images in {some([n for n in files if split[n] in without])} in {root}: it has no rows")
    notes += rows.notes
    found = Pictures(
        "Parquet, without classes", rows.names, rows.sources, None, [split[f] for f in rows.files] if split else None,
        notes,
    )  # fmt: skip
    held = Table(rows.names, "", rows.columns)
    labels = labels_in(where, Path(where).name, held, label_column, notes) if rows.columns else None
    told = f" (beside {some(rows.unread)})" if rows.unread else ""
    if label_column not in (None, NO_COLUMN) and (labels is None or labels.of is None):
        raise UsageError(f"--label-column {label_column}: {where} has no column of text or whole numbers{told}")
    if labels is not None:
        found = _split_by(found, labels)
    if labels is not None and labels.of is not None:
        return _with_labels(found, labels, "Parquet", where, skip_unlabelled)
    if rows.unread:
        notes.append(f"columns of {where} that hold neither text nor whole numbers are not used{told}")
    return found


# Splits and classes


def _labelled(tree: Tree, label_column: str | None, skip_unlabelled: bool, folders_only: bool) -> Pictures:
    notes: list[str] = []
    tops = _splits(tree, folders_only, notes)
    names = [name for name in tree.pictures if not tops or name.split("/")[0] in tops]
    if not folders_only:
        _note_folders(tree, [*tops], notes)
    if empty := next((top for top in tops if not any(name.startswith(f"{top}/") for name in names)), None):
        link = "; links to folders are not followed" if (tree.root / empty).is_symlink() else ""
        raise UsageError(f"no images in {tree.root / empty} (looked for {' '.join(ENDINGS)}){link}")
    splits = [tops[name.split("/")[0]] for name in names] if len(set(tops.values())) > 1 else None
    of_folders = len({name.split("/")[len(tops) > 0] for name in names if name.count("/") > (len(tops) > 0)}) > 1
    found = None if folders_only else _files_of_labels(tree, names, [*tops], label_column, notes, of_folders)
    if not folders_only and (missed := [n for n in tree.files if tells(n) and n not in tree.used]):
        tree.used |= {*missed}
        notes.append(f"labels are those that lie above, or in {tree.root} and its splits: not used are {some(missed)}")
    if label_column not in (None, NO_COLUMN) and (found is None or found.format != "a table"):
        raise UsageError(f"--label-column is for tables of labels: {tree.root} has none that names its pictures")
    if found is None:
        return _by_folders(tree, names, tops, splits, folders_only, notes)
    if found.of is None and not found.splits:
        sources = [tree.files[name] for name in names]
        return Pictures(f"{tree.kind} with {found.told}, without labels", names, sources, None, splits, notes)
    if found.of is None:
        by_folder = _by_folders(tree, names, tops, splits, folders_only, notes)
        return _split_by(by_folder, found)
    all_of_them = Pictures(tree.kind, names, [tree.files[name] for name in names], None, splits, notes)
    return _with_labels(_split_by(all_of_them, found), found, tree.kind, str(tree.root), skip_unlabelled)


def _note_folders(tree: Tree, tops: list[str], notes: list[str]) -> None:
    """Say which folders are called like splits, and are none."""
    folders = {name.rpartition("/")[0] for name in tree.pictures}
    above = {folder[:at] for folder in folders for at, letter in enumerate(folder) if letter == "/"}
    found = {parent: names for parent, names in unused(sorted(folders | above)).items() if parent or not tops}
    if found:
        names = next(iter(found.values()))
        places = [str(tree.root / parent) for parent in found]
        would = f": --data-root {places[0]} would" if len(found) == 1 and "" not in found and tree.is_folder else ""
        if "" in found and len({word.kind for name in names if (word := word_in(name))}) > 1:
            would = ": call them train and test if they are"
        notes.append(f"folders {some(names)} in {some(places)} are not taken for splits{would}")


def _split_by(pictures: Pictures, found: Labels) -> Pictures:
    """The pictures as a table splits them, unless they are split already; `found` has a label or a split of each.

    Raises:
        UsageError: some are in no split.
    """
    if not found.splits:
        return pictures
    notes = pictures.notes
    if pictures.splits is not None:
        notes.append(f"splits in {found.splits_told} are not used: files and folders tell them")
        return pictures
    of, others = chosen(found.splits)
    missing = [name for name in pictures.names if name not in found.splits]
    if missing and found.of is None:
        raise UsageError(f"{len(missing):,} of {len(pictures):,} pictures have no row in {found.told}: {some(missing)}")
    if others:
        words = dict.fromkeys(found.splits[name] for name in others)
        notes.append(f"{len(others):,} pictures of the splits {some(quoted([*words]))} are left out")
    kept = [i for i, name in enumerate(pictures.names) if name in of or name not in found.splits]
    result = pictures.at(kept)
    result.splits = [of.get(name, "train") for name in result.names]
    count = Counter(result.splits)
    notes.append(f"splits are those of {found.splits_told}: train {count['train']:,}, test {count['test']:,}")
    return result


def _with_labels(pictures: Pictures, found: Labels, kind: str, where: str, skip_unlabelled: bool) -> Pictures:
    """The pictures that have a label, with it.

    Raises:
        UsageError: some have none, and are not to be left out; or there are too many classes.
    """
    names, splits, notes = pictures.names, pictures.splits, pictures.notes
    assert found.of is not None
    missing = [name for name in names if not found.of.get(name)]
    if missing and not skip_unlabelled:
        raise UsageError(
            f"{len(missing):,} of {len(names):,} pictures in {where} have no label in {found.told} "
            f"({some(missing)}{found.missing}): label them, or leave them out with --skip-unlabelled"
        )
    if missing:
        told = f"{some(missing)}{found.missing}"
        notes.append(f"{len(missing):,} of {len(names):,} pictures have no label and are left out ({told})")
    kept = [i for i, name in enumerate(names) if found.of.get(name)]
    if not kept:
        raise UsageError(f"none of the pictures in {where} has a label in {found.told}")
    result = pictures.at(kept)
    result.format, result.labels = f"{kind} with {found.told}", [found.of[name] for name in result.names]
    if splits is not None and len(set(result.splits or ())) == 1:
        notes.append(f"only the pictures in one split have labels: {splits[kept[0]]}")
        result.splits = None
    kinds = set(result.labels)
    if len(kinds) > MOST_CLASSES:
        raise UsageError(f"{found.told} tells of {len(kinds):,} classes, more than {MOST_CLASSES:,}")
    notes.append(f"classes are those of {found.told}{found.by}: {some(class_order(kinds))}")
    if "-1" in kinds and all(kind.isdecimal() for kind in kinds - {"-1"}):
        notes.append(f"-1 is a class in {found.told}: leave it empty where it means that there is none")
    return result


def _splits(tree: Tree, folders_only: bool, notes: list[str]) -> dict[str, str]:
    """The folders at the top that are splits, `train` or `test` of each; none where the pictures are not split."""
    tops = list(dict.fromkeys(name.split("/")[0] for name in tree.pictures if "/" in name))
    if folders_only:
        there = (tree.root / "train").is_dir() and (tree.root / "test").is_dir()
        return {"train": "train", "test": "test"} if there else {}
    tops = list(dict.fromkeys([*tops, *tree.tops]))
    holding = {name.split("/")[0] for name in tree.pictures if "/" in name}
    filled = [top for top in tops if top in holding]
    known = _two_splits(tree, holding)
    if not known and len(holding) == 1:  # Beside the training pictures alone, an empty `test` is a mistake, not none.
        empty = next((top for top in tops if top not in holding and (word := word_in(top)) and word.kind == "test"), "")
        known = _two_splits(tree, holding | {empty}) if empty else {}
    if not known and filled and all(top.casefold() in TRAINING for top in filled):
        known = dict.fromkeys(filled, "train")
    flat = [name for name in tree.pictures if "/" not in name]
    others = [top for top in filled if top not in known]
    used = " and ".join(f"{top}/" for top in known)
    if known and (others or flat):
        notes.append(f"beside {used}, {some([*others, *flat])} are left out")
    if any(top.casefold() not in (*TRAINING, *TESTING) for top in known):
        notes.append(f"{used} are taken for the training and the test split")
    return known


def _by_folders(
    tree: Tree, names: list[str], tops: dict[str, str], splits: list[str] | None, folders_only: bool, notes: list[str]
) -> Pictures:
    """Classes are the topmost folders, or there are none."""
    depth = 1 if tops else 0
    labels = [name.split("/")[depth] if name.count("/") > depth else "" for name in names]
    if not folders_only:  # Systems write one letter in several ways.
        labels = [normalize("NFC", label) for label in labels]
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
            one = all(len(names) == 1 for names in of.values())
            hint = "; if its classes lie in it, move them up, and those of the other" if one else ""
            raise UsageError(f"{test} has classes that are not in {train}: {', '.join(strange)}{hint}")
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
        if empty := _without_pictures(tree, names, tops):
            notes.append(f"folders without pictures are no classes ({len(empty):,}): {some(empty)}")
    found = Pictures(kind, names, [tree.files[name] for name in names], None if kinds == {""} else labels, splits)
    found = found.at(order)
    found.notes = notes
    return found


def _without_pictures(tree: Tree, names: list[str], tops: dict[str, str]) -> list[str]:
    """The folders beside those of classes that hold no pictures."""
    depth = 2 if tops else 1

    def folders(paths: list[str]) -> set[str]:
        parts = (path.split("/")[:depth] for path in paths)
        return {"/".join(part) for part in parts if len(part) == depth and (not tops or part[0] in tops)}

    return sorted(folders([*tree.folders, *(n.rpartition("/")[0] for n in tree.files)]) - folders(names) - {""})


def _files_of_labels(
    tree: Tree, names: list[str], tops: list[str], label_column: str | None, notes: list[str], folders: bool
) -> Labels | None:
    """What files say of the classes: one at the root, those beside pictures, else one in each split's folder; None
    where there is none. `folders`: whether the pictures lie in folders of classes."""
    found = _file_of_labels(tree, names, "", label_column, notes, folders) or _beside(tree, names, tops, notes)
    if found is not None or not tops:
        return found
    parts = [
        _file_of_labels(tree, [n for n in names if n.startswith(f"{top}/")], f"{top}/", label_column, notes, folders)
        for top in tops
    ]
    there = [part for part in parts if part is not None]
    if not there:
        return None
    of = {name: label for part in there for name, label in (part.of or {}).items()}
    told = " and ".join(dict.fromkeys(part.told for part in there))
    merged = there[0]._replace(told=told, of=None if all(part.of is None for part in there) else of, splits={})
    return merged._replace(missing="".join(dict.fromkeys(part.missing for part in there)))


def _file_of_labels(
    tree: Tree, names: list[str], place: str, label_column: str | None, notes: list[str], folders: bool
) -> Labels | None:
    """What the files directly in the folder `place` say of the classes of the pictures in it, which are `names`."""
    here = [n for n in tree.files if n.startswith(place) and "/" not in n.removeprefix(place) and tells(n)]
    candidates: list[tuple[str, Labels]] = []
    tree.used |= {*here}
    for name in here:
        if name.lower().endswith(TABLES):
            held = table(tree, name, names, place, notes)
            told = labels_in(str(tree.root / name), name, held, label_column, notes, folders) if held else None
        else:
            told = _dataset_json(tree, name, names, place, notes)
        if told is not None:
            candidates.append((name, told))
    if len(candidates) > 1:
        raise UsageError(
            f"{tree.root} holds {' and '.join(name for name, _ in candidates)}, each with a say on its pictures: "
            "leave one of them"
        )
    return candidates[0][1] if candidates else None


def _dataset_json(tree: Tree, name: str, names: list[str], place: str, notes: list[str]) -> Labels | None:
    """StyleGAN's: {"labels": [[FILE, NUMBER], ...]}, or null for none."""
    where, known = f"{tree.root / name}", {clean(n): n for n in names}
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
        return Labels(None, name, "none")
    titles: Any = value.get("classes")  # Not StyleGAN's: `ganzoo data convert` keeps the names of classes there.
    if not (isinstance(titles, list) and all(isinstance(title, str) and title for title in titles)):
        titles = []
    numbers: dict[str, int] = {}
    twice: list[str] = []
    if not isinstance(listed, list):
        told = plain(str(listed))[:80]
        raise UsageError(f"{where} is not StyleGAN's: its labels are a list of [file, number], not {told}")
    for pair in listed:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise UsageError(f"{where} is damaged: labels are a list of [file, number], not {plain(str(pair))[:80]}")
        given = -1 if pair[1] is None else pair[1]
        given = int(given) if isinstance(given, float) and given.is_integer() else given
        if isinstance(given, bool) or not isinstance(given, int) or (given < 0 and pair[1] is not None):
            raise UsageError(
                f"{where}: the label of {plain(pair[0])[:80]} is {plain(str(pair[1]))[:40]}, no class: a "
                "whole number is wanted"
            )
        file = clean(place + clean(pair[0]))
        file = known.get(file, file)
        twice += [file] if file in numbers else []
        numbers[file] = given
    absent(where, [file for file in numbers if clean(file) not in known])
    once(where, twice)
    titles = distinct(titles, where, notes)
    if titles and (most := max(numbers.values(), default=-1)) >= len(titles):
        notes.append(f"names of classes in {where} are not used, for class {most} has none: numbers are")
        titles = []
    of = {file: "" if n < 0 else titles[n] if titles else str(n) for file, n in numbers.items()}
    return Labels(of, name, "dataset.json")


def _beside(tree: Tree, names: list[str], tops: list[str], notes: list[str]) -> Labels | None:
    """Webdataset's: KEY.jpg and KEY.cls; the key goes up to the first point of the file's name."""
    classes = [n for n in tree.files if n.lower().endswith(".cls") and (not tops or n.split("/")[0] in tops)]
    tree.used |= {*classes}
    if not classes:
        others = {_key(name) for name in tree.files if name.lower().endswith(".json")} & set(map(_key, names))
        if others:
            tree.used |= {name for name in tree.files if name.lower().endswith(".json") and _key(name) in others}
            notes.append(f"{len(others):,} .json files beside pictures are not used: classes are read of .cls files")
        twice = [key for key, count in Counter(map(_key, names)).items() if count > 1]
        if twice and "tar" in tree.kind:
            first = [name for name in names if _key(name) == twice[0]]
            notes.append(f"{len(twice):,} keys have several pictures ({some(first)}): all are taken, each for itself")
        return None
    of_key = {_key(name): name for name in classes}
    keys = Counter(map(_key, names))
    if twice := [key for key, count in keys.items() if count > 1]:
        raise UsageError(
            f"{tree.root}: keys have several pictures ({len(twice):,}): {some(twice)} (a key is a name up to its "
            "first point)"
        )
    absent(f"a .cls file in {tree.root}", [name for key, name in of_key.items() if key not in keys])
    labelled = [name for name in names if _key(name) in of_key]
    told = [tree.text(of_key[_key(name)], LONGEST_CLS).strip()[:200] for name in labelled]
    values, missing = known_classes(told)
    return Labels(dict(zip(labelled, values, strict=True)), "the .cls files", "webdataset", missing=missing)


def _key(name: str) -> str:
    folder, _, base = name.rpartition("/")
    return f"{folder}/{base.split('.')[0]}".removeprefix("/")
