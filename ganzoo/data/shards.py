"""Several archives in a folder, which are one set."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from ganzoo.data.archives import TAR, Source, members
from ganzoo.data.imagefiles import ENDINGS
from ganzoo.data.splits import alone, by_words
from ganzoo.data.tree import Tree, some, tells, within
from ganzoo.errors import UsageError, plain


def shards(tree: Tree, archives: Sequence[str], notes: list[str]) -> Tree:
    """What is in some tars and zips of a folder, as if it lay in one.

    Where two hold files of one name, all files of the second bear its name, so that those of one key stay together.

    Raises:
        UsageError: one cannot be read; or one tells of files by names that another has, too.
    """
    splits, unused = by_words(archives)
    if unused:
        notes.append(f"beside the archives of the two splits, {some(unused)} are left out")
    elif odd := alone(archives):
        notes.append(f"{some(odd)} are no test split, for none is named as the training split")
    files: dict[str, Source] = {}
    around, aside = set[str](), 0
    for split in ("train", "test") if splits else ("",):
        joined: dict[str, Source] = {}
        for name in archives:
            if splits.get(name, "") == split:
                held, left_out = members(tree.root / name)
                aside += left_out
                _join(joined, held, name, str(tree.root))
        inner, folder = within(joined)
        around |= {folder} - {""}
        files |= {f"{split}/{member}".lstrip("/"): source for member, source in inner.items()}
    notes += [passed_over(folder) for folder in sorted(around)] + links_left_out(aside, tree.root)
    kind = "tars" if all(name.lower().endswith(TAR) for name in archives) else "archives"
    found = Tree(f"{len(archives)} {kind}", tree.root, files)
    known = {*archives, *tree.pictures}
    found.outside = [n for n in tree.files if n not in known]
    return found


def passed_over(folder: str) -> str:
    """A line on the folders around everything in an archive."""
    return f"the folder around everything, {plain(folder)[:100]}, is passed over"


def links_left_out(count: int, where: Path) -> list[str]:
    """A line on what is no file in archives, if there is any."""
    return [f"{count:,} links or devices in {where} are left out"] if count else []


COUNTING = (*ENDINGS, ".cls", ".json")
"""How the names of files end that come in the same row of several archives as pictures do."""


def _join(joined: dict[str, Source], held: Mapping[str, Source], name: str, where: str) -> None:
    """Add what an archive holds."""
    twice = [member for member in held if member in joined and (member.lower().endswith(COUNTING) or tells(member))]
    if twice and (labels := [member for member in held if tells(member)]):
        raise UsageError(
            f"{where}: two archives hold '{plain(twice[0])[:100]}', and {plain(labels[0])[:100]} in "
            f"{plain(name)[:100]} tells of files by their names: give them names of their own, or make one archive"
        )
    mark = f"{PurePosixPath(name).name.split('.')[0]}-"
    if any(_marked(mark, member) in joined for member in held) and twice:
        mark = f"{name.replace('/', '-')}-"
        if any(member.lower().endswith(".cls") for member in held):  # Of whose keys a point is the end.
            mark = mark.replace(".", "-")
    for member, source in held.items():
        joined[_marked(mark, member) if twice else member] = source


def _marked(mark: str, member: str) -> str:
    folder, _, base = member.rpartition("/")
    return f"{folder}/{mark}{base}".lstrip("/")
