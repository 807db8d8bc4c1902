"""`ganzoo demo` beyond this machine, and with many at once: who gets in, in which order, and how much of it."""

import io
import re
import socket
import threading
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
import torch
from PIL import Image

from conftest import PATIENCE
from ganzoo import DataSpec
from ganzoo.demo import server as serving
from ganzoo.demo.player import Player
from ganzoo.demo.queueing import Queue
from ganzoo.demo.server import bind, is_local, render
from ganzoo.errors import GanzooError
from ganzoo.runs.sampler import Sampler
from ganzoo.training.building import build
from ganzoo.training.draws import own_draws
from ganzoo_test_plugins import Tiny
from test_demo_translators import HELD, player

DIGITS = DataSpec("small-digits", (1, 8, 8), 500, tuple("0123456789"))


@pytest.fixture(scope="module")
def playing() -> Player:
    torch.manual_seed(0)
    return Player(Sampler(build(Tiny, DIGITS, Tiny.Options())))


def ask(server, path, data=None, **headers):
    """Status and content of an answer."""
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=PATIENCE)
    connection.request("GET" if data is None else "POST", path, data, headers)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def wait_for(what) -> None:
    """Until it is so."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.001)


# Beyond this machine


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "localhost", "::1"])
def test_what_this_machine_alone_can_reach_needs_no_token(host):
    assert is_local(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "", "machine", "localhost.evil.example"])
def test_what_others_can_reach_needs_one(host):
    assert not is_local(host)


def test_nothing_is_told_and_nothing_drawn_without_the_token(opened, playing, monkeypatch):
    server = opened(playing, host="0.0.0.0")
    assert re.fullmatch(rf"http://127\.0\.0\.1:{server.server_port}/\?token=[\w-]{{22}}", server.address)
    token = urlsplit(server.address).query
    drawn = ask(server, f"/image.png?n=4&{token}")
    assert drawn == ask(server, f"/image.png?{token}&n=4") == (200, playing.draw(0, 4, 4))
    assert ask(server, f"/?{token}", Host="some-machine:80")[0] == 200
    for way in ("draw", "mix", "film"):
        monkeypatch.setattr(Player, way, lambda *_, **__: pytest.fail("it was drawn"))
    wrong = ["", token[:-1], token + "x", "token=", token.swapcase(), f"token=%00&{token}", "token=%e9", f"x{token}"]
    for query in wrong:
        for path in ("/", "/image.png", "/mix.png", "/walk.gif", "/nothing"):
            status, body = ask(server, f"{path}?{query}")
            assert (status, body) == (403, b"open the address that `ganzoo demo` printed, with its token")
    assert ask(server, "/image.png", b"x")[0] == 403


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
                {"Sec-Fetch-Site": "same-site"}, {"Host": "a:1", "Origin": "http://a:2"}]
)  # fmt: skip
def test_the_page_of_another_site_gets_no_picture_even_with_the_token(opened, playing, headers):
    server = opened(playing, host="0.0.0.0")
    path = f"/image.png?n=4&{urlsplit(server.address).query}"
    assert ask(server, path, **headers)[0] == 403
    own = {"Host": "a:9000", "Origin": "http://a:9000", "Sec-Fetch-Site": "same-origin"}
    assert ask(server, path, **own)[0] == 200
    assert ask(server, path, **{**own, "Origin": "https://a:9000"})[0] == 200


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 404), ("0.0.0.0", 403)])
@pytest.mark.parametrize("target", ["http://[", "http://[x]/", "http://[::1"])
def test_what_is_no_address_is_refused_and_nobody_is_told(opened, playing, capfd, host, status, target):
    server = opened(playing, host=host)
    for method in ("GET", "POST"):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=PATIENCE) as connection:
            connection.sendall(f"{method} {target} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile("rb").readline()
        assert int(answer.split()[1]) == (501 if (method, status) == ("POST", 404) else status)
    assert capfd.readouterr().err == ""


def test_pictures_are_taken_with_the_token_alone(opened):
    shown = player(held=HELD)
    server = opened(shown, host="0.0.0.0")
    buffer, token = io.BytesIO(), urlsplit(server.address).query
    Image.new("L", (8, 8), 7).save(buffer, "PNG")
    assert ask(server, "/source.png", buffer.getvalue())[0] == 403
    assert ask(server, f"/source.png?{token}", buffer.getvalue())[0] == 200
    page = ask(server, f"/?{token}")[1].decode()
    sources = re.findall(r'src="([^"]+)"', page)
    assert len(sources) == 3
    for source in sources:
        assert ask(server, source.replace("&amp;", "&"))[0] == 200
    assert "token" not in "".join(re.findall(r'src="([^"]+)"', render(shown.facts(), "translate.html")))


def test_each_server_has_a_token_of_its_own():
    with bind(0, "0.0.0.0") as one, bind(0, "0.0.0.0") as other, bind(0) as alone:
        assert one.token != other.token
        assert (alone.token, alone.address) == ("", f"http://127.0.0.1:{alone.server_port}/")


@pytest.mark.parametrize("host", ["203.0.113.1", "a\0b", "x" * 64 + ".y", "fe80::1%none"])
def test_a_host_that_is_none_of_this_machines_is_told_in_one_line(host):
    with pytest.raises(GanzooError, match="choose another --host") as raised:
        bind(0, host)
    assert "\n" not in str(raised.value)


# Many at once


def test_a_turn_comes_in_the_order_in_which_it_was_asked_for():
    queue, order = Queue(), []

    def take(i):
        with queue:
            order.append(i)

    threads = [threading.Thread(target=take, args=(i,)) for i in range(50)]
    with queue:
        for i, thread in enumerate(threads):
            thread.start()
            wait_for(lambda i=i: len(queue) == i + 1)
    for thread in threads:
        thread.join()
    assert order == list(range(50))
    with queue:
        assert len(queue) == 0


def test_who_comes_again_stands_behind_those_who_wait():
    queue, order = Queue(), []

    def take(name, times):
        for _ in range(times):
            with queue:
                order.append(name)
                wait_for(lambda: len(queue) or order.count("patient"))

    greedy = threading.Thread(target=take, args=("greedy", 3))
    greedy.start()
    wait_for(lambda: order)
    patient = threading.Thread(target=take, args=("patient", 1))
    patient.start()
    for thread in (greedy, patient):
        thread.join()
    assert order == ["greedy", "patient", "greedy", "greedy"]


def test_who_has_the_turn_may_take_it_again_and_gives_it_back_once():
    queue, had = Queue(), []

    def take():
        with queue:
            had.append(1)

    other = threading.Thread(target=take)
    with queue:
        with queue:
            other.start()
            wait_for(lambda: len(queue) == 1)
        assert not had
    other.join()
    assert had
    with queue:
        assert len(queue) == 0


def test_what_raises_lets_the_next_one_in():
    queue = Queue()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), queue:
            1 / 0  # noqa: B018


def test_fifty_clients_are_let_in_at_once_and_served_in_the_order_in_which_they_came(playing, monkeypatch):
    alone = {i: playing.draw(i, 4, 2) for i in range(50)}
    arrived, order = torch.randperm(50, generator=torch.Generator().manual_seed(0)).tolist(), []

    def drawn(gan, seed):
        order.append(seed)
        return own_draws(gan, seed)

    monkeypatch.setattr("ganzoo.demo.player.own_draws", drawn)
    with bind(0) as server, ExitStack() as open_ones:
        server.show(playing)
        clients = []
        for _ in range(50):  # Nobody accepts them yet: all wait where the system keeps them, and none is turned away.
            client = socket.create_connection(("127.0.0.1", server.server_port), timeout=0.5)
            client.settimeout(PATIENCE)
            clients.append(open_ones.enter_context(client))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        open_ones.callback(thread.join)
        open_ones.callback(server.shutdown)
        with playing.lock:
            for place, i in enumerate(arrived):
                request = f"GET /image.png?seed={i}&n=4&columns=2 HTTP/1.0\r\nHost: localhost\r\n\r\n"
                clients[i].sendall(request.encode())
                wait_for(lambda place=place: len(playing.lock) == place + 1)
        for i, client in enumerate(clients):
            with client.makefile("rb") as answer:
                head, _, png = answer.read().partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.0 200 ")
            assert png == alone[i]
    assert order == arrived


def test_more_clients_than_there_is_room_for_are_told_so_and_cost_no_thread(opened, playing):
    server = opened(playing)
    server._room = threading.BoundedSemaphore(2)
    with playing.lock:
        first = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(2)]
        for client in first:
            client.sendall(b"GET /image.png?n=4 HTTP/1.0\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: len(playing.lock) == 2)
        with socket.create_connection(("127.0.0.1", server.server_port)) as third:
            assert third.recv(100).startswith(b"HTTP/1.0 503 ")
    for client in first:
        assert client.recv(100).startswith(b"HTTP/1.0 200 ")
        client.close()
    wait_for(lambda: ask(server, "/")[0] == 200)


@pytest.mark.parametrize(
    "beginning", [b"", b"GET /image.png?n=4 HTTP/1.0\r\n", b"POST /image.png HTTP/1.0\r\nX-Slow: "]
)
def test_a_client_that_dribbles_its_request_is_let_go_and_makes_room(opened, playing, monkeypatch, capfd, beginning):
    monkeypatch.setattr(serving, "LONGEST_HEAD", 0.2)
    server = opened(playing)
    server._room = threading.BoundedSemaphore(1)
    end = time.monotonic() + 30
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=0.01) as slow:
        slow.sendall(beginning)
        answer = None
        while answer is None:  # A byte at a time, for ever: no single one of them is late.
            assert time.monotonic() < end
            try:
                slow.sendall(b"x")
                answer = slow.recv(100)
            except TimeoutError:
                continue
            except ConnectionError:
                answer = b""
        assert answer == b""
    wait_for(lambda: ask(server, "/")[0] == 200)
    assert "Traceback" not in capfd.readouterr().err


def test_a_picture_that_dribbles_in_is_answered_with_what_came(opened, monkeypatch):
    monkeypatch.setattr(serving, "LONGEST", 0.2)
    monkeypatch.setattr(serving, "PATIENCE", 0.2)
    server = opened(player(held=HELD))
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as slow:
        slow.sendall(b"POST /made.png HTTP/1.0\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab")
        answer = slow.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert answer.endswith(b"of 5 bytes 2 came")


def test_pictures_that_come_at_once_are_bounded_together(opened, monkeypatch):
    server = opened(player(held=HELD))
    monkeypatch.setattr(serving, "MOST_HELD", 100)
    with server.holding(60) as fits:
        assert fits
        status, body = ask(server, "/source.png", b"x" * 50)
        assert (status, body) == (503, b"too many pictures come at once: drop it again")
        assert ask(server, "/source.png", b"x" * 40)[0] == 400  # It is no picture; but it was read.
    # Room is given back a moment after the answer.
    wait_for(lambda: ask(server, "/source.png", b"x" * 90)[0] == 400)
