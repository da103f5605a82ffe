"""The W&B workspace and report as wandb-workspaces objects. This module sends nothing.

The names of metrics are those that `fls train` and `fls sync` send.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments.analysis.selection import Selection
from experiments.data.grid import Experiment
from experiments.data.style import style
from experiments.pages.free_lunch import free_lunch_table
from experiments.pages.tables import score_table
from fls_jax.statistics import paper
from fls_jax.wandb.contents import gaze_key, gaze_table_key, score_key, video_key

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # pydantic's, about the package's own models
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr
    from wandb_workspaces.reports.v2.internal import ReportViewspec
    from wandb_workspaces.workspaces.internal import View

_NETWORK = wr.Config("network")
_MOST = 50  # lines or bars in a panel
_GAZE = ("aligned", "screen")
_GAZE_METRICS = ("nss", "kl_smoothed", "sauc")
_FILMS = ("", "greedy", "paper", "agents", "gaze", "gaze-paper")
_ATTENTION = ("attention_mean", "attention_max", "attention_entropy")
_HEALTH = ("entropy", "approx_kl", "clip_fraction", "explained_variance", "loss_value", "grad_norm")


@dataclass(frozen=True)
class Part:
    """A section of the workspace and of the report."""

    title: str
    text: str
    panels: Sequence[Any]


def parts(selection: Selection) -> list[Part]:
    """All sections in order; panels are new objects at every call."""
    games = selection.experiment.games
    return [
        _learning_curves(games),
        _final_scores(selection, games),
        _free_lunch(selection, games),
        _attention(games),
        _human_gaze([game for game in games if game in paper.SALIENCY_GAMES]),
        _videos(games),
        _health(),
    ]


def _learning_curves(games: Sequence[str]) -> Part:
    text = (
        "Mean raw return of the last 100 whole games while training; mean and standard deviation over seeds."
    )
    return Part("Learning curves", text, [_curve(f"eprewmean/{game}", game) for game in games])


def _final_scores(selection: Selection, games: Sequence[str]) -> Part:
    text = (
        "Mean raw return of the games evaluated at the end of training, by network; standard deviation over "
        "seeds."
    )
    bars = [_bars(score_key(game, selection.protocol, "mean"), game) for game in games]
    table = wr.MarkdownPanel(markdown=score_table(selection).markdown(), layout=_layout(24, 12))
    return Part("Final scores", text, [*bars, table])


def _free_lunch(selection: Selection, games: Sequence[str]) -> Part:
    text = (
        "What attention costs against the baseline: the difference in score with its interval, and steps per "
        "second."
    )
    table = wr.MarkdownPanel(markdown=free_lunch_table(selection).markdown(), layout=_layout(24, 10))
    curves = [_curve(f"sps/{game}", f"{game}: steps per second") for game in games]
    bars = [_bars(f"sps_overall/{game}", f"{game}: steps per second, whole run") for game in games]
    return Part("Free lunch", text, [table, *curves, *bars])


def _attention(games: Sequence[str]) -> Part:
    text = "Mean, maximum and entropy (nats) of the attention map while training."
    named = [(game, name) for game in games for name in _ATTENTION]
    return Part(
        "Attention",
        text,
        [_curve(f"{name}/{game}", f"{game}: {name.replace('_', ' ')}") for game, name in named],
    )


def _human_gaze(games: Sequence[str]) -> Part:
    text = (
        "Saliency against human gaze (Atari-HEAD), aligned protocol. Read it beside the table's controls: "
        "a map that knows nothing already scores."
    )
    panels: list[Any] = []
    for game in games:
        panels += [_bars(gaze_key(game, *_GAZE, name), f"{game}: {name}") for name in _GAZE_METRICS]
        table = gaze_table_key(game, *_GAZE)
        panels.append(wr.WeavePanelSummaryTable(table_name=table, layout=_layout(24, 8)))
    return Part("Human gaze", text, panels)


def _videos(games: Sequence[str]) -> Part:
    text = "Agents at play, with their saliency over game and input, at every step that was filmed."
    browsers = [
        wr.MediaBrowser(
            title=game,
            media_keys=[video_key(game, variant) for variant in _FILMS],
            num_columns=2,
            layout=_layout(12, 10),
        )
        for game in games
    ]
    return Part("Videos", text, browsers)


def _health() -> Part:
    text = (
        "If a curve looks wrong, look here first. Mean and standard deviation over all runs of a network, "
        "whatever their game: add a filter to see one."
    )
    return Part(
        "Training health", text, [_curve(name, name.replace("_", " ").capitalize()) for name in _HEALTH]
    )


def build_workspace(selection: Selection, entity: str, project: str) -> ws.Workspace:
    """One section per part; runs are grouped by network, with the figures' colours."""
    experiment = selection.experiment
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"{experiment.title} - baseline and attention",
        sections=[
            ws.Section(name=part.title, panels=list(part.panels), is_open=number < 3)
            for number, part in enumerate(parts(selection))
            if part.panels
        ],
        settings=ws.WorkspaceSettings(x_axis="env_step", max_runs=_MOST),
        runset_settings=ws.RunsetSettings(
            filters=_runs_of(experiment),
            groupby=[expr.Config("network")],
            group_colors={name: style(name).colour for name in experiment.networks},
            pinned_columns=["config:game", "config:seed", "summary:eprewmean", "summary:sps_overall"],
        ),
    )


