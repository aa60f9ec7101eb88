"""Beam search against a float64 prefix search without a beam, and against all paths there are."""

import gzip
import itertools
import math
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdcompress.errors import ConfigError, MissingExtra, NumericsError, VocabularyError
from kdcompress.text.decode import collapse, greedy
from kdcompress.text.vocabulary import Vocabulary

LETTERS = Vocabulary(("<blk>", "|", "a", "b"), 0, "|")
WIDE = 4096

ARPA = """\\data\\
ngram 1=6
ngram 2=3

\\1-grams:
-1.5\t<unk>\t0
-99\t<s>\t-0.3
-1.2\t</s>\t0
-0.7\tab\t-0.2
-0.9\tb\t-0.1
-1.1\ta\t-0.4

\\2-grams:
-0.2\t<s> ab
-0.3\tab b
-0.4\tb </s>

\\end\\
"""


@pytest.fixture(scope="module", autouse=True)
def _extra() -> None:
    pytest.importorskip("flashlight.lib.text", reason="flashlight-text (the extra lm) is not installed")


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lm") / "words.arpa"
    path.write_text(ARPA)
    return path


def lm_log_prob(words: list[str]) -> float:
    """Return ln P of a sentence by ARPA's definition: the bigram, or backoff and unigram."""
    unigrams, bigrams = {}, {}
    for line in ARPA.splitlines():
        fields = line.split("\t")
        if len(fields) == 3:
            unigrams[fields[1]] = (float(fields[0]), float(fields[2]))
        elif len(fields) == 2:
            bigrams[fields[1]] = float(fields[0])
    total, before = 0.0, "<s>"
    for word in [*words, "</s>"]:
        word = word if word in unigrams else "<unk>"
        pair = f"{before} {word}"
        total += bigrams[pair] if pair in bigrams else unigrams[before][1] + unigrams[word][0]
        before = word
    return total * math.log(10)


def naive(log_probs: npt.NDArray[np.float64], blank: int) -> dict[tuple[int, ...], float]:
    """Return ln P_CTC of every label sequence: prefix search in float64 that forgets nothing."""
    ends = {(): (0.0, -math.inf)}  # ln P of the prefix ending in a blank, and in its last token
    for frame in log_probs:
        following: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [-math.inf, -math.inf])
        for prefix, (in_blank, in_token) in ends.items():
            either = np.logaddexp(in_blank, in_token)
            same = following[prefix]
            same[0] = np.logaddexp(same[0], either + frame[blank])
            if prefix:
                same[1] = np.logaddexp(same[1], in_token + frame[prefix[-1]])
            for token in range(len(frame)):
                if token != blank:
                    longer = following[(*prefix, token)]
                    source = in_blank if prefix and prefix[-1] == token else either
                    longer[1] = np.logaddexp(longer[1], source + frame[token])
        ends = {prefix: (a, b) for prefix, (a, b) in following.items()}
    return {prefix: float(np.logaddexp(a, b)) for prefix, (a, b) in ends.items()}


def posteriors(seed: int, frames: int, size: int = 4, peak: float = 0.5) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return np.log(rng.dirichlet([peak] * size, frames) + 1e-6).astype(np.float32)


def test_the_reference_is_the_sum_over_paths() -> None:
    log_probs = posteriors(0, 5).astype(np.float64)
    sums: dict[tuple[int, ...], float] = defaultdict(lambda: -math.inf)
    for path in itertools.product(range(4), repeat=5):
        prefix = tuple(collapse(path, 0))
        sums[prefix] = np.logaddexp(sums[prefix], sum(log_probs[t, k] for t, k in enumerate(path)))
    reference = naive(log_probs, 0)
    assert all(reference[prefix] == pytest.approx(value) for prefix, value in sums.items())


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 7), blank=st.integers(0, 3))
def test_the_likeliest_labelling_is_found(seed: int, frames: int, blank: int) -> None:
    from kdcompress.text.beam import BeamSearch

    vocabulary = Vocabulary(LETTERS.tokens, blank, "|")
    log_probs = posteriors(seed, frames)
    reference = naive(log_probs.astype(np.float64), blank)
    found = BeamSearch(WIDE, 4, 1e4)([log_probs], vocabulary)
    assert reference[found.ids] >= max(reference.values()) - 1e-4
    path = np.full(frames, blank)
    for token, start, end in zip(found.ids, found.starts, found.ends, strict=True):
        path[start:end] = token
    # Its times are an alignment of it, whose probability is told.
    assert tuple(collapse(path.tolist(), blank)) == found.ids
    assert found.log_prob == pytest.approx(float(log_probs[np.arange(frames), path].sum()), rel=1e-5)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 7), hot=st.booleans())
