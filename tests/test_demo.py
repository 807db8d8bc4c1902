"""`ganzoo demo`: what is drawn, and to whom."""

import io
import json
import threading
from contextlib import ExitStack
from http.client import HTTPConnection

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from conftest import PATIENCE, TINY
from ganzoo import Attribute, DataSpec
from ganzoo.data import to_uint8
from ganzoo.demo.about import about
from ganzoo.demo.asking import asked
from ganzoo.demo.player import Player, directions
from ganzoo.demo.server import bind, render, serve
from ganzoo.demo.showing import player_of as player_of_run
from ganzoo.errors import GanzooError, UsageError
from ganzoo.plugins import registry
from ganzoo.runs.sampler import Sampler
from ganzoo.training.building import build
from ganzoo.training.draws import own_draws
from ganzoo.training.products import Products
from ganzoo_test_plugins import Plain, Tiny

DIGITS = DataSpec("small-digits", (1, 8, 8), 500, tuple("0123456789"))


def player_of(model=Tiny, data=DIGITS) -> Player:
    torch.manual_seed(0)
    return Player(Sampler(build(model, data, model.Options())))


@pytest.fixture(scope="module")
def player() -> Player:
    return player_of()


@pytest.fixture(scope="module")
def server(player):
    server = serve(player, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"), dtype=int)


def get(server, path: str, host: str | None = None) -> tuple[int, bytes, dict[str, str]]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=PATIENCE)
    connection.putrequest("GET", path, skip_host=host is not None)
    if host is not None:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return found


# What is drawn


def test_the_same_request_gives_the_same_picture_and_leaves_no_trace(player):
    before = torch.get_rng_state()
    assert player.draw(3, 4, 2, label=7) == player.draw(3, 4, 2, label=7)
    assert torch.equal(torch.get_rng_state(), before)
    assert pixels(player.draw(3, 4, 2)).shape == (2 + 2 * 10, 2 + 2 * 10)


def test_each_control_changes_the_picture(player):
    first = player.draw(3, 4, 2)
    others = [player.draw(4, 4, 2), player.draw(3, 4, 2, label=1), player.draw(3, 4, 2, shifts=[2.0])]
    assert all(other != first for other in others)


def test_a_picture_may_be_several_times_as_large_pixel_by_pixel_within_bounds(player, monkeypatch):
    once, times = pixels(player.draw(3, 4, 2)), pixels(player.draw(3, 4, 2, scale=4))
    assert np.array_equal(once.repeat(4, 0).repeat(4, 1), times)
    monkeypatch.setattr("ganzoo.demo.player.LARGEST", 64 * 8 * 8 * 15)
    with pytest.raises(UsageError, match="64 pictures of 8 x 8, 4 times as large, are more than 61,440 pixels: take"):
        player.draw(3, 64, 8, scale=4)


def test_a_walk_begins_at_one_class_and_ends_at_the_other(player):
    assert player.draw(3, 4, 2, label=2, to=5, t=0) == player.draw(3, 4, 2, label=2)
    half = [pixels(player.draw(3, 4, 2, label=2, to=5, t=t)) for t in (0.0, 0.49, 0.5, 0.51, 1.0)]
    jump, whole = abs(half[3] - half[1]).mean(), abs(half[4] - half[0]).mean()
    assert 0 < jump < whole / 4


