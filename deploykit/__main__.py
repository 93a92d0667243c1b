"""The script ``deploykit``, and ``python -m deploykit``."""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["run"]


def run() -> int:
    """Run the command line and return the exit code. Ctrl-C is quiet also while its modules load."""
    try:
        from deploykit.supervision import supervised

        code = supervised(_main)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # too late: all is done
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = 130
    if code == 130:
        # The interpreter's own end takes seconds where torch is loaded.
        sys.stderr.flush()
        os._exit(code)
    return code


def _main() -> int:
    from deploykit_runtimes.scratch import discard_scratch

    from deploykit.cli import main
    from deploykit.hooks import install

    install()
    try:
        return main()
    finally:
        discard_scratch()  # what a Ctrl-C in the middle of cleaning up left


if __name__ == "__main__":
    sys.exit(run())
