"""The Django middleware, under WSGI and ASGI: in its test clients, and behind servers."""

import asyncio
import contextvars
import gc
import json
import logging
import pickle
import threading

import pytest
from helpers.packages import installed

if not installed("django"):
    pytest.skip("Django is not installed here", allow_module_level=True)

import django_views
from django.test import AsyncClient, Client, RequestFactory, override_settings
from wire_names import request_id

import xctx.django

pytestmark = [
    pytest.mark.usefixtures("nothing_stays_bound"),
    # A body of the other kind than the server is; it is served all the same.
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume:Warning"),
]

OURS = "xctx.django.Middleware"
PLAIN = "django_views.plain"
AWAITED = "django_views.Awaited"
ADAPTED = "django.middleware.gzip.GZipMiddleware"  # both
STACKS = {
    "plain": [OURS, PLAIN],
    "awaited": [OURS, AWAITED],
    "beneath plain": ["django_views.unknowing", OURS, PLAIN],
    "beneath plain, awaited": ["django_views.unknowing", OURS, AWAITED],
    "both": [OURS, ADAPTED, AWAITED],
}


@pytest.fixture(params=STACKS)
def site(request, monkeypatch):
    """Has Django serve the views with that middleware, as long as the test runs."""
    monkeypatch.setattr(logging.getLogger("django.request"), "disabled", True)  # pytest would keep what was raised
    for seen in (django_views.units, django_views.finished, django_views.closed):
        seen.clear()
    with override_settings(MIDDLEWARE=STACKS[request.param], ROOT_URLCONF="django_views"):
        yield django_views
    gc.collect()  # Django leaves garbage, which has contexts


def by_wsgi(path, headers):
    response = Client(raise_request_exception=False).get(path, headers=headers)
    return response.status_code, b"".join(response) if response.streaming else response.content


def by_asgi(path, headers):
    async def ask():
        response = await AsyncClient(raise_request_exception=False).get(path, headers=headers)
        if not response.streaming:
            return response.status_code, response.content
        content = response.streaming_content
        parts = [part async for part in content] if response.is_async else list(content)
        await asyncio.to_thread(response.close)  # which Django's server does there
        return response.status_code, b"".join(parts)

    return asyncio.run(ask())


@pytest.fixture(params=[by_wsgi, by_asgi])
def ask(request):
    """ask(path, **headers): what the site answers; what it left bound where it ran is looked for in that context."""

    def ask(path, **headers):
        def run():
            answer = request.param(f"/{path}", headers)
            assert xctx.work.current() is None
            return *answer, vars(django_views.current)

        status, body, bound = contextvars.Context().run(run)
        assert bound == {}
        return status, body

    return ask


def test_what_is_known_in_the_middle_is_there_until_the_response_is_closed(site, ask):
    for number in range(1, 5):
        path = ("view", "async_view", "streams", "async_streams")[number % 4]
        status, body = ask(path, baggage=f"request-id=r-{number}")
        assert status == 200
        seen = {"user": f"user {number}", "id": f"r-{number}", "bound": ["left"]}
        answers = [json.loads(line) for line in body.splitlines()]
        assert [each | {"bound": ["left"]} for each in answers] == [seen] * (3 if "streams" in path else 1)
        assert site.finished[-1] == f"user {number}"
    assert request_id() is None
    assert site.closed == ["user 2", "user 3"]
    assert [unit.alive for unit in site.units] == [False] * 4


def test_one_that_raises_ends_it(site, ask):
    for _ in range(2):
        assert ask("raises")[0] == 500
    assert [unit.alive for unit in site.units] == [False] * 2


def test_a_file_is_closed_in_it(site, ask):
    assert ask("file") == (200, b"in a file")
    assert site.closed[0] == "user 1"
    assert not site.units[0].alive