def build_report(selection: Selection, entity: str, project: str) -> wr.Report:
    """One chapter per part, each with its text and a grid of panels over the experiment's runs."""
    experiment = selection.experiment
    finished = sum(run.finished for run in selection.runs.values())
    blocks: list[Any] = [
        wr.P(
            f"{finished} of {len(experiment.cells)} runs of {experiment.total_steps:,} agent steps are "
            f"finished, {len(selection.runs) - finished} begun. The tables come from the run folders, the "
            "panels show what was sent to this project."
        ),
        wr.TableOfContents(),
    ]
    for part in parts(selection):
        if part.panels:
            runset = wr.Runset(
                name=experiment.title, filters=_runs_of(experiment), groupby=["config.network"]
            )
            grid = wr.PanelGrid(runsets=[runset], panels=list(part.panels), hide_run_sets=True)
            blocks += [wr.H1(part.title), wr.P(part.text), grid]
    return wr.Report(
        entity=entity,
        project=project,
        title=f"{experiment.title} - is attention a free lunch",  # part of its address
        description="Baseline against attention: scores, speed, attention, human gaze.",
        blocks=blocks,
        width="fluid",
    )


def validated_json(built: ws.Workspace | wr.Report) -> str:
    """A workspace or report as JSON, checked by reading it with wandb-workspaces' own models.

    Raises ValueError if they cannot read it or lose something.
    """
    model: Any = View if isinstance(built, ws.Workspace) else ReportViewspec
    original = _plain(built._to_model())
    read = model.model_validate(original)
    plain = _plain(read)
    if not _contains(plain, original) or _kinds(type(built)._from_model(read)) != _kinds(built):
        raise ValueError("wandb-workspaces reads its own JSON back as something else")
    return json.dumps(plain, indent=1) + "\n"


def _plain(model: Any) -> Any:
    return json.loads(model.model_dump_json(by_alias=True, exclude_none=True))


def _contains(whole: Any, part: Any) -> bool:
    """Whether every value of the nested JSON `part` is at the same position in `whole`."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and _contains(whole[key], value) for key, value in part.items()
        )
    if isinstance(part, list):
        same = isinstance(whole, list) and len(whole) == len(part)
        return same and all(map(_contains, whole, part))
    return whole == part


def _kinds(built: Any) -> list[list[type]]:
    """The types of all panels, by section or grid."""
    groups = built.sections if isinstance(built, ws.Workspace) else built.blocks
    return [[type(panel) for panel in getattr(group, "panels", ())] for group in groups]


def _runs_of(experiment: Experiment) -> expr.And:
    """A filter for an experiment's runs; all job types have the training's configuration."""
    return expr.And(
        expr.Config("total_steps") == experiment.total_steps,
        expr.Config("game").isin(list(experiment.games)),
        expr.Config("network").isin(list(experiment.networks)),
        expr.Config("seed").isin(sorted({cell.seed for cell in experiment.cells})),
    )


def _layout(width: int, height: int) -> Any:
    return wr.Layout(w=width, h=height)


def _curve(metric: str, title: str) -> Any:
    return wr.LinePlot(
        title=title,
        x="env_step",
        y=[metric],
        groupby=_NETWORK,
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_runs_to_show=_MOST,
        layout=_layout(8, 6),
    )


def _bars(metric: str, title: str) -> Any:
    return wr.BarPlot(
        title=title,
        metrics=[metric],
        groupby=_NETWORK,
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_bars_to_show=_MOST,
        layout=_layout(8, 6),
    )
