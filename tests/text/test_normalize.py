"""What the scoring normaliser forgives, and what it does not."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdcompress.errors import ConfigError
from kdcompress.text.normalize import NORMALIZERS, normalize


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("Hello, World!", "hello world"),
        ("  two \t spaces\n", "two spaces"),
        ("don't — can’t, won´t, o`clock", "don't can't won't o'clock"),
        ("'quoted' 'tis the boys' ball", "quoted tis the boys ball"),
        ("twenty-one", "twenty one"),
        ("U.S.A.", "u s a"),
        ("3.5 %", "3 5"),
        ("Ｆｕｌｌ ｗｉｄｔｈ", "full width"),
        ("ﬁve", "five"),
        ("Cafe\u0301", "café"),
        ("ÇA VA?", "ça va"),
        ("co\u00adoperate", "cooperate"),
        ("«Привет», мир…", "привет мир"),
        ("你好，世界。", "你好 世界"),
        ("हिन्दी में", "हिन्दी में"),
        ("...", ""),
        ("rock ''n'' roll", "rock n roll"),
    ],
)
def test_basic(text: str, expected: str) -> None:
    assert normalize(text) == expected


@settings(max_examples=300)
@given(st.text())
def test_basic_is_idempotent_and_clean(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert once == " ".join(once.split())
    assert {unicodedata.category(c)[0] for c in once.replace("'", "").replace(" ", "")} <= set("LMN")
    assert not any(word.startswith("'") or word.endswith("'") for word in once.split())


@given(st.text(alphabet="abc xyz'", max_size=20))
def test_basic_forgives_case_and_punctuation(text: str) -> None:
    assert normalize(text.upper().replace(" ", ", ") + "!") == normalize(text)


@given(st.text())
def test_none_changes_nothing(text: str) -> None:
    assert normalize(text, "none") == text


def test_another_name_is_refused() -> None:
    assert NORMALIZERS == ("none", "basic")
    with pytest.raises(ConfigError, match="no text normaliser named 'english'; there are none, basic"):
        normalize("a", "english")
