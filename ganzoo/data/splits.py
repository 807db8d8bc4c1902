"""Which names say that pictures are for training or for tests."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

TRAINING = ("train", "training")
TESTING = ("test", "testing", "val", "valid", "validation", "dev", "eval", "holdout")
"""Words that name splits, in any case of letters; of several test splits the first in this order is taken."""
PARTING = r"([-_. ]+|(?<=[a-z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[0-9]))"
"""Between words: `train_images`, `trainImages`, `train2017`; but `trainA` is one, as CycleGAN's folders are called."""
_KINDS = dict.fromkeys(TRAINING, "train") | dict.fromkeys(TESTING, "test")


class Word(NamedTuple):
    """A split's word in a name."""

    word: str
    rest: str
    """The name without it: `_images` of `train_images`, empty where it is the whole name."""

    @property
    def kind(self) -> str:
        """`train` or `test`."""
        return _KINDS[self.word]


def word_in(name: str) -> Word | None:
    """The first split's word among the words of a name; also in `trainset`."""
    parts = [part.casefold() for part in re.split(PARTING, name)]
    for i, part in enumerate(parts):
        for rest in ("", "set") if part.endswith("set") else ("",):
            word = part.removesuffix(rest)
            left = "".join([*parts[:i], rest, *parts[i + 1 :]])
            if word in _KINDS and (not left or left.strip("-_. ")):  # `train_` is what keeps a class from being one.
                return Word(word, left)
    return None


def by_words(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """How files are split whose names, or whose folders' names, hold words of splits: `train` or `test` of each.

    Empty where they are not split; and those that are of neither split, where others are.
    """
    return chosen({name: _nearest(name) for name in names})


def alone(names: Iterable[str]) -> list[str]:
    """Those files whose names say that they are for tests, where none is named as for training."""
    words = {name: word for name in names if (word := _nearest(name))}
    return [] if any(word in TRAINING for word in words.values()) else [*words]


def _nearest(path: str) -> str:
    """The split's word in a path, a file's own before its folders'; empty where there is none."""
    found = (word_in(part) for part in reversed(path.split("/")))
    return next((word.word for word in found if word is not None), "")


def chosen(words: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """`train` or `test` of what is told by a word each, and those that are of neither; see `by_words`."""
    there = set(words.values())
    training = next((word for word in TRAINING if word in there), None)
    testing = next((word for word in TESTING if word in there), None)
    if training is None or testing is None:
        return {}, []
    known = {training: "train", testing: "test"}
    return {n: known[w] for n, w in words.items() if w in known}, [n for n, w in words.items() if w not in known]


def folders_of(tops: Iterable[str]) -> dict[str, str]:
    """Of folders side by side those that are the two splits, `train` or `test` of each; empty where none are.

    `train` and `val` are, and so are `train_images` and `test_images`, or `train2017` and `val2017`, whose names are
    alike but for the word.

    Raises:
        ValueError: two are for training; the message names them.
    """
    groups: dict[str, dict[str, Word]] = {"": {}}
    for top in tops:
        if (word := word_in(top)) is not None:
            groups.setdefault(word.rest, {})[top] = word
    for group in groups.values():
        training = [top for top, word in group.items() if word.kind == "train"]
        testing = [top for top, word in group.items() if word.kind == "test"]
        if len(training) > 1 and (testing or group is groups[""]):
            raise ValueError(" and ".join(training))
        if training and testing:
            return {training[0]: "train", min(testing, key=lambda top: TESTING.index(group[top].word)): "test"}
    return {}


def unused(folders: Iterable[str]) -> dict[str, list[str]]:
    """Folders side by side that may be meant for splits, by the folder that they lie in.

    Two or more whose names are split's words and numbers alone; or one that begins with a word for training beside one
    that begins with a word for tests.
    """
    children: dict[str, list[tuple[str, Word]]] = {}
    for folder in dict.fromkeys(folders):
        parent, _, name = folder.rpartition("/")
        word = word_in(name)
        if word is not None and name.casefold().startswith(word.word):
            children.setdefault(parent, []).append((name, word))
    found: dict[str, list[str]] = {}
    for parent, words in children.items():
        alone = [name for name, word in words if word.rest.strip("0123456789") in ("", "set")]
        both = len({word.kind for _, word in words}) > 1
        if both or len(alone) > 1:
            found[parent] = [name for name, _ in words] if both else alone
    return found
