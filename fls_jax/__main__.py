"""`fls` and `python -m fls_jax`: the process settings, then the command line."""

from __future__ import annotations

import gc
import os
import sys

from fls_jax.errors import UserError, missing_library
from fls_jax.process.names import read_names_as_utf8
from fls_jax.process.output import lost_output, outlast_readers


def main() -> None:
    """Run the command line; a UserError is one sentence on stderr and exit code 2."""
    # JAX makes initial weights by LAPACK. On cores that are shared, OpenBLAS's threads wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Imports and traces make many objects and hardly any cyclic garbage, which Python would often look for.
    gc.set_threshold(50_000, 20, 20)
    outlast_readers()
    try:
        read_names_as_utf8(sys.argv[1:])
        from fls_jax.cli import run

        run(sys.argv[1:])
    except UserError as error:
        print(f"fls: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except ModuleNotFoundError as error:
        if (sentence := missing_library(error)) is None:
            raise
        print(f"fls: {sentence}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    if reason := lost_output():
        print(
            f"fls: the command has ended, but part of its output could not be written ({reason}).",
            file=sys.stderr,
        )
        raise SystemExit(1)


if __name__ == "__main__":
    main()
