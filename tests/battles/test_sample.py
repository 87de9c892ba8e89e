"""The embedded sample: its truth is the distribution of its votes, and its texts hold what real files hold."""

import json

import numpy as np
import pandas as pd
import pytest

from battles.reading import read_battles
from battles.sample import SampleData, generate, vote_probabilities
from battles.sample_text import HEDGES, REFUSED, RIGHT, WRONG, Response, respond, writers
from battles.sample_world import facts, popularity
from battles.schema import MODELS, TEXTS, WINNERS, labels, turns
from battles.settings import Sample


@pytest.fixture(scope="module")
def sample() -> SampleData:
    return generate(Sample())


@pytest.fixture(scope="module")
def big() -> SampleData:
    return generate(Sample(train=12_000, test=10, seed=99))


def truth_of_train(data: SampleData) -> np.ndarray:
    return data.truth[list(WINNERS)].to_numpy()[: len(data.train)]


def test_the_same_settings_give_the_same_battles(sample: SampleData) -> None:
    again = generate(Sample())
    for one, other in ((sample.train, again.train), (sample.test, again.test), (sample.truth, again.truth)):
        pd.testing.assert_frame_equal(one, other)
    assert not generate(Sample(seed=8)).train["prompt"].equals(sample.train["prompt"])


def test_the_files_are_in_the_exact_schema(sample: SampleData) -> None:
    assert list(sample.train.columns) == ["id", *MODELS, *TEXTS, *WINNERS]
    assert list(sample.test.columns) == ["id", *TEXTS]
    assert list(sample.truth.columns) == ["id", *WINNERS]
    assert (len(sample.train), len(sample.test), len(sample.truth)) == (3000, 600, 3600)
    assert sample.truth["id"].tolist() == sample.train["id"].tolist() + sample.test["id"].tolist()
    assert sample.truth["id"].is_unique
    assert (sample.train["model_a"] != sample.train["model_b"]).all()


def test_the_reader_takes_them_and_keeps_every_turn(sample: SampleData, tmp_path) -> None:
    for name, table, voted in (("train", sample.train, True), ("test", sample.test, False)):
        path = tmp_path / f"{name}.csv"
        table.to_csv(path, index=False)
        read = read_battles(path, voted)
        for column in TEXTS:
            assert turns(read[column]) == turns(table[column])
        assert read["id"].tolist() == table["id"].tolist()


def test_truth_lies_on_the_simplex(sample: SampleData) -> None:
    truth = sample.truth[list(WINNERS)].to_numpy()
    np.testing.assert_allclose(truth.sum(axis=1), 1, atol=1e-12)
    assert truth.min() > 0


def test_votes_are_drawn_from_the_truth(big: SampleData) -> None:
    truth, votes = truth_of_train(big), np.eye(3)[labels(big.train)]
    for k in range(3):
        bins = np.array_split(np.argsort(truth[:, k]), 12)
        expected = np.array([truth[rows, k].sum() for rows in bins])
        variance = np.array([(truth[rows, k] * (1 - truth[rows, k])).sum() for rows in bins])
        found = np.array([votes[rows, k].sum() for rows in bins])
        # 99.9 % of a chi-square with 12 degrees of freedom
        assert ((found - expected) ** 2 / variance).sum() < 32.9


def test_there_is_much_to_learn_and_much_noise(sample: SampleData) -> None:
    truth = truth_of_train(sample)
    prior = truth.mean(axis=0)
    prior_loss = -(prior * np.log(prior)).sum()
    bayes = -(truth * np.log(truth)).sum(axis=1).mean()
    assert 1.06 < prior_loss < 1.10
    assert 0.65 < bayes < 0.85
    assert prior.min() > 0.22


def test_the_first_place_is_preferred_and_else_exchanging_exchanges() -> None:
    good = Response(("The stone zorvel is red.",), (RIGHT,), 5, True, False, False)
    bad = Response(("The stone zorvel is pink.",), (WRONG,), 5, False, True, False)
    forward, backward = vote_probabilities(good, bad), vote_probabilities(bad, good)
    assert forward[0] > backward[1] > backward[0]
    odds = np.log([forward[0] / forward[1], backward[1] / backward[0]])
    assert odds[0] > odds[1] > 0
    equal = vote_probabilities(good, good)
    first = np.log(equal[0] / equal[1])
    assert first > 0
    np.testing.assert_allclose(odds[0] - first, odds[1] + first)
    np.testing.assert_allclose(
        forward[2] / np.sqrt(forward[0] * forward[1]), backward[2] / np.sqrt(backward[0] * backward[1])
    )


