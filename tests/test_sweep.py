"""`ganzoo sweep MODEL`: many trials get a little of the budget, the best all of it; nothing is trained twice."""

import json
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from ganzoo import apart
from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.plugins import registry
from ganzoo.provide import Wanted, _is_trained
from ganzoo.runs.run import Run
from ganzoo.settings import resolve
from ganzoo.space import Known, Span, combination, combinations, draw, parse_space
from ganzoo.sweep import BY, Asked, Sweep, budget_of, rungs
from ganzoo_test_plugins import Tiny

DATA = ("--dataset", "small-digits", "--quiet")
THREE = ("sweep", "tiny", *DATA, "--set", "lr=1e-4,3e-3,1e-3", "--set", "engine=eager", "--budget", "9steps")
HOME = Path("runs/sweep/tiny-small-digits-9steps-lr")


@pytest.fixture
def trains(tmp_path_factory, monkeypatch) -> list[tuple[str, float]]:
    """Trials are trained in this process, where a test can meddle with them; which, and how far, in order."""
    calls: list[tuple[str, float]] = []

    def train(plan, folder, begun, progress, share):
        calls.append((folder.name, share))
        apart.train(plan, folder, begun, progress, share)

    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr("ganzoo.runs.measuring.MEASURED", 100)
    monkeypatch.setattr("ganzoo.metrics.training.N", 100)
    monkeypatch.setattr("ganzoo.provide.train_apart", train)
    return calls


# As commands


def test_the_best_trial_is_the_very_run_that_its_command_trains_and_nothing_is_trained_twice(ganzoo, trains):
    result = ganzoo(*THREE)
    assert (result.code, result.err) == (0, "")
    assert sorted(path.name for path in HOME.iterdir()) == [
        ".lock", "01-lr0.0001", "02-lr0.003", "03-lr0.001", "report.html", "sweep.json"
    ]  # fmt: skip
    steps = {p.parent.name: json.loads(p.read_text())["step"] for p in HOME.glob("*/status.json")}
    best = max(steps, key=lambda name: steps[name])
    assert sorted(steps.values()) == [3, 3, 9]
    names = sorted(steps)
    assert trains == [*((name, pytest.approx(1 / 3)) for name in names), (best, 1.0)]
    assert result.out.startswith(f"best:   lr {best.partition('-lr')[2]}, engine eager: fid ")
    assert str(HOME / "report.html") in result.out
    assert "2 of 3 were given up early" in (HOME / "report.html").read_text()
    files = {path: path.stat().st_mtime_ns for path in HOME.glob("*/*")}
    again = ganzoo(*THREE, "--json")
    assert (again.code, len(trains), {path: path.stat().st_mtime_ns for path in HOME.glob("*/*")}) == (0, 4, files)
    told = json.loads(again.out)
    command = shlex.split(told["best"]["command"])
    assert told["best"]["folder"] == str(HOME / best)
    assert told["best"]["fid"] == min(trial["scores"][-1] for trial in told["trials"] if len(trial["scores"]) == 2)
    assert ganzoo(*command[1:-1], "once", "--loggers", "none", "--quiet").code == 0
    assert Path("once/generator.safetensors").read_bytes() == (HOME / best / "generator.safetensors").read_bytes()


def test_a_sweep_that_is_stopped_goes_on_where_it_was(ganzoo, trains, monkeypatch):
    two = ("sweep", "tiny", *DATA, "--set", "lr=1e-4,3e-3", "--set", "engine=eager", "--budget", "9steps", "--out", "s")
    close = Run.close

    def stopped(self, status, trainer):
        close(self, status, trainer)
        if trains[-1][0].startswith("02"):
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "close", stopped)
    result = ganzoo(*two)
    assert (result.code, result.out) == (130, "")
    assert result.err.endswith("; s is kept: the same command goes on with the sweep\n")
    assert "ganzoo resume" not in result.err  # It would train the trial to its whole budget.
    assert [len(trial["scores"]) for trial in json.loads(Path("s/sweep.json").read_text())["trials"]] == [1, 0]
    monkeypatch.setattr(Run, "close", close)
    trial = next(Path("s").glob("02-*"))
    assert ganzoo("eval", trial, "-n", 40).code == 0  # Which is no number to choose by.
    assert ganzoo(*two).code == 0
    assert [(name[:2], share < 1) for name, share in trains] == [("01", True), ("02", True), ("02", False)]
    assert {json.loads(path.read_text())["protocol"]["n"] for path in Path("s").glob("*/eval.json")} == {100}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("during", ["ganzoo.provide.measure", "ganzoo.report.files.page"])
