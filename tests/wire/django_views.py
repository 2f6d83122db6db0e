"""A Django site whose views and middleware keep things for their request, and leave blocks open."""

import asyncio
import io
import json

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.signals import request_finished
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from helpers.django import set_up
from wire_names import request_id

import xctx

set_up()

kept = xctx.local(key=xctx.keys.work)
current = xctx.xlocal()
units = []  # of the requests, in order
finished = []  # what was kept when each response was closed
closed = []  # who was known when a body was closed


def look():
    return {"user": kept.user, "id": request_id(), "bound": sorted(vars(current))}


def authenticate():
    """Middleware has it called in the middle of the request."""
    assert not vars(kept)
    units.append(xctx.work.current())
    kept.user = f"user {len(units)}"
    current(left="open").__enter__()


# --- middleware -------------------------------------------------------------------------------------------------------


def plain(get_response):
    def middleware(request):
        authenticate()
        return get_response(request)

    return middleware


def unknowing(get_response):
    def middleware(request):
        assert xctx.work.current() is None
        response = get_response(request)
        assert xctx.work.current() is None
        return response

    return middleware


class Awaited:
    sync_capable = False
    async_capable = True

    def __init__(self, get_response):
        assert iscoroutinefunction(get_response)
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request):
        await sync_to_async(authenticate)()  # as what asks a database does
        return await self.get_response(request)


# --- views ------------------------------------------------------------------------------------------------------------


def view(request):
    return JsonResponse(look())


async def async_view(request):
    await asyncio.create_task(asyncio.sleep(0))
    return JsonResponse(await asyncio.to_thread(look))


def raises(request):
    raise LookupError("on purpose")


def streams(request):
    def parts():
        try:
            for _ in range(3):
                yield json.dumps(look()) + "\n"
        finally:
            closed.append(kept.user)

    return StreamingHttpResponse(parts())


async def async_streams(request):
    async def parts():
        try:
            for _ in range(3):
                await asyncio.sleep(0)
                yield json.dumps(look()) + "\n"
        finally:
            closed.append(kept.user)

    return StreamingHttpResponse(parts())


async def endless(request):
    async def parts():
        try:
            while True:
                yield b"x" * 100_000
                await asyncio.sleep(0.001)
        finally:
            closed.append(kept.user)

    return StreamingHttpResponse(parts())


async def waits(request):
    try:
        await asyncio.Event().wait()
    finally:
        closed.append(kept.user)


def endless_plain(request):
    def parts():
        try:
            while True:
                yield b"x" * 100_000
        finally:
            closed.append(kept.user)

    return StreamingHttpResponse(parts())


def cached(request):
    return HttpResponse(kept.user)


def file(request):
    class File(io.BytesIO):
        def close(self):
            closed.append(kept.user)
            super().close()

    return FileResponse(File(b"in a file"))


urlpatterns = [
    path(each.__name__, each)
    for each in (
        view, async_view, raises, streams, async_streams, endless, endless_plain, waits, cached, file,
    )
]  # fmt: skip


def when_finished(**_):
    unit = xctx.work.current()
    finished.append(unit is not None and unit.alive and getattr(kept, "user", None))


request_finished.connect(when_finished)
