"""The example whose request is worked for everywhere, with all that it starts."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.packages import installed

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_id_of_the_request_is_in_the_logs_of_all_who_work_for_it():
    process = subprocess.Popen(
        [sys.executable, "-W", "error", str(ROOT / "examples" / "one_request.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=180)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)  # with whatever it did not end
        except (AttributeError, ProcessLookupError):
            pass
    places = ["the request itself", "a thread pool", "a process pool"]
    places += ["a greenlet"] * installed("gevent") + ["an asyncio task"] + ["a Dask worker"] * installed("distributed")
    assert process.returncode == 0, (out, err)
    assert out.splitlines() == [
        *(f"[r-42] work in {place}" for place in places),
        f"[-] all {len(places)} of them worked for r-42",
    ]
    assert "Traceback" not in err
