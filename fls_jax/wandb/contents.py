"""What an evaluation, a gaze result or a film is on W&B: its names, numbers and tables."""

from __future__ import annotations

from typing import Any

from fls_jax.runs.contents import (
    Evaluation,
    gaze_rows,
)
from fls_jax.wandb.sending import Content


def score_key(environment: str, protocol: str, statistic: str, greedy: bool = False) -> str:
    """W&B's name of a statistic of an evaluation; environment: a game, or BreakoutInfinite.

    A panel averages values of the same name, so values that must not be averaged get different names.
    """
    return f"score/{environment}{'-greedy' * greedy}/{protocol}/{statistic}"


def gaze_key(game: str, protocol: str, space: str, metric: str) -> str:
    """W&B's name of the mean of a saliency metric of the model's map."""
    return f"gaze/{game}/{protocol}-{space}/{metric}"


def gaze_table_key(game: str, protocol: str, space: str) -> str:
    """W&B's name of the table of all maps, including controls."""
    return f"gaze-maps/{game}/{protocol}-{space}"


def video_key(game: str, variant: str = "") -> str:
    """W&B's name of a video; variants that differ only in a number share it."""
    words = [word for word in variant.split("-") if word and not word.isdigit()]
    return "-".join([f"video/{game}", *words])


def before_the_end(content: Content) -> Content:
    """The result of a checkpoint before the training's last, with names that final results do not have."""
    row = {_apart(name) if "/" in name else name: value for name, value in content.row.items()}
    return Content(row, {_apart(name): table for name, table in content.tables.items()}, content.videos)


def _apart(name: str) -> str:
    kind, rest = name.split("/", 1)
    return f"{kind}-before-the-end/{rest}"


def evaluation_content(evaluation: Evaluation) -> Content:
    """An evaluation's numbers and a table of its games.

    The names contain the environment, so that a workspace can show one game in a panel.
    """
    summary = evaluation.summary
    numbers = {name: summary[name] for name in ("mean", "std", "median", "iqm", "mean_steps", "games")}
    if evaluation.interval is not None:
        numbers["low"], numbers["high"] = evaluation.interval
    if summary.get("human_normalised"):
        numbers["human_normalised"] = summary["human_normalised"]["mean"]
    environment, greedy = evaluation.environment, evaluation.greedy
    values = {
        score_key(environment, evaluation.protocol, name, greedy): number for name, number in numbers.items()
    }
    columns = {column: [game.get(column) for game in evaluation.games] for column in evaluation.games[0]}
    row = {"env_step": evaluation.env_step, "protocol": evaluation.protocol, **values}
    return Content(row, {f"games/{environment}{'-greedy' * greedy}": columns})


def attention_content(content: dict[str, Any]) -> Content:
    """The content of an `attention/` file: the map's statistics, and one row per replacement."""
    game = content["game"]
    values = {f"attention-map/{game}/{name}": value for name, value in content["map"].items()}
    columns: dict[str, list[Any]] = {"attention": list(content["replacements"])}
    rows = content["replacements"].values()
    for name in ("games", "mean", "human_normalised", "difference"):
        columns[name] = [row.get(name) for row in rows]
    ends = [row.get("difference_interval_95") or (None, None) for row in rows]
    columns["low"], columns["high"] = map(list, zip(*ends, strict=True))
    for name in ("kl", "value_change", "same_action"):
        columns[name] = [row[name]["mean"] for row in rows]
    for name, row in content["replacements"].items():
        if "difference" in row:
            key = f"attention-replaced/{game}/{name.replace(':', '-')}"
            values |= {f"{key}/difference": row["difference"], f"{key}/kl": row["kl"]["mean"]}
    return Content({"env_step": content["env_step"], **values}, {f"attention/{game}": columns})


def gaze_content(game: str, summary: dict[str, Any]) -> Content:
    """The scores of the model's map as numbers, and every row of the pass as a table, from a summary.json."""
    where = (game, summary["protocol"], summary["space"])
    scores = gaze_rows(summary)
    values = {gaze_key(*where, metric): score["mean"] for metric, score in scores.get("model", {}).items()}
    metrics = list(next(iter(scores.values()), {}))
    columns: dict[str, list[Any]] = {"map": list(scores)}
    for metric in metrics:
        columns[metric] = [scores[map_name][metric]["mean"] for map_name in scores]
        columns[f"{metric} coverage"] = [scores[map_name][metric]["coverage"] for map_name in scores]
        ends = [scores[map_name][metric]["interval_frames"] or (None, None) for map_name in scores]
        columns[f"{metric} low"], columns[f"{metric} high"] = map(list, zip(*ends, strict=True))
    return Content({"env_step": summary["env_step"], **values}, {gaze_table_key(*where): columns})
