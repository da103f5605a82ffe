from __future__ import annotations

import dataclasses
import itertools
import json
import os
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from fls_jax.atari_head.dataset import open_dataset
from fls_jax.gaze.observations import observation_frames, open_trial, pixel_indices, run_ahead
from tests.atari_head.synthetic import make_trial, play, tar_bz2, write_v1, write_v4

SHAPES = {"screen": (210, 160), "input": (84, 84)}


def opened(tmp_path, trial, **options):
    return open_trial(open_dataset(write_v1(tmp_path, [trial])).select(trial.game)[0], **options)


def collect(observations, **options):
    batches = list(observations.batches(**options))
    return (
        np.concatenate([batch.frames for batch in batches] or [np.empty(0, int)]),
        np.concatenate([batch.observations for batch in batches] or [np.empty((0, 84, 84, 4), np.uint8)]),
    )


def oracle_fixations(gaze, i: int, protocol: str, space: str) -> np.ndarray:
    """The rule, sample by sample: zero-based frame j has row j+1 (aligned) or row j (paper)."""
    height, width = SHAPES[space]
    counts = np.zeros((height, width), int)
    for j in (i, i - 1, i - 4, i - 5, i - 8, i - 9, i - 12, i - 13):
        number = j + 1 if protocol == "aligned" else j
        if j < 0 or not 1 <= number <= len(gaze):
            continue
        for x, y in gaze[number - 1] or []:
            row, column = (
                (round(y), round(x)) if space == "screen" else (round(y / 210 * 84), round(x / 160 * 84))
            )
            if 0 <= row < height and 0 <= column < width:
                counts[row, column] += 1
    return counts


@pytest.mark.parametrize(
    ("n", "expected"),
    [(0, []), (1, []), (2, [0]), (4, [0]), (5, [0]), (6, [0, 4]), (8, [0, 4]), (9, [0, 4]), (10, [0, 4, 8])],
)
def test_observations_are_every_fourth_frame_but_never_the_last_one(n, expected):
    assert observation_frames(n).tolist() == expected
    kept = [i for i in range(n) if i % 4 == 0 and i != n - 1]
    assert expected == kept


@pytest.mark.parametrize("game", ["MsPacman", "Seaquest"])
def test_stacks_are_envpools_own_observations(tmp_path, game):
    """The frames of a trial give an agent trained in EnvPool exactly what it would have seen."""
    trial = make_trial(frames=81, game=game)
    _, planes = play(game)
    frames, stacks = collect(opened(tmp_path, trial), batch_size=7)
    assert frames.tolist() == list(range(0, 80, 4))
    assert stacks.dtype == np.uint8
    for k, stack in enumerate(stacks):
        for plane in range(4):
            shown = k - 3 + plane
            np.testing.assert_array_equal(stack[..., plane], planes[shown] if shown >= 0 else 0)


def test_the_paper_and_baselines_take_the_maximum_in_colour(tmp_path):
    trial = make_trial(frames=60)
    by = {
        (protocol, preprocessing): collect(
            opened(tmp_path, trial, protocol=protocol, preprocessing=preprocessing)
        )[1]
        for protocol in ("aligned", "paper")
        for preprocessing in ("envpool", "baselines")
    }
    np.testing.assert_array_equal(by["paper", "envpool"], by["paper", "baselines"])
    np.testing.assert_array_equal(by["paper", "envpool"], by["aligned", "baselines"])
    assert np.any(by["aligned", "envpool"] != by["aligned", "baselines"])


@pytest.mark.parametrize("space", ["screen", "input"])
@pytest.mark.parametrize("protocol", ["aligned", "paper"])
def test_fixation_maps_count_the_samples_of_the_eight_frames(tmp_path, protocol, space):
    trial = make_trial(frames=58)
    observations = opened(tmp_path, trial, protocol=protocol, space=space)
    frames, _ = collect(observations)
    maps = observations.fixations(frames)
    assert maps.dtype == np.int32
    assert maps.shape == (15, *SHAPES[space])
    for i, counts in zip(frames, maps, strict=True):
        np.testing.assert_array_equal(counts, oracle_fixations(trial.gaze, int(i), protocol, space))
    assert maps.sum() > 100
    np.testing.assert_array_equal(observations.fixations(frames[[9, 2]]), maps[[9, 2]])
    assert observations.fixations(frames[:0]).shape == (0, *SHAPES[space])