@pytest.mark.parametrize("model", [Tiny, Plain])
def test_the_latents_of_two_pictures_are_mixed_from_the_one_to_the_other(model):
    player = player_of(model)
    sheet = pixels(player.draw(3, 9, 3, label=7, shifts=[1.0]))[2:, 2:].reshape(3, 10, 3, 10)[:, :8, :, :8]
    mixed = [pixels(player.mix(3, 9, 1, 8, t, label=7, shifts=[1.0]))[2:-2, 2:-2] for t in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(mixed[0], sheet[0, :, 1], atol=1)
    np.testing.assert_allclose(mixed[2], sheet[2, :, 2], atol=1)
    with own_draws(player.gan, 3):
        z = player.gan.sample_latent(9)
    half = (z[1:2] + z[8:9]) / 2**0.5 + player.directions[0]
    y = torch.tensor([7]) if player.gan.conditional else None
    np.testing.assert_allclose(mixed[1], to_uint8(player.gan.generate(half, y))[0, 0].numpy(), atol=1)


def test_a_mixture_is_of_two_pictures_that_are_there(player):
    with pytest.raises(UsageError, match="there is no picture 4: there are 4, counted from 0"):
        player.mix(3, 4, 0, 4, 0.5)
    with pytest.raises(UsageError, match="picture 2 is not mixed with itself: choose two"):
        player.mix(3, 4, 2, 2, 0.5)
    assert pixels(player.mix(3, 4, 0, 3, 0.5, scale=3)).shape == (36, 36)


@pytest.mark.parametrize("name", ["stylegan2", "stylegan3"])
def test_styles_of_two_pictures_are_mixed_by_layer(name: str):
    model = registry().get("models", name)
    options = model.Options(latent_dim=8, channel_base=64, channel_max=8)
    gan = build(model, DataSpec("grey", (1, 16, 16), 5, classes=("a", "b")), options)
    with torch.no_grad():  # Pictures of new weights are all grey.
        for values in gan.generator.synthesis.parameters():
            values.mul_(5 if values.dim() == 4 and values.shape[0] == 1 else 1)
        gan.generator.mapping.w_avg.normal_(generator=torch.Generator().manual_seed(0))
    player = Player(Sampler(gan))
    layers = player.facts()["styles"]
    assert layers == gan.generator.mapping.layers
    with own_draws(gan, 3):
        z = gan.sample_latent(9)
    y = torch.tensor([1])
    one, other = (gan.generator.mapping(z[i : i + 1], y, psi=0.7) for i in (1, 8))
    expected = gan.generator.synthesis(torch.cat([one[:, :2], other[:, 2:]], 1), *["const"] * (name == "stylegan2"))
    found = pixels(player.mix(3, 9, 1, 8, 0.5, label=1, sampling={"truncation": 0.7}, layer=2))
    np.testing.assert_allclose(found[2:-2, 2:-2], to_uint8(expected.clamp(-1, 1))[0, 0].numpy(), atol=1)
    assert np.ptp(found) > 40
    with pytest.raises(UsageError, match=f"layer {layers}: model '{name}' has styles in layers 0 to {layers - 1}"):
        player.mix(3, 9, 1, 8, 0.5, layer=layers)


def test_a_model_without_styles_mixes_none(player):
    assert player.facts()["styles"] == 0
    with pytest.raises(UsageError, match="layer 1: model 'tiny' has no styles"):
        player.mix(3, 4, 0, 1, 0.5, layer=1)


@pytest.mark.parametrize("model", [Tiny, Plain])
def test_a_film_of_the_walk_goes_there_and_back_without_a_seam(model):
    player = player_of(model)
    shown = {"label": 2, "to": 5, "shifts": [1.0]}
    film = Image.open(io.BytesIO(player.film(3, 4, 8, scale=2, **shown)))
    assert (film.format, film.n_frames, film.info["loop"], film.info["duration"]) == ("GIF", 8, 0, 50)
    frames = [np.asarray(frame.convert("L"), dtype=int) for frame in ImageSequence.Iterator(film)]
    for i, t in enumerate((0, 0.25, 0.5, 0.75, 1)):
        drawn = pixels(player.draw(3, 4, 4, t=t, scale=2, **{"to": 5, **shown}))
        np.testing.assert_allclose(frames[i], drawn, atol=1)
    for i in (1, 2, 3):  # The way back is the way there.
        turned = abs(frames[8 - i] - frames[i])
        assert turned.max() <= 1 or not player.gan.conditional


def test_what_would_be_too_large_a_film_is_refused_before_any_of_it_is_drawn(player, monkeypatch):
    assert player.facts()["sides"][0]["film"] == {"n": 8, "frames": 60, "scale": 4}
    large = player_of(Plain, DataSpec("large", (1, 256, 256), 5))
    assert large.facts()["sides"][0]["film"] == {"n": 4, "frames": 60, "scale": 1}
    monkeypatch.setattr(large.gan, "generate", lambda *_: pytest.fail("it was drawn"))
    with pytest.raises(UsageError, match="a film of 60 times 8 pictures of 256 x 256, 1 times as large, has more than"):
        large.film(0, 8, 60)


def test_others_draw_between_the_frames_of_a_film(player, monkeypatch):
    film, made = threading.Thread(target=player.film, args=(3, 1, 4)), []
    other = threading.Thread(target=player.draw, args=(9, 1, 1))
    generate = player.gan.generate

    def drawn(z, y):
        made.append(threading.current_thread())
        if len(made) == 1:
            other.start()
            while not len(player.lock):
                other.join(0.001)
        return generate(z, y)

    monkeypatch.setattr(player.gan, "generate", drawn)
    film.start()
    film.join()
    other.join()
    assert made == [film, other, film, film, film]


def test_directions_are_those_along_which_pixels_move_most(player):
    found = player.directions
    assert found.shape == (6, 8)
    torch.testing.assert_close(found @ found.T, torch.eye(6), atol=1e-5, rtol=0)
    moved = [
        abs(pixels(player.draw(0, 64, 8, shifts=[0] * i + [0.3])) - pixels(player.draw(0, 64, 8))).mean()
        for i in (0, 5)
    ]
    assert moved[0] > moved[1]


def test_a_walk_keeps_the_length_of_normal_latents(player):
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert float(player.gan.between(a, b, 0.3).norm()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "options"),
    [("infogan", {}), ("clustergan", {}), ("began", {}), ("dcgan", {"latent": "uniform"}), ("cgan:paper", {})],
)
def test_a_walk_stays_where_latents_are_drawn(name, options):
    model, _, preset = name.partition(":")
    kind = registry().get("models", model)
    data = DataSpec("digits", (1, 28, 28), 500, tuple("0123456789"))
    made = kind.presets.get(preset, {})
    known = {key: value for key, value in made.items() if key in kind.Options.model_fields}
    gan = build(kind, data, kind.Options(**known, **options))
    a, b = gan.sample_latent(50), gan.sample_latent(50)
    on_the_way, size = gan.between(a, b, 0.5), gan.options.latent_dim
    assert gan.between(a, b, 0.0).allclose(a)
    assert gan.between(a, b, 1.0).allclose(b, atol=1e-6)
    if name in ("infogan", "clustergan"):
        chosen = {"infogan": "categories", "clustergan": "clusters"}[name]
        codes = on_the_way[:, size : size + getattr(gan.options, chosen)]
        assert codes.sum(1).allclose(torch.ones(50))
        on_the_way = on_the_way[:, size:]
    assert on_the_way.min() >= -1
    assert on_the_way.max() <= 1


