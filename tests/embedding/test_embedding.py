"""Two applications in two interpreters of each process of a real server."""

import http.client
import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.effort import sized
from helpers.waiting import LONG, eventually
from servers import APPLICATIONS, SERVERS, lacks


@pytest.fixture(params=SERVERS)
def server(request):
    if missing := lacks(request.param):
        pytest.fail(missing)
    with SERVERS[request.param]() as running:
        yield running


def ask(server, application, number):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LONG)
    try:
        connection.request("GET", f"/{application}?number={number}", headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, body
        answer = json.loads(body)
        assert "wrong" not in answer, answer["wrong"]
        assert (answer["application"], answer["number"]) == (application, number)
        return answer
    finally:
        connection.close()


def load(server, requests, stop=None):
    """Asks both applications in turn from eight threads at once; gives the answers."""
    numbers, answers = itertools.count(), []

    def client(application):
        for number in numbers:
            if number >= requests or (stop is not None and stop.is_set()):
                return
            answers.append(ask(server, application, number))

    with ThreadPoolExecutor(8) as clients:
        for each in [clients.submit(client, APPLICATIONS[number % 2]) for number in range(8)]:
            each.result()
    return answers


def counted(server):
    return int((server.directory / "count").read_text())


def counted_by_now(server):
    """The same while requests are answered: 0 where one of them is writing it."""
    file = server.directory / "count"
    return int((file.read_text() if file.exists() else "") or 0)


def test_two_applications_of_one_process_never_meet(server):
    answers = load(server, sized(400, 2000))
    assert counted(server) == len(answers) == sized(400, 2000)
    types = {}
    for each in answers:
        types.setdefault((each["pid"], each["application"]), set()).add(each["type"])
    assert all(len(each) == 1 for each in types.values())
    both = {pid for pid, _ in types if all((pid, name) in types for name in APPLICATIONS)}
    assert both, "no process has answered for both"
    for pid in both:
        assert types[pid, "one"] != types[pid, "two"]


def test_graceful_restarts_under_load(server):
    restarts = sized(4, 20)
    stop, answers, failed = threading.Event(), [], []

    def clients():
        try:
            answers.extend(load(server, 100_000, stop))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=clients)
    thread.start()
    try:
        for _ in range(restarts):
            before = counted_by_now(server)
            eventually(lambda before=before: failed or counted_by_now(server) > before + 50)
            known = set(server.lines("begun"))
            server.restart()
            eventually(lambda known=known: failed or len(set(server.lines("begun")) - known) >= 2)
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]
    assert counted(server) == len(answers)
    assert len({each["pid"] for each in answers}) > restarts