def test_the_papers_gaze_is_one_frame_early(tmp_path):
    trial = make_trial(frames=30)
    trial.gaze = [[(float(number), 0.0)] for number in range(30)]  # row n looks at column n-1, its frame
    aligned = opened(tmp_path, trial).fixations(np.array([0, 16]))
    paper = opened(tmp_path, trial, protocol="paper").fixations(np.array([0, 16]))
    assert np.flatnonzero(aligned[0, 0]).tolist() == [0]
    assert np.flatnonzero(aligned[1, 0]).tolist() == [3, 4, 7, 8, 11, 12, 15, 16]
    assert paper[0].sum() == 0
    assert np.flatnonzero(paper[1, 0]).tolist() == [2, 3, 6, 7, 10, 11, 14, 15]


@pytest.mark.parametrize("space", ["screen", "input"])
def test_rounding_is_pythons(space):
    rng = np.random.default_rng(1)
    halves = rng.integers(-3, 215, size=(500, 2)) + 0.5
    edges = [
        (-0.5, 0),
        (-0.51, 0),
        (159.5, 0),
        (159.49, 0),
        (0, 209.5),
        (0, 209.49),
        (1e300, -1e300),
        (-0.0, -0.0),
    ]
    # Halves of the 84x84 grid too: x = (c + 1/2) * 160 / 84.
    grid = (rng.integers(-1, 86, size=(500, 2)) + 0.5) * (160 / 84, 210 / 84)
    height, width = SHAPES[space]
    xy = np.concatenate([halves, edges, grid, rng.uniform(-5, 215, size=(500, 2))])
    for (x, y), pixel in zip(xy.tolist(), pixel_indices(xy, space).tolist(), strict=True):
        row, column = (
            (round(y), round(x)) if space == "screen" else (round(y / 210 * 84), round(x / 160 * 84))
        )
        inside = 0 <= row < height and 0 <= column < width
        assert pixel == (row * width + column if inside else -1)


