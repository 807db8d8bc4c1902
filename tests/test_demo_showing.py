"""`ganzoo demo`: a run's checkpoints under a slider, one in memory at a time, and two runs beside each other."""

import gc
import io
import json
import shutil
import threading
import weakref
from http.client import HTTPConnection
from urllib.parse import quote

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import Field

from conftest import TINY, run_here
from ganzoo import Attribute, Batch, DataSpec
from ganzoo.data import Maker
from ganzoo.demo import showing
from ganzoo.demo.about import About
from ganzoo.demo.asking import bounded, real
from ganzoo.demo.player import Player
from ganzoo.demo.server import render
from ganzoo.demo.showing import Exhibit, exhibits_of, facts_of, set_beside
from ganzoo.demo.translating import Translating
from ganzoo.errors import UsageError
from ganzoo.plugins import registry
from ganzoo.runs.sampler import Sampler
from ganzoo.runs.weights import pack
from ganzoo.training.building import build
from ganzoo_test_plugins import Tiny, Truncated
from test_translate import Classed, Translate

DIGITS = DataSpec("small-digits", (1, 8, 8), 500, tuple("0123456789"))
PAIRS = DataSpec("pairs", (1, 8, 8), 10, tuple("abc"), source_shape=(1, 8, 8))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of 60 steps with checkpoints of 40, scored as the best, and 60; and an unconditional one of 20."""
    folder = tmp_path_factory.mktemp("runs")
    usual = ("--quiet", "--engine", "eager", "--checkpoint-interval", 20)
    run_here("run", *TINY, *usual, "--steps", 60, "--out", folder / "mine", cwd=folder)
    run_here("run", "plain", *TINY[1:], *usual, "--steps", 20, "--out", folder / "plain", cwd=folder)
    (folder / "mine" / "checkpoints" / "best.json").write_text(json.dumps({"step": 40, "score": 5.25}))
    return folder


@pytest.fixture
def run(made, tmp_path):
    shutil.copytree(made / "mine", tmp_path / "mine")
    return tmp_path / "mine"


def ask(server, path: str, data: bytes | None = None) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request("GET" if data is None else "POST", path, data)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def showing_run(run, checkpoint=None) -> Exhibit:
    return exhibits_of([run], "cpu", registry(), {}, checkpoint)[0]


def playing(model=Tiny, data=DIGITS, name="runs/one") -> Exhibit:
    torch.manual_seed(0)
    return Exhibit(Player(Sampler(build(model, data, model.Options())), about=About(name)))


def translating(model=Translate, data=PAIRS, name="runs/one", maker=None) -> Exhibit:
    return Exhibit(Translating(Sampler(model(data, model.Options())), maker=maker, about=About(name)))


# Checkpoints


def test_the_page_offers_the_checkpoints_that_a_run_keeps_best_and_last_by_name(run):
    exhibit = showing_run(run)
    choice = exhibit.facts()["sides"][0]
    assert choice["checkpoints"] == [
        {"step": "40", "text": "step 40, the best (FID 5.25)"}, {"step": "", "text": "step 60, the last"},
    ]  # fmt: skip
    assert choice["start"] == 1
    html = render(facts_of([exhibit]))
    assert 'id="checkpoint" data-side="0" min="0" max="1" step="1" value="1"' in html
    of_best = showing_run(run, "best").facts()["sides"][0]
    assert [one["step"] for one in of_best["checkpoints"]] == ["", "60"]
    assert of_best["start"] == 0


def test_what_trains_on_has_its_newest_checkpoints_on_the_page_when_it_is_opened_again(run, opened):
    server = opened(showing_run(run))
    assert b"step 80, the last" not in ask(server, "/")[1]
    for kind in ("pt", "json"):
        shutil.copy(run / "checkpoints" / f"step-00000060.{kind}", run / "checkpoints" / f"step-00000080.{kind}")
    assert b"step 80, the last" in ask(server, "/")[1]


def test_what_the_page_began_with_is_shown_as_that_though_training_has_saved_others(made, run, opened):
    exhibit = showing_run(run, None)
    begun, path = exhibit.playing().draw(3, 4, 2), "/image.png?seed=3&n=4&columns=2"
    assert exhibit.facts()["sides"][0]["begun"] == "60"
    server = opened(exhibit)
    sampler = showing_run(run, "40").playing().sampler
    (run / "generator.safetensors").write_bytes(
        pack(sampler.gan.generator.state_dict(), {"model": "tiny", "step": "40"})
    )
    assert ask(server, f"{path}&checkpoint=40")[0] == 200
    assert ask(server, path) == (200, begun)  # Of the checkpoint of step 60, which is kept.
    assert ask(server, f"{path}&checkpoint=40")[0] == 200
    for kind in ("pt", "json"):
        (run / "checkpoints" / f"step-00000060.{kind}").unlink()
    status, body = ask(server, path)
    assert (status, "the weights of step 60 are no longer kept: open the page again" in body.decode()) == (400, True)
    assert b"step 40" in ask(server, "/")[1]
    # A page that is open still asks for its own, by number.
    status, body = ask(server, f"{path}&checkpoint=60")
    assert (status, "has no checkpoint of step 60" in body.decode()) == (400, True)


def test_a_run_with_one_set_of_weights_has_no_slider(made, run):
    shutil.rmtree(run / "checkpoints")
    assert 'id="checkpoint"' not in render(facts_of([showing_run(run)]))
    assert 'id="checkpoint"' not in render(facts_of([showing_run(made / "plain")]))


def test_pictures_of_a_checkpoint_are_those_that_it_draws_along_the_same_directions(run, opened):
    server, path = opened(showing_run(run)), "/image.png?seed=3&n=4&columns=2&label=7"
    early = showing_run(run, "40").playing()
    begun = showing_run(run).playing()
    assert ask(server, f"{path}&checkpoint=40") == (200, early.draw(3, 4, 2, label=7))
    assert ask(server, path) == ask(server, f"{path}&checkpoint=60") == (200, begun.draw(3, 4, 2, label=7))
    assert early.draw(3, 4, 2, label=7) != begun.draw(3, 4, 2, label=7)
    early.directions = begun.directions  # A slider means the same at every checkpoint.
    shifted = early.draw(3, 4, 2, label=7, shifts=[2.0])
    assert ask(server, f"{path}&checkpoint=40&shifts=2") == (200, shifted)
    assert ask(server, "/mix.png?checkpoint=40&n=4") == (200, early.mix(0, 4, 0, 1, 0.5))
    assert ask(server, "/walk.gif?checkpoint=40&n=1&frames=2") == (200, early.film(0, 1, 2))


@pytest.mark.parametrize(
    ("step", "told"),
    [("20", "has no checkpoint of step 20; it has 40 (best), 60"),
     ("best", "checkpoint: 'best' is no whole number"), ("", "checkpoint: '' is no whole number"), ("-1", "is outside"),
     ("9" * 40, "is outside"), ("../x", "is no whole number")],
)  # fmt: skip
def test_a_checkpoint_that_is_not_there_is_told_in_one_line_and_nothing_is_let_go(run, opened, monkeypatch, step, told):
    server = opened(showing_run(run))
    monkeypatch.setattr(showing, "player_of", lambda *_, **__: pytest.fail("it was loaded"))
    status, body = ask(server, f"/image.png?n=1&checkpoint={step}")
    assert status == 400
    assert told in body.decode()
    assert len(body.decode().splitlines()) == 1
    assert ask(server, "/image.png?n=1")[0] == 200


def test_a_number_of_many_digits_is_read_whole():
    assert bounded("seed", "00000000000012345", 0, 99999) == 12345
    assert real("t", "0." + "0" * 40 + "5e40", 0, 1) == pytest.approx(0.5)


def test_a_damaged_checkpoint_is_told_in_one_line_and_the_others_go_on(run, opened, capfd):
    server = opened(showing_run(run))
    before = ask(server, "/image.png?n=4")
    path = run / "checkpoints" / "step-00000040.pt"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    for _ in range(2):
        status, body = ask(server, "/image.png?n=4&checkpoint=40")
        assert status == 500
        assert b"step-00000040.pt is damaged: its checksum differs" in body
        assert len(body.decode().splitlines()) == 1
    assert ask(server, "/image.png?n=4") == before
    assert "Traceback" not in capfd.readouterr().err


def test_one_checkpoint_at_a_time_is_in_memory(run, monkeypatch):
    exhibit, held = showing_run(run), []
    usual = showing.player_of

    def loaded(*args, **kwargs):
        gc.collect()
        assert all(ref() is None for ref in held), "two were in memory"
        player = usual(*args, **kwargs)
        held.append(weakref.ref(player))
        return player

    monkeypatch.setattr(showing, "player_of", loaded)
    held.append(weakref.ref(exhibit.playing()))
    for step in (40, None, 60, 40, 40, None):
        with exhibit.lock:
            assert exhibit.playing(step).sampler.step == (step or 60)
    assert len(held) == 5  # The one that is asked for again is there still.


def test_many_who_ask_for_other_checkpoints_at_once_get_what_they_asked_for(run, opened):
    exhibit = showing_run(run)
    server = opened(exhibit)
    right = {step: ask(server, f"/image.png?n=4&checkpoint={step}") for step in (40, 60)}
    assert right[40] != right[60]
    found = {}

    def get(i):
        found[i] = ask(server, f"/image.png?n=4&checkpoint={40 + 20 * (i % 2)}")

    threads = [threading.Thread(target=get, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: right[40 + 20 * (i % 2)] for i in range(8)}


def test_what_is_shown_without_a_run_has_no_checkpoints(opened):
    status, body = ask(opened(playing()), "/image.png?n=1&checkpoint=40")
    assert (status, body) == (400, b"runs/one has no checkpoints to choose from")


# Two runs beside each other


def test_two_runs_draw_from_the_same_seed_each_with_its_own_weights(made, opened):
    runs = [made / "mine", made / "plain"]
    server = opened(*exhibits_of(runs, "cpu", registry(), {}))
    alone = [showing_run(run).playing() for run in runs]
    path = "/image.png?seed=3&n=4&columns=2&label=7&shifts=1"
    for i, player in enumerate(alone):
        assert ask(server, f"{path}&run={i}") == (200, player.draw(3, 4, 2, label=7, shifts=[1.0]))
        assert ask(server, f"/mix.png?n=4&label=7&run={i}") == (200, player.mix(0, 4, 0, 1, 0.5, label=7))
        assert ask(server, f"/walk.gif?n=1&frames=2&to=1&run={i}") == (200, player.film(0, 1, 2, to=1))
    assert ask(server, path) == ask(server, f"{path}&run=0")
    html = ask(server, "/")[1].decode()
    assert "tiny and plain" in html
    assert all(f'id="{name}"' in html for name in ("grid", "grid1", "walk", "walk1", "mix", "mix1", "run", "run1"))
    assert "<legend>Class of mine alone</legend>" in html


def test_a_run_beside_itself_shows_two_of_its_checkpoints(run, opened):
    server = opened(*exhibits_of([run, run], "cpu", registry(), {}))
    early, late = (ask(server, f"/image.png?n=4&run=1{more}") for more in ("&checkpoint=40", ""))
    assert late == ask(server, "/image.png?n=4")
    assert early == ask(server, "/image.png?n=4&checkpoint=40") != late
    html = ask(server, "/")[1].decode()
    assert 'id="checkpoint" ' in html
    assert 'id="checkpoint1" data-side="1"' in html
    assert "mine (1)" in html
    assert "mine (2)" in html


def test_a_run_that_is_not_shown_is_refused(opened):
    server = opened(playing())
    assert ask(server, "/image.png?run=1") == (400, b"there is no run 1: 1 shown, counted from 0")
    assert ask(server, "/image.png?run=2")[0] == ask(server, "/image.png?run=x")[0] == 400


def test_both_take_turns_so_that_one_picture_is_drawn_at_a_time(made):
    one, other = exhibits_of([made / "mine", made / "plain"], "cpu", registry(), {})
    assert one.lock is other.lock is one.playing().lock is other.playing().lock


class Bounded(Truncated):
    """The same option of drawing in other bounds, and one of its own."""

    name = "bounded"

    class Sampling(Truncated.Sampling):
        truncation: float = Field(1.0, ge=0, le=1)
        glow: bool = Field(False, description="Brighter.")


def test_an_option_moves_the_runs_that_have_it_in_that_form(opened):
    one, other = playing(Truncated), playing(Tiny, name="runs/other")
    set_beside(one, other)
    server = opened(one, other)
    sampling = quote('{"truncation": 0.5, "order": "reversed"}')
    moved = [ask(server, f"/image.png?n=4&run={i}&sampling={sampling}") for i in (0, 1)]
    usual = [ask(server, f"/image.png?n=4&run={i}") for i in (0, 1)]
    assert moved[0] != usual[0]
    assert moved[1] == usual[1]
    assert [status for status, _ in (*moved, *usual)] == [200] * 4
    assert ask(server, f"/image.png?run=1&sampling={quote(json.dumps({'lr': 1}))}")[0] == 400
    facts = facts_of([one, other])
    assert {o["name"]: o.get("only") for o in facts["sampling"]}["truncation"] == "one"
    assert 'id="only0">of one alone</p>' in render(facts)


def test_an_option_of_two_forms_moves_the_first_run_alone(opened):
    one, other = playing(Truncated), playing(Bounded, name="runs/other")
    set_beside(one, other)
    server, sampling = opened(one, other), quote('{"truncation": 1.5, "invert": true, "glow": true}')
    inverted = [exhibit.playing().draw(0, 4, 4, sampling={"invert": True}) for exhibit in (one, other)]
    assert ask(server, f"/image.png?n=4&run=1&sampling={sampling}") == (200, inverted[1])
    first = one.playing().draw(0, 4, 4, sampling={"invert": True, "truncation": 1.5})
    assert ask(server, f"/image.png?n=4&sampling={sampling}") == (200, first)
    alone = {o["name"]: o.get("only") for o in facts_of([one, other])["sampling"]}
    assert (alone["truncation"], alone["glow"], alone["invert"]) == ("one", "other", None)


def test_attributes_move_the_run_that_has_them(opened):
    slanted = DataSpec("strokes", (1, 8, 8), 500, tuple("0123456789"), (Attribute("slant", -1, 1),))
    one, other = playing(data=slanted), playing(name="runs/other")
    set_beside(one, other)
    server, path = opened(one, other), "/image.png?n=4&values=" + quote('{"slant": 1}')
    assert ask(server, path)[1] != ask(server, "/image.png?n=4")[1]
    assert ask(server, f"{path}&run=1") == ask(server, "/image.png?n=4&run=1")
    assert [a["name"] for a in facts_of([one, other])["attributes"]] == ["slant"]


def colour():
    return DataSpec("pairs", (3, 8, 8), 10, tuple("abc"), source_shape=(3, 16, 12))


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        (playing, translating, "the one draws from noise, the other makes images from images"),
        (playing, lambda: playing(data=DataSpec("letters", (1, 8, 8), 5, tuple("abc"))),
         "their classes differ, the one has 10, the other 3"),
        (playing, lambda: playing(data=DataSpec("letters", (1, 8, 8), 5, tuple("abcdefghij"))),
         "their classes differ, by other names"),
        (translating, lambda: translating(data=colour()),
         "the one takes sources of 8 x 8 pixels in grey, the other of 12 x 16 pixels in colour"),
        (translating, lambda: translating(maker=Maker.named("edges")),
         "their sources are not made alike, of the one as they are, of the other "),
    ],
)  # fmt: skip
def test_two_that_cannot_be_shown_beside_each_other_are_told_in_one_line(one, other, why):
    with pytest.raises(UsageError) as raised:
        set_beside(one(), other())
    assert str(raised.value).startswith(f"runs/one and runs/one cannot be shown beside each other: {why}")
    assert "\n" not in str(raised.value)


def test_two_translators_are_shown_the_same_source(opened):
    generator = torch.Generator().manual_seed(0)
    held = Batch(torch.zeros(3, 1, 8, 8), torch.tensor([2, 0, 1]), source=torch.rand(3, 1, 8, 8, generator=generator))
    one = Exhibit(Translating(Sampler(Translate(PAIRS, Translate.Options())), held=held, about=About("runs/one")))
    other = Exhibit(Translating(Sampler(Classed(PAIRS, Classed.Options())), held=held, about=About("runs/other")))
    set_beside(one, other)
    server = opened(one, other)
    assert ask(server, "/source.png?of=1") == ask(server, "/source.png?of=1&run=1")
    first, second = (ask(server, f"/made.png?of=1&label=2&run={i}") for i in (0, 1))
    assert first == ask(server, "/source.png?of=1")
    assert second == (200, other.playing().picture("made", of=1, label=2)[0]) != first
    buffer = io.BytesIO()
    Image.new("L", (9, 10), 77).save(buffer, "PNG")
    made = [ask(server, f"/made.png?label=2&run={i}", buffer.getvalue()) for i in (0, 1)]
    sizes = [Image.open(io.BytesIO(body)).size for status, body in made if status == 200]
    assert sizes == [(9, 10), (9, 10)]
    assert made[0] != made[1]
    html = ask(server, "/")[1].decode()
    assert all(f'id="{name}"' in html for name in ("before", "before1", "after", "after1", "wipe", "wipe1"))


def test_the_second_of_two_trained_translators_is_shown_the_test_split_of_the_first(ganzoo, tmp_path):
    usual = ("--dataset", "small-pairs", "--batch-size", 32, "--loggers", "none", "--steps", 2)
    for name, model in (("a", "tiny-labelled-translator"), ("b", "tiny-translator")):
        assert ganzoo("run", model, *usual, "--out", name).code == 0
    one, other = exhibits_of([tmp_path / "a", tmp_path / "b"], "cpu", registry(), {})
    assert other.playing().held is one.playing().held is not None
    assert np.array_equal(*(e.playing().picture("source", of=2)[0] for e in (one, other)))


def test_the_command_shows_two_runs_and_refuses_two_that_have_nothing_in_common(ganzoo, made, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("ganzoo.demo.server.Server.serve_forever", lambda server: shown.append(server.page().decode()))
    both = ("demo", made / "mine", made / "plain", "--no-browser", "--port", 0)
    assert ganzoo(*both).code == 0
    assert 'id="grid1"' in shown[0]
    usual = ("--dataset", "small-pairs", "--batch-size", 32, "--loggers", "none", "--steps", 2)
    assert ganzoo("run", "tiny-translator", *usual, "--out", "t").code == 0
    done = ganzoo("demo", made / "mine", "t", "--no-browser", "--port", 0)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "cannot be shown beside each other: the one draws from noise, the other makes images" in done.err
    done = ganzoo("demo", made / "mine", "nowhere", "--no-browser", "--port", 0)
    assert (done.code, "there is no such folder" in done.err) == (2, True)
    done = ganzoo(*both, "--checkpoint", "40")
    assert done.code == 2
    assert "plain has no checkpoint of step 40; it has 20" in done.err
