"""Programs that are not ours, as they are and under ``python -m xctx run --all``: ``python -m benchmarks.programs``.

flask_site.py    Flask with Flask-Login, and SQLAlchemy where it is installed
django_site.py   Django's admin
celery_tasks.py  tasks of Celery
client.py        requests, one after the other or many at once; every answer is looked at
counting.py      instructions that a process executes, by valgrind's callgrind
running.py       the programs' commands, started with and without xctx
__main__.py      measures them, and writes the results
"""
