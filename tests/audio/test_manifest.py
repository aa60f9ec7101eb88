"""Folders and manifests become utterances; texts stay unread; defects are listed or explained."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from kdcompress.audio.manifest import read_references, read_texts, read_utterances
from kdcompress.audio.utterance import Utterance
from kdcompress.errors import AudioError, ManifestError


def audio(path: Path, seconds: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(seconds * 16_000), np.float32), 16_000)
    return path


def manifest(folder: Path, *lines: dict[str, Any] | str) -> Path:
    path = folder / "m.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


class TestFolder:
    def test_is_read_recursively_in_order(self, tmp_path: Path) -> None:
        audio(tmp_path / "b.wav", 0.5)
        audio(tmp_path / "a" / "z.flac", 1.5)
        audio(tmp_path / "a" / "b" / "UPPER.WAV")
        (tmp_path / "notes.txt").write_text("not audio")
        utterances, bad = read_utterances(tmp_path)
        assert utterances == [
            Utterance("a/b/UPPER", tmp_path / "a" / "b" / "UPPER.WAV", 0.0, 1.0),
            Utterance("a/z", tmp_path / "a" / "z.flac", 0.0, 1.5),
            Utterance("b", tmp_path / "b.wav", 0.0, 0.5),
        ]
        assert bad == []

    def test_lists_bad_files_and_goes_on(self, tmp_path: Path) -> None:
        good = audio(tmp_path / "good.wav")
        (tmp_path / "text.wav").write_text("hello")
        (tmp_path / "zero.flac").touch()
        audio(tmp_path / "none.wav", 0.0)
        utterances, bad = read_utterances(tmp_path)
        assert [u.audio for u in utterances] == [good]
        assert {b.path.name for b in bad} == {"text.wav", "zero.flac", "none.wav"}
        assert all(b.path.name in b.reason for b in bad)

    def test_skips_hidden_files(self, tmp_path: Path) -> None:
        audio(tmp_path / "x.wav")
        (tmp_path / "._x.wav").write_bytes(b"macOS leaves these")
        audio(tmp_path / ".trash" / "y.wav")
        utterances, bad = read_utterances(tmp_path)
        assert [u.id for u in utterances] == ["x"]
        assert bad == []

    def test_gives_twins_different_ids(self, tmp_path: Path) -> None:
        audio(tmp_path / "x.wav")
        audio(tmp_path / "x.flac")
        assert [u.id for u in read_utterances(tmp_path)[0]] == ["x", "x.wav"]

    def test_follows_links_once(self, tmp_path: Path) -> None:
        audio(tmp_path / "elsewhere" / "x.wav")
        corpus = tmp_path / "corpus"
        corpus.mkdir()
        (corpus / "part").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere" / "up").symlink_to(corpus)
        assert [u.id for u in read_utterances(corpus)[0]] == ["part/x"]

    def test_without_audio_says_what_was_looked_for(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").touch()
        with pytest.raises(AudioError, match=r"no audio in .*: looked for \*\.wav, \*\.flac, \*\.mp3"):
            read_utterances(tmp_path)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(AudioError, match="no such folder or manifest"):
            read_utterances(tmp_path / "nothing")

    def test_reports_progress(self, tmp_path: Path) -> None:
        for i in range(3):
            audio(tmp_path / f"{i}.wav")
        seen: list[tuple[int, int]] = []
        read_utterances(tmp_path, on_progress=lambda done, total: seen.append((done, total)))
        assert seen == [(1, 3), (2, 3), (3, 3)]


class TestManifest:
    def test_fields(self, tmp_path: Path) -> None:
        inside = audio(tmp_path / "a" / "x.wav", 3.0)
        outside = audio(tmp_path / "far" / "y.wav", 1.0)
        path = manifest(
            tmp_path,
            {"audio_filepath": "a/x.wav", "offset": 1, "duration": 0.5, "text": "one", "speaker": "s"},
            {"audio_filepath": "a/x.wav"},
            "",
            {"audio_filepath": str(outside), "duration": 1.04, "id": 7},
        )
        utterances, bad = read_utterances(path)
        assert utterances == [
            Utterance("a/x@1.000", inside, 1.0, 0.5),
            Utterance("a/x", inside, 0.0, 3.0),
            Utterance("7", outside, 0.0, 1.0),
        ]
        assert bad == []

    @pytest.mark.parametrize("text", [None, 5, ["a"], {}, "\u0000"])
    def test_text_is_never_looked_at(self, tmp_path: Path, text: object) -> None:
        audio(tmp_path / "x.wav")
        utterances, _ = read_utterances(manifest(tmp_path, {"audio_filepath": "x.wav", "text": text}))
        assert utterances == [Utterance("x", tmp_path / "x.wav", 0.0, 1.0)]

    def test_ids_are_text_whatever_names_are(self, tmp_path: Path) -> None:
        audio(tmp_path / "x.wav")
        lines = ({"audio_filepath": "x.wav", "id": "x\ud83d"}, {"audio_filepath": "caf\udce9.wav"})
        path = manifest(tmp_path, *map(json.dumps, lines))
        utterances, bad = read_utterances(path)
        assert [u.id for u in utterances] == ["x\\ud83d"]
        assert [b.path.name for b in bad] == ["caf\udce9.wav"]

    def test_bad_files_are_listed(self, tmp_path: Path) -> None:
        audio(tmp_path / "x.wav")
        path = manifest(
            tmp_path,
            {"audio_filepath": "gone.wav", "duration": 1.0},
            {"audio_filepath": "x.wav", "duration": 2.0},
            {"audio_filepath": "x.wav", "duration": 1.0, "id": "good"},
        )
        utterances, bad = read_utterances(path)
        assert [u.id for u in utterances] == ["good"]
        assert [b.path.name for b in bad] == ["gone.wav", "x.wav"]
        assert "no such audio file" in bad[0].reason
        assert "lasts 1.000 s: cannot read from 0.000 s to 2.000 s" in bad[1].reason

    @pytest.mark.parametrize(
        ("line", "complaint"),
        [
            ("not json", r":2: not JSON: expected one object per line .* found 'not json'"),
            ('{"audio_filepath": "x.wav"', ":2: not JSON"),
            ("[" * 100_000, ":2: not JSON"),
            ("[1]", ":2: expected a JSON object, found list"),
            ('{"duration": 1}', ":2: expected audio_filepath, a path; the line has duration"),
            ('{"audio_filepath": 3}', ":2: expected audio_filepath"),
            ('{"audio_filepath": "y.wav", "duration": "1"}', ":2: expected duration in seconds, found '1'"),
            ('{"audio_filepath": "y.wav", "duration": 0}', ":2: expected duration"),
            ('{"audio_filepath": "y.wav", "duration": NaN}', ":2: expected duration"),
            ('{"audio_filepath": "y.wav", "offset": -1}', ":2: expected offset in seconds, found -1"),
            ('{"audio_filepath": "y.wav", "offset": true}', ":2: expected offset"),
            (
                '{"audio_filepath": "y.wav", "duration": 1' + "0" * 400 + "}",
                r":2: expected duration .* 10{39}$",
            ),
            ('{"audio_filepath": "x.wav"}', ":2: the id 'x' was already used in line 1"),
        ],
    )
    def test_a_broken_line_is_an_error_of_the_whole(self, tmp_path: Path, line: str, complaint: str) -> None:
        audio(tmp_path / "x.wav")
        path = manifest(tmp_path, {"audio_filepath": "x.wav"}, line)
        with pytest.raises(ManifestError, match=complaint) as caught:
            read_utterances(path)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400

    def test_empty(self, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match="has no lines"):
            read_utterances(manifest(tmp_path))

    def test_not_text(self, tmp_path: Path) -> None:
        (tmp_path / "m.jsonl").write_bytes(b"\xff\xfe\x00\x81")
        with pytest.raises(ManifestError, match="is not UTF-8 text"):
            read_utterances(tmp_path / "m.jsonl")

    def test_a_byte_order_mark_is_no_matter(self, tmp_path: Path) -> None:
        audio(tmp_path / "x.wav")
        (tmp_path / "m.jsonl").write_text('{"audio_filepath": "x.wav"}', encoding="utf-8-sig")
        assert len(read_utterances(tmp_path / "m.jsonl")[0]) == 1


class TestReferences:
    def test_texts_are_as_written(self, tmp_path: Path) -> None:
        audio(tmp_path / "x.wav", 2.0)
        path = manifest(tmp_path, {"audio_filepath": "x.wav", "text": "  Ça va?  "})
        (reference,) = read_references(path)
        assert reference.text == "  Ça va?  "
        assert reference.utterance == Utterance("x", tmp_path / "x.wav", 0.0, 2.0)
        assert read_texts(path) == {"x": "  Ça va?  "}

    @pytest.mark.parametrize("text", [None, 3])
    def test_a_line_without_text_is_named(self, tmp_path: Path, text: object) -> None:
        audio(tmp_path / "x.wav")
        good = {"audio_filepath": "x.wav", "text": ""}
        path = manifest(tmp_path, good, {"audio_filepath": "x.wav", "id": "b", "text": text})
        for read in (read_references, read_texts):
            with pytest.raises(ManifestError, match=r"m\.jsonl:2: expected text, the transcript"):
                read(path)

    def test_a_line_without_audio_is_named(self, tmp_path: Path) -> None:
        path = manifest(tmp_path, {"audio_filepath": "gone.wav", "text": "a"})
        with pytest.raises(AudioError, match=r"m\.jsonl:1: no such audio file"):
            read_references(path)
        assert read_texts(path) == {"gone": "a"}

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(AudioError, match=r"no such folder or manifest: .*m\.jsonl"):
            read_references(tmp_path / "m.jsonl")


def test_an4_folder_and_manifest_agree(an4: Path) -> None:
    from_folder, bad = read_utterances(an4 / "audio" / "dev")
    from_manifest, also_bad = read_utterances(an4 / "dev.jsonl")
    assert bad == also_bad == []
    assert {u.id: u.audio.name for u in from_folder} == {u.id: u.audio.name for u in from_manifest}
    assert sum(u.duration for u in from_folder) == pytest.approx(sum(u.duration for u in from_manifest))
    assert len(read_references(an4 / "dev.jsonl")) == len(from_manifest)
