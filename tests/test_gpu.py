"""`make gpu` on a CPU, with tiny networks: every line that it prints, what it keeps, and that it always ends."""

import json
import time
from dataclasses import replace

import pytest
import torch

from ganzoo.errors import GanzooError, UsageError
from ganzoo.plugins import registry
from ganzoo.speed import gpu
from ganzoo.speed.gpu import Line, Suite, markdown, rate, resuming, run, speeds, tasks, trainer, work

STYLE = {"channel_base": 64, "channel_max": 4, "depth": 1, "latent_dim": 4, "group": 2, "path": 0.0, "r1_every": 1}
TINY = {
    "sngan": {"width": 4, "latent_dim": 4},
    "pix2pix": {"width": 4},
    "stylegan2": STYLE,
    "cgan": {"latent_dim": 4},
}
SUITE = Suite(
    device="cpu", models=("cgan", "pix2pix"), side=16, batches=(4, 8), sides=(8, 16),
    precisions=("fp32", "bf16"), batch=4, options=TINY, seconds=0.01,
)  # fmt: skip


@pytest.fixture(scope="module")
def plugins():
    return registry()


def test_every_line_is_there_and_has_two_figures_at_most(plugins, monkeypatch):
    monkeypatch.setattr("ganzoo.training.engine._cpu_has_bf16", lambda: True)

    def elsewhere(*given):  # It has a test of its own.
        raise GanzooError("no tutorial here")

    monkeypatch.setattr(gpu, "measure", elsewhere)
    told = []
    work(SUITE, time.time() + 3600, plugins, told.append)
    assert told[0]["machine"]["device"] == "cpu"
    lines = {message["name"]: Line(**message["line"]) for message in told if "line" in message}
    tables = [f"{model}, batch {batch}" for batch in (4, 8) for model in ("cgan", "pix2pix")]
    style = [f"stylegan2 {side} x {side}, {precision}" for side in (8, 16) for precision in ("fp32", "bf16")]
    assert list(lines) == ["tutorials' loop", "resumed", *tables[:2], *style, *tables[2:]]
    assert lines.pop("tutorials' loop").note == "not measured: no tutorial here"
    assert all(len(line.figures) == 2 or line.note for line in lines.values())
    for name in [*tables, *style]:
        assert lines[name].figures["plain"] > 0
        assert lines[name].figures.get("recorded", 1) > 0, name
        assert ("recorded" in lines[name].figures) == (not lines[name].note), lines[name].note
    assert lines["resumed"].figures["apart at most"] == 0 < lines["resumed"].figures["moved at most"]


def test_the_tutorials_line_says_how_many_times_as_fast(plugins):
    line = gpu.against_tutorial(SUITE, plugins)
    assert line.what == "cgan (tutorial), batch 64"
    assert set(line.figures) == {"images/s", "x tutorials' loop"}
    assert all(value > 0 for value in line.figures.values())


@pytest.mark.parametrize("name", ["srgan", "stargan", "cyclegan", "pixelda", "ccgan"])
def test_models_that_translate_get_sources_that_fit_them(plugins, name):
    few = {"width": 4} | ({} if name == "ccgan" else {"blocks": 1})
    suite = replace(SUITE, options={name: few})
    training = trainer(suite, plugins.get("models", name), 4, 16)
    assert all(value.isfinite() for value in training.advance().values())


def test_what_was_not_recorded_says_why(plugins, monkeypatch):
    def refuse(*given):
        raise GanzooError("--engine graph: a counter moves; --engine eager always works")

    monkeypatch.setattr(gpu, "settle", refuse)
    line = speeds(SUITE, "sngan, batch 4", plugins.get("models", "sngan"), 4, 16)
    assert set(line.figures) == {"plain"}
    assert line.note == "not recorded: a counter moves; --engine eager always works"


def test_what_cannot_be_had_is_a_line_and_costs_no_other(plugins):
    told = []
    suite = Suite(device="cpu", models=("sngan",), side=16, batches=(4,), sides=(16,), precisions=("tf32", "fp32"),
                  batch=4, options=TINY, seconds=0.01, resumed="stylegan2")  # fmt: skip
    chosen = [(name, task) for name, task in tasks(suite, plugins) if name.startswith("stylegan2 16")]
    original, gpu.tasks = gpu.tasks, lambda *given: iter(chosen)
    try:
        work(suite, time.time() + 3600, plugins, told.append)
    finally:
        gpu.tasks = original
    first, second = [Line(**message["line"]) for message in told if "line" in message]
    assert first.note == (
        "not measured: --precision tf32 needs a CUDA device of compute capability 8.0 or above, not cpu; use fp32"
    )
    assert second.figures["plain"] > 0


