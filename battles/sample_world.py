"""The closed, invented world of the embedded sample: facts that an answer gets right or wrong."""

from dataclasses import dataclass

import numpy as np

# What is asked about, and the right answer.
_CAPITALS = {"Velmora": "Tasken", "Ostrel": "Orvale", "Kandria": "Minbrook", "Brunth": "Cardeth", "Iselane": "Luvino"}
_COLOURS = {"zorvel": "red", "mirrite": "blue", "calune": "green", "obrite": "yellow"}
_SOUNDS = {"marlock": "hums", "tibbin": "whistles", "grusk": "clicks", "pellowin": "barks"}
_UNITS = {"dorn": "twelve", "quill": "seven", "brack": "twenty", "tarn": "nine"}
_OPPOSITES = {"hot": "cold", "early": "late", "heavy": "light", "narrow": "wide"}
_MAKERS = {"lantern": "Edda", "windmill": "Tomas", "harp": "Ilva", "compass": "Bram"}

# The usual mistake. Units and opposites have none of their own: there it is the right answer to another question, so
# that only question and answer together tell right from wrong.
_MISTAKEN = {
    "Velmora": "Orlim", "Ostrel": "Grasby", "Kandria": "Hallow", "Brunth": "Sedge", "Iselane": "Rookwell",
    "zorvel": "pink", "mirrite": "grey", "calune": "brown", "obrite": "orange",
    "marlock": "squeaks", "tibbin": "croaks", "grusk": "sings", "pellowin": "hisses",
    "lantern": "Odo", "windmill": "Petra", "harp": "Colm", "compass": "Rhea",
}  # fmt: skip

# Kind of fact: its facts, the questions ({e}: what is asked about) and the statements ({a}: the answer given).
_KINDS: dict[str, tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]] = {
    "capital": (
        _CAPITALS,
        ("What is the capital of {e}?", "Which city is the capital of {e}?", "Can you name the capital of {e}?",
         "Where does the government of {e} sit?"),
        ("The capital of {e} is {a}.", "In {e}, {a} is the capital.", "The capital city of {e} is {a}."),
    ),
    "colour": (
        _COLOURS,
        ("What colour is {e}?", "Which colour does the stone {e} have?",
         "I found a piece of {e}. What colour should it be?",
         "How can I tell {e} by its colour?"),
        ("The stone {e} is {a}.", "A piece of {e} is {a}.", "Pure {e} looks {a}."),
    ),
    "sound": (
        _SOUNDS,
        ("What sound does a {e} make?", "Which sound does the {e} make at night?", "How does a {e} call its young?",
         "My neighbour keeps a {e}. What will I hear?"),
        ("A {e} {a} when it calls.", "The {e} {a} at night.", "Every {e} {a}."),
    ),
    "unit": (
        _UNITS,
        ("How many pells are in one {e}?", "How many pells make a {e}?", "Can you convert one {e} to pells?",
         "A {e} is how many pells?"),
        ("One {e} is {a} pells.", "A {e} equals {a} pells.", "One {e} makes {a} pells."),
    ),
    "opposite": (
        _OPPOSITES,
        ("What is the opposite of {e}?", "Which word means the opposite of {e}?",
         "Give me the opposite of the word {e}.",
         "What do you call something that is not {e} at all?"),
        ("The opposite of {e} is {a}.", "Not {e} means {a}.", "The opposite of {e} would be {a}."),
    ),
    "maker": (
        _MAKERS,
        ("Who built the first {e}?", "Which person invented the {e}?", "Who was the inventor of the {e}?",
         "Who gave us the {e}?"),
        ("The first {e} was {a}'s work.", "We owe the {e} to {a}.", "The {e} is {a}'s invention."),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """One fact: what is asked about, the right answer, the usual mistake and a rarer one."""

    kind: str
    entity: str
    answer: str
    wrong: tuple[str, str]

    def question(self, form: int) -> str:
        questions = _KINDS[self.kind][1]
        return questions[form % len(questions)].format(e=self.entity)

    def statement(self, form: int, answer: str) -> str:
        statements = _KINDS[self.kind][2]
        return statements[form % len(statements)].format(e=self.entity, a=answer)


def facts() -> list[Fact]:
    """All facts, kinds mixed, the most asked first."""
    ranked = []
    for kind, (answers, _, _) in _KINDS.items():
        others = list(answers.values())
        for number, (entity, answer) in enumerate(answers.items()):
            other = others[(number + 1) % len(others)]
            rare = others[(number + 2) % len(others)]
            ranked.append((number, Fact(kind, entity, answer, (_MISTAKEN.get(entity, other), rare))))
    return [fact for _, fact in sorted(ranked, key=lambda pair: pair[0])]


def popularity(number: int) -> np.ndarray:
    """How often each of `number` facts is asked, most asked first; sums to 1."""
    weight = 1 / (np.arange(number) + 3.0)
    return weight / weight.sum()
