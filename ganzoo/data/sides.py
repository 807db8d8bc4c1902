"""Pictures of two kinds, A and B, of which one is to be made from the other: in pairs, or two sets without pairs."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from ganzoo.data.splits import TESTING, TRAINING
from ganzoo.data.tree import NAMED, Pictures, Tree, some
from ganzoo.errors import UsageError, plain

FEWEST = 2
"""Pictures in a set without pairs, at least."""
SIDE_BY_SIDE = "side-by-side"
"""The layout in which a picture holds both of a pair, A at the left."""


def _folders(tree: Tree) -> dict[str, str]:
    """The folders at the top, by their names in lower case."""
    tops = {name.split("/")[0] for name in tree.pictures if "/" in name}
    return {name.casefold(): name for name in sorted(tops | {*tree.tops})}


def unpaired(tree: Tree) -> Pictures | None:
    """The images, B, with what they are to be made from, A, in CycleGAN's `trainA`, `trainB`, `testA` and `testB`.

    None where there are no such folders, in any case of letters.

    Raises:
        UsageError: a set is empty or of one picture, or its folder is missing.
    """
    tops = _folders(tree)
    known = {f"{split}{side}": (split, side) for split in (*TRAINING, *TESTING) for side in "ab"}
    there = {known[name]: tops[name] for name in tops if name in known}
    train = next((split for split in TRAINING if any(name[0] == split for name in there)), None)
    if train is None:
        return None
    test = next((split for split in TESTING if any(name[0] == split for name in there)), None)
    used, counts, notes = set[str](), dict[str, int](), list[str]()
    sides: dict[str, Pictures] = {}
    for side in "ab":
        names: list[str] = []
        splits: list[str] = []
        for kind, split in (("train", train), ("test", test)):
            if split is None:
                continue
            folder, shown = there.get((split, side)), f"{split}{side.upper()}"
            if folder is None:
                raise UsageError(f"{tree.root} has no folder {shown}, and its other side is there: add it")
            found = [name for name in tree.pictures if name.startswith(f"{folder}/")]
            if not found:
                raise UsageError(f"{tree.root / folder} holds no pictures")
            if len(found) < FEWEST and kind == "train":
                raise UsageError(f"{tree.root / folder} holds one picture: a set without pairs takes {FEWEST} or more")
            used.add(folder)
            counts[folder] = len(found)
            names += found
            splits += [kind] * len(found)
        held = [tree.files[name] for name in names]
        sides[side] = Pictures(f"{tree.kind}, side {side.upper()}", names, held, None, splits if test else None)
    _note_left_out(tree, used, notes)
    told = ", ".join(f"{folder}/ ({count:,})" for folder, count in counts.items())
    notes.append(f"two sets without pairs, as CycleGAN has them: {told}")
    return replace(sides["b"], format=f"{tree.kind} of two sets without pairs", others=sides["a"], notes=notes)


def look_paired(tree: Tree) -> bool:
    """Whether what look like classes A and B may be pairs: all pictures have counterparts of their names.

    A and B lie at the top, or in the folders of splits there.
    """
    tops = set(_folders(tree).values())
    if tops != {"A", "B"} and not all(top.casefold() in (*TRAINING, *TESTING) for top in tops):
        return False
    starts = [""] if tops == {"A", "B"} else [f"{top}/" for top in tops]
    sides = [{n for start in starts for n in tree.pictures if n.startswith(f"{start}{side}/")} for side in "AB"]
    names = [{re.sub(f"(^|/){side}/", r"\1", n, count=1) for n in held} for side, held in zip("AB", sides, strict=True)]
    return bool(names[0]) and names[0] == names[1] and len(tree.pictures) == sum(map(len, sides))


def paired(tree: Tree) -> Pictures:
    """The images, B, each with the one that it is to be made from, A: pictures of equal names in folders `A` and `B`.

    Splits, `train` and `test`, may lie below them or above them; all in any case of letters, and any endings.

    Raises:
        UsageError: there are no such folders, or one is empty, or some of a pair are missing.
    """
    tops, notes = _folders(tree), list[str]()
    splits: dict[str, str] = {}
    if set(tops) == {"a", "b"}:
        folders = [tops["a"], tops["b"]]
        held = [[name for name in tree.pictures if name.startswith(f"{folder}/")] for folder in folders]
        if empty := next((folder for folder, names in zip(folders, held, strict=True) if not names), None):
            raise UsageError(f"{tree.root / empty} holds no pictures")
        sides = [{n.removeprefix(f"{f}/"): n for n in names} for f, names in zip(folders, held, strict=True)]
        firsts = {name.split("/")[0].casefold() for side in sides for name in side if "/" in name}
        train = next((split for split in TRAINING if split in firsts), None)
        test = next((split for split in TESTING if split in firsts), None)
        if train and test:
            splits = {train: "train", test: "test"}
        of = [{key: (_split(key, splits), name) for key, name in side.items()} for side in sides]
    else:
        train = next((split for split in TRAINING if split in tops), None)
        test = next((split for split in TESTING if split in tops), None)
        parts = {tops[train]: "train"} | ({tops[test]: "test"} if test else {}) if train else {}
        if not parts or not all(_is_pair(tree, top) for top in parts):
            raise UsageError(
                f"--layout pairs: {tree.root} has no two folders A and B alone, with pictures of equal names in them, "
                "and none in train and test"
            )
        folders, of = ["A", "B"], [{}, {}]
        for name in tree.pictures:
            top, _, rest = name.partition("/")
            side, _, key = rest.partition("/")
            if top in parts:
                of["ab".index(side.casefold())][f"{top}/{key}"] = (parts[top], name)
        splits = {top: split for top, split in parts.items() if test}
        _note_left_out(tree, set(parts), notes)
    a, b = (_by_key(tree, side) for side in of)
    common = [key for key in b if key in a]
    alone = [held for side, other in ((a, b), (b, a)) for key, held in side.items() if key not in other]
    if alone:
        names = some([name for _, name in alone])
        raise UsageError(
            f"{tree.root}: {len(alone):,} of {len(a) + len(b):,} pictures have no counterpart of their name in the "
            f"other of {folders[0]} and {folders[1]} ({names}): add it, or take them away"
        )
    kinds = [b[key][0] for key in common] if splits else None
    if kinds is not None and "" in kinds:
        first = next(b[key][1] for key, kind in zip(common, kinds, strict=True) if not kind)
        raise UsageError(f"{tree.root}: {plain(first)} lies beside folders of splits: move it into one of them")
    notes.append(f"{len(common):,} pairs by name: A is what B is to be made from (--direction BtoA turns them round)")
    sources, images = ([tree.files[side[key][1]] for key in common] for side in (a, b))
    return Pictures(f"{tree.kind} of pairs, A and B", common, images, None, kinds, notes, partners=sources)


def _split(key: str, splits: dict[str, str]) -> str:
    return splits.get(key.split("/")[0].casefold(), "")


def _is_pair(tree: Tree, top: str) -> bool:
    """Whether a folder holds folders A and B alone."""
    below = {name.split("/")[1].casefold() for name in tree.pictures if name.startswith(f"{top}/")}
    return below == {"a", "b"} and all(name.count("/") > 1 for name in tree.pictures if name.startswith(f"{top}/"))


def _by_key(tree: Tree, side: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Split and file by name without an ending, which may differ between the two sides.

    Raises:
        UsageError: two have one name.
    """
    found: dict[str, tuple[str, str]] = {}
    for key, (split, name) in side.items():
        short = str(PurePosixPath(key).with_suffix(""))
        if short in found:
            raise UsageError(f"{tree.root}: {plain(found[short][1])} and {plain(name)} have one name: rename one")
        found[short] = split, name
    return found


