"""Thousands of command lines and spoilt run files: exit code 0, 1 or 2, one line, never a traceback.

`make test` tries sixty of each kind, the same each time; `make soak` thousands, others each time
(`GANZOO_SOAK_CASES` of each kind).
"""

import contextlib
import io
import json
import os
import shutil
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ganzoo import files
from ganzoo.errors import UsageError
from ganzoo.runs.export import FORMATS, Format

SHORT, LONG = 60, int(os.environ.get("GANZOO_SOAK_CASES", "5000"))
settings.register_profile("short", max_examples=SHORT, derandomize=True, deadline=None, database=None)
settings.register_profile("soak", max_examples=LONG, deadline=None, print_blob=True)
settings.load_profile("soak" if os.environ.get("GANZOO_SOAK") else "short")
COMMON = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])

TEXT = st.text(st.characters(exclude_characters="/~\0", exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.one_of(
    st.sampled_from([-1, 0, 1, 2, 7, 64, 2**31, 2**63, 10**30]).map(str),
    st.sampled_from(["1e9", "nan", "inf", "-inf", "0.5", "1e-400", "1e400", "0x10", "1_000", "٣", "²", "90s", "1h30m"]),
)
SOME_WORDS = """
tiny plain unfinished cgan small-digits unlabelled mnist- r r/run.json r/config.json new models datasets metrics
features loggers plugins none tensorboard short auto cpu cuda cuda:7 fp32 bf16 tf32 train a.png a.npz 0-9 3,7 9-0 x=1 =
"""
SOME_OPTIONS = """
--help --json --dry-run --quiet --out --seed --steps --epochs --max-time --batch-size --lr --b1 --latent-dim --n-critic
--ema --dataset --data-root --image-size --channels --device --precision --sample-interval --checkpoint-interval
--eval-every --workers --loggers --preset --config --label --set -n --n --grid -o --metrics --features --split
--explode-at --report --benchmarks --seeds --format --port --no-browser --seconds --sync-batchnorm --no-such-option
-- - -h
"""
WORDS, OPTIONS = st.sampled_from(SOME_WORDS.split()), st.sampled_from(SOME_OPTIONS.split())
VALUES = st.one_of(NUMBERS, WORDS, TEXT)
COMMANDS = st.sampled_from(
    [
        ["run", "tiny", "--dataset", "small-digits"], ["run", "plain"], ["run"], ["resume", "r"], ["resume"],
        ["sample", "r"], ["sample"], ["eval", "r"], ["eval"], ["features", "train"], ["list"], ["info"], ["check"],
        ["new"], ["doctor"], [], ["compare", "r"], ["compare"], ["export", "r"], ["export"], ["demo", "r"], ["demo"],
        ["bench", "tiny"], ["bench"],
    ]
)  # fmt: skip
PAIRS = st.lists(st.one_of(st.tuples(OPTIONS, VALUES), st.tuples(OPTIONS), st.tuples(VALUES)), max_size=5)


def outcome(*arguments: str) -> tuple[int, str, str]:
    """Run a command here: its exit code, output and errors."""
    from ganzoo.cli import main

    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["ganzoo", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as stop,
    ):
        main()
    return stop.value.code, out.getvalue(), err.getvalue()


def assert_civil(arguments: tuple[str, ...], code: int, err: str) -> None:
    """Whatever was asked, the answer was one of the four."""
    assert code in (0, 1, 2), (arguments, code, err)
    assert "Traceback" not in err, (arguments, err)
    assert "GANZOO_TRACEBACK" not in err, f"{arguments}: an error that nobody thought of: {err}"
    if code and not (code == 2 and err.startswith("Usage: ")):  # The help, of a command that needs arguments.
        assert err.startswith(("error: ", "note: ")), (arguments, err)
        assert err.splitlines()[-1].startswith("error: "), (arguments, err)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of two steps, made once."""
    from ganzoo.launch import start
    from ganzoo.plugins import registry
    from ganzoo.settings import resolve

    folder = tmp_path_factory.mktemp("fuzz") / "r"
    options = {"dataset": "small-digits", "batch_size": 32, "loggers": (), "steps": 2}
    start(resolve(registry().get("models", "tiny"), options), registry(), folder)
    protocol = {
        "dataset": "small-digits", "split": "test", "reference_images": 500, "n": 10, "shape": [1, 8, 8],
        "extractor": "look", "extractor_sha256": "10" * 32, "resize": "none",
    }  # fmt: skip
    result = {"run": "r", "step": 2, "protocol": protocol, "metrics": {"fid": 1.5}, "settings": {"fid": {}}}
    (folder / "eval.json").write_text(json.dumps({**result, "left_out": {}}))
    return folder


@pytest.fixture
def idle(made, monkeypatch, tmp_path):
    """A folder with that run, where whatever takes time is refused instead."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))

    def busy(*_, **__):
        raise UsageError("not now")

    monkeypatch.setattr("ganzoo.training.trainer.Trainer.fit", lambda self, run: run.finish(self))
    monkeypatch.setattr("ganzoo.metrics.evaluation.Evaluator._open", busy)
    monkeypatch.setattr("ganzoo.metrics.classifier.fit", busy)
    monkeypatch.setattr("ganzoo.testing.examine", busy)
    monkeypatch.setattr("ganzoo.commands.sample.MOST", 100)
    monkeypatch.setattr("ganzoo.provide.provide", busy)
    monkeypatch.setattr("ganzoo.speed.bench.measure", busy)
    monkeypatch.setattr("ganzoo.demo.server.bind", busy)
    for kind in ("pt2", "onnx"):
        monkeypatch.setitem(FORMATS, kind, Format(busy, busy, 0.0, ""))
    shutil.copytree(made, tmp_path / "r")
    return tmp_path


@COMMON
@given(command=COMMANDS, pairs=PAIRS)
def test_any_command_line_gets_an_answer(idle, command, pairs):
    arguments = (*command, *(word for pair in pairs for word in pair))
    if "-n" in arguments or arguments[:1] == ("sample",):
        arguments = (*arguments, "-n", "3")  # The last counts: nobody waits for a million images.
    code, _, err = outcome(*arguments)
    assert_civil(arguments, code, err)


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from([-1, 0, 1, 3, 2**31, 2**63, 10**30, 0.5, 1e308, -1.5]),
        TEXT,
        st.sampled_from(["tiny", "plain", "mnist", "a\0b", "/", "..", "tensorboard"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=5,
)
FILES = ["run.json", "eval.json", "config.json", "status.json", "metrics.jsonl", "checkpoints/step-00000002.json",
         "checkpoints/step-00000002.pt", "generator.safetensors"]  # fmt: skip


def paths(value, here=()):
    """Every place in a JSON value."""
    yield here
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(item, (*here, key))


def put(value, path, new):
    """The value with something else at a place."""
    if not path:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = put(value[path[0]], path[1:], new)
    return changed


def spoil(run: Path, made: Path, name: str, data) -> None:
    """Change a file in one of the ways that files go wrong."""
    path = run / name
    content = path.read_bytes()
    ways = ["cut", "flip", "replace", *(["value", "value", "value"] if path.suffix == ".json" else [])]
    how = data.draw(st.sampled_from(ways))
    if how == "cut":
        path.write_bytes(content[: data.draw(st.integers(0, max(len(content) - 1, 0)))])
    elif how == "flip" and content:
        at = data.draw(st.integers(0, len(content) - 1))
        path.write_bytes(content[:at] + bytes([content[at] ^ data.draw(st.integers(1, 255))]) + content[at + 1 :])
    elif how == "value":
        value = json.loads(content)
        place = data.draw(st.sampled_from(list(paths(value))))
        path.write_text(json.dumps(put(value, place, data.draw(JSON))))
    else:
        path.write_text(json.dumps(data.draw(JSON)))
    if path.suffix == ".pt" and data.draw(st.booleans()):  # Somebody who means it writes a manifest that fits.
        if how == "replace":
            torch_saved(path, made / name, data)
        manifest = {"step": 2, "bytes": path.stat().st_size, "sha256": files.digest(path)}
        path.with_suffix(".json").write_text(json.dumps(manifest))


def torch_saved(path: Path, good: Path, data) -> None:
    """A checkpoint as torch writes it, with something else in one of its places."""
    state = torch.load(good, weights_only=True)
    places = [place for place in paths(state) if len(place) < 5]
    anything = st.one_of(JSON, st.sampled_from([torch.zeros(3), torch.zeros(2, 2), float("nan"), torch.zeros(0)]))
    torch.save(put(state, data.draw(st.sampled_from(places)), data.draw(anything)), path)


@COMMON
@given(data=st.data())
def test_any_spoilt_run_gets_an_answer(idle, made, data):
    shutil.rmtree("r")
    shutil.copytree(made, "r")
    spoil(Path("r"), made, data.draw(st.sampled_from(FILES)), data)
    command = data.draw(
        st.sampled_from(
            [
                ("resume", "r", "--quiet"), ("sample", "r", "-n", "2", "-o", "a.png"), ("eval", "r", "--n", "4"),
                ("run", "--config", "r/run.json", "--dry-run"), ("resume", "r", "--quiet", "--steps", "3"),
                ("compare", "r", "-o", "a.html"), ("export", "r", "-o", "a.safetensors"), ("demo", "r"),
                ("info", "r"), ("list", "runs", "."), ("video", "r", "-o", "a.gif"),
                ("sample", "r", "--walk", "--seconds", "0.1", "-n", "2", "-o", "b.gif"),
            ]
        )
    )  # fmt: skip
    code, _, err = outcome(*command)
    assert_civil(command, code, err)
