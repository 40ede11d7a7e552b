"""What a shell is to a client: the leader of its session, which sees it stop and end.

`shell.py STATUS_FD CONTROL_FD PROGRAM ARGUMENT...` runs one program in the foreground of its
terminal, and tells in lines of JSON what becomes of it; `fg` on CONTROL_FD continues it. The modes
of a terminal whose session leader has ended are the kernel's, not the client's, so they are read
here.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import termios


def main() -> None:
    status_fd, control_fd = int(sys.argv[1]), int(sys.argv[2])
    program = sys.argv[3:]
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # A shell outlives its terminal here, to tell how the program took it.
    for signum in (signal.SIGTTOU, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    before = termios.tcgetattr(0)
    ready, go = os.pipe()
    pid = os.fork()
    if not pid:
        _run(program, ready, (status_fd, control_fd, go))
    os.close(ready)
    os.setpgid(pid, pid)
    os.tcsetpgrp(0, pid)
    os.close(go)

    def tell(**told: object) -> None:
        os.write(status_fd, json.dumps(told).encode() + b"\n")

    tell(pid=pid, modes=repr(before))
    while True:
        _, status = os.waitpid(pid, os.WUNTRACED)
        try:
            modes = repr(termios.tcgetattr(0))
            os.tcsetpgrp(0, os.getpgrp())
        except (OSError, termios.error):
            modes = "gone"
        if not os.WIFSTOPPED(status):
            tell(exit=os.waitstatus_to_exitcode(status), modes=modes)
            return
        tell(stopped=os.WSTOPSIG(status), modes=modes)
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        if not os.read(control_fd, 64):
            os.kill(pid, signal.SIGKILL)
        else:
            os.tcsetpgrp(0, pid)
            os.kill(pid, signal.SIGCONT)


def _run(program: list[str], ready: int, fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)
    os.setpgid(0, 0)
    os.read(ready, 1)
    os.close(ready)
    for signum in (signal.SIGTTOU, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)
    os.execv(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main()