def damaged_trial():
    """Frame 20 is no picture, 40 is truncated, 17 too but no observation shows it; without 11 and 22."""
    trial = make_trial(frames=44)
    trial.pngs[17] = trial.pngs[17][:-20]
    trial.pngs[20] = b"no picture"
    trial.pngs[40] = trial.pngs[40][: len(trial.pngs[40]) // 2]
    missing = [f"{trial.stem}/{trial.run}_{frame + 1}.png" for frame in (11, 22)]
    members = {name: data for name, data in trial.members().items() if name not in missing}
    return trial, members


def test_bad_pictures_cost_the_observations_that_show_them_and_no_others(tmp_path):
    trial, members = damaged_trial()
    root = write_v1(tmp_path, [trial])
    whole, whole_stacks = collect(open_trial(open_dataset(root).trials[0]), batch_size=3)
    (root / f"{trial.stem}.tar.bz2").write_bytes(tar_bz2(members))
    observations = open_trial(open_dataset(root).trials[0])
    frames, stacks = collect(observations, batch_size=3)
    # Frame 11 is shown by observation 3 (i=12), 20 by 5 and 40 by 10; 17 and 22 by none.
    expected = [i for i in range(0, 43, 4) if not {3, 5, 10} & {i // 4 - age for age in range(4)}]
    assert frames.tolist() == expected == [0, 4, 8, 36]
    assert whole.tolist() == [i for i in range(0, 43, 4) if not {5, 10} & {i // 4 - age for age in range(4)}]
    report = observations.report()
    assert (report.observations, report.observations_left_out) == (4, 7)
    assert (report.frames, report.frames_missing, report.frames_undecodable) == (44, 2, 2)
    assert observations.data.undecodable == {21: "not a PNG", 41: "truncated"}
    assert (report.rows_without_frame, report.frames_without_row) == (2, 0)
    undamaged = collect(opened(tmp_path / "again", make_trial(frames=44)))[1]
    np.testing.assert_array_equal(stacks, undamaged[[0, 1, 2, 9]])
    np.testing.assert_array_equal(whole_stacks[:5], undamaged[:5])


def test_a_second_pass_gives_the_same_and_counts_nothing_twice(tmp_path):
    trial, _ = damaged_trial()
    observations = opened(tmp_path, trial)
    first, report = collect(observations), observations.report()
    second = collect(observations, batch_size=2, ahead=5)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert observations.report() == report


def test_a_trial_that_begins_late_has_only_whole_stacks(tmp_path):
    """Frames keep their numbers: a clip that starts at frame 9 lacks eight, it is not moved."""
    trial = make_trial(frames=45)
    full = collect(opened(tmp_path / "full", trial))
    trial.pngs[:8] = [b""] * 8
    frames, stacks = collect(opened(tmp_path / "late", trial))
    assert frames.tolist() == [24, 28, 32, 36, 40]
    np.testing.assert_array_equal(stacks, full[1][6:])


def test_screens_are_the_colour_maximum_and_only_on_request(tmp_path):
    trial = make_trial(frames=30)
    pictures, _ = play("MsPacman")
    observations = opened(tmp_path, trial)
    assert all(batch.screens is None for batch in observations.batches())
    for batch in observations.batches(3, screens=True):
        assert batch.screens is not None
        for i, screen in zip(batch.frames, batch.screens, strict=True):
            np.testing.assert_array_equal(screen, np.maximum(pictures[max(i - 1, 0)], pictures[i]))


def test_the_report_counts_gaze(tmp_path):
    trial = make_trial(frames=30)
    trial.gaze = [None] * 14 + [[(5.0, 5.0), (500.0, 5.0)], [(-1.0, 3.0)], []] + [[(1.0, 1.0)]] * 3
    observations = opened(tmp_path, trial)
    frames, _ = collect(observations)
    report = observations.report()
    assert (report.samples, report.samples_off_screen) == (6, 2)
    assert (report.rows, report.rows_without_gaze, report.frames_without_row) == (20, 15, 10)
    assert report.observations_without_gaze == np.count_nonzero(
        observations.fixations(frames).sum((1, 2)) == 0
    )
    assert 0 < report.observations_without_gaze < report.observations == 8
    assert (report.trial, report.game, report.layout, report.frames_in_metadata) == (7, "MsPacman", "v1", 30)
    assert json.loads(json.dumps(dataclasses.asdict(report)))["samples"] == 6
    assert report.problems() == ["10 frames without a gaze row"]


def test_a_frame_count_that_disagrees_is_reported(tmp_path):
    trial = make_trial(frames=30)
    root = write_v1(tmp_path, [trial])
    table = (root / "meta_data.csv").read_text().replace(",30,", ",17814,")
    (root / "meta_data.csv").write_text(table)
    report = open_trial(open_dataset(root).trials[0]).report()
    assert report.frames_in_metadata == 17814
    assert report.problems() == ["30 frames, but 17,814 in meta_data.csv"]


def test_both_layouts_give_the_same(tmp_path):
    trial = make_trial(frames=40, highscore=True)
    v1 = opened(tmp_path / "v1", trial)
    v4 = open_trial(open_dataset(write_v4(tmp_path / "v4", [trial])).select("MsPacman")[0])
    frames, stacks = collect(v1)
    np.testing.assert_array_equal(stacks, collect(v4)[1])
    np.testing.assert_array_equal(v1.fixations(frames), v4.fixations(frames))


@pytest.mark.parametrize("option", ["protocol", "preprocessing", "space"])
def test_unknown_options_are_named(tmp_path, option):
    with pytest.raises(ValueError, match=rf"{option} must be one of .*, not 'other'"):
        opened(tmp_path, make_trial(frames=10), **{option: "other"})


def test_batch_size_must_be_positive(tmp_path):
    observations = opened(tmp_path, make_trial(frames=10))
    with pytest.raises(ValueError, match="batch_size and ahead must be at least 1, not 0 and 2"):
        observations.batches(0)


def test_trials_too_short_for_an_observation(tmp_path):
    observations = opened(tmp_path, make_trial(frames=1))
    assert list(observations.batches()) == []
    assert observations.report().observations == 0
    assert collect(opened(tmp_path / "two", make_trial(frames=2)))[0].tolist() == [0]


def test_running_ahead_is_bounded_in_order_and_raises_in_turn():
    drawn = []

    def numbers():
        for number in range(6):
            drawn.append(number)
            yield number
        raise KeyError("the end")

    ahead = run_ahead(numbers(), ahead=2)
    assert next(ahead) == 0
    assert len(drawn) <= 4
    received = [0]
    for number in itertools.islice(ahead, 5):
        assert len(drawn) <= number + 4
        received.append(number)
    assert received == list(range(6))
    with pytest.raises(KeyError, match="the end"):
        next(ahead)


def test_leaving_early_ends_the_thread(tmp_path):
    before = threading.active_count()
    stream = opened(tmp_path, make_trial(frames=60)).batches(1)
    next(iter(stream))
    assert threading.active_count() == before + 1
    stream.close()
    assert threading.active_count() == before


def test_memory_does_not_grow_with_the_trial(tmp_path):
    """More frames cost their encoded size, not their decoded one (50 kB for each frame of the trial)."""
    pictures = make_trial(frames=80)

    def peak(repeats: int) -> int:
        trial = make_trial(frames=80)
        trial.pngs = pictures.pngs * repeats
        trial.gaze = pictures.gaze * repeats
        source = open_dataset(write_v1(tmp_path / str(repeats), [trial])).trials[0]
        tracemalloc.start()
        observations = open_trial(source)
        for batch in observations.batches(16):
            observations.fixations(batch.frames)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    small, large = peak(1), peak(9)
    assert (large - small) / (80 * 8) < 5_000


@pytest.fixture(scope="module")
def clip() -> Path:
    folder = os.environ.get("ATARI_HEAD_CLIP")
    if not folder:
        pytest.skip("ATARI_HEAD_CLIP names no folder with the real clip")
    return Path(folder)


def test_the_real_clip_is_v1s_folder_with_v4s_metadata(clip):
    dataset = open_dataset(clip)
    assert (dataset.layout, dataset.metadata_release) == ("v1", "v4")
    (trial,) = dataset.select("MsPacman")
    assert (trial.id, trial.highscore, trial.frames_in_metadata) == (118, True, 17814)


def test_the_real_clip_is_whole_and_its_frame_count_disagrees(clip):
    observations = open_trial(open_dataset(clip).trials[0])
    frames, stacks = collect(observations)
    assert frames.tolist() == list(range(0, 799, 4))
    assert stacks.shape == (200, 84, 84, 4)
    np.testing.assert_array_equal(stacks[1:, ..., :3], stacks[:-1, ..., 1:])
    report = observations.report()
    assert (report.frames, report.rows, report.rows_without_gaze) == (800, 800, 11)
    assert report.observations_left_out == 0
    assert report.problems() == [
        "its pictures are averages of two frames (frame_averaging), which no agent was trained on",
        "800 frames, but 17,814 in meta_data.csv",
    ]


@pytest.mark.parametrize("space", ["screen", "input"])
@pytest.mark.parametrize("protocol", ["aligned", "paper"])
def test_the_real_clips_fixations_follow_its_gaze_file(clip, protocol, space):
    gaze: list = []
    for row in next(clip.glob("*.txt")).read_text().splitlines()[1:]:
        values = row.split(",")[6:]
        gaze.append(None if values == ["null"] else [(float(values[0]), float(values[1]))])
    observations = open_trial(open_dataset(clip).trials[0], protocol=protocol, space=space)
    frames = observation_frames(800)
    for i, counts in zip(frames, observations.fixations(frames), strict=True):
        np.testing.assert_array_equal(counts, oracle_fixations(gaze, int(i), protocol, space))
