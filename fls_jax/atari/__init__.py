"""The games: batched (envpool) and one emulator at a time (ale_py)."""
