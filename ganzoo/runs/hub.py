"""Runs on the Hugging Face hub: `hf://owner/name`, fetched to a folder of the cache.

What is fetched is a stranger's: files of known names and sizes alone are taken, none of them code, and the folder is
then read as any run directory.
"""

import errno
import inspect
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from threading import Timer
from typing import Any, NamedTuple
from urllib.parse import quote

from ganzoo.errors import GanzooError, UsageError, note_once, one_line, plain, watched
from ganzoo.files import cache_dir, memory, write_text
from ganzoo.terminal import argument

SCHEME = "hf://"
NAME = re.compile(r"[\w.-]{1,96}", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
WEIGHTS = re.compile(r"[a-z]\w{0,40}\.safetensors", re.ASCII)
GRID = re.compile(r"samples/[0-9]{8}\.png")
JSON = ("run.json", "config.json", "eval.json", "status.json")
SMALL = {**dict.fromkeys(JSON, 16 * 2**20), "metrics.jsonl": 64 * 2**20}
"""Bytes that files of these names may have."""
NEEDED = ("run.json", "config.json", "generator.safetensors")
LARGEST_GRID, MOST_WEIGHTS, MOST_FILES = 32 * 2**20, 16, 10_000
SECONDS = 15
"""For which the hub may be silent."""
QUIET = 15
"""Seconds without a file after which it is said that one waits."""
ABANDONED = 24 * 3600
"""Seconds after which a download that did not end is nobody's."""


class Address(NamedTuple):
    """Where a run is on the hub."""

    repo: str
    """owner/name."""
    revision: str | None = None
    """A branch, a tag or a commit; None: as it is now."""

    def __str__(self) -> str:
        return f"{SCHEME}{self.repo}" + (f"@{self.revision}" if self.revision else "")


def is_address(run: object) -> bool:
    """Whether this names a run on the hub."""
    return isinstance(run, str) and run.startswith(SCHEME)


def parse(text: str) -> Address:
    """`hf://owner/name`, or `hf://owner/name@revision`; the scheme may be left out.

    Raises:
        UsageError: it is none.
    """
    repo, at, revision = text.removeprefix(SCHEME).partition("@")
    owner, _, name = repo.partition("/")
    words = [owner, name, *(revision.split("/") if at else [])]
    if not all(NAME.fullmatch(word) and not word.startswith((".", "-")) and ".." not in word for word in words):
        raise UsageError(f"'{plain(text)}' is no run on the hub: write hf://owner/name, or hf://owner/name@revision")
    return Address(repo, revision or None)


def local(run: str | Path) -> Path:
    """The folder of a run: of an address on the hub, where it is fetched to, if it is not there yet.

    Raises:
        UsageError: there is no such run, or it may not be read, or huggingface_hub is not installed.
        GanzooError: the hub cannot be reached and nothing was fetched before, or it holds what no run does.
    """
    return fetch(parse(str(run))) if is_address(run) else Path(run)


def beside(run: Path, name: str) -> Path:
    """Where a command writes `name` unless told: in the run's folder; of a fetched run, here, under the run's name."""
    return Path(f"{fetched(run)}-{name}") if fetched(run) else run / name


def measured_in(run: Path, name: str) -> Path:
    """Where `name` with a run's numbers is kept: in its folder; of a fetched one, that stays as it came, beside it."""
    return run.with_name(f"{run.name}-{name}") if fetched(run) else run / name


def spoken(run: Path) -> str:
    """A run as commands name it: by its folder; one that was fetched by its address."""
    name = fetched(run)
    owner = run.parent.name.partition("--")[0]
    return f"{SCHEME}{owner}/{name}@{run.name}" if name else str(run)


def nothing_to_resume(address: str) -> UsageError:
    """Of a run on the hub, which `ganzoo resume` cannot go on with."""
    name = plain(address)
    return UsageError(
        f"{name} is on the hub, where no checkpoint is to go on from: `ganzoo run MODEL --init-from {argument(name)}` "
        "begins a run with its weights"
    )


def sibling(run: Path, ending: str) -> Path:
    """A folder for another training of a run: beside its own, NAME-ENDING; of one from the hub, here."""
    name = fetched(run)
    return Path(f"{name}-{ending}") if name else run.parent / f"{run.resolve().name}-{ending}"


def fetched(run: Path) -> str | None:
    """The name of a run that was fetched from the hub, without its owner's; None: its folder is a user's."""
    return run.parent.name.partition("--")[2] if run.absolute().is_relative_to(_home().absolute()) else None


def _home() -> Path:
    return cache_dir() / "hub"


def fetch(address: Address) -> Path:
    """The folder that the run was fetched to. Where the hub cannot be reached, that of an earlier time, with a note.

    Raises:
        UsageError, GanzooError: as `local`.
    """
    home = _home() / address.repo.replace("/", "--")
    if address.revision and COMMIT.fullmatch(address.revision) and (home / address.revision).is_dir():
        return home / address.revision
    newest = home / f"{quote(address.revision or 'main', safe='')}.ref"
    api = client()
    try:
        with told(address):
            info = api.model_info(address.repo, revision=address.revision, files_metadata=True, timeout=SECONDS)
    except Unreachable as error:
        commit = newest.read_text(encoding="ascii", errors="replace") if newest.is_file() else ""
        if COMMIT.fullmatch(commit) and (home / commit).is_dir():
            note_once(f"{error}; taken as it was fetched before")
            return home / commit
        if offline():
            raise GanzooError(f"{address} was not fetched before, and HF_HUB_OFFLINE has none asked now") from error
        raise
    if not COMMIT.fullmatch(str(info.sha)):
        raise GanzooError(f"{address}: the hub names no commit")
    sizes = _wanted(address, {str(file.rfilename): file.size for file in info.siblings or ()})
    folder = home / str(info.sha)
    try:
        if not folder.is_dir():
            download(address, str(info.sha), sizes, folder)
        write_text(newest, str(info.sha))
    except OSError as error:
        raise GanzooError(f"cannot keep {address} in {home}: {error.strerror or error}") from error
    return folder


def _wanted(address: Address, there: Mapping[str, int | None]) -> dict[str, int]:
    """Those of the files that belong to a run, and their sizes.

    Raises:
        UsageError: it is no run of ganzoo's.
        GanzooError: a name leads out of its folder, or a size is none, or beyond what a run has.
    """
    for name in there:
        parts = PurePosixPath(name).parts
        if PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name or plain(name) != name:
            raise GanzooError(f"{address} is refused: it holds a file whose name leads elsewhere, '{plain(name)[:80]}'")
    grids = sorted(name for name in there if GRID.fullmatch(name))[-1:]
    named = [name for name in there if name in SMALL or WEIGHTS.fullmatch(name)] + grids
    for name in NEEDED:
        if name not in named:
            raise UsageError(f"{address} is not a run of ganzoo's: it has no {name}")
    limits = {name: SMALL.get(name, LARGEST_GRID if name in grids else memory()) for name in named}
    if len(there) > MOST_FILES or sum(map(bool, map(WEIGHTS.fullmatch, named))) > MOST_WEIGHTS:
        raise GanzooError(f"{address} is refused: it holds more files than a run does")
    sizes: dict[str, int] = {}
    for name, limit in limits.items():
        size = there[name]
        if not isinstance(size, int) or not 0 <= size <= limit:
            raise GanzooError(f"{address} is refused: its {name} has {size} bytes, and may have {limit:,}")
        sizes[name] = size
    if sum(sizes.values()) > memory():
        raise GanzooError(f"{address} is refused: {sum(sizes.values()):,} bytes are more than this machine's memory")
    return sizes


def download(address: Address, commit: str, sizes: Mapping[str, int], folder: Path) -> None:
    """Fetch the files into `folder`, all or none.

    Raises:
        UsageError, GanzooError: as `local`.
        OSError: the disk would not take them.
    """
    import huggingface_hub

    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(".part-*"):  # By a process that was killed; a younger one may be at work.
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    try:
        for name, size in sizes.items():
            with told(address), _told_of_silence(address):
                huggingface_hub.hf_hub_download(
                    address.repo,
                    name,
                    revision=commit,
                    local_dir=part,
                    endpoint=_endpoint(),
                    library_name="ganzoo",
                    **_bounded(address, name, size),
                )
            path = part / name
            if path.is_symlink() or not path.is_file() or path.stat().st_size != size:
                raise _unlike(address, name)
        shutil.rmtree(part / ".cache", ignore_errors=True)  # What the client keeps for itself.
        part.chmod(0o755)
        part.rename(folder)
    except OSError:
        if not folder.is_dir():  # Else another process was faster.
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unlike(address: Address, name: str) -> GanzooError:
    return GanzooError(f"{address}: {name} did not arrive as the hub describes it")


def _bounded(address: Address, name: str, size: int) -> dict[str, Any]:
    """Has the client end a download of far more than `size` bytes, before a disk is full of it.

    What comes over the network, and what comes again after a fault, may be somewhat more than the file.
    """
    import huggingface_hub
    from huggingface_hub.utils import tqdm

    class Bounded(tqdm):  # By which the client counts all that comes.
        arrived = 0.0

        def update(self, n: float | None = 1) -> bool | None:
            self.arrived += n or 0
            if self.arrived > 2 * size + 2**20:
                raise _unlike(address, name)
            return super().update(n)

    takes = inspect.signature(huggingface_hub.hf_hub_download).parameters
    return {"tqdm_class": Bounded} if "tqdm_class" in takes else {}  # Which 1.0 does not have.


# The client


class Unreachable(GanzooError):
    """The hub does not answer, or not as it should."""


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


@contextmanager
def _told_of_silence(address: Address) -> Iterator[None]:
    """A line where nothing is done after a while: the client asks again, some minutes long, and says nothing."""
    line = f"{address}: the hub is slow, or silent: it is asked again for some minutes (Ctrl-C ends it)"
    timer = Timer(QUIET, note_once, (line,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def client() -> Any:
    try:
        import huggingface_hub
        from huggingface_hub import utils
    except ImportError:
        raise UsageError("runs on the hub need the package huggingface_hub: pip install 'ganzoo[hub]'") from None
    utils.logging.set_verbosity_error()  # What it tries again, it would tell line by line.
    if not watched() and not os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS"):
        utils.disable_progress_bars()
    return huggingface_hub.HfApi(endpoint=_endpoint(), library_name="ganzoo")


LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
REFUSALS = {
    401: f"the hub does not know who asks, or there is no such run: {LOGIN}",
    403: f"the hub refuses: the account or its token may not do this; {LOGIN}",
    404: f"there is no such run on the hub, or it is private: {LOGIN}",
}
AGAIN = {
    409: "somebody else pushed meanwhile: push again",
    412: "somebody else pushed meanwhile: push again",
    413: "the hub does not take files as large as these",
    429: "the hub has too many requests: wait a while",
}
NO_HUB = (KeyError, TypeError, AttributeError, json.JSONDecodeError)
"""What the client makes of an answer that is none of a hub's."""


OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM)


@contextmanager
def told(address: Address) -> Iterator[None]:
    """What goes wrong with the hub, as one line.

    Raises:
        UsageError: it refuses, or knows no such run.
        GanzooError: it refuses for now, or what was sent.
        OSError: the disk would not take what came.
        Unreachable: anything else.
    """
    from huggingface_hub.utils import GatedRepoError, HFValidationError, RevisionNotFoundError

    try:
        yield
    except GanzooError:
        raise
    except RevisionNotFoundError as error:
        raise UsageError(f"{address}: there is no such revision of the run") from error
    except GatedRepoError as error:
        raise UsageError(f"{address}: its owner lets in those alone who asked on its page; {LOGIN}") from error
    except HFValidationError as error:
        raise UsageError(f"{address}: {one_line(error)[:200]}") from error
    except Exception as error:  # Of whatever kind its versions, and what they stand on, raise.
        status = next((code for code in map(_status, _causes(error)) if code), None)
        if isinstance(error, OSError) and error.errno in OF_DISKS and not status:
            raise
        if status in REFUSALS:
            raise UsageError(f"{address}: {REFUSALS[status]}") from error
        if status in AGAIN:
            kind = Unreachable if status == 429 else GanzooError
            raise kind(f"{address}: {AGAIN[status]}") from error
        if status is not None and 400 <= status < 500:
            said = plain(str(getattr(error, "server_message", None) or ""))[:160]
            raise GanzooError(f"{address}: the hub refuses: it answers {status}{said and f', {said}'}") from error
        if isinstance(_causes(error)[-1], NO_HUB):
            where = _endpoint() or "not set"
            raise Unreachable(f"{address}: what answers is no hub (HF_ENDPOINT is {where})") from error
        if offline():
            raise Unreachable(f"{address}: the hub is not asked, as HF_HUB_OFFLINE says") from error
        why = f"it answers {status}" if status else one_line(_causes(error)[-1])[:200]
        raise Unreachable(f"{address}: the hub cannot be reached ({why})") from error


def offline() -> bool:
    """Whether the user has forbidden to ask the hub, as the client reads it."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _causes(error: BaseException) -> Sequence[BaseException]:
    """The error, and those it came of, nearest first."""
    found = [error]
    while (cause := found[-1].__cause__) is not None and cause not in found:
        found.append(cause)
    return found


def _status(error: BaseException) -> int | None:
    code = getattr(getattr(error, "response", None), "status_code", None)
    return code if isinstance(code, int) else None