def test_models_without_labels_and_with_attributes_play_too():
    assert player_of(Plain).draw(0, 4, 2, to=0, t=0.5)
    data = DataSpec("strokes", (1, 8, 8), 500, ("a", "b"), (Attribute("slant", -1, 1),))
    player = player_of(data=data)
    assert player.draw(0, 4, 2, values={"slant": 1.0}) != player.draw(0, 4, 2, values={"slant": -1.0})
    assert player.draw(0, 4, 2, label=0, to=1, t=0.5)


def test_names_from_files_are_shown_as_text():
    facts = player_of(data=DataSpec("<script>x</script>", (1, 8, 8), 5, ("<b>", "</script>"))).facts()
    html = render(facts)
    assert "<script>x" not in html
    assert html.count("</script>") == 2


# To whom


def test_the_page_and_the_picture_are_served(server):
    status, body, headers = get(server, "/")
    assert (status, b"tiny" in body) == (200, True)
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    status, body, headers = get(server, "/image.png?seed=1&n=4&columns=2&label=3&shifts=1,0,-2&values=%7B%7D")
    assert (status, headers["Content-Type"], pixels(body).shape) == (200, "image/png", (22, 22))


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example:80", "[::2]:80", "127.0.0.1:80:80", "localhost:x"],
)
def test_a_foreign_host_name_is_refused(server, host):
    assert get(server, "/", host)[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1:9000", "localhost:9000", "LocalHost", "127.0.0.1", "[::1]:9000"])
def test_a_port_may_be_brought_elsewhere(server, host):
    assert get(server, "/", host)[0] == 200
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=PATIENCE)
    own = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    connection.request("GET", "/image.png?n=4", headers=own)
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8765", "https://127.0.0.1:9000", "http://localhost:9000"])
def test_a_page_of_another_port_of_this_machine_is_foreign_too(server, origin):
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=PATIENCE)
    connection.request("GET", "/image.png?n=4", headers={"Host": "127.0.0.1:9000", "Origin": origin})
    assert connection.getresponse().status == 403
    connection.close()


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.example"},
                {"Origin": "null"}]
)  # fmt: skip
def test_nothing_is_drawn_for_the_page_of_another_site(server, player, monkeypatch, headers):
    for way in ("draw", "mix", "film"):
        monkeypatch.setattr(type(player), way, lambda *_, **__: pytest.fail("it was drawn"))
    for path in ("/image.png?n=4", "/mix.png?n=4", "/walk.gif?n=4"):
        connection = HTTPConnection("127.0.0.1", server.server_port, timeout=PATIENCE)
        connection.request("GET", path, headers=headers)
        assert connection.getresponse().status == 403
        connection.close()


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}])
def test_the_demos_own_page_gets_its_pictures(server, headers):
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=PATIENCE)
    connection.request("GET", "/image.png?n=4", headers=headers)
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_is_taken_and_nothing_is_written(server, tmp_path, monkeypatch, method):
    monkeypatch.chdir(tmp_path)
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=PATIENCE)
    connection.putrequest(method, "/image.png")
    connection.putheader("Content-Length", str(2**40))  # It is answered before any of it is read.
    connection.endheaders(b"x" * 1000)
    assert connection.getresponse().status == 501
    connection.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "path", ["/../etc/passwd", "/..%2f..%2fetc/passwd", "/run.json", "//etc/passwd", "/templates/demo.html"]
)
def test_nothing_else_is_served(server, path):
    assert get(server, path)[0] == 404


