import numpy as np

from battles.sample import generate
from battles.schema import WINNERS
from battles.settings import Sample
from benchmarks.sample_reading import KINDS, accuracy, kinds


def test_every_kind_of_reading_is_found_in_the_sample_and_each_battle_counts_once() -> None:
    battles = generate(Sample(train=2000, test=10)).train
    found = kinds(battles)
    assert [*found] == [*KINDS, "neither"]
    assert all(needs.sum() > 20 for needs in found.values())
    assert np.sum([*found.values()], axis=0).max() == 1
    outdone = battles[found["answers that compare two plants"]]
    assert (outdone["response_a"] + outdone["response_b"]).str.contains("outdoes").all()
    assert not (outdone["response_a"] + outdone["response_b"]).str.contains("Not the").any()
    assert not battles.loc[found["neither"], "prompt"].str.contains("kill").any()


def test_the_truth_favours_the_better_response_always_and_its_mirror_image_never() -> None:
    truth = generate(Sample(train=500, test=10)).truth[list(WINNERS)].to_numpy()
    clear, right = accuracy(truth, truth)
    assert 100 < clear < len(truth)
    assert right == 1
    assert accuracy(truth[:, [1, 0, 2]], truth) == (clear, 0)
