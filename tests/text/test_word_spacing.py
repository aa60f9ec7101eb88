"""Mandarin and Japanese have no spaces between words; a list of single words has none either."""

from kdcompress.text.word_spacing import unspaced


def test_unspaced_is_what_mandarin_and_japanese_are_and_no_single_words() -> None:
    assert unspaced(["甚至出现交易", "几乎停滞"])
    assert unspaced(["", "カタカナ"])
    assert not unspaced(["甚至 出现"])
    assert not unspaced(["yes", "no"])
    assert not unspaced([])