def test_a_signal_outside_of_training_stops_a_sweep_by_its_name(ganzoo, monkeypatch, number, code, during):
    two = ("sweep", "tiny", *DATA, "--set", "lr=1e-4,3e-3", "--budget", "9steps", "--out", "s", "--quiet")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # Shells have it ignored in the background.
    try:
        with monkeypatch.context() as patched:
            patched.setattr(during, lambda *_, **__: os.kill(os.getpid(), number))
            result = ganzoo(*two)
    finally:
        signal.signal(signal.SIGINT, before)
    said = f"stopped by {signal.Signals(number).name}; s is kept: the same command goes on with the sweep\n"
    assert (result.code, result.out, result.err) == (code, "", said)
    kept = json.loads(Path("s/sweep.json").read_text())["trials"]
    assert ganzoo(*two).code == 0
    there = json.loads(Path("s/sweep.json").read_text())["trials"]
    assert [trial["folder"] for trial in there][: len(kept)] == [trial["folder"] for trial in kept]


@pytest.mark.parametrize("by", ["cas", "fid"])
def test_what_runs_are_not_measured_by_is_refused_before_any_is_trained(ganzoo, trains, by):
    data = ("--dataset", "ring") if by == "fid" else DATA
    model = "gan" if by == "fid" else "tiny"
    result = ganzoo("sweep", model, *data, "--set", "lr=1e-4,3e-3", "--budget", "9steps", "--by", by, "--out", "s")
    assert (result.code, trains) == (2, [])
    assert result.err.count(f"--by {by}: `ganzoo eval` does not measure it of runs on ") == 1
    assert f"such as --by {'modes' if by == 'fid' else 'fid'}" in result.err
    Path("t").touch()
    refused = ganzoo("sweep", model, *data, "--set", "lr=1e-4,3e-3", "--budget", "9steps", "--out", "t")
    assert (refused.code, "t exists already, and is no folder: choose another --out" in refused.err) == (2, True)


def test_a_trial_whose_folder_is_gone_is_made_again(ganzoo, trains):
    two = ("sweep", "tiny", *DATA, "--set", "lr=1e-4,3e-3", "--budget", "9steps", "--out", "s", "--json")
    best = json.loads(ganzoo(*two).out)["best"]
    shutil.rmtree(best["folder"])
    trains.clear()
    again = ganzoo(*two)
    assert (again.code, json.loads(again.out)["best"]) == (0, best)
    assert trains == [(Path(best["folder"]).name, 1.0)]


def test_the_record_of_a_sweep_is_passed_over_by_a_comparison(ganzoo, trains):
    two = ("sweep", "tiny", *DATA, "--set", "lr=1e-4,3e-3", "--budget", "9steps", "--out", "s", "--quiet")
    assert ganzoo(*two).code == 0
    result = ganzoo("compare", *sorted(Path("s").glob("[!.]*")), "-o", "r.json")
    assert result.code == 0
    assert "s/sweep.json is a sweep's record of itself: passed over" in result.err
    lines = [line["name"] for group in json.loads(Path("r.json").read_text())["groups"] for line in group["lines"]]
    assert sorted(lines)[0].endswith(", training ended at 33 %")  # It was given up, and is no second seed of the other.
    Path("s/report.html").write_text("mine")
    refused = ganzoo(*two)
    assert refused.code == 2
    assert "s/report.html is there and is no report of ganzoo's: move it away, or choose another --out" in refused.err


def test_a_trial_that_failed_at_its_rung_is_not_taken_for_trained(ganzoo, trains):
    two = ("sweep", "tiny", *DATA, "--set", "lr=1e-4,3e-3", "--budget", "9steps", "--out", "s")
    assert ganzoo(*two).code == 0
    folder = next(path for path in Path("s").glob("0*") if json.loads((path / "status.json").read_text())["step"] == 3)
    status = json.loads((folder / "status.json").read_text())
    wanted = Wanted(resolve(registry().get("models", "tiny"), {}, None), folder, {}, None, 1 / 3)
    assert _is_trained(wanted)
    (folder / "status.json").write_text(json.dumps(status | {"status": "failed"}))
    assert not _is_trained(wanted)