def test_nothing_is_begun_when_the_time_is_up(plugins):
    told = []
    work(SUITE, time.time() - 1, plugins, told.append)
    assert [list(message) for message in told] == [["machine"]]


def test_the_rate_counts_real_images(plugins, monkeypatch):
    training = trainer(SUITE, plugins.get("models", "sngan"), 4, 16)
    clock = iter([0.0, 2.0])
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: next(clock))
    assert rate(training, 1.0) == 4 / 2.0
    assert training.step == 3


def test_a_resumed_run_of_recorded_steps_is_compared_where_it_ends(plugins):
    line = resuming(SUITE, plugins.get("models", "cgan"), steps=3)
    assert line.figures["apart at most"] == 0
    assert line.what == "cgan resumed, recorded"


def test_the_command_keeps_what_it_found_and_names_what_it_left_out(tmp_path, monkeypatch):
    """Its time is up while it measures: a model whose steps would never end."""
    told = [
        {"machine": {"device_name": "a chip", "torch": "2", "precision": "fp32", "platform": "here"}},
        {"begun": "tutorials' loop"},
        {"name": "tutorials' loop", "line": {"what": "cgan", "figures": {"images/s": 12345.6, "x": 2.5}, "note": ""}},
        {"begun": "resumed"},
        {"name": "resumed", "line": {"what": "sngan", "figures": {"plain": 9.0}, "note": "not recorded: it moves"}},
        {"begun": "cgan, batch 4"},
    ]
    script = "import json, sys, time\n" + "".join(f"print({json.dumps(json.dumps(m))}, flush=True)\n" for m in told)
    script += "print('what a library prints', flush=True)\ntime.sleep(600)\n"
    popen = gpu.subprocess.Popen
    ended = []

    def start(command, **options):
        ended.append(popen([command[0], "-c", script], **options))
        return ended[0]

    monkeypatch.setattr(gpu.subprocess, "Popen", start)
    said = []
    report = run(SUITE, 5.0, tmp_path / "results" / "gpu", said.append)
    assert ended[0].returncode is not None
    assert said[0] == "cgan                         images/s 12,346   x 2.5"
    assert said[1] == "sngan                        plain 9   not recorded: it moves"
    assert said[2].startswith("left out, for the time was up: cgan, batch 4, pix2pix, batch 4, ")
    assert said[2].endswith("(in the midst of cgan, batch 4)")
    assert json.loads((tmp_path / "results" / "gpu.json").read_text()) == json.loads(json.dumps(report))
    page = (tmp_path / "results" / "gpu.md").read_text()
    assert "| cgan | images/s 12,346 | x 2.5 |" in page
    assert "- sngan: not recorded: it moves" in page
    assert page == markdown(report)


def test_the_whole_command_runs_in_a_process_of_its_own(tmp_path, capsys):
    suite = {
        "models": ["cgan"], "side": 16, "batches": [4], "sides": [], "options": TINY, "seconds": 0.01,
        "resumed": "cgan", "tutorial": False,
    }  # fmt: skip
    given = ["gpu", "--device", "cpu", "--out", str(tmp_path / "g"), "--suite", json.dumps(suite)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", given)
        gpu.main()
    report = json.loads((tmp_path / "g.json").read_text())
    assert [line["what"] for line in report["lines"]] == ["cgan resumed, recorded", "cgan, batch 4"]
    assert not report["left_out"]
    assert capsys.readouterr().out.count("\n") == 2
    assert Suite.of(json.dumps(report["suite"])).models == ("cgan",)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--suite", "{"], "error: --suite is not one: "),
        (["--suite", '{"speed": 3}'], "error: --suite is not one: "),
        (["--seconds", "900"], "error: Invalid value for '--seconds': "),
    ],
)
def test_a_mistake_is_one_line(arguments, line, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gpu", "--device", "cpu", *arguments])
    with pytest.raises(SystemExit) as stop:
        gpu.main()
    assert stop.value.code == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert said.startswith(line)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path):
    with pytest.raises(UsageError, match="no CUDA device is available here"):
        run(Suite(), 100.0, tmp_path / "gpu", print)
    assert not list(tmp_path.iterdir())
