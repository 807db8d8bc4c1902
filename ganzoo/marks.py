"""What a user calls a run: a name, and tags to find it by. Kept in `run.json`; nothing of the training follows them."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ganzoo.errors import UsageError, plain

LONGEST, MOST = 60, 20
"""Characters of a name or a tag, and tags of a run."""


class Marks(NamedTuple):
    """The name and the tags of a run, where it has any."""

    name: str | None = None
    tags: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What `run.json` keeps of them: nothing of a run without."""
        named = {} if self.name is None else {"name": self.name}
        return named | ({"tags": list(self.tags)} if self.tags else {})


def marks(name: str | None = None, tags: Iterable[str] = ()) -> Marks:
    """A name and tags as a user gives them; a tag that is given twice counts once.

    Raises:
        UsageError: one is empty, too long, begins with `-` or holds what a line of a table cannot show, a tag holds a
            space or a comma, or there are too many.
    """
    found = tuple(dict.fromkeys(tags))
    for flag, text in (*([("--name", name)] if name is not None else []), *(("--tag", tag) for tag in found)):
        if not 0 < len(text) <= LONGEST or plain(text) != text or text.startswith("-"):
            raise UsageError(f"{flag} {plain(text)!r}: give 1 to {LONGEST} printable characters, the first no '-'")
        if flag == "--tag" and {" ", ","} & set(text):
            raise UsageError(f"--tag {text!r}: a tag is one word; give --tag again for another")
    if len(found) > MOST:
        raise UsageError(f"--tag: a run has {MOST} tags at most, not {len(found)}")
    return Marks(name, found)


def marks_of(info: Mapping[str, Any]) -> Marks:
    """Those in a `run.json`, which may be older than they are, or a stranger's: what is none is left out."""
    name, tags = info.get("name"), info.get("tags")
    known = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    shown = tuple(filter(None, (plain(tag)[:LONGEST] for tag in known[:MOST])))
    return Marks((plain(name)[:LONGEST] or None) if isinstance(name, str) else None, shown)
