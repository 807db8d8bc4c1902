"""What the demo's page says of the run that it shows."""

from pathlib import Path
from typing import Any, NamedTuple

from ganzoo.files import number, read_json
from ganzoo.gan import GAN
from ganzoo.metrics.protocol import describe
from ganzoo.runs.folder import read_metrics
from ganzoo.runs.measuring import result_of


class About(NamedTuple):
    """A run, as far as it is known."""

    run: str = ""
    """Its folder; empty where there is none."""
    step: int | None = None
    fid: float | None = None
    """Of these very weights; None where nobody measured it."""
    measured: str = ""
    """How the FID was measured."""

    def facts(self) -> dict[str, Any]:
        """The same as words."""
        return {
            "run": self.run,
            "step": "" if self.step is None else f"{self.step:,}",
            "fid": "" if self.fid is None else f"{self.fid:.3g}",
            "measured": self.measured,
        }


UNKNOWN = About()


def side(gan: GAN, known: About) -> dict[str, Any]:
    """What a page says of one of the runs that it shows, whose checkpoints nobody may choose from yet."""
    title = Path(known.run).name or gan.name
    return {
        **known.facts(),
        "model": gan.name,
        "data": gan.data.name,
        "title": title,
        "conditional": gan.conditional,
        "checkpoints": [],
        "start": 0,
    }


def about(run: Path, step: int | None, checkpoint: str | int | None = None) -> About:
    """What is known of a run whose weights are those of `step`: by `ganzoo eval` if it measured them, else by the log.

    Raises:
        GanzooError: a file of the run is damaged.
    """
    path = result_of(run, checkpoint)
    result: Any = read_json(path) if path.is_file() else {}
    if isinstance(result, dict) and result.get("step") == step:
        fid = _fid(result.get("metrics"))
        if fid is not None:
            return About(str(run), step, fid, f"by ganzoo eval: {_described(result.get('protocol'))}")
    found = [fid for line in read_metrics(run) if line["step"] == step and (fid := _fid(line)) is not None]
    return About(str(run), step, *((found[-1], "while it trained") if found else (None, "")))


def _described(protocol: Any) -> str:
    try:
        return describe(protocol)
    except (KeyError, TypeError, ValueError, AttributeError):  # A stranger's file says what it likes.
        return "it does not say how"


def _fid(values: Any) -> float | None:
    return number(values.get("fid")) if isinstance(values, dict) else None
