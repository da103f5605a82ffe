"""The paper's grid and our pilot as data, with figures and dashboards made from their runs."""

from __future__ import annotations

from importlib.util import find_spec


def _is_missing(name: str) -> bool:
    try:
        return find_spec(name) is None
    except ModuleNotFoundError:
        return True


_missing = [name for name in ("matplotlib", "wandb_workspaces") if _is_missing(name)]
if _missing:
    raise SystemExit(f"experiments: {' and '.join(_missing)} not installed: pip install '.[experiments]'")
