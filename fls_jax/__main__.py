"""`fls` and `python -m fls_jax`: the process settings, then the command line."""

from __future__ import annotations

import io
import os
import sys

from fls_jax.errors import UserError


def main() -> None:
    """Run the command line; a UserError is one sentence on stderr and exit code 2."""
    from fls_jax.cli import run

    for stream in (sys.stdout, sys.stderr):
        # Names in other people's archives need not be text that this terminal can show.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        run(sys.argv[1:])
        sys.stdout.flush()
    except UserError as error:
        print(f"fls: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader left, as `head` does; Python would complain again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
