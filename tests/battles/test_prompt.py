from battles.prompt import text


def test_text_joins_turns_and_survives_nulls_and_lone_surrogates() -> None:
    assert text(["a", None, "b"]) == "a\n\n\n\nb"
    assert text([]) == ""
    lone = text(["x\ud83dy"])
    assert lone == "x\ufffdy"
    assert text(["\ud83d\ude00"]) == "😀"
    lone.encode("utf-8")
