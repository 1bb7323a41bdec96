"""The live page: what it says of a job, and whom it answers."""

import http.client
import json
import socket
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from dptt.cli import main
from dptt.io.errors import ProblemsError
from dptt.logs import duration
from dptt.showing.live import LiveRun
from dptt.showing.server import open_server

SECONDS = {"total": 10.0, "read": 0.0, "compute": 10.0, "communicate": 0.0}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.log").write_text("2026-01-01 00:00:00  == dptt reconstruct\n")
    (folder / "volume.mrc").write_bytes(b"map")
    (tmp_path / "secret.txt").write_text("not for the page")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    return folder


def write_epochs(folder, number, epochs=30):
    lines = [
        {
            "epoch": e,
            "epochs": epochs,
            "loss": 1 / e,
            "held_out_loss": None,
            "tilt_losses": [1, None],
            "seconds": SECONDS,
        }
        for e in range(1, number + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@contextmanager
def serving(folder, **options):
    server, address = open_server(folder, **options)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server, "/" + address.split("/", 3)[3]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(server, path, host="localhost", method="GET"):
    connection = http.client.HTTPConnection(*server.server_address)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, body


def test_the_state_follows_the_epochs(run):
    live = LiveRun(run)
    assert live.state()["sentence"] == "No epoch is complete yet."
    write_epochs(run, 3)
    state = live.state()
    assert (state["epoch"], state["epochs"], state["share"]) == (3, 30, 0.1)
    np.testing.assert_allclose(state["loss"], [1, 1 / 2, 1 / 3])
    assert state["heldOut"] == [None] * 3 and state["tiltLosses"] == [1.0, None]
    assert state["sentence"].startswith("Epoch 3 of 30 is complete, 10 s each; about 4 min left")
    write_epochs(run, 30)
    assert live.state()["sentence"] == "All 30 epochs are complete."


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.25, "0.2 s"), (59.6, "60 s"), (61.0, "1 min"), (3570.0, "1 h 0 min")]
)
def test_times_are_said_as_people_do(seconds, words):
    assert duration(seconds) == words


def test_the_page_its_state_and_the_files_of_the_run_are_served(run):
    write_epochs(run, 2)
    with serving(run) as (server, root):
        status, page = ask(server, root)
        assert status == 200 and b'id="live"' in page and b"dptt-data" in page
        assert json.loads(ask(server, f"{root}state.json")[1])["epoch"] == 2
        assert json.loads(ask(server, f"{root}volume.json")[1]) == {}
        assert ask(server, f"{root}files/volume.mrc") == (200, b"map")
        assert ask(server, f"{root}files/volume.mrc", method="HEAD") == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        "files/../../secret.txt",
        "files/%2e%2e/secret.txt",
        "../secret.txt",
        "files//etc/passwd",
        "files/link.txt",
        "files/",
    ],
)
def test_no_file_beside_the_run_is_served(run, path):
    with serving(run) as (server, root):
        status, body = ask(server, root + path)
    assert status == 404 and b"not for the page" not in body


def test_other_users_and_other_sites_get_nothing(run):
    with serving(run) as (server, root):
        assert server.server_address[0] == "127.0.0.1"
        assert ask(server, "/state.json")[0] == 404, "without the secret of the address"
        assert ask(server, f"/{'x' * 24}/state.json")[0] == 404
        assert ask(server, f"{root}state.json", host="evil.example")[0] == 403
        assert ask(server, f"{root}state.json", host="localhost:8765")[0] == 200, "through a tunnel"
        assert ask(server, root, method="POST")[0] == 501, "it can only be read"


def test_a_socket_belongs_to_its_user_alone(run, tmp_path):
    path = tmp_path / "s"
    with serving(run, socket_path=path) as (_, root):
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(f"GET {root}state.json HTTP/1.0\r\nHost: localhost:8765\r\n\r\n".encode())
            assert client.recv(100).startswith(b"HTTP/1.0 200")


def test_a_port_that_is_taken_is_named(run):
    with serving(run) as (server, _), pytest.raises(ProblemsError, match="Choose another with --port"):
        open_server(run, port=server.server_address[1])


def test_a_folder_that_does_not_exist_is_named(tmp_path, capsys):
    assert main(["watch", str(tmp_path / "none")]) != 0
    assert "there is no such folder" in capsys.readouterr().err