def test_the_best_score_with_words_is_found(arpa: Path, seed: int, frames: int, hot: bool) -> None:
    from kdcompress.text.beam import BeamSearch

    hotwords = ("ba", "a b") if hot else ()
    search = BeamSearch(WIDE, 4, 1e4, arpa, None, 0.8, 0.6, hotwords, 2.5)
    log_probs = posteriors(seed, frames)

    def total(prefix: tuple[int, ...], log_prob: float) -> float:
        words = LETTERS.text(prefix).split()
        said = sum(words[i : i + len(h.split())] == h.split() for h in hotwords for i in range(len(words)))
        return log_prob + 0.8 * lm_log_prob(words) + 0.6 * len(words) + 2.5 * said

    reference = {p: total(p, v) for p, v in naive(log_probs.astype(np.float64), 0).items()}
    found = search([log_probs], LETTERS)
    assert reference[found.ids] >= max(reference.values()) - 1e-3


def spoken(text: str, confusion: dict[str, str], blanks: int = 3) -> npt.NDArray[np.float32]:
    """Return frames of a text where some letters are nearly as likely another one."""
    rows = []
    for letter in text.replace(" ", "|"):
        row = np.full(4, 1e-4)
        row[LETTERS.tokens.index(letter)] = 0.5 if letter in confusion else 1.0
        if letter in confusion:
            row[LETTERS.tokens.index(confusion[letter])] = 0.45
        rows += [row / row.sum(), *[np.array([1.0, 1e-4, 1e-4, 1e-4]) / 1.0003] * blanks]
    return np.log(np.array(rows)).astype(np.float32)


def test_language_model_and_hotwords_change_what_is_heard(arpa: Path) -> None:
    from kdcompress.text.beam import BeamSearch

    log_probs = spoken("aa b", {"a": "b"})
    assert greedy(log_probs, LETTERS).text(LETTERS) == "aa b"
    assert BeamSearch()([log_probs], LETTERS).text(LETTERS) == "aa b"
    assert BeamSearch(lm=arpa, lm_weight=1.0)([log_probs], LETTERS).text(LETTERS) == "ab b"
    assert BeamSearch(hotwords=("ba",))([log_probs], LETTERS).text(LETTERS) == "ba b"
    # Times stay where the letters are.
    hypothesis = BeamSearch(lm=arpa, lm_weight=1.0)([log_probs], LETTERS)
    assert hypothesis.starts == (0, 4, 8, 12)


def test_a_student_of_capitals_takes_words_in_small_letters(arpa: Path) -> None:
    from kdcompress.text.beam import BeamSearch

    capitals = Vocabulary(("<blk>", "|", "A", "B"), 0, "|")
    log_probs = spoken("aa b", {"a": "b"})
    for search in (BeamSearch(lm=arpa, lm_weight=1.0), BeamSearch(hotwords=("ba",))):
        heard = search([log_probs], LETTERS)
        assert heard.text(LETTERS) != "aa b"
        assert search([log_probs], capitals).text(capitals) == heard.text(LETTERS).upper()


def test_a_student_of_small_letters_takes_words_in_capitals(arpa: Path, tmp_path: Path) -> None:
    from kdcompress.text.beam import BeamSearch

    upper = ARPA.replace("ab", "AB").replace("\tb", "\tB").replace(" b", " B").replace("\ta", "\tA")
    (tmp_path / "upper.arpa").write_text(upper)
    log_probs = spoken("aa b", {"a": "b"})
    search = BeamSearch(lm=tmp_path / "upper.arpa", lm_weight=1.0)
    assert search([log_probs], LETTERS) == BeamSearch(lm=arpa, lm_weight=1.0)([log_probs], LETTERS)
    assert BeamSearch(hotwords=("BA",))([log_probs], LETTERS).text(LETTERS) == "ba b"
    (line,) = BeamSearch(lm=tmp_path / "upper.arpa", hotwords=("BA",)).notes(LETTERS)
    assert "the hotword 'BA' is taken as 'ba', the language model's 'AB' is taken as 'ab'" in line
    assert BeamSearch(lm=arpa, hotwords=("ba",)).notes(LETTERS) == []
    assert BeamSearch(hotwords=("BA",)).notes(Vocabulary(("<blk>", "|", "a", "B"), 0, "|")) == []