@pytest.mark.parametrize(
    "query",
    ["n=65", "n=0", "seed=-1", "label=99", "t=nan", "t=2", "shifts=x", "values=[]", "values={", "file=x", "n=1e9",
     "scale=0", "scale=9",
     "values=%7B%22x%22:1%7D"],
)  # fmt: skip
def test_a_bad_request_is_refused_in_one_line(server, query):
    status, body, _ = get(server, f"/image.png?{query}")
    assert status == 400
    assert len(body.decode().splitlines()) == 1


def test_the_mixture_and_the_film_are_served_and_nothing_is_written(server, player, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = "seed=3&n=4&label=3&shifts=1,0,-2&values=%7B%7D&scale=2"
    status, body, headers = get(server, f"/mix.png?{path}&first=1&second=3&t=0.25")
    assert (status, headers["Content-Type"]) == (200, "image/png")
    assert body == player.mix(3, 4, 1, 3, 0.25, label=3, shifts=[1, 0, -2], scale=2)
    status, body, headers = get(server, f"/walk.gif?{path}&to=5&frames=6")
    assert (status, headers["Content-Type"]) == (200, "image/gif")
    assert body == player.film(3, 4, 6, label=3, to=5, shifts=[1, 0, -2], scale=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "told"),
    [("/mix.png?n=4&second=4", b"there is no picture 4"), ("/mix.png?first=64", b"first: 64 is outside 0 to 63"),
     ("/mix.png?first=1&second=1", b"choose two"), ("/mix.png?n=1", b"n: 1 is outside 2 to 64"),
     ("/mix.png?t=-1", b"t: -1.0 is outside"), ("/mix.png?to=3", b"unknown: to"), ("/mix.png?label=10", b"not a class"),
     ("/walk.gif?frames=1", b"frames: 1 is outside 2 to 120"), ("/walk.gif?frames=121", b"121 is outside 2 to 120"),
     ("/walk.gif?n=65", b"65 is outside"), ("/walk.gif?to=10", b"not a class"), ("/walk.gif?t=1", b"unknown: t"),
     ("/walk.gif?n=64&frames=120&scale=8", b"has more than 16,777,216 pixels: take fewer")],
)  # fmt: skip
def test_a_mixture_or_film_that_cannot_be_is_refused_in_one_line(server, path, told):
    status, body, _ = get(server, path)
    assert status == 400
    assert told in body
    assert len(body.decode().splitlines()) == 1


