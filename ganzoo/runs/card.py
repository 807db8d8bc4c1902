"""The card of a run on the hub: its README, which says what the run is, how good, and how to use it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganzoo.errors import GanzooError, plain
from ganzoo.fields import validated
from ganzoo.gan import GAN
from ganzoo.metrics.protocol import describe
from ganzoo.plugins import registry
from ganzoo.runs.hub import fetched, spoken
from ganzoo.settings import BUDGET, Settings

SHOWN = 60
"""Options that are listed, at most."""

SETTINGS = (
    *BUDGET, "seed", "limit", "image_size", "channels", "source", "labels", "balance", "mirror", "jitter", "augment",
    "regularise", "init_from", "freeze_discriminator", "precision", "accumulate", "clip_gradients", "sync_batchnorm",
)  # fmt: skip
"""Of a run's settings those that its weights depend on; they are listed where they are not the usual ones."""


def card(repo: str, gan: GAN, files: Mapping[str, bytes], step: int | None = None) -> str:
    """The Markdown of a run's card, with the metadata that the hub reads before it.

    Args:
        repo: owner/name.
        gan: the run's model.
        files: what is pushed, by name.
        step: of the weights; numbers that were measured at another are left out.
    """
    info = json.loads(files["run.json"])
    address, data = f"hf://{repo}", gan.data
    parts = [_metadata(gan), f"# {_text(info.get('name') or repo.partition('/')[2])}"]
    what = "makes images from images" if gan.translates else "draws images" if data.is_images else "draws points"
    shape = " x ".join(map(str, (*data.shape[2:], *data.shape[1:2]))) if data.is_images else f"{data.shape[0]} numbers"
    classes = f", {len(data.classes)} classes" if data.classes else ""
    parts.append(
        f"A generator that {what}: the model {_code(gan.name)} of ganzoo, trained on {_code(data.name)} "
        f"({shape}{classes}).\n\nPaper: {_text(gan.paper)}"
    )
    grid = max((name for name in files if name.startswith("samples/")), default=None)
    if grid:
        parts.append(f"![Samples]({grid})")
    parts += ["## Use it", _use(address, gan)]
    result = json.loads(files["eval.json"]) if "eval.json" in files else None
    if result is not None and measured_at(result, step):
        parts += ["## How good it is", _numbers(result)]
    parts += ["## How it was trained", _training(info, step)]
    parts += ["## The data", _attribution(data.name)]
    return "\n\n".join(parts) + "\n"


def measured_at(result: Any, step: int | None) -> bool:
    """Whether a result is of the weights of `step`, as far as both are known."""
    at = result.get("step") if isinstance(result, dict) else None
    return step is None or at is None or at == step


def _metadata(gan: GAN) -> str:
    kind = "image-to-image" if gan.translates else "unconditional-image-generation" if gan.data.is_images else None
    words = ["gan", *([] if gan.name == "gan" else [gan.name]), "pytorch", "safetensors", _word(gan.data.name)]
    lines = ["library_name: ganzoo", *([f"pipeline_tag: {kind}"] if kind else []), "tags:", "- ganzoo"]
    return "\n".join(["---", *lines, *(f"- {json.dumps(word)}" for word in dict.fromkeys(words)), "---"])


def _use(address: str, gan: GAN) -> str:
    start = " --from PICTURES" if gan.translates else " -n 64"
    plugin = registry().provider("models", gan.name) if gan.name in registry().names("models") else None
    also = (
        f"# The model comes with another package: {_text(plugin.package)}\n" if plugin and not plugin.built_in else ""
    )
    call = "translate(images)" if gan.translates else "sample(64)"
    commands = [f"ganzoo sample {address}{start}", f"ganzoo eval {address}"]
    commands += [f"ganzoo demo {address}"] if gan.data.is_images else []
    return (
        f"```console\n{also}$ pip install 'ganzoo[hub]'\n" + "".join(f"$ {line}\n" for line in commands) + "```\n\n"
        f'```python\nimport ganzoo\n\nimages = ganzoo.load("{address}").{call}\n```\n\n'
        "The files are weights (safetensors) and JSON; nothing in them is executed."
    )


def _numbers(measured: Any) -> str:
    """The metrics as a table, with what they depend on."""
    try:
        told, metrics, near = describe(measured["protocol"]), measured["metrics"], measured.get("intervals") or {}
        rows = [
            f"| {_text(name)} | {value:.4g} | {'{:.4g} to {:.4g}'.format(*near[name]) if name in near else ''} |"
            for name, value in metrics.items()
        ]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise GanzooError(f"eval.json is damaged ({type(error).__name__}): measure the run anew") from error
    return f"{_text(told)}.\n\n| metric | value | 95% interval |\n| --- | --- | --- |\n" + "\n".join(rows)


def _training(info: Mapping[str, Any], step: int | None) -> str:
    settings, options = ({**found} if isinstance(found := info.get(k), dict) else {} for k in ("settings", "options"))
    budget = info.get("steps")
    made = [f"preset {_text(info['preset'])}"] if info.get("preset") is not None else []
    if step or budget is not None:
        of = f" of {_text(budget)}" if step and budget not in (None, step) else ""
        made.append(f"steps {_text(step or budget)}{of}")
    versions = info.get("versions")
    version = versions.get("ganzoo") if isinstance(versions, dict) else None
    made += [f"ganzoo {_text(version)}"] if version else []
    usual = validated(Settings, {}).model_dump(mode="json")
    own = settings.get("data_options")
    chosen = {**own} if isinstance(own, dict) else {}
    chosen |= {k: v for k, v in settings.items() if k in SETTINGS and (k == "seed" or v != usual[k])}
    if isinstance(begun := chosen.get("init_from"), str):
        chosen["init_from"] = spoken(Path(begun)) if fetched(Path(begun)) else Path(begun).name
    chosen |= options
    rows = [f"| {_code(key)} | {_text(value)} |" for key, value in list(chosen.items())[:SHOWN] if value is not None]
    return f"{', '.join(made)}.\n\n| option | value |\n| --- | --- |\n" + "\n".join(rows)


def _attribution(name: str) -> str:
    plugins = registry()
    known = plugins.get("datasets", name).attribution if name in plugins.names("datasets") else ""
    return f"{_code(name)}: " + (known or "whose they are, and under which licence, is to be said here.")


def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "data"


def _code(value: Any) -> str:
    """A name as code within Markdown."""
    return "`" + plain(str(value))[:300].replace("`", "'").replace("|", "/") + "`"


def _text(value: Any) -> str:
    """A value as text within Markdown, on one line and without effect on what is around it."""
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", plain(str(value))[:300])
