"""Between this package and a program of somebody else: starts it, says how it ended, and ends it with its parent.

Run by its path, ``python -I -S peer_launcher.py PROGRAM [ARGUMENT ...]``, as the leader of a process group, with a pipe
as stdin. When the program has ended, its exit code and the peak of its memory in bytes go to stdout; then, or as soon
as stdin closes, the whole group is killed, this process with it. What the program says goes to stderr.

It is a process of its own for two reasons. The pipe closes however the parent dies, SIGKILL too, which the parent could
not answer itself. And Linux counts the memory of the process that starts a program as the program's, up to ``exec``:
what is started from here begins at some 10 MB, not at the size of a worker.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def main() -> None:
    program = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr)
    threading.Thread(target=end_with_parent, daemon=True).start()
    _, status, usage = os.wait4(program.pid, 0)
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    os.write(sys.stdout.fileno(), f"{os.waitstatus_to_exitcode(status)} {peak}".encode())
    end_group()


def end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing is ever written: this returns when the pipe closes
    end_group()


def end_group() -> None:
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
