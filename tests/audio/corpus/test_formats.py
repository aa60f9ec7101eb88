"""The same audio in every format of a corpus gives the same samples and the same batches.

What is read is written by the format's own libraries where there are any: lhotse, pyarrow.
"""

import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, Recording
from lhotse.shar import SharWriter

from kdcompress.audio.corpus.open import Format, corpus_format, open_corpus, read_lines
from kdcompress.audio.decode import read_utterance
from kdcompress.audio.manifest import read_texts, read_utterances
from kdcompress.audio.speech import read_speech
from kdcompress.audio.utterance import Reference
from kdcompress.config.data import DataConfig
from kdcompress.distill.data.batches import Batches, write_cuts
from kdcompress.distill.data.fingerprint import sample_digest
from kdcompress.errors import AudioError, ManifestError
from kdcompress.runtime.identify import Kind, identify

IDS = [f"u{index:02}" for index in range(12)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return twelve FLACs of whole milliseconds, which all formats can say exactly."""
    path = tmp_path_factory.mktemp("plain") / "audio"
    path.mkdir()
    rng = np.random.default_rng(3)
    for index, id_ in enumerate(IDS):
        samples = rng.normal(scale=0.1, size=16 * (500 + 137 * index))
        soundfile.write(path / f"{id_}.flac", samples, 16_000, subtype="PCM_16")
    return path


def entries(folder: Path) -> list[tuple[str, Path, float, str]]:
    utterances, _ = read_utterances(folder)
    return [(u.id, u.audio, u.duration, f"words of {u.id}") for u in utterances]


def write_tar(path: Path, files: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def manifest(folder: Path, out: Path) -> Path:
    lines = [
        {"audio_filepath": str(path), "id": id_, "duration": seconds, "text": text}
        for id_, path, seconds, text in entries(folder)
    ]
    (out / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return out / "m.jsonl"


def gzipped(folder: Path, out: Path) -> Path:
    (out / "m.jsonl.gz").write_bytes(gzip.compress(manifest(folder, out).read_bytes()))
    return out / "m.jsonl.gz"


def lhotse_cuts(folder: Path) -> CutSet:
    from lhotse import SupervisionSegment

    cuts = []
    for id_, path, seconds, text in entries(folder):
        cut = Recording.from_file(path, recording_id=id_).to_cut()
        cut.id = id_
        cut.supervisions = [SupervisionSegment(id_, id_, 0.0, seconds, text=text)]
        cuts.append(cut)
    return CutSet.from_cuts(cuts)


def cuts(folder: Path, out: Path) -> Path:
    lhotse_cuts(folder).to_file(out / "cuts.jsonl.gz")
    return out / "cuts.jsonl.gz"


def shar(folder: Path, out: Path) -> Path:
    with SharWriter(str(out), fields={"recording": "flac"}, shard_size=5) as writer:
        for cut in lhotse_cuts(folder):
            writer.write(cut)
    return out


def kaldi(folder: Path, out: Path) -> Path:
    rows = entries(folder)
    (out / "wav.scp").write_text("".join(f"{id_} {path}\n" for id_, path, _, _ in rows))
    (out / "utt2dur").write_text("".join(f"{id_} {seconds:.3f}\n" for id_, _, seconds, _ in rows))
    (out / "text").write_text("".join(f"{id_} {text}\n" for id_, _, _, text in rows))
    return out


def kaldi_segments(folder: Path, out: Path) -> Path:
    """Write half of the recordings behind each other in one file, with a stretch for each."""
    rows = entries(folder)
    joined = np.concatenate([soundfile.read(path, dtype="int16")[0] for _, path, _, _ in rows])
    soundfile.write(out / "all.flac", joined, 16_000)
    (out / "wav.scp").write_text("all all.flac\n")
    at, lines = 0.0, []
    for id_, _, seconds, _ in rows:
        lines.append(f"{id_} all {at:.3f} {at + seconds:.3f}\n")
        at += seconds
    (out / "segments").write_text("".join(lines))
    (out / "text").write_text("".join(f"{id_} {text}\n" for id_, _, _, text in rows))
    return out


def nemo(folder: Path, out: Path) -> Path:
    rows = entries(folder)
    for shard in range(2):
        write_tar(
            out / f"audio_{shard}.tar", [(p.name, p.read_bytes()) for _, p, _, _ in rows[shard * 6 :][:6]]
        )
    lines = [
        {"audio_filepath": path.name, "duration": seconds, "text": text, "shard_id": index // 6}
        for index, (_, path, seconds, text) in enumerate(rows)
    ]
    (out / "tarred_audio_manifest.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return out


def webdataset(folder: Path, out: Path) -> Path:
    for shard in range(2):
        files = []
        for id_, path, _, text in entries(folder)[shard * 6 :][:6]:
            files += [
                (f"{id_}.flac", path.read_bytes()),
                (f"{id_}.json", json.dumps({"text": text}).encode()),
            ]
        write_tar(out / f"{shard:04}.tar", files)
    return out


def table(folder: Path) -> object:
    import pyarrow

    rows = entries(folder)
    return pyarrow.table(
        {
            "audio": [{"bytes": path.read_bytes(), "path": path.name} for _, path, _, _ in rows],
            "sentence": [text for *_, text in rows],
        }
    )


def parquet(folder: Path, out: Path) -> Path:
    from pyarrow import parquet

    (out / "data").mkdir()
    parquet.write_table(table(folder), out / "data" / "train-00000-of-00001.parquet", row_group_size=5)
    return out


def arrow(folder: Path, out: Path) -> Path:
    import pyarrow

    whole = table(folder)
    (out / "dataset_info.json").write_text("{}")
    with pyarrow.ipc.new_stream(str(out / "data-00000-of-00001.arrow"), whole.schema) as writer:  # type: ignore[attr-defined]
        writer.write_table(whole, max_chunksize=5)
    return out


WRITERS: dict[Callable[[Path, Path], Path], tuple[Format, int]] = {
    manifest: (Format.MANIFEST, 1),
    gzipped: (Format.MANIFEST, 1),
    cuts: (Format.CUTS, 1),
    shar: (Format.SHAR, 3),
    kaldi: (Format.KALDI, 1),
    kaldi_segments: (Format.KALDI, 1),
    nemo: (Format.NEMO, 2),
    webdataset: (Format.WEBDATASET, 2),
    parquet: (Format.TABLES, 1),
    arrow: (Format.TABLES, 1),
}


def batches(source: Path, out: Path) -> Batches:
    utterances, bad = read_utterances(source)
    assert not bad
    write_cuts(utterances, out / "list.jsonl")
    config = DataConfig(batch_seconds=5, buckets=3, speed=(0.9, 1.0, 1.1))
    return Batches(out / "list.jsonl", len(utterances), config, seed=1)


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_format_gives_the_batches_of_the_folder(
    write: Callable[[Path, Path], Path], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "corpus").mkdir()
    source = write(folder, tmp_path / "corpus")
    kind, shards = WRITERS[write]
    assert corpus_format(source) is kind
    assert identify(source) is Kind[kind.name]
    assert len(open_corpus(source)) == shards
    assert read_texts(source) == {id_: f"words of {id_}" for id_ in IDS}
    assert all(line.text is None for line in read_lines(source, with_text=False))
    assert all(isinstance(one, Reference) for one in read_speech(source))

    (tmp_path / "plain").mkdir()
    expected = list(batches(folder, tmp_path / "plain").epoch(1))
    found = list(batches(source, tmp_path).epoch(1))
    assert [(b.ids, b.speeds) for b in found] == [(b.ids, b.speeds) for b in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.waveforms.equal(other.waveforms)


@pytest.mark.parametrize("write", [nemo, webdataset, parquet, arrow], ids=lambda write: write.__name__)
def test_audio_inside_other_files_has_the_digest_of_its_own_file(
    write: Callable[[Path, Path], Path], folder: Path, tmp_path: Path
) -> None:
    digests = {u.id: sample_digest(u.audio) for u in read_utterances(folder)[0]}
    assert {u.id: sample_digest(u.audio) for u in read_utterances(write(folder, tmp_path))[0]} == digests


def test_a_shar_of_stretches_holds_the_stretches(folder: Path, tmp_path: Path) -> None:
    with SharWriter(str(tmp_path), fields={"recording": "flac"}, shard_size=100) as writer:
        for cut in lhotse_cuts(folder):
            writer.write(cut.truncate(offset=0.125, duration=0.25, preserve_id=True))
    for utterance, plain in zip(read_utterances(tmp_path)[0], read_utterances(folder)[0], strict=True):
        assert (utterance.id, utterance.duration) == (plain.id, 0.25)
        assert np.array_equal(read_utterance(utterance), read_utterance(plain)[2000:6000])


def test_a_channel_of_a_cut_is_the_channel_that_is_read(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(scale=0.1, size=(8000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "two.wav", samples, 16_000, subtype="FLOAT")
    recording = Recording.from_file(tmp_path / "two.wav", recording_id="two")
    both = recording.to_cut()
    one = both.to_mono()[1]
    CutSet.from_cuts([both.with_id("both"), one.with_id("one")]).to_file(tmp_path / "cuts.jsonl")
    mixed, second = (read_utterance(u) for u in read_utterances(tmp_path / "cuts.jsonl")[0])
    assert np.allclose(mixed, samples.mean(axis=1), atol=1e-7)
    assert np.array_equal(second, samples[:, 1])


def test_what_a_tar_lacks_is_said_in_one_line(folder: Path, tmp_path: Path) -> None:
    source = webdataset(folder, tmp_path)
    tar = source / "0001.tar"
    whole = tar.read_bytes()
    last = read_utterances(source)[0][-1]
    tar.write_bytes(whole[: -len(whole) // 3])
    with pytest.raises(AudioError, match=r"cut short|no such audio file|cannot be read as a tar"):
        read_utterance(last)
    tar.write_bytes(gzip.compress(whole))
    with pytest.raises(AudioError, match="decompress it"):
        read_utterances(source)


def test_commands_and_archives_of_kaldi_are_refused(tmp_path: Path) -> None:
    for entry, reason in (
        ("sph2pipe -f wav a.sph |", "output of a command"),
        ("a.ark:17", "expected an audio file"),
    ):
        (tmp_path / "wav.scp").write_text(f"u1 {entry}\n")
        with pytest.raises(ManifestError, match=reason):
            read_utterances(tmp_path)


def test_cuts_that_are_no_stretch_of_a_file_are_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl"
    one, other = list(lhotse_cuts(folder))[:2]
    for cut, reason in (
        (one.mix(other), "MixedCut"),
        (one.perturb_speed(1.1), "transforms"),
        (one.move_audio_to_memory() if hasattr(one, "move_audio_to_memory") else one.mix(other), "not|audio"),
    ):
        CutSet.from_cuts([cut]).to_file(path)
        with pytest.raises(ManifestError, match=reason):
            read_utterances(path)


def test_an_id_may_occur_once_in_all_shards(folder: Path, tmp_path: Path) -> None:
    source = webdataset(folder, tmp_path)
    shutil.copy(source / "0000.tar", source / "0002.tar")
    with pytest.raises(ManifestError, match=r"0002\.tar:1: the id 'u00' was already used in 0000\.tar:1"):
        read_utterances(source)


def test_an_archive_beside_what_was_unpacked_from_it_changes_nothing(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "audio")
    write_tar(tmp_path / "audio.tar", [("a.flac", b"")])
    assert corpus_format(tmp_path) is Format.FOLDER
    assert [u.id for u in read_utterances(tmp_path)[0]] == [f"audio/{id_}" for id_ in IDS]
