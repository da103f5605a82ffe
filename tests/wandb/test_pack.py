"""The W&B runs of a folder, made and listed without W&B."""

from __future__ import annotations

import sys

import pytest

from fls_jax.errors import UserError
from fls_jax.runs.folder import RunFolder, open_run
from fls_jax.wandb.sync import pack, sync
from tests.experiments.folders import LAST_STEP, write_evaluation, write_gaze, write_run
from tests.wandb.syncing import CELL, killed_and_resumed


class TestDryRun:
    @pytest.fixture(autouse=True)
    def without_wandb(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "wandb", None)

    def test_says_what_there_is_and_writes_nothing(self, tmp_path, capsys):
        path = killed_and_resumed(tmp_path / "a")
        write_evaluation(path, [3.0, 5.0], step=4096)
        before = sorted(path.rglob("*"))
        sync(tmp_path, dry_run=True)
        assert capsys.readouterr().out.splitlines() == [
            f"{path}  train: 4 rows (1 more after the latest checkpoint, which resuming would replace)"
            "  -> not sent",
            f"{path}  evaluate-4096-standard: 10 numbers, table games-before-the-end/Pong of 2 rows"
            "  -> not sent",
        ]
        assert sorted(path.rglob("*")) == before

    def test_a_damaged_run_keeps_no_other_from_being_sent(self, tmp_path, capsys):
        write_run(tmp_path / "a", CELL, [1.0])
        (write_evaluation(write_run(tmp_path / "b", CELL, [1.0]), [1.0])).write_text("{")
        write_run(tmp_path / "c", CELL, [1.0])
        (tmp_path / "a" / "config.json").write_text('{"game": "Pong"}')
        with pytest.raises(UserError, match=r"2 of 3 runs .*/a, .*/b"):
            sync(tmp_path, dry_run=True)
        lines = capsys.readouterr().out.splitlines()
        assert "lacks network, seed" in lines[0]
        assert "not a result of an evaluation" in lines[1]
        assert lines[2].startswith(f"{tmp_path / 'c'}  train: 1 row  ->")

    @pytest.mark.parametrize("name", [".", "missing"])
    def test_no_runs(self, tmp_path, name):
        with pytest.raises(UserError, match=r"no run below|not a folder"):
            sync(tmp_path / name, dry_run=True)


class TestPack:
    def test_a_finished_run_is_sent_whole_whatever_its_checkpoints(self, tmp_path):
        path = write_run(tmp_path / "a", CELL, [1.0, 2.0])
        (path / "checkpoints" / str(LAST_STEP - 1024)).mkdir(parents=True)
        (training,) = pack(RunFolder(path), "p")
        assert isinstance(training.what, list)
        assert [each["env_step"] for each in training.what] == [LAST_STEP - 1024, LAST_STEP]
        assert training.note == ""

    def test_what_must_not_be_averaged_has_names_of_its_own(self, tmp_path):
        """A panel takes the mean of whatever is called the same."""
        path = write_run(tmp_path / "a", CELL, [1.0])
        write_evaluation(path, [1.0], step=1024)
        write_evaluation(path, [2.0])
        write_evaluation(path, [3.0], mode="greedy")
        paper = write_evaluation(path, [4.0], mode="infinite")
        paper.write_text(paper.read_text().replace('"protocol": "aligned"', '"protocol": "paper"'))
        write_gaze(path, {"model": {"nss": 1.5}}, step=1024)
        means = {}
        for parcel in pack(RunFolder(path), "p")[1:]:
            means |= {
                name: value for name, value in parcel.what.row.items() if name.endswith(("mean", "nss"))
            }
        assert means == {
            "score-before-the-end/Pong/aligned/mean": 1.0,
            "score/Pong/aligned/mean": 2.0,
            "score/Pong-greedy/aligned/mean": 3.0,
            "score/BreakoutInfinite/paper/mean": 4.0,
            "gaze-before-the-end/Pong/aligned-screen/nss": 1.5,
        }

    def test_an_imported_model_is_as_it_will_ever_be(self, tmp_path):
        path = write_run(tmp_path / "a", CELL, [], imported={"source": "model.pkl"})
        write_evaluation(path, [2.0], step=0)
        (evaluation,) = pack(RunFolder(path), "p")
        assert evaluation.what.row["score/Pong/aligned/mean"] == 2.0

    def test_films_that_differ_in_a_number_share_a_name(self, tmp_path):
        path = write_run(tmp_path / "a", CELL, [])
        (path / "video").mkdir()
        for name in ("32", "32-gaze-118", "32-gaze-7", "32-gaze-7-paper", "32-2-agents", "64-greedy"):
            (path / "video" / f"{name}.mp4").write_bytes(b"film")
        names = [name for parcel in pack(RunFolder(path), "p") for name in parcel.what.videos]
        assert sorted(names) == [
            "video/Pong", "video/Pong-agents", "video/Pong-gaze", "video/Pong-gaze", "video/Pong-gaze-paper",
            "video/Pong-greedy",
        ]  # fmt: skip

    def test_ids_follow_from_the_run_and_are_its_own(self, tmp_path):
        a = RunFolder(write_run(tmp_path / "a", CELL, [1.0], sps=100.0))
        b = RunFolder(write_run(tmp_path / "b", CELL, [1.0], sps=101.0))
        for folder in (a, b):
            write_evaluation(folder.path, [1.0])
            write_evaluation(folder.path, [1.0], mode="greedy")
        ids = [[parcel.identity.id for parcel in pack(folder, "p")] for folder in (a, b, a)]
        assert ids[0] == ids[2]
        assert len({*ids[0], *ids[1]}) == 6
        (a.path / "wandb").mkdir()
        (a.path / "wandb" / "train-run-id").write_text("of-the-trainer\n")
        assert pack(a, "p")[0].identity.id == "of-the-trainer"
        assert pack(a, "p")[1].config["training_run"] == "of-the-trainer"

    def test_a_training_that_sends_its_own_rows_is_left_to_it(self, tmp_path):
        path = write_run(tmp_path / "a", CELL, [1.0], updates=[1])
        write_evaluation(path, [1.0], step=1024)
        jobs = [parcel.identity.job_type for parcel in pack(RunFolder(path), "p")]
        assert jobs == ["train", "evaluate"]
        (path / "wandb" / "offline-run-20260101_000000-x").mkdir(parents=True)
        with open_run(path):
            assert len(pack(RunFolder(path), "p")) == 2  # at work, but offline
            (path / "wandb" / "run-20260101_000001-x").mkdir()
            assert [parcel.identity.job_type for parcel in pack(RunFolder(path), "p")] == ["evaluate"]
        assert len(pack(RunFolder(path), "p")) == 2
