import pytest

from kdcompress.bench.validity import Validity, check_empty_output, check_fallback, check_silence
from kdcompress.report.measured import Facts

FACTS = Facts(
    runtime="x",
    provider="cuda",
    threads=1,
    fallback={"MatMul": 12, "Conv": 3, "Softmax": 2, "Gemm": 1, "LSTM": 1},
)


def test_a_model_that_fell_back_is_void_unless_allowed() -> None:
    validity = check_fallback(FACTS, allowed=False)
    assert validity.void is not None
    assert validity.void.startswith("19 nodes of the model fell back from cuda: 12 MatMul, 3 Conv")
    assert "--allow-fallback" in validity.void
    allowed = check_fallback(FACTS, allowed=True)
    assert allowed.void is None
    assert allowed.note is not None
    assert allowed.note.startswith("19 nodes")
    assert check_fallback(Facts(runtime="x", provider="cuda", threads=1), allowed=False) == Validity()


@pytest.mark.parametrize(
    ("texts", "void", "note"),
    [
        (["a", "b", "c", "d"], None, None),
        (["a", "", "c", "d"], None, "1 of 4 transcripts are empty"),
        (["a", "", " ", "d"], None, "2 of 4 transcripts are empty"),
        (["a", "", " ", ""], "3 of 4 transcripts are empty", None),
        (["", "", "", ""], "every transcript is empty, though 4 references are not", None),
    ],
)
def test_what_gives_no_text_for_most_of_what_was_said_is_void(
    texts: list[str], void: str | None, note: str | None
) -> None:
    references = {"0": "a", "1": "b", "2": "c", "3": "d", "silence": "", "pause": "  "}
    heard = {**{str(i): text for i, text in enumerate(texts)}, "silence": "", "pause": ""}
    validity = check_silence(references, heard)
    for found, expected in ((validity.void, void), (validity.note, note)):
        assert (found is None) == (expected is None)
        assert expected is None or (found or "").startswith(expected)


def test_where_nothing_was_said_silence_is_right() -> None:
    assert check_silence({"a": "", "b": " "}, {"a": "", "b": ""}).void is None


def test_without_references_the_others_say_what_was_speech() -> None:
    unknown = ["0", "1", "2", "3", "quiet"]
    fine = dict(zip(unknown, ["a", "b", "c", "d", ""], strict=True))
    mute = dict(zip(unknown, ["", "", " ", "d", ""], strict=True))
    hazy = dict(zip(unknown, ["a", "", "c", "d", "x"], strict=True))
    found = check_empty_output({"one": fine, "two": dict(fine), "mute": mute, "hazy": hazy}, unknown)
    assert set(found) == {"mute", "hazy"}
    assert found["mute"].void == "3 transcripts are empty of the 4 utterances in which others find words"
    assert found["hazy"].void is None
    assert (found["hazy"].note or "").startswith("1 transcripts are empty")
    assert check_empty_output({"mute": mute}, unknown) == {}
    one_against_one = check_empty_output({"one": fine, "mute": mute}, unknown)
    assert (one_against_one["mute"].void, "one" in one_against_one) == (None, False)
    assert check_empty_output({"one": fine, "mute": mute}, []) == {}


def test_all_empty_without_references_is_void() -> None:
    assert check_silence({"0": None, "1": None}, {"0": "", "1": " "}).void is not None
    assert check_silence({"0": None, "1": None}, {"0": "", "1": "a"}) == Validity()
    assert check_silence({"0": None, "1": ""}, {"0": "", "1": ""}) == Validity()
