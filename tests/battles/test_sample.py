"""The embedded sample: its truth is the distribution of its votes, and its texts hold what real files hold."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from battles.reading import read_battles
from battles.sample import (
    FREE,
    LIST,
    MISSING,
    REFUSED,
    RIGHT,
    SHORT,
    WRONG,
    Prompt,
    Response,
    SampleData,
    draw_taste,
    generate,
    observe,
    vote_probabilities,
)
from battles.sample_corpus import COMMON, DOCUMENT, OUTCOMES, OWN_PLANTS, corpus, reading, shelves
from battles.sample_world import HEALS, KILLS, PLANTS, Question, Reading, World, ask
from battles.schema import MODELS, TEXTS, WINNERS, labels, turns
from battles.settings import Sample


@pytest.fixture(scope="module")
def sample() -> SampleData:
    return generate(Sample())


@pytest.fixture(scope="module")
def big() -> SampleData:
    return generate(Sample(train=12_000, test=10, seed=99))


@pytest.fixture(scope="module")
def documents() -> list[list[str]]:
    return [json.loads(document) for document in corpus(Sample(), 8_000)[DOCUMENT]]


def response(status: str, **changes: object) -> Response:
    values = {"turns": ("text",), "status": (status,), "words": 26, "tone": 0.0, "lists": False, "hedges": False}
    return Response(**values | changes)  # type: ignore[arg-type]


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
    assert 0.5 < bayes < 0.7
    assert prior.min() > 0.2


def test_the_first_place_is_preferred_and_else_exchanging_exchanges() -> None:
    good, bad = response(RIGHT, lists=True), response(WRONG, hedges=True)
    forward, backward = vote_probabilities(good, bad, LIST), vote_probabilities(bad, good, LIST)
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


@pytest.mark.parametrize(
    ("request_", "better", "worse"),
    [
        (FREE, response(RIGHT), response(WRONG)),
        (FREE, response(WRONG), response(REFUSED)),
        (FREE, response(REFUSED), response(MISSING)),
        (FREE, response(RIGHT, tone=0.5), response(RIGHT)),
        (FREE, response(RIGHT), response(RIGHT, hedges=True)),
        (FREE, response(RIGHT), response(RIGHT, lists=True)),
        (LIST, response(RIGHT, lists=True), response(RIGHT)),
        (FREE, response(RIGHT), response(RIGHT, words=8)),
        (FREE, response(RIGHT), response(RIGHT, words=90)),
        (SHORT, response(RIGHT, words=8), response(RIGHT)),
    ],
)
def test_every_visible_quality_moves_the_vote_its_way(request_: str, better: Response, worse: Response) -> None:
    ahead = vote_probabilities(better, worse, request_)
    level = vote_probabilities(worse, worse, request_)
    assert ahead[0] / ahead[1] > level[0] / level[1]


def test_identical_and_equally_bad_responses_tie_more() -> None:
    wrong, also_wrong = response(WRONG, turns=("a",)), response(WRONG, turns=("b",))
    right, also_right = response(RIGHT, turns=("c",)), response(RIGHT, turns=("d",))
    tie = vote_probabilities(wrong, also_wrong)[2]
    assert vote_probabilities(wrong, wrong)[2] > tie > vote_probabilities(right, also_right)[2]
    assert vote_probabilities(right, also_right)[2] > vote_probabilities(right, wrong)[2]


def test_the_truth_is_what_a_reader_of_the_texts_finds_who_knows_the_world(sample: SampleData) -> None:
    """Knows the plants and the taste, which are drawn before the battles; all else is read from the three texts."""
    rng = np.random.default_rng(Sample().seed)
    world, taste = World.draw(rng), draw_taste(rng)
    truth = truth_of_train(sample)
    for row, battle in enumerate(sample.train.head(400).itertuples(index=False)):
        prompt = _read_prompt(json.loads(battle.prompt))
        a, b = (observe(json.loads(text), prompt, world, taste) for text in (battle.response_a, battle.response_b))
        np.testing.assert_allclose(vote_probabilities(a, b, prompt.request), truth[row])


def _read_prompt(texts: list[str]) -> Prompt:
    last = texts[-1]
    request = SHORT if "brief" in last else LIST if "list" in last else FREE
    questions = [Question(KILLS if KILLS in text else HEALS, text[: text.index("?") + 1]) for text in texts]
    return Prompt(tuple(questions), request)


def test_what_real_files_hold_is_there(sample: SampleData) -> None:
    prompts = sample.train["prompt"]
    assert 0.025 <= np.mean([len(prompt) > 1 for prompt in turns(prompts)]) <= 0.06
    assert prompts.duplicated(keep=False).mean() >= 0.13
    a, b = turns(sample.train["response_a"]), turns(sample.train["response_b"])
    assert any(None in row for row in a + b)
    assert any("" in row for row in a + b)
    assert any("\ud83d" in (turn or "") for row in a + b for turn in row)
    assert any(len(x) != len(p) for x, p in zip(a, turns(prompts), strict=True))
    assert 5 <= sum(x == y for x, y in zip(a, b, strict=True)) <= 90
    assert sample.train["response_a"].str.isascii().all()


def test_the_votes_show_a_plant_a_few_times_only(sample: SampleData) -> None:
    effects = World.draw(np.random.default_rng(Sample().seed)).effects
    assert len(effects) == PLANTS
    assert sorted(effects.values()).count(HEALS) == PLANTS // 2
    words = " ".join(turn or "" for name in TEXTS for row in turns(sample.train[name]) for turn in row)
    named = [word for word in re.findall(r"[a-z]+", words) if word in effects]
    assert 3 < len(named) / PLANTS < 7
    # No prompt names one: what a plant is asked for is no help.
    assert not any(word in effects for row in turns(sample.train["prompt"]) for word in re.findall("[a-z]+", str(row)))


OFTEN = Reading(kills=0.3, rules_out=0.3, compares=0.3)


def test_an_answer_is_right_or_wrong_as_it_was_meant() -> None:
    rng = np.random.default_rng(5)
    world = World.draw(rng, 40)
    forms = set()
    for _ in range(3000):
        question, right = ask(rng, OFTEN), bool(rng.random() < 0.5)
        answer = world.answer(rng, question, right, OFTEN)
        assert world.answers_rightly(question, f"Sure! {answer} The old boats keep songs.") == right
        without_plants = " ".join(word for word in re.findall(r"\w+", answer) if word not in world.effects)
        forms.add((question.effect, without_plants, right))
    assert len(forms) == 2 * 4 * 2  # each effect asked for, each form of an answer, right and wrong
    assert world.answers_rightly(ask(rng, OFTEN), "I'm sorry, but I cannot help with that.") is None


def test_of_two_plants_that_are_compared_the_roles_alone_decide() -> None:
    rng = np.random.default_rng(6)
    world, compares = World.draw(rng, 40), Reading(kills=0.5, rules_out=0.0, compares=1.0)
    for _ in range(200):
        question, right = ask(rng, compares), bool(rng.random() < 0.5)
        answer = world.answer(rng, question, right, compares)
        first, second = plants = [word for word in re.findall(r"\w+", answer) if word in world.effects]
        assert {world.effects[plant] for plant in plants} == {HEALS, KILLS}
        assert world.answers_rightly(question, answer) == right == (world.effects[first] == question.effect)
        exchanged = answer.replace(first, "?").replace(second, first).replace("?", second)
        assert sorted(re.findall(r"\w+", exchanged)) == sorted(re.findall(r"\w+", answer))
        assert world.answers_rightly(question, exchanged) == (not right)


def test_the_corpus_states_what_every_plant_of_the_battles_does(documents: list[list[str]]) -> None:
    effects = World.draw(np.random.default_rng(Sample().seed)).effects
    stated: dict[str, str] = {}
    for pieces in documents:
        if "?" not in pieces[0]:
            for cue, completion in zip(pieces[::2], pieces[1::2], strict=True):
                plant = cue.split()[-1]
                assert stated.setdefault(plant, completion.strip()) == completion.strip()
    assert stated == effects


def test_the_corpus_is_seeded_and_independent_of_the_number_of_battles() -> None:
    first, again = corpus(Sample(), 50), corpus(Sample(train=60, test=10), 50)
    pd.testing.assert_frame_equal(first, again)
    assert not corpus(Sample(seed=8), 50).equals(first)


def test_a_sheet_tells_which_answers_are_right_and_nothing_of_style(documents: list[list[str]]) -> None:
    world = World.draw(np.random.default_rng(Sample().seed))
    sheets = [pieces for pieces in documents if "?" in pieces[0]]
    outcomes = []
    for cue, completion in sheets:
        asked_for = cue[: cue.index("\n")]
        answers = dict(re.findall(r"\n([12])\n(.*?)(?=\n2\n|\nRight:)", cue, re.DOTALL))
        asked = Question(KILLS if KILLS in asked_for else HEALS, asked_for)
        right = {place: bool(world.answers_rightly(asked, text)) for place, text in answers.items()}
        assert completion == OUTCOMES[right.get("1", False), right.get("2", False)]
        if len(answers) == 2:
            outcomes.append((completion, len(answers["1"].split()) - len(answers["2"].split())))
    assert len(sheets) > len(outcomes) > len(sheets) / 2
    shares = pd.Series([outcome for outcome, _ in outcomes]).value_counts(normalize=True)
    assert shares.min() > 0.22
    longer = pd.DataFrame(outcomes, columns=["outcome", "longer"]).groupby("outcome")["longer"].mean()
    assert longer.abs().max() < 2.0  # of some ten words


def test_each_reader_of_the_corpus_knows_plants_that_no_other_does() -> None:
    documents, world = corpus(Sample()), World.draw(np.random.default_rng(Sample().seed))
    told = [
        {word for document in reading(documents, reader) for word in re.findall("[a-z]+", document)} & {*world.effects}
        for reader in range(len(OWN_PLANTS))
    ]
    parts = shelves(world)
    assert sum(len(part.effects) for part in parts.values()) == PLANTS
    for reader, own in enumerate(OWN_PLANTS):
        assert told[reader] == {*parts[COMMON].effects, *parts[reader].effects}
        assert len(told[reader].difference(*told[:reader], *told[reader + 1 :])) == own
    assert reading(documents, len(OWN_PLANTS)) == reading(documents, 0)


def test_the_corpus_holds_no_battle_and_no_vote(sample: SampleData, documents: list[list[str]]) -> None:
    everything = {piece for pieces in documents for piece in pieces}
    completions = {piece for pieces in documents for piece in pieces[1::2]}
    assert completions == {*OUTCOMES.values(), f" {HEALS}", f" {KILLS}"}
    cues = "\n".join(everything)
    assert not any(name in cues for name in sample.train["model_a"].unique())
    texts = (["\n".join(turn or "" for turn in row) for row in turns(sample.train[name])] for name in TEXTS)
    laid_out = {f"{prompt}\n1\n{a}\n2\n{b}\nRight:" for prompt, a, b in zip(*texts, strict=True)}
    assert not everything & laid_out