def test_a_trial_that_diverges_is_named_and_the_others_go_on(ganzoo, trains):
    varied = ("sweep", "tiny", *DATA, "--budget", "4steps", "--set")
    result = ganzoo(*varied, "explode-at=0,1")
    assert (result.code, result.err.count("\n")) == (0, 1)
    assert result.err.startswith("failed: runs/sweep/tiny-small-digits-4steps-explode-at/02-explode-at1: ")
    assert result.out.startswith("best:   explode-at 0: fid ")
    told = json.loads(Path("runs/sweep/tiny-small-digits-4steps-explode-at/sweep.json").read_text())
    assert [len(trial["scores"]) for trial in told["trials"]] == [2, 0]
    none = ganzoo(*varied, "explode-at=1,2", "--out", "none")
    assert (none.code, none.out, none.err.count("\n")) == (1, "", 1)
    assert none.err.startswith("error: all 2 trials failed, the first of them so: none/01-explode-at1: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tinny", "--set", "lr=1,2"), "did you mean 'tiny'?"),
        (("tiny:shart", "--set", "lr=1,2"), "model 'tiny' has no preset 'shart': did you mean 'short'?"),
        (("tiny:", "--set", "lr=1,2"), "name a preset after the colon"),
        (("tiny", "--set", "latent-dims=8,16"), "--set latent-dims: model 'tiny' has no such option: did you mean 'la"),
        (("tiny", "--set", "lr=1e-4,-1"), "--lr: input should be greater than 0, not '-1'"),
        (("tiny", "--set", "lr=1e-4:100"), "--lr: input should be less than or equal to 10, not 100.0"),
        (("tiny", "--set", "lr=0.5:x"), "a range is written LOW:HIGH, in numbers"),
        (("tiny", "--set", "latent-dim=4:8.5"), "a range is written LOW:HIGH, in whole numbers"),
        (("tiny", "--set", "lr=1e-3:1e-4"), "a range runs upwards"),
        (("tiny", "--set", "lr=1e-3:nan"), "a range runs upwards"),
        (("tiny", "--set", "lr"), "--set lr: write NAME=VALUE,VALUE or NAME=LOW:HIGH"),
        (("tiny", "--set", "lr=1e-4,,1"), "a value is missing between the commas"),
        (("tiny", "--set", "lr=1,2", "--set", "lr=3"), "--set lr is given twice"),
        (("tiny", "--set", "lr=1e-4,0.0001"), "there is nothing to vary"),
        (("tiny",), "there is nothing to vary: give an option several values, such as --set lr=1e-4,3e-4,1e-3"),
        (("tiny", "--set", "steps=1,2"), "--set steps: all trials have one budget: give it by --budget"),
        (("tiny", "--set", "seed=1,2"), "a seed is nothing to choose by"),
        (("tiny", "--set", "image-size=8,16"), "trials that learn or are measured otherwise cannot be compared"),
        (("tiny", "--set", "engine=eager,fast"), "--engine: input should be "),
        (("tiny", "--set", "lr=1,2", "--by", "beauty"), "trials can be chosen by fid, kid, "),
        (("tiny", "--set", "lr=1,2", "--budget", "much"), "--budget much: write a time, 90s or 2m, or 20epochs, or 5"),
        (("tiny", "--set", "lr=1,2", "--budget", "0steps"), "--budget 0steps: it must be greater than 0"),
        (("tiny", "--set", "lr=1,2", "--dataset", "small-digit"), "did you mean 'small-digits'?"),
        (("tiny", "--set", "lr=1,2", "--device", "abacus"), "--device abacus: choose auto, cpu, cuda, cuda:N or mps"),
        (("tiny", "--set", "augment=none,nope"), "--augment nope: no augmentation is named 'nope'"),
        (("tiny", "--set", "augment=none,ada:target=7"), "--augment ada:target=7: target: input should be less than"),
        (("tiny", "--set", "device=cpu,abacus"), "--device abacus: choose auto, cpu, cuda, cuda:N or mps"),
        (("tiny", "--set", "init-from=runs/a,runs/b"), "runs/a"),
        (("tiny", "--set", "lr=1,2", "--source", "edges"), "model 'tiny' does not make images from images"),
        (("tiny", "--set", "latent-dim=1,2,3,4,5,6,7,8,9", "--set", "n-critic=1,2,3,4,5,6,7,8"), "are 72 combinations"),
    ],
)
def test_a_mistake_is_told_before_anything_is_trained(ganzoo, arguments, message):
    given = (*arguments, *(() if "--budget" in arguments else ("--budget", "9steps")))
    result = ganzoo("sweep", *given, *(() if "--dataset" in arguments else DATA))
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert message in result.err
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", ["sweep", "compare"])
def test_what_cannot_be_measured_is_not_trained(ganzoo, trains, tmp_path, command):
    for name in "ab":
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(9):
            Image.fromarray(np.full((16, 16, 3), 20 * i, np.uint8)).save(tmp_path / "pictures" / name / f"{i}.png")
    data = ("--dataset", "folder", "--data-root", "pictures", "--quiet")
    asked = {
        "sweep": ("sweep", "tiny", *data, "--set", "lr=1e-4,3e-3", "--budget", "9steps", "--out", "s"),
        "compare": ("compare", "tiny", "tiny:short", *data, "--steps", 3, "--out", "s"),
    }
    result = ganzoo(*asked[command])
    assert result.code == 2
    assert "no feature extractor is known for 'folder'" in result.err
    assert not trains
    assert not list(Path("s").glob("*/run.json"))