def test_more_films_at_once_than_there_is_room_for_are_refused(server):
    with ExitStack() as made:
        for _ in range(2):
            assert server.films.acquire(blocking=False)
            made.callback(server.films.release)
        told = b"2 films are being made already: ask again in a moment"
        assert get(server, "/walk.gif?frames=2")[:2] == (503, told)
        assert get(server, "/image.png?n=1")[0] == 200
    assert get(server, "/walk.gif?frames=2&label=99")[0] == 400  # One that fails leaves its room to others.
    assert [get(server, "/walk.gif?frames=2&n=1")[0] for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize(
    "values", ["%5B" * 20_000, "%5B" * 5000, "NaN", "%7B%22x%22:NaN%7D", "%7B" + "%20" * 9000 + "%7D", "%ff"]
)
def test_values_that_are_absurd_are_refused_in_one_line(server, values, capfd):
    status, body, _ = get(server, f"/image.png?values={values}")
    assert status in (400, 414)
    assert len(body.decode().splitlines()) == 1 or status == 414
    assert "Traceback" not in capfd.readouterr().err


def test_a_model_that_raises_is_told_in_one_line(server, player, monkeypatch, capfd):
    def boom(*_):
        raise ZeroDivisionError("boom\nboom")

    monkeypatch.setattr(player.gan, "generate", boom)
    status, body, _ = get(server, "/image.png")
    assert (status, body) == (500, b"model 'tiny' failed: ZeroDivisionError: boom boom")
    assert "Traceback" not in capfd.readouterr().err


def test_a_connection_that_breaks_leaves_no_traceback(server, monkeypatch, capfd):
    monkeypatch.setattr(server.RequestHandlerClass, "do_GET", lambda self: 1 / 0)
    with pytest.raises(OSError):  # noqa: PT011  Whichever of the two the system calls it.
        get(server, "/")
    assert capfd.readouterr().err == "note: ZeroDivisionError: division by zero\n"


def test_long_latents_and_large_images_are_looked_at_in_part():
    long = Player(Sampler(build(Plain, DIGITS, Plain.Options(latent_dim=2000))))
    assert long.directions.shape == (6, 2000)
    assert not long.directions[:, 512:].any()
    large = Player(Sampler(build(Plain, DataSpec("large", (1, 256, 256), 5), Plain.Options())))
    torch.testing.assert_close(large.directions @ large.directions.T, torch.eye(6), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("pictures", "most"), [(1000, 260), (60, 60), (20, 20), (11, 0)])
def test_a_large_generator_keeps_the_page_waiting_for_few_pictures(monkeypatch, pictures, most):
    gan = build(Plain, DIGITS, Plain.Options(latent_dim=64)).eval()
    with Products() as one:
        gan.generate(gan.sample_latent(1), None)
    monkeypatch.setattr("ganzoo.demo.player.OPERATIONS", pictures * one.operations)
    drawn, generate = [], gan.generate
    monkeypatch.setattr(gan, "generate", lambda z, y: drawn.append(len(z)) or generate(z, y))
    found = directions(gan)
    looked = sum(drawn) - 3  # Two tell whether it draws what torch does not, and one how many operations it takes.
    assert most / 2 <= looked <= most
    torch.testing.assert_close(found @ found.T, torch.eye(6), atol=1e-5, rtol=0)
    assert found.equal(directions(gan))


def test_a_port_that_is_taken_is_told(server, player):
    with pytest.raises(GanzooError, match="choose another --port"):
        serve(player, server.server_port)


def test_a_port_that_is_taken_is_told_before_the_model_is_loaded(ganzoo, server, monkeypatch):
    monkeypatch.setattr("ganzoo.demo.showing.load", lambda *_, **__: pytest.fail("it was loaded"))
    done = ganzoo("demo", "nowhere", "--no-browser", "--port", server.server_port)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert f"cannot serve on port {server.server_port}" in done.err
    assert "choose another --port" in done.err


def test_a_run_that_cannot_be_shown_gives_its_port_back(ganzoo):
    with bind(0) as free:
        port = free.server_port
    for _ in range(2):
        done = ganzoo("demo", "nowhere", "--no-browser", "--port", port)
        assert (done.code, "there is no such folder" in done.err) == (2, True)
    bind(port).server_close()


# What the page says of the run


def test_the_page_says_which_run_it_shows_and_how_good_it_was_found(ganzoo, tmp_path):
    assert ganzoo("run", *TINY, "--steps", 20, "--out", "r").code == 0
    run = tmp_path / "r"
    shown = player_of_run(run, "cpu", registry(), {})
    assert shown.about == (str(run), 20, None, "")
    assert "FID not measured" in render(shown.facts())
    assert f'<b id="run">{run}</b> at step 20' in render(shown.facts())
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "fid": 9.0}\n{"step": 20, "fid": 5.25}\n')
    assert about(run, 20) == (str(run), 20, 5.25, "while it trained")
    assert about(run, 10)[2] == 9.0
    protocol = {"shape": [1, 8, 8], "dataset": "small-digits", "split": "test", "reference_images": 500, "n": 100,
                "labels": None, "extractor": None}  # fmt: skip
    result = {"step": 20, "metrics": {"fid": 4.5}, "protocol": protocol}
    (run / "eval.json").write_text(json.dumps(result))
    found = about(run, 20)
    assert found[2:] == (4.5, "by ganzoo eval: small-digits test (500), 100 images of 8x8x1")
    assert "FID 4.5 (by ganzoo eval: small-digits" in render(player_of_run(run, "cpu", registry(), {}).facts())
    assert about(run, 10)[2] == 9.0  # What was measured were other weights.


@pytest.mark.parametrize(
    "result", [[], {"step": 20}, {"step": 20, "metrics": []}, {"step": 20, "metrics": {"fid": True}},
               {"step": 20, "metrics": {"fid": "<b>"}}, {"step": 20, "metrics": {"fid": 10**400}}]
)  # fmt: skip
def test_a_result_that_says_nothing_is_no_fid(tmp_path, result):
    (tmp_path / "eval.json").write_text(json.dumps(result))
    assert about(tmp_path, 20) == (str(tmp_path), 20, None, "")
    (tmp_path / "eval.json").write_text(json.dumps({"step": 20, "metrics": {"fid": 1}, "protocol": [1]}))
    assert about(tmp_path, 20)[2:] == (1.0, "by ganzoo eval: it does not say how")


def test_an_empty_query_is_the_first_picture():
    assert asked("") == {
        "seed": 0, "n": 16, "columns": 4, "label": 0, "to": None, "t": 0.0, "shifts": [], "values": {}, "sampling": {},
        "scale": 1,
    }  # fmt: skip