def test_a_packed_language_model_is_read(arpa: Path, tmp_path: Path) -> None:
    from kdcompress.text.beam import BeamSearch

    packed = tmp_path / "words.arpa.gz"
    packed.write_bytes(gzip.compress(arpa.read_bytes()))
    log_probs = spoken("aa b", {"a": "b"})
    found = BeamSearch(lm=packed, lm_weight=1.0)([log_probs], LETTERS)
    assert found == BeamSearch(lm=arpa, lm_weight=1.0)([log_probs], LETTERS)
    packed.write_bytes(packed.read_bytes()[:40])
    with pytest.raises(ConfigError, match="cannot be read"):
        BeamSearch(lm=packed)


def test_kenlm_gives_its_reason_and_no_signature(tmp_path: Path) -> None:
    from kdcompress.text.beam import BeamSearch

    unigrams = ARPA.replace("ngram 2=3\n", "").partition("\\2-grams")[0] + "\\end\\\n"
    (tmp_path / "x.arpa").write_text(unigrams)
    with pytest.raises(ConfigError, match=r"loaded: This ngram implementation assumes at least a bigram"):
        BeamSearch(lm=tmp_path / "x.arpa")


@pytest.mark.slow
def test_a_long_recording_is_searched_in_stretches(arpa: Path) -> None:
    from kdcompress.text.beam import BeamSearch

    sentence = spoken("aa b aa b ", {"a": "b"})
    silence = np.log(np.tile([1.0, 1e-4, 1e-4, 1e-4], (30, 1)) / 1.0003).astype(np.float32)
    log_probs = np.concatenate([sentence, silence] * 20)
    assert len(log_probs) > 1000
    for search in (BeamSearch(), BeamSearch(lm=arpa, lm_weight=1.0), BeamSearch(hotwords=("ba",))):
        one = search([sentence], LETTERS)
        whole = search([log_probs], LETTERS)
        assert whole.ids == one.ids * 20
        again = search(np.array_split(log_probs, 77), LETTERS)
        assert again == whole
        assert whole.starts[len(one.ids)] == one.starts[0] + len(sentence) + 30


def test_pieces_and_no_frames(arpa: Path) -> None:
    from kdcompress.text.beam import BeamSearch

    log_probs = posteriors(3, 40)
    search = BeamSearch(lm=arpa)
    assert search(np.array_split(log_probs, 5), LETTERS) == search([log_probs], LETTERS)
    assert search([], LETTERS).ids == ()
    assert search([np.zeros((0, 4), np.float32)], LETTERS).ids == ()


def test_nonsense_is_refused(arpa: Path, tmp_path: Path) -> None:
    from kdcompress.text.beam import BeamSearch

    with pytest.raises(VocabularyError, match=r"expected log-probabilities \[T, 4\]"):
        BeamSearch()([np.zeros((3, 5), np.float32)], LETTERS)
    with pytest.raises(NumericsError, match="NaN"):
        BeamSearch()([np.full((3, 4), np.nan, np.float32)], LETTERS)
    # −∞ is a probability like any other.
    hard = np.where(np.eye(4)[[2, 0, 3]] > 0, 0, -np.inf).astype(np.float32)
    assert BeamSearch()([hard], LETTERS).ids == (2, 3)
    with pytest.raises(ConfigError, match=r"keeps 1 prefix .* found 0, 8 and 15"):
        BeamSearch(beam=0)
    with pytest.raises(ConfigError, match="none is given"):
        BeamSearch(lm_words=arpa)
    with pytest.raises(ConfigError, match=r"cannot be read: .*No such file"):
        BeamSearch(lm=tmp_path / "none.arpa")
    (tmp_path / "x.bin").write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0")
    with pytest.raises(ConfigError, match="a list of its words is needed too"):
        BeamSearch(lm=tmp_path / "x.bin")
    (tmp_path / "x.arpa").write_text(ARPA.replace("-0.9\tb", "none\tb"))
    with pytest.raises(ConfigError, match="cannot be loaded") as caught:
        BeamSearch(lm=tmp_path / "x.arpa")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="are not spelled as this student spells"):
        BeamSearch(lm=arpa)([posteriors(0, 3)], Vocabulary(("<blk>", "|", "c", "d"), 0, "|"))


def test_loading_a_language_model_prints_nothing(arpa: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from kdcompress.text.beam import BeamSearch

    BeamSearch(lm=arpa)
    assert capfd.readouterr() == ("", "")


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from kdcompress.text.beam import BeamSearch

    monkeypatch.setitem(sys.modules, "flashlight.lib.text", None)
    with pytest.raises(MissingExtra, match=r"pip install 'kdcompress\[lm\]'"):
        BeamSearch()