def test_a_mistake_that_shows_in_every_trial_is_mended_in_the_same_folder(ganzoo, trains):
    options = ("--set", "lr=1e-4,3e-3", "--set", "engine=eager", "--budget", "9steps", "--quiet", "--out", "s")
    missing = ganzoo("sweep", "tiny", "--dataset", "folder", "--data-root", "nowhere", *options)
    assert (missing.code, missing.out, missing.err.count("\n")) == (2, "", 1)
    assert "all 2 trials failed, the first of them so: s/01-lr0.0001: there is no folder" in missing.err
    assert ganzoo("sweep", "tiny", *DATA, *options).code == 0
    other = ganzoo("sweep", "tiny", "--dataset", "folder", "--data-root", "nowhere", *options)
    assert (other.code, "s holds another sweep" in other.err) == (2, True)


def test_ranges_need_optuna_and_lists_do_not(ganzoo, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    result = ganzoo("sweep", "tiny", *DATA, "--set", "lr=1e-4:1e-2", "--budget", "9steps")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "pip install 'ganzoo[sweep]'" in result.err
    assert not Path("runs").exists()
    assert Sweep(asked(sets=("lr=1e-4,1e-3",)), registry()).count == 2


# As a search, without training


def asked(**given) -> Asked:
    return Asked(**{"model": "tiny", "sets": ("lr=1e-4,2e-4,3e-4",), "budget": "9steps", **given})


@pytest.fixture
def scored(monkeypatch, tmp_path):
    """What trials would score by their options and share, in place of training; and which were brought how far."""
    monkeypatch.chdir(tmp_path)
    calls: list[tuple[dict[str, object], float]] = []
    scores = {"of": lambda options, share: options.lr}

    def provide(run, *_, apart):
        calls.append((run.folder.name, run.share))
        score = scores["of"](run.plan.options, run.share)
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / "run.json").touch()
        (run.folder / "eval.json").write_text(json.dumps({"metrics": {"fid": score, "recall": score}}))

    monkeypatch.setattr("ganzoo.sweep.provide", provide)
    return scores, calls


def run(sweep: Sweep) -> Sweep:
    sweep.run(lambda: [], lambda line: None)
    return sweep


def test_shares_grow_by_the_factor_that_trials_shrink_by():
    assert rungs(9, 3) == [1 / 9, pytest.approx(1 / 3), 1]
    assert rungs(2, 3) == [pytest.approx(1 / 3), 1]
    assert rungs(8, 2) == [1 / 8, 1 / 4, 1 / 2, 1]
    assert rungs(10_000, 3)[0] == pytest.approx(1 / 27)