def test_every_visible_quality_moves_the_vote_its_way() -> None:
    plain = Response(("text",), (RIGHT,), 20, False, False, False)
    better = [
        Response(("text",), (RIGHT,), 40, False, False, False),
        Response(("text",), (RIGHT,), 20, True, False, False),
    ]
    worse = [
        Response(("text",), (WRONG,), 20, False, False, False),
        Response(("text",), (REFUSED,), 20, False, False, False),
        Response(("text",), (RIGHT,), 20, False, True, False),
        Response(("text",), (RIGHT,), 20, False, False, True),
    ]
    level = vote_probabilities(plain, plain)[0]
    ahead = [vote_probabilities(x, plain)[0] / vote_probabilities(x, plain)[1] for x in better]
    behind = [vote_probabilities(x, plain)[0] / vote_probabilities(x, plain)[1] for x in worse]
    same = level / vote_probabilities(plain, plain)[1]
    assert min(ahead) > same > max(behind)


def test_identical_and_equally_bad_responses_tie_more() -> None:
    wrong = Response(("a",), (WRONG,), 20, False, False, False)
    also_wrong = Response(("b",), (WRONG,), 20, False, False, False)
    right, also_right = (Response((text,), (RIGHT,), 20, False, False, False) for text in "cd")
    tie = vote_probabilities(wrong, also_wrong)[2]
    assert vote_probabilities(wrong, wrong)[2] > tie > vote_probabilities(right, also_right)[2]
    assert vote_probabilities(right, also_right)[2] > vote_probabilities(right, wrong)[2]


def test_what_real_files_hold_is_there(sample: SampleData) -> None:
    prompts = sample.train["prompt"]
    assert 0.10 <= np.mean([len(prompt) > 1 for prompt in turns(prompts)]) <= 0.15
    assert 0.13 <= prompts.duplicated(keep=False).mean() <= 0.30
    a, b = turns(sample.train["response_a"]), turns(sample.train["response_b"])
    assert any(None in row for row in a + b)
    assert any("" in row for row in a + b)
    assert any("\ud83d" in (turn or "") for row in a + b for turn in row)
    assert any(len(x) != len(p) for x, p in zip(a, turns(prompts), strict=True))
    assert 5 <= sum(x == y for x, y in zip(a, b, strict=True)) <= 90
    assert sample.train["response_a"].str.isascii().all()


def test_texts_are_short_and_of_few_words(sample: SampleData) -> None:
    words = [
        sum(len((turn or "").split()) for cell in row for turn in json.loads(cell))
        for row in sample.train[list(TEXTS)].itertuples(index=False)
    ]
    assert 60 <= np.median(words) <= 110
    vocabulary = {
        word.strip(".,!?").lower()
        for name in TEXTS
        for row in turns(sample.train[name])
        for turn in row
        for word in (turn or "").split()
    }
    assert len(vocabulary) < 1500


def test_what_a_response_claims_of_itself_stands_in_its_text() -> None:
    rng = np.random.default_rng(5)
    known = facts()
    for writer in writers(rng, 6):
        for _ in range(40):
            fact = known[int(rng.integers(len(known)))]
            response = respond(rng, writer, [fact])
            (text,), (status,) = response.turns, response.status
            assert text is not None
            stated = {answer: any(fact.statement(form, answer) in text for form in range(3)) for answer in
                      (fact.answer, *fact.wrong)}  # fmt: skip
            assert stated[fact.answer] == (status == RIGHT)
            assert any(stated[answer] for answer in fact.wrong) == (status == WRONG)
            assert ("\n- " in text) == response.lists
            assert any(hedge in text for hedge in HEDGES) == response.hedges
            assert response.words == len(text.split())


def test_wrong_answers_are_wrong() -> None:
    known = facts()
    assert len({(fact.kind, fact.entity) for fact in known}) == len(known)
    for fact in known:
        assert fact.answer not in fact.wrong
        assert len(set(fact.wrong)) == 2
    assert popularity(len(known)).sum() == pytest.approx(1)
