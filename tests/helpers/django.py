"""Django set up in this process: once, and for all tests that use it. Each says what it wants by ``override_settings``."""

import django
from django.conf import settings

if not settings.configured:
    settings.configure(ALLOWED_HOSTS=["*"], MIDDLEWARE=[], ROOT_URLCONF=None, LOGGING_CONFIG=None, SECRET_KEY="no secret")
    django.setup()