def test_of_nine_trials_three_go_on_and_of_these_one(scored):
    _, calls = scored
    sweep = run(Sweep(asked(sets=("lr=9e-4,2e-4,8e-4,1e-4,7e-4,3e-4,6e-4,4e-4,5e-4",)), registry()))
    assert [share for _, share in calls] == [1 / 9] * 9 + [pytest.approx(1 / 3)] * 3 + [1]
    assert {name for name, share in calls if share > 0.2} == {"02-lr0.0002", "04-lr0.0001", "06-lr0.0003"}
    assert (sweep.best.options, sweep.best.scores) == ({"lr": 1e-4}, [1e-4] * 3)


def test_higher_is_better_where_it_is(scored):
    assert BY["recall"] == "higher"
    assert run(Sweep(asked(by="recall"), registry())).best.options == {"lr": 3e-4}


def test_what_fails_later_makes_room_for_the_next_best_and_is_tried_again(scored):
    scores, calls = scored

    def failing(options, share):
        if share == 1 and options.lr == 1e-4:
            raise GanzooError("boom")
        return options.lr

    scores["of"] = failing
    first = run(Sweep(asked(), registry()))
    assert first.best.options == {"lr": 2e-4}
    assert [path.partition(": ")[2] for path in first.failed] == ["boom"]
    scores["of"] = lambda options, share: options.lr
    calls.clear()
    second = run(Sweep(asked(), registry()))
    assert (second.best.options, second.failed, calls) == ({"lr": 1e-4}, [], [("01-lr0.0001", 1.0)])


def test_a_number_that_nobody_measured_is_told_at_the_first_trial_and_another_may_be_chosen(scored):
    _, calls = scored
    with pytest.raises(UsageError, match="its kid was not measured: choose by another, --by fid, recall"):
        run(Sweep(asked(by="kid"), registry()))
    assert len(calls) == 1
    assert run(Sweep(asked(by="recall"), registry())).best.options == {"lr": 3e-4}
    with pytest.raises(UsageError, match="holds another sweep, with by recall, not fid"):
        Sweep(asked(), registry())


def test_a_number_that_one_trial_has_not_is_that_trials_failure(scored):
    scores, _ = scored
    scores["of"] = lambda options, share: None if options.lr == 1e-4 else options.lr
    sweep = run(Sweep(asked(), registry()))
    assert (sweep.best.options, len(sweep.failed)) == ({"lr": 2e-4}, 1)


def test_what_another_process_did_since_it_was_read_is_used(scored):
    _, calls = scored
    waiting = Sweep(asked(), registry())
    run(Sweep(asked(), registry()))
    calls.clear()
    assert run(waiting).best.scores == [1e-4, 1e-4]
    assert calls == []


def test_trials_of_a_range_are_all_different_and_the_same_however_often_the_work_stopped(scored):
    scores, calls = scored
    wide = asked(sets=("lr=1e-5:1e-2", "latent-dim=4:64"), trials=14)
    whole = run(Sweep(wide, registry(), Path("whole")))
    assert len({str(trial.options) for trial in whole.trials}) == 14
    assert all(1e-5 <= t.options["lr"] <= 1e-2 and 4 <= t.options["latent_dim"] <= 64 for t in whole.trials)

    def stopping(options, share):
        if len(calls) % 5 == 0:
            raise KeyboardInterrupt
        return options.lr

    scores["of"] = stopping
    calls.clear()
    for _ in range(20):
        try:
            parts = run(Sweep(wide, registry(), Path("parts")))
            break
        except KeyboardInterrupt:
            continue
    assert [(t.options, t.scores) for t in parts.trials] == [(t.options, t.scores) for t in whole.trials]


def test_later_trials_are_drawn_near_those_that_did_well():
    space = {"lr": Span(1e-5, 1e-1, False), "n": [1, 2]}
    known: list[Known] = []
    while len(known) < 30:
        options = draw(space, known, 0, 30)
        known.append(Known(options, abs(options["lr"] / 1e-3 - 1)))
    near = [1e-4 < trial.options["lr"] < 1e-2 for trial in known]
    assert sum(near[:10]) < sum(near[20:])