def _note_left_out(tree: Tree, used: set[str], notes: list[str]) -> None:
    others = list(dict.fromkeys(name.split("/")[0] for name in tree.pictures if name.split("/")[0] not in used))
    if others:
        notes.append(f"beside {some(sorted(used))}, {some(others)} are left out")


def in_proportion(a: list[tuple[int, int]], b: list[tuple[int, int]], names: list[str], where: str) -> tuple[int, int]:
    """How many times the pictures B, and A, are the larger of a pair: (1, 1), (k, 1) or (1, k), the same in all pairs.

    Args:
        a: width and height of each of A, upright.
        b: the same of B.
        names: what each pair is called.
        where: where they lie.

    Raises:
        UsageError: some pairs are of other sizes.
    """
    times = Counter((max(1, y[0] // x[0]), max(1, x[0] // y[0])) for x, y in zip(a, b, strict=True))
    (up, down), _ = times.most_common(1)[0]
    odd = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if [n * up for n in x] != [n * down for n in y]]
    if odd:
        told = [f"{plain(names[i])}: {a[i][0]} x {a[i][1]} and {b[i][0]} x {b[i][1]}" for i in odd[:NAMED]]
        more = ", ..." if len(odd) > NAMED else ""
        raise UsageError(
            f"{len(odd):,} of {len(names):,} pairs in {where} are of unequal size ({'; '.join(told)}{more} pixels): "
            "both sides are of one size, or one as many times the other in all pairs"
        )
    return up, down


def halves(sizes: list[tuple[int, int]], names: list[str], where: str) -> Iterator[tuple[int, int]]:
    """Width and height of the halves of pictures side by side.

    Raises:
        UsageError: a picture has an odd width.
    """
    odd = [i for i, (width, _) in enumerate(sizes) if width % 2]
    if odd:
        told = ", ".join(f"{plain(names[i])}: {sizes[i][0]} x {sizes[i][1]}" for i in odd[:NAMED])
        raise UsageError(
            f"{len(odd):,} of {len(names):,} pictures in {where} have an odd width ({told}): they do not hold two "
            "pictures side by side"
        )
    return ((width // 2, height) for width, height in sizes)
