"""Rows in the schemas of public data sets of battles, made here: the columns and types of their cards."""

from typing import Any

Row = dict[str, Any]
EXCHANGES = [("How high is it?", "300 m.", "About 1,000 feet."), ("And in miles?", None, "0.2.")]


def messages(side: int, exchanges: list[tuple[Any, ...]] = EXCHANGES) -> list[Row]:
    """The conversation with the model of a side, 1 or 2."""
    turns = [[("user", exchange[0]), ("assistant", exchange[side])] for exchange in exchanges]
    return [{"content": text, "role": role} for turn in turns for role, text in turn]


def parts(side: int) -> list[Row]:
    """The same, each content a list of parts with all the columns of the 140k set."""
    empty = {"image": None, "mimeType": None}
    return [
        {
            "role": message["role"],
            "content": [] if message["content"] is None else [{"type": "text", "text": message["content"], **empty}],
            "num_tokens": 7,
        }
        for message in messages(side)
    ]


def arena_33k(winner: str = "model_a", **changed: Any) -> Row:
    return {
        "question_id": "58210e39b3fd4441a2bd4a518bb44c2d",
        "model_a": "chatglm-6b",
        "model_b": "koala-13b",
        "winner": winner,
        "judge": "arena_user_973",
        "conversation_a": messages(1),
        "conversation_b": messages(2),
        "turn": 2,
        "anony": True,
        "language": "English",
        "tstamp": 1682351591.13,
        "openai_moderation": {"flagged": False},
        "toxic_chat_tag": {"roberta-large": {"flagged": False}},
    } | changed


def arena_100k(winner: str = "tie (bothbad)", **changed: Any) -> Row:
    return {
        "question_id": "b0d2b1a6a8d94c7b8e1f",
        "model_a": "yi-1.5-34b-chat",
        "model_b": "reka-core",
        "winner": winner,
        "conversation_a": messages(1),
        "conversation_b": messages(2),
        "turn": 2,
        "anony": True,
        "language": "English",
        "tstamp": 1718838951.6,
        "conv_metadata": {"sum_user_tokens": 9},
        "is_code": False,
        "is_refusal": False,
        "dedup_tag": {"high_freq": False, "sampled": True},
        "category_tag": {"if_v0.1": {"if": False, "score": 2}},
        "judge_hash": "aa",
    } | changed


def arena_140k(winner: str = "both_bad", **changed: Any) -> Row:
    return {
        "id": "0a1b2c3d-0000",
        "model_a": "o3-2025-04-16",
        "model_b": "chatgpt-4o-latest",
        "winner": winner,
        "evaluation_session_id": "s",
        "evaluation_order": 1,
        "conversation_a": parts(1),
        "conversation_b": parts(2),
        "full_conversation": [{"user": parts(1)[0], "model_side_a": parts(1)[1], "model_side_b": parts(2)[1]}],
        "conv_metadata": {"sum_assistant_a_tokens": 3},
        "category_tag": {"math_v0.1": {"math": False}},
        "language": "en",
        "is_code": False,
        "timestamp": "2025-07-01T00:00:00",
    } | changed


def mt_bench(winner: str = "model_b", **changed: Any) -> Row:
    return {
        "question_id": 81,
        "model_a": "alpaca-13b",
        "model_b": "gpt-3.5-turbo",
        "winner": winner,
        "judge": "author_2",
        "conversation_a": messages(1),
        "conversation_b": messages(2),
        "turn": 1,
    } | changed


def wsdm(winner: str = "model_b", **changed: Any) -> Row:
    return {
        "id": "00007cff95d7f7974642a785aca248b0",
        "prompt": "Wie hoch?\n[300]",
        "response_a": '["300 m"]',
        "response_b": "Etwa 300 Meter.",
        "winner": winner,
        "model_a": "phi-3-small-8k-instruct",
        "model_b": "mistral-large-2407",
        "language": "German",
    } | changed