def test_of_the_nine_trials_that_nobody_chose_six_are_drawn_by_what_the_first_scored(scored):
    scores, _ = scored
    ranges, drawn = asked(sets=("lr=1e-5:1e-1",)), []
    for sign in (1, -1):
        scores["of"] = lambda options, share, sign=sign: sign * options.lr
        drawn.append([t.options["lr"] for t in run(Sweep(ranges, registry(), Path(f"sign{sign}"))).trials])
    low, high = drawn
    assert len(low) == 9
    assert low[:3] == high[:3]
    assert sum(low[3:]) < sum(high[3:])


def test_where_there_is_no_other_trial_the_search_ends(scored):
    sweep = run(Sweep(asked(sets=("latent-dim=4:6",), trials=8), registry()))
    assert sorted(trial.options["latent_dim"] for trial in sweep.trials) == [4, 5, 6]


def test_another_sweep_in_the_same_folder_is_refused_with_what_differs(scored):
    run(Sweep(asked(), registry(), Path("here")))
    with pytest.raises(UsageError, match="here holds another sweep, with eta 3, not 2: choose another --out"):
        Sweep(asked(eta=2), registry(), Path("here"))
    with pytest.raises(UsageError, match="with set lr=1e-4,2e-4,3e-4, not lr=1e-4,1e-3: choose"):
        Sweep(asked(sets=("lr=1e-4,1e-3",)), registry(), Path("here"))


@pytest.mark.parametrize(
    "change",
    [lambda told: [], lambda told: told | {"kind": "x"}, lambda told: told | {"trials": 3},
     lambda told: told | {"trials": [{**told["trials"][0], "folder": "../x"}]},
     lambda told: told | {"trials": [{**told["trials"][0], "folder": ".."}]},
     lambda told: told | {"trials": [{**told["trials"][0], "folder": ""}]},
     lambda told: told | {"trials": [{**told["trials"][0], "options": {"lr": 7}}]},
     lambda told: told | {"trials": [{**told["trials"][0], "scores": [1, 2, 3, 4]}]}],
)  # fmt: skip
def test_a_damaged_record_is_told_in_one_line_and_left_alone(scored, change):
    run(Sweep(asked(), registry(), Path("here")))
    path = Path("here/sweep.json")
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    before = path.read_bytes()
    with pytest.raises(GanzooError, match="choose another --out") as raised:
        Sweep(asked(), registry(), Path("here"))
    assert "\n" not in str(raised.value)
    assert path.read_bytes() == before


def test_values_are_as_the_option_takes_them():
    texts = ["lr=1e-4,0.0001,2e-4", "augment=none,ada,ada+diffaugment", "mirror=yes,no", "ema-kimg=none,5", "b1=0:0.9"]
    space = parse_space(Tiny, None, {}, texts)
    assert space == {
        "lr": [1e-4, 2e-4], "augment": [(), ("ada",), ("ada", "diffaugment")], "mirror": [True, False],
        "ema_kimg": [None, 5.0], "b1": Span(0.0, 0.9, False),
    }  # fmt: skip
    assert combinations(space) is None
    assert not space["b1"].logarithmic
    lists = {"a": [1, 2], "b": [3], "c": [4, 5]}
    assert [combination(lists, i) for i in range(combinations(lists))] == [
        {"a": a, "b": 3, "c": c} for a in (1, 2) for c in (4, 5)
    ]
    assert combinations({key: list(range(1000)) for key in "abcdefgh"}) == 10**24


@hypothesis.settings(max_examples=300, derandomize=True, deadline=None, database=None)
@hypothesis.given(
    st.one_of(st.text(max_size=30), st.from_regex(r"(lr|latent-dim|augment|dataset|b1|ema_kimg)=[-+0-9a-z.,:]{0,20}"))
)
def test_whatever_is_typed_is_a_space_or_a_mistake_in_one_line(text):
    told = ""
    try:
        space = parse_space(Tiny, None, {}, [text])
    except UsageError as error:
        told = one_line(error)
    assert "\n" not in told
    assert told or [isinstance(values, Span) or len(values) > 1 for values in space.values()] == [True]


def test_a_budget_is_a_time_or_a_number_of_epochs_or_steps():
    assert budget_of("2m") == {"max_time": 120}
    assert budget_of("0.5 epochs") == {"epochs": 0.5}
    assert budget_of("1epoch") == {"epochs": 1}
    assert budget_of("5000steps") == {"steps": 5000}
