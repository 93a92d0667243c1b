"""The script ``deploykit``, and ``python -m deploykit``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from deploykit.process.interrupted import EXIT_INTERRUPTED, INTERRUPTED

__all__ = ["run"]


def run() -> int:
    """Run the command line and return the exit code. Ctrl-C is quiet also while its modules load."""
    try:
        _replace_closed_streams()
        from deploykit.process.supervision import decodes_images, supervised

        code = supervised(_main, impatient=decodes_images(sys.argv[1:]))
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # too late: all is done
    except KeyboardInterrupt:
        sys.stderr.write(INTERRUPTED)
        code = EXIT_INTERRUPTED
    if code == EXIT_INTERRUPTED:
        # The interpreter's own end takes seconds where torch is loaded.
        sys.stderr.flush()
        os._exit(code)
    return code


def _replace_closed_streams() -> None:
    """Send what is printed to a closed standard stream (``>&-``) nowhere.

    The stream's file descriptor is occupied, so that a file opened later cannot get that number and receive
    what libraries print. It is not writable: ``-o /dev/stdout`` fails as it should.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDONLY)
            if null != number:
                os.dup2(null, number)
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - for the process


def _main() -> int:
    from deploykit_runtimes.machine.memory_limit import limit_memory
    from deploykit_runtimes.machine.scratch import discard_scratch

    from deploykit.cli import main
    from deploykit.process.hooks import install

    install()
    limit_memory()
    try:
        return main()
    finally:
        discard_scratch()  # what a Ctrl-C in the middle of cleaning up left


if __name__ == "__main__":
    sys.exit(run())
