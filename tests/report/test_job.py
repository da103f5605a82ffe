"""The document that `fls report` writes: of what was played, recorded and measured, and of nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from scipy.special import softmax
from skimage.measure import block_reduce

import fls_jax
from fls_jax.cli import parse, run
from fls_jax.errors import UserError
from fls_jax.film.playing import play
from fls_jax.report.document import schema
from fls_jax.report.encoding import unpacked, unpacked_pictures
from fls_jax.report.job import report
from fls_jax.report.maps import attention_record
from fls_jax.runs.record import pack, packed
from tests.experiments.folders import write_evaluation, write_gaze
from tests.oracles import networks as oracle
from tests.report.conftest import SEED, STEPS, document_of
from tests.report.runs import STEP, write_agent
from tests.run_folders import edit_config


@pytest.fixture(scope="module")
def clip(pair):
    """What the second agent plays, played again."""
    return play(fls_jax.load_agent(pair[1]), STEPS, SEED)


def tables(document):
    return {table["id"]: table for table in document["tables"]}


def texts(table, name):
    return [row["cells"][name].get("text") for row in table["rows"]]


def test_the_document_is_as_its_schema_says(document):
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(document, schema(), jsonschema.Draft202012Validator)
    assert [agent["label"] for agent in document["agents"]] == ["cnn, seed 3", "cnn_sparse_fls_pool, seed 3"]


def test_every_agent_plays_and_all_look_at_the_same_frames(document):
    assert [clip["player"] for clip in document["clips"]] == ["a1", "a2"]
    for each in document["clips"]:
        assert [observer["agent"] for observer in each["observers"]] == ["a1", "a2"]
        assert each["frames"]["shape"] == [STEPS, 210, 160]


def test_the_clip_is_what_the_agent_plays(document, clip):
    record = document["clips"][1]
    screens = np.array(record["palette"])[unpacked_pictures(record["frames"])]
    for t in range(STEPS):
        np.testing.assert_array_equal(screens[t], clip.screen(t))
    for name in ("actions", "rewards", "games", "ends", "returns"):
        np.testing.assert_allclose(unpacked(record[name]), getattr(clip, name), rtol=1e-3)


def test_observers_say_what_the_agents_say_of_these_frames(document, clip, pair):
    observations = np.stack([np.moveaxis(clip.observation(t), 0, -1) for t in range(STEPS)])
    for path, observer in zip(pair, document["clips"][1]["observers"], strict=True):
        output = fls_jax.load_agent(path)(observations)
        policy = softmax(output.logits.astype(float), axis=1)
        np.testing.assert_allclose(unpacked(observer["probabilities"]), policy, atol=1e-3)
        np.testing.assert_allclose(unpacked(observer["values"]), output.value, rtol=2e-3, atol=1e-4)


def test_maps_are_the_attention_and_their_scale_the_painted_maximum(document, clip):
    baseline, attentive = document["clips"][1]["observers"]
    assert baseline["maps"] == []
    (record,) = attentive["maps"]
    stored = unpacked_pictures(record["values"])
    values = record["low"] + (record["high"] - record["low"]) * stored / 65535
    np.testing.assert_allclose(values, clip.attention, atol=(record["high"] - record["low"]) / 60000)
    fields = [record["fields"][name] for name in ("size", "stride", "padding")]
    assert fields == list(oracle.GEOMETRY["cnn_sparse_fls_pool"])
    painted = oracle.paint(clip.attention, *fields)
    assert record["maximum"] == pytest.approx(painted.max(), rel=1e-4)
    assert record["relative_maximum"] == pytest.approx(np.abs(painted - painted.mean(axis=0)).max(), rel=1e-2)


def test_attention_that_no_layer_reads_is_zero(tmp_path, rng):
    agent = fls_jax.load_agent(write_agent(tmp_path, "cnn_patch_fls", [1, 2]))
    attention = rng.uniform(0.5, 1, (3, 21, 21)).astype(np.float32)
    record = attention_record(agent, attention)
    stored = unpacked_pictures(record["values"])
    values = record["low"] + (record["high"] - record["low"]) * stored / 65535
    np.testing.assert_allclose(values[:, :20, :20], attention[:, :20, :20], atol=1e-4)
    np.testing.assert_array_equal(values[:, 20], 0)
    np.testing.assert_array_equal(values[:, :, 20], 0)


def test_a_cost_on_attention_makes_another_agent_not_another_seed(tmp_path):
    for name, cost in (("free", 0.0), ("costly", 0.001)):
        edit_config(write_agent(tmp_path / name, "cnn_sparse_fls_pool", [1, 2]), attention_cost=cost)
    (path,) = report([tmp_path / "free", tmp_path / "costly"], tmp_path / "r.html", steps=0)
    found = document_of(path)
    names = {"cnn_sparse_fls_pool", "cnn_sparse_fls_pool-cost0.001"}
    assert {agent["network"] for agent in found["agents"]} == names
    assert {curve["network"] for curve in found["curves"]} == names


def test_curves_are_of_finite_values_only(document):
    assert [(curve["network"], curve["seeds"]) for curve in document["curves"]] == [
        ("cnn", [3]),
        ("cnn_sparse_fls_pool", [3]),
    ]
    curve = document["curves"][0]
    assert (curve["env_step"][0], curve["mean"][0], curve["mean"][-1]) == (5 * 1024, 8, 42)
    assert curve["low"] is None


def test_bands_are_over_seeds(tmp_path):
    for seed in (1, 9):
        write_agent(tmp_path / str(seed), "cnn", [1, 2], seed=seed)
    (path,) = report([tmp_path], tmp_path / "r.html", steps=0)
    (curve,) = document_of(path)["curves"]
    assert curve["seeds"] == [1, 9]
    np.testing.assert_allclose([curve["low"], curve["mean"], curve["high"]], np.array(
        [[n + 1, n + 5, n + 9] for n in range(5, 40)]).T)  # fmt: skip


def test_evaluations_stand_with_their_intervals_and_the_best_is_marked(document):
    rows = tables(document)["evaluation"]["rows"]
    assert [row["cells"]["mean"]["value"] for row in rows] == [2, 10.75]
    assert [row["cells"]["mean"].get("best") for row in rows] == [None, True]
    assert all(row["cells"]["mean"]["low"] <= row["cells"]["mean"]["value"] for row in rows)


def test_where_intervals_overlap_no_cell_is_marked(tmp_path):
    for number, returns in enumerate(([1, 9, 5], [2, 9, 8])):
        write_agent(tmp_path / str(number), "cnn", returns, seed=number + 1)
    (path,) = report([tmp_path], tmp_path / "r.html", steps=0)
    rows = tables(document_of(path))["evaluation"]["rows"]
    assert not any("best" in cell for row in rows for cell in row["cells"].values())


def test_controls_stand_apart_and_may_be_the_best(document):
    (table,) = (table for table in document["tables"] if table["id"].startswith("gaze"))
    assert table["place"] == "measurements"
    assert [row["kind"] for row in table["rows"]] == ["agent", "control"]
    assert table["rows"][1]["cells"]["nss"]["best"] is True
    assert table["rows"][1]["cells"]["kl"]["text"] == "\N{EN DASH}"


def test_commands_make_the_runs_and_evaluations_again(document, pair, tmp_path, monkeypatch):
    for agent, folder in zip(document["agents"], pair, strict=True):
        training = parse(agent["commands"][0]["command"].split()[1:])
        config = json.loads((folder / "config.json").read_text())
        assert {name: config[name] for name in ("game", "network", "seed", "total_steps")} == {
            name: getattr(training.config, name) for name in ("game", "network", "seed", "total_steps")
        }
        evaluation = parse(agent["commands"][1]["command"].split()[1:])
        assert (evaluation.run, evaluation.step) == (folder, STEP)
    made = parse(document["made"]["command"].split()[1:])
    assert (list(made.runs), made.steps, made.seed) == (pair, STEPS, SEED)


def test_a_damaged_run_among_good_ones_is_named_and_left_out(tmp_path):
    write_agent(tmp_path / "good", "cnn", [1, 2])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text("{")
    broken = write_agent(tmp_path / "half", "cnn", [1, 2], seed=9)
    (broken / "evaluation" / f"{STEP}-standard.json").write_text('{"summary": {}}')
    (path,) = report([tmp_path], tmp_path / "r.html", steps=0)
    found = document_of(path)
    assert len(found["agents"]) == 2
    names = [
        str(path.relative_to(tmp_path)) for path in map(Path, (each["path"] for each in found["problems"]))
    ]
    assert sorted(names) == ["bad", f"half/evaluation/{STEP}-standard.json"]


def test_a_run_without_a_checkpoint_is_reported_but_not_played(tmp_path, pair):
    folder = write_agent(tmp_path / "records", "cnn", [1, 2], seed=9)
    (folder / "checkpoints").rename(folder / "gone")
    (path,) = report([folder, pair[0]], tmp_path / "r.html", steps=3)
    found = document_of(path)
    assert [clip["player"] for clip in found["clips"]] == ["a1"]
    assert "not in the player" in found["problems"][0]["reason"]


def test_hostile_names_and_numbers_are_text(tmp_path):
    folder = write_agent(tmp_path / ("x<script>alert(1)\u202e" + "y" * 60), "cnn", [1, 2])
    edit_config(folder, network='"><img src=x onerror=alert(1)>', game="Pong\u202e</script>")
    row = {"env_step": 99999, "eprewmean": float("nan"), "sps": float("inf"), "seconds_total": 5.0}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    (path,) = report([folder], tmp_path / "r.html", steps=0)
    found = document_of(path)
    jsonschema.validate(found, schema())
    assert "⟨U+202E⟩" in found["agents"][0]["path"]
    assert found["agents"][0]["network"] == '"><img src=x onerror=alert(1)>'
    assert path.read_text().count("</script>") == 2


def test_a_site_has_a_page_a_game_and_an_index(tmp_path):
    write_agent(tmp_path / "runs/a", "cnn", [1, 2])
    write_agent(tmp_path / "runs/b", "cnn", [1, 2], game="Pong")
    write_agent(tmp_path / "runs/c", "cnn", [3], game="Pong", seed=9)
    edit_config(tmp_path / "runs/c", game="../Po ng")
    paths = report([tmp_path / "runs"], tmp_path / "site", steps=0)
    assert [path.name for path in paths] == ["index.html", "Pong.html", "Breakout.html", "Pong-2.html"]
    index = document_of(paths[0])
    jsonschema.validate(index, schema())
    assert [page["file"] for page in index["pages"]] == ["Pong.html", "Breakout.html", "Pong-2.html"]
    assert len(tables(index)["evaluation"]["rows"]) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": -1}, "--steps is -1"),
        ({"steps": 10**6}, "--steps"),
        ({"seed": 2**31}, "--seed"),
        ({"games": 0}, "--games"),
    ],
)
def test_options_that_cannot_work(pair, tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        report(pair, tmp_path / "r.html", **options)


def test_places_that_cannot_work(pair, tmp_path):
    with pytest.raises(UserError, match=r"\.html"):
        report(pair, tmp_path / "r.pdf")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        report(pair, tmp_path / "file" / "r.html", steps=0)
    with pytest.raises(UserError, match="no run to report"):
        report([tmp_path], tmp_path / "r.html")
    with pytest.raises(UserError, match="not a folder"):
        report([tmp_path / "nowhere"], tmp_path / "r.html")


def test_the_command_line(pair, tmp_path, capsys):
    out = tmp_path / "from" / "cli.html"
    run(["report", str(pair[0]), "-o", str(out), "--steps", "2"])
    assert str(out) in capsys.readouterr().out
    assert document_of(out)["clips"][0]["frames"]["shape"][0] == 2
    assert list(out.parent.iterdir()) == [out]


def test_the_infinite_game_is_not_compared_with_the_game(tmp_path):
    folder = write_agent(tmp_path / "run", "cnn", [1, 2])
    write_evaluation(folder, [100, 101], STEP, "infinite", "Breakout")
    (path,) = report([folder], tmp_path / "r.html", steps=0)
    table = tables(document_of(path))["evaluation"]
    assert texts(table, "environment") == ["Breakout", "BreakoutInfinite"]
    assert not any("best" in cell for row in table["rows"] for cell in row["cells"].values())


def test_what_if_is_the_agent_with_another_map(document, clip, pair):
    agent = fls_jax.load_agent(pair[1])
    seen = np.stack([np.moveaxis(clip.observation(t), 0, -1) for t in range(STEPS)])
    baseline, attentive = document["clips"][1]["observers"]
    assert baseline["replacements"] == []
    assert [each["name"] for each in attentive["replacements"]] == ["mean", "uniform", "shuffled", "other"]
    trained = softmax(agent(seen).logits.astype(float), axis=1)
    for each in attentive["replacements"]:
        output = agent.with_attention(each["name"], seen)(seen)
        policy = softmax(output.logits.astype(float), axis=1)
        np.testing.assert_allclose(unpacked(each["probabilities"]), policy, atol=1e-3)
        np.testing.assert_allclose(unpacked(each["values"]), output.value, rtol=2e-3, atol=1e-4)
        change = np.maximum(policy - trained, 0).sum(axis=1)
        np.testing.assert_allclose(unpacked(each["change"]), change, atol=1e-4)
    change = unpacked(attentive["replacements"][0]["change"])
    marked = [mark["frame"] for mark in document["clips"][1]["bookmarks"] if mark["kind"] == "depends"]
    assert np.argmax(change) in marked


def test_maps_of_other_methods_are_recorded_where_asked_for(pair, tmp_path):
    (path,) = report(pair[:1], tmp_path / "r.html", steps=5, seed=SEED, methods=("attention", "gradient"))
    (record,) = document_of(path)["clips"][0]["observers"][0]["maps"]
    assert (record["id"], record["method"], record["target"]) == ("gradient-action", "gradient", "action")
    agent = fls_jax.load_agent(pair[0])
    clip = play(agent, 5, SEED)
    seen = np.stack([np.moveaxis(clip.observation(t), 0, -1) for t in range(5)])
    stored = unpacked_pictures(record["values"])
    values = record["low"] + (record["high"] - record["low"]) * stored / np.iinfo(stored.dtype).max
    expected = block_reduce(agent.saliency(seen, "gradient"), (1, 3, 3), np.mean)
    np.testing.assert_allclose(values, expected, atol=(record["high"] - record["low"]) / 500)
    painted = oracle.paint(values, *(record["fields"][name] for name in ("size", "stride", "padding")))
    assert painted.shape == (5, 84, 84)  # every value on the nine pixels that it is the mean of
    np.testing.assert_allclose(block_reduce(painted, (1, 3, 3), np.max), values)
    assert record["maximum"] == pytest.approx(np.abs(expected).max(), rel=1e-5)
    with pytest.raises(UserError, match="no saliency method 'tea leaves'"):
        report(pair, tmp_path / "r.html", methods=("tea leaves",))


def test_every_target_that_a_method_explains_has_a_map(pair, tmp_path):
    options = {"methods": ("attention", "gradient", "sarfa", "centre"), "targets": ("action", "value")}
    (path,) = report(pair, tmp_path / "r.html", steps=2, seed=SEED, **options)
    found = document_of(path)
    jsonschema.validate(found, schema())
    baseline, attentive = ([m["id"] for m in each["maps"]] for each in found["clips"][0]["observers"])
    assert baseline == ["gradient-action", "gradient-value", "sarfa-action", "centre"]
    assert attentive == ["attention", *baseline]
    agent, clip = fls_jax.load_agent(pair[0]), play(fls_jax.load_agent(pair[0]), 2, SEED)
    seen = np.stack([np.moveaxis(clip.observation(t), 0, -1) for t in range(2)])
    for record, target in zip(found["clips"][0]["observers"][0]["maps"], ("action", "value"), strict=False):
        expected = block_reduce(agent.saliency(seen, "gradient", target), (1, 3, 3), np.mean)
        stored = unpacked_pictures(record["values"]) / 255
        values = record["low"] + (record["high"] - record["low"]) * stored
        np.testing.assert_allclose(values, expected, atol=(record["high"] - record["low"]) / 500)
    assert parse(found["made"]["command"].split()[1:]).targets == ("action", "value")
    with pytest.raises(UserError, match="no target 'tea'"):
        report(pair, tmp_path / "r.html", targets=("tea",))


def test_a_shipped_agent_finds_its_record(tmp_path):
    folder = write_agent(tmp_path / "shipped", "cnn_sparse_fls_pool", [1, 2])
    record = write_agent(tmp_path / "records/one", "cnn_sparse_fls_pool", [5, 6])
    write_agent(tmp_path / "records/two", "cnn_sparse_fls_pool", [7, 8], seed=4)
    write_gaze(record, {"model": {"nss": 0.5}}, STEP)
    pack(record / "metrics.jsonl", record / "metrics.jsonl.gz")
    (record / "metrics.jsonl").unlink()
    (folder / "metrics.jsonl").unlink()
    shutil.rmtree(folder / "evaluation")
    known = json.loads((record / "evaluation" / f"{STEP}-standard.json").read_text())["summary"]
    evaluation = {"environment": "Breakout", "greedy": False, "summary": known}
    edit_config(folder, pretrained={"env_step": 20 * 1024, "evaluations": [evaluation]})
    (path,) = report([folder], tmp_path / "r.html", steps=0)
    assert document_of(path)["curves"] == []
    (path,) = report([folder], tmp_path / "r.html", steps=0, records=[tmp_path / "records"])
    found = document_of(path)
    (curve,) = found["curves"]
    assert (curve["env_step"][-1], curve["mean"][-1]) == (20 * 1024, 20 + 3)  # no further than the agent
    (row,) = tables(found)["evaluation"]["rows"]  # what it was shipped with, once
    assert row["cells"]["mean"]["value"] == 5.5
    assert any(name.startswith("gaze") for name in tables(found))
    assert parse(found["made"]["command"].split()[1:]).records == (tmp_path / "records",)


def test_saliency_scores_and_replaced_attention_have_tables(tmp_path):
    folder = write_agent(tmp_path / "run", "cnn_sparse_fls_pool", [1, 2])
    scores = folder / "saliency" / "64-10-1000" / "scores.csv"
    scores.parent.mkdir(parents=True)
    scores.write_text(
        "agent,method,target,metric,value,low,high,n\n"
        "me,gradient,action,lift:ball,3,2.5,3.5,10\nme,gradient,action,ssim:conv1,0.1,,,10\n"
        "me,random,action,lift:ball,1,0.9,1.1,10\nme,gradient - random,action,lift:ball,2,1.5,2.5,10\n"
        "me untrained,gradient,action,lift:ball,2,1.8,2.2,10\n"
    )
    pack(scores, packed(scores))  # as in an archive
    scores.unlink()
    scores.with_name("summary.json").write_text('{"faithful": 5}')
    (folder / "saliency" / "bad").mkdir()
    (folder / "saliency" / "bad" / "scores.csv").write_text("a,b\n1,2\n")
    row = {
        "games": 4,
        "mean": 9.0,
        "human_normalised": None,
        "kl": {"mean": 0.0},
        "value_change": {"mean": 0.0},
    }
    other = row | {"mean": 2.0, "difference": -7.0, "difference_interval_95": [-9.0, -5.0]}
    content = {"env_step": STEP, "game": "Breakout", "network": "x", "map": {}}
    content |= {"replacements": {"trained": row, "mean": other}}
    (folder / "attention").mkdir()
    (folder / "attention" / f"{STEP}-standard.json").write_text(json.dumps(content))
    (path,) = report([folder], tmp_path / "r.html", steps=0)
    found = document_of(path)
    jsonschema.validate(found, schema())
    used = tables(found)["replacement-0-0"]
    assert texts(used, "map") == ["as trained", "mean"]
    assert used["rows"][1]["cells"]["difference"] == {"value": -7, "low": -9, "high": -5}
    compared = next(table for name, table in tables(found).items() if name.startswith("saliency"))
    assert [(row["kind"], row["cells"]["lift:ball"]["value"]) for row in compared["rows"]] == [
        ("agent", 3),
        ("control", 1),
        ("difference", 2),
        ("control", 2),  # the same method on the untrained network
    ]
    assert compared["rows"][0]["cells"]["lift:ball"]["best"] is True
    assert "bad" in found["problems"][0]["path"]
    commands = {each["what"]: each["command"] for each in found["agents"][0]["commands"]}
    evaluation = parse(commands["replaced attention"].split()[1:])
    assert (evaluation.run, evaluation.step, evaluation.attention) == (folder, STEP, ("trained", "mean"))
    saliency = parse(commands["saliency, 64-10-1000"].split()[1:])
    assert (saliency.methods, saliency.frames, saliency.faithful) == (("gradient", "random"), 10, 5)
    assert (saliency.step, saliency.seed) == (64, 1000)
