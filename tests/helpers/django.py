"""Django set up in this process, once for all tests that use it: each says what it wants by ``override_settings``."""

import django
from django.conf import settings


def set_up():
    """Configures Django, unless that was done."""
    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"], MIDDLEWARE=[], ROOT_URLCONF=None, LOGGING_CONFIG=None, SECRET_KEY="no secret"
        )
        django.setup()
