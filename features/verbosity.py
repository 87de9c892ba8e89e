"""How one text is written: repetition, wording, formatting. Counts are per word or line, so they are free of length."""

import zlib
from collections.abc import Sequence

from features.length import sentences
from features.text import KINDS, Text

WORDS = {
    "filler": "actually basically really very just quite simply literally essentially certainly definitely absolutely "
    "truly overall indeed importantly additionally furthermore moreover",
    "hedge": "may might could perhaps possibly probably likely seems seem appears appear generally usually often "
    "typically sometimes somewhat potentially depends depending approximately",
    "connective": "however therefore thus because since although while whereas hence consequently instead first second "
    "third finally then next",
    "first_person": "i i'm i've i'd i'll me my mine myself",
    "second_person": "you your yours you're you'll you've yourself",
    "negation": "no not never none don't doesn't isn't aren't wouldn't shouldn't couldn't without",
    "function_word": "the a an of to in and or for on with as by at from that this is are be it",
    "example": "example instance e.g such like including",
    "modal": "should must will would can need",
    "apology": "sorry apologize apologise apologies apology regret unfortunately",
    "inability": "unable cannot can't won't inappropriate unethical illegal harmful",
    "names_machine": "ai openai chatgpt assistant language",
    "caution": "important note caution careful consult mind aware",
    "link": "http https www",
}
# Phrases, looked for where they matter: at the start or at the end of a text.
START = {
    "refusal": "i cannot|i can't|unable|not able|i won't|make sense",
    "machine": "as an ai|language model",
}
END = {"closer": "in conclusion|let me know|hope th|feel free"}
_COMPRESS_BYTES = 512  # the ratio falls with length, which has columns of its own
_START_BYTES, _END_BYTES = 250, 300


def _phrases(groups: dict[str, str]) -> list[list[bytes]]:
    return [[phrase.encode() for phrase in group.split("|")] for group in groups.values()]


_IN_START, _IN_END = _phrases(START), _phrases(END)
_VOCABULARY = {word.encode(): place for place, group in enumerate(WORDS.values()) for word in group.split()}
_LISTED = frozenset(_VOCABULARY)

WORDING = (*WORDS, *START, *END)
SHARES = (
    "digit",
    "upper",
    "comma",
    "colon",
    "bracket",
    "quote",
    "dash",
    "exclamation",
    "question",
    "formula",
    "emoji",
    "not_ascii",
)
MARKS = (
    "compressed",
    "repeated_bigrams",
    "repeated_lines",
    "type_token",
    "words_per_sentence",
    "word_chars",
    "sentence_starts_upper",
    "bullets",
    "numbered",
    "headings",
    "table_rows",
    "code_fences",
    "code_lines",
    "bold",
    "inline_code",
    "blank_lines",
    *SHARES,
    "opens_like_chat",
    "ends_whole",
    "ends_with_question",
    "ends_with_colon",
)
RATIOS = (*WORDING, *MARKS)

_BACKTICK, _ASTERISK, _NEWLINE, _IN_WORD = (KINDS[name] for name in ("backtick", "asterisk", "newline", "in_word"))
_SHARES = [KINDS[name] for name in SHARES]
_BULLETS = (b"-", b"*", b"+", b"\xe2\x80\xa2")
_ENDS = (b".", b"!", b"?", b"`", b")", b'"', b"\xe3\x80\x82", b"*", b"|", b"}", b"'")
_OPENERS = (b"sure", b"certainly", b"of course", b"great", b"absolutely", b"here is", b"here's", b"here are", b"yes")


def _wording(text: Text) -> list[float]:
    """The values of WORDING: each group of words per hundred words, each group of phrases as a plain count."""
    values = [0.0] * len(WORDS)
    types, lower = text.types, text.lower
    scale = 100 / (len(text.words) + 10)
    for word in _LISTED.intersection(types):
        values[_VOCABULARY[word]] += types[word] * scale
    start, end = lower[:_START_BYTES], lower[-_END_BYTES:]
    values += [sum(map(start.count, phrases)) for phrases in _IN_START]
    values += [sum(map(end.count, phrases)) for phrases in _IN_END]
    return values


def _compressed(raw: bytes) -> float:
    """Size after compression as a share of the size before."""
    return len(zlib.compress(raw, 1)) / (len(raw) + 20)


def _lines(lines: list[bytes]) -> tuple[int, int, int, int, int]:
    """Lines that are bullets, numbered points, headings, table rows, or inside a code fence."""
    bullets = numbered = headings = rows = code = 0
    fenced = False
    for line in lines:
        first = line[:1]
        if line.startswith(b"```"):
            fenced = not fenced
        elif fenced:
            code += 1
        elif first.isdigit():
            numbered += line[1:2] in (b".", b")") or line[2:3] in (b".", b")")
        elif first == b"#":
            headings += 1
        elif first == b"|":
            rows += 1
        elif line.startswith(_BULLETS):
            bullets += line[1:2] in (b" ", b"\t", b"\x80")
    return bullets, numbered, headings, rows, code


def ratios(text: Text) -> Sequence[float]:
    """The values of RATIOS, in order."""
    raw, words, lines, sentence_ends = text.raw, len(text.words), text.lines, sentences(text)
    size, word_count, line_count = max(1, len(raw)), max(1, words), max(1, len(lines))
    bullets, numbered, headings, rows, code = _lines(lines)
    last = lines[-1] if lines else b""
    kinds = text.kinds
    # Most texts have none of these. Single bytes are counted already; sequences need another pass over the text.
    backticks = kinds[_BACKTICK]
    fences = raw.count(b"```") if backticks > 2 else 0
    bold = raw.count(b"**") if kinds[_ASTERISK] > 1 else 0
    percent = 100 / size
    return (
        *_wording(text),
        _compressed(raw[:_COMPRESS_BYTES]),
        1 - (len(text.bigrams) + 1) / word_count if words > 1 else 0.0,
        1 - len(set(lines)) / line_count if line_count > 1 else 0.0,
        len(text.types) / word_count**0.5,
        min(words / max(1, sentence_ends), 100.0),
        min(kinds[_IN_WORD] / word_count, 30.0),
        sum([line[:1].isupper() for line in lines]) / line_count,
        bullets / line_count,
        numbered / line_count,
        headings / line_count,
        rows / line_count,
        fences,
        code / line_count,
        100 * bold / (words + 10),
        100 * (backticks - 3 * fences) / (words + 10),
        max(0, kinds[_NEWLINE] - len(lines) + 1) / line_count,
        *[kinds[place] * percent for place in _SHARES],
        text.lower.lstrip().startswith(_OPENERS),
        last.endswith(_ENDS),
        last.endswith(b"?"),
        last.endswith(b":"),
    )
