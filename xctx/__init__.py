"""Execution-context toolkit: state of one thread, greenlet, task or process, read at C speed."""

from xctx._runtime import interpreter as _interpreter  # noqa: F401 (first: it says where the compiled rooms are)

# isort: split
from xctx import keys
from xctx._batch.batch import BatchExecutor
from xctx._carry.carry import carry
from xctx._carry.isolated import isolated
from xctx._carry.snapshot import Snapshot, capture, nothing
from xctx._lock.acquisition import OwnerDiedWarning
from xctx._lock.lock import SharedLock, SharedRLock
from xctx._proxy.proxy import LocalProxy, LocalWrapper, is_proxy, unwrap
from xctx._stores.fields import field
from xctx._stores.local import local
from xctx._stores.transparent import transparent
from xctx._stores.works import work
from xctx._stores.xlocal import xlocal
from xctx._wire.declarations import carried

TYPE_CHECKING = False  # importing xctx does not import typing
if TYPE_CHECKING:
    from xctx import aiohttp as aiohttp
    from xctx import asgi as asgi
    from xctx import celery as celery
    from xctx import concurrent as concurrent
    from xctx import dask as dask
    from xctx import debug as debug
    from xctx import django as django
    from xctx import dramatiq as dramatiq
    from xctx import gevent as gevent
    from xctx import grpc as grpc
    from xctx import httpx as httpx
    from xctx import logging as logging
    from xctx import patch as patch
    from xctx import postgres as postgres
    from xctx import pytest as pytest
    from xctx import requests as requests
    from xctx import rq as rq
    from xctx import telemetry as telemetry
    from xctx import wire as wire
    from xctx import wsgi as wsgi

__version__ = "0.1.0"
__all__ = [
    "BatchExecutor",
    "LocalProxy",
    "LocalWrapper",
    "OwnerDiedWarning",
    "SharedLock",
    "SharedRLock",
    "Snapshot",
    "capture",
    "carried",
    "carry",
    "field",
    "is_proxy",
    "isolated",
    "keys",
    "local",
    "nothing",
    "transparent",
    "unwrap",
    "work",
    "xlocal",
]

# Each is imported when a program first uses it, so that importing xctx stays cheap and needs no other package.
_MODULES = (
    "aiohttp",
    "asgi",
    "celery",
    "concurrent",
    "dask",
    "debug",
    "django",
    "dramatiq",
    "gevent",
    "grpc",
    "httpx",
    "logging",
    "patch",
    "postgres",
    "pytest",
    "requests",
    "rq",
    "telemetry",
    "wire",
    "wsgi",
)

if not TYPE_CHECKING:  # or type checkers would take any name

    def __getattr__(name):
        if name in _MODULES:
            from importlib import import_module

            return import_module(f"xctx.{name}")
        raise AttributeError(f"module 'xctx' has no attribute {name!r}")
