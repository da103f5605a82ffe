"""The paper's grid and our pilot as data, and the figures and dashboards that are drawn from their runs."""

from __future__ import annotations

from importlib.util import find_spec

_missing = [name for name in ("matplotlib", "wandb_workspaces") if find_spec(name) is None]
if _missing:
    raise SystemExit(f"experiments: {' and '.join(_missing)} not installed: pip install '.[experiments]'")
