"""What is seen to before the house is opened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LOOK = """\
import ctypes, os, subprocess
from gateway.app.threshold import close_to_children

def look():
    child = ["cat", f"/proc/{os.getpid()}/environ"]
    done = subprocess.run(child, stdout=-3, stderr=-3, timeout=30)
    return done.returncode == 0

if os.geteuid() == 0:
    os.setgroups([])
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as a process that was begun by that user
print(look())
close_to_children()
print(look())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it is Linux that can be asked for it")
def test_a_child_of_the_same_user_cannot_read_the_environment_of_the_gateway() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["True", "False"], done.stderr
