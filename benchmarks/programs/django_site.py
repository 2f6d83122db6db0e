"""Django's admin, as ``wsgi`` and as ``asgi``. It knows nothing of xctx.

``PROGRAM_FOLDER`` is where its database lies.
"""

import asyncio
import os
import threading

import django
from django.conf import settings

FOLDER = os.environ["PROGRAM_FOLDER"]
USERS = 20

settings.configure(
    SECRET_KEY="not a secret",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    USE_TZ=True,
    STATIC_URL="/static/",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{FOLDER}/site.sqlite"}},
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.locale.LocaleMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
)
django.setup()

from django.contrib import admin  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import translation  # noqa: E402


def set_up():
    """Makes the database, with a superuser who is logged in by the session "known-session"."""
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    known = User.objects.create_superuser("ada", "ada@example.org", None)
    User.objects.bulk_create(User(username=f"user{at}", first_name=f"First {at}") for at in range(USERS))
    session = SessionStore()
    session["_auth_user_id"] = str(known.pk)
    session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
    session["_auth_user_hash"] = known.get_session_auth_hash()
    session._session_key = "known-session"  # a store that is given one which does not exist forgets it
    session.save(must_create=True)


def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


gathered = {"count": 0, "events": []}


def gather(event, count, release):
    """Notes a request in progress; the last of so many measures the memory, and releases all."""
    gathered["count"] += 1
    gathered["events"].append(event)
    if gathered["count"] == count:
        gathered["memory"] = memory()
        events, gathered["events"], gathered["count"] = gathered["events"], [], 0
        for each in events:
            release(each)


gathering = threading.Lock()


def together(request, number):
    event = threading.Event()
    with gathering:
        gather(event, int(request.GET["count"]), threading.Event.set)
    event.wait()
    return told(request)


async def together_async(request, number):
    event = asyncio.Event()
    gather(event, int(request.GET["count"]), asyncio.Event.set)
    await event.wait()
    return told(request)


def told(request):
    tenant = request.headers["X-Tenant"]
    return JsonResponse({"tenant": tenant, "language": translation.get_language(), "memory": gathered["memory"]})


def process(request):
    connections = django.db.connections._connections
    return JsonResponse({"process": os.getpid(), "classes": [each.__module__ for each in type(connections).__mro__]})


urlpatterns = [
    path("admin/", admin.site.urls),
    path("together/<int:number>", together),
    path("together_async/<int:number>", together_async),
    path("process", process),
]
wsgi = get_wsgi_application()
asgi = get_asgi_application()
