"""The script ``deploykit``, and ``python -m deploykit``."""

from __future__ import annotations

import sys

__all__ = ["run"]


def run() -> int:
    """Run the command line and return the exit code. Ctrl-C is quiet also while its modules load."""
    try:
        from deploykit.cli import main
        from deploykit.hooks import install

        install()
        return main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(run())
