"""Audio in, text out: what an application uses.

B batch, S samples, T feature frames, F mel bands, T' output frames, V vocabulary.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from kdcompress.aliases import FloatArray
from kdcompress.audio.decode import Samples, probe, read_audio, read_blocks, to_mono
from kdcompress.audio.utterance import SAMPLE_RATE, Stretch
from kdcompress.errors import BundleError
from kdcompress.runtime.bundle import Bundle, open_bundle
from kdcompress.runtime.bundle_files import while_replaced
from kdcompress.runtime.chunks import Chunking, joined
from kdcompress.runtime.frontend import features_for
from kdcompress.runtime.layout import LAYOUTS
from kdcompress.runtime.session import Provider, Session
from kdcompress.runtime.streaming.graph import StreamingGraph
from kdcompress.runtime.streaming.stream import LiveStream, StreamPool, posteriors_of, with_tail
from kdcompress.runtime.streaming.utterances import Endpointing
from kdcompress.runtime.transcript import Timings, Transcript
from kdcompress.text.decode import Hypothesis, greedy_pieces, words_of
from kdcompress.text.vocabulary import Vocabulary

Audio: TypeAlias = str | Path | Stretch | Samples
Decoder: TypeAlias = Callable[[Iterable[FloatArray], Vocabulary], Hypothesis]


class Recognizer:
    """A bundle's student, loaded and ready.

    Attributes:
        bundle: what it was made from.
        variant: the one that was chosen.
        features: computes what the graph is fed, of a waveform [S] at 16 kHz.
        session: the loaded graph.
        streaming: the same, chunk by chunk; None where the graph wants whole utterances.
        decoder: makes a hypothesis of the log posteriors [T', V] of a recording, given in pieces.
        chunking: how recordings that are longer than a chunk are cut.

    Raises:
        BundleError: the bundle is unusable, or has no such variant, or has a front end unknown here.
        ConfigError: the provider is not available, or threads is below 1.
    """

    def __init__(
        self,
        bundle: Path | str | Bundle,
        variant: str | None = None,
        provider: Provider = "cpu",
        threads: int | None = None,
        *,
        decoder: Decoder = greedy_pieces,
        chunking: Chunking | None = None,
    ) -> None:
        """Load a bundle.

        Args:
            bundle: its directory, whose graph is then held against its checksum, or what `open_bundle` gave.
            variant: `fp32`, `int8-dynamic`, …; None takes auto, int8-dynamic, int4 or fp32, the first
                there is.
            provider: where the graph runs.
            threads: for the graph; None takes every core that the process may use.
            decoder: `greedy_pieces`, or a `kdcompress.text.beam.BeamSearch`.
            chunking: None takes chunks of up to 30 s.
        """
        self.decoder = decoder
        self.chunking = Chunking() if chunking is None else chunking
        if isinstance(bundle, Bundle):
            self._load(bundle, variant, provider, threads)
        else:
            where = Path(bundle)
            while_replaced(
                where, lambda: self._load(open_bundle(where), variant, provider, threads, check=True)
            )
        if self.session.layout.takes_waveforms != (self.bundle.input == "waveform"):
            raise BundleError(
                f"{self.bundle.directory} says that its graphs take {self.bundle.input}, and "
                f"{self.variant.file} does not: export the run again or update kdcompress"
            )
        width = self.session.session.get_outputs()[0].shape[-1]
        if isinstance(width, int) and width != len(self.bundle.vocabulary):
            raise BundleError(
                f"{self.bundle.path(self.variant)} answers with {width} tokens where the vocabulary has "
                f"{len(self.bundle.vocabulary)}: graph and bundle.json are of different students"
            )

    def _load(
        self,
        bundle: Bundle,
        variant: str | None,
        provider: Provider,
        threads: int | None,
        check: bool = False,
    ) -> None:
        self.bundle = bundle
        self.variant = bundle.variant(variant)
        if check:
            bundle.verify(self.variant)
        layout = LAYOUTS.get(bundle.profile)
        self.session = Session(
            bundle.path(self.variant), provider, threads, same_lengths=layout is not None and layout.chunked
        )
        self.features = features_for(bundle, chunked=self.session.layout.chunked)
        self.streaming = StreamingGraph(self.session) if self.session.layout.chunked else None

    def __repr__(self) -> str:
        return f"Recognizer({str(self.bundle.directory)!r}, {self.variant.name}, {self.session.provider})"

    def stream(self, sample_rate: int = SAMPLE_RATE, rules: Endpointing | None = None) -> LiveStream:
        """Return a stream that takes samples while somebody speaks, and gives text.

        Args:
            sample_rate: of the samples [Hz].
            rules: when a text is final.

        Raises:
            BundleError: the bundle's graph wants whole utterances.
        """
        return LiveStream(self.pool(rules, batch=1), sample_rate)

    def pool(self, rules: Endpointing | None = None, batch: int = 16) -> StreamPool:
        """Return a pool of streams that share this session; each run takes up to `batch` of them.

        Raises:
            BundleError: as for `stream`.
        """
        if self.streaming is None:
            raise BundleError(
                f"{self.bundle.directory} is of a student that wants whole utterances; for text while "
                "somebody speaks train one with student.streaming and export it with --profile streaming"
            )
        return StreamPool(self.streaming, self.bundle.vocabulary, self.bundle.frame_shift, rules, batch)

    def transcribe(
        self,
        audio: Audio,
        sample_rate: int = SAMPLE_RATE,
        progress: Callable[[float], None] | None = None,
    ) -> Transcript:
        """Turn one recording of any length into text.

        Silence and audio shorter than a frame give an empty transcript. A file longer than a chunk is read,
        run and decoded piece by piece: an hour needs no more memory than a minute.

        Args:
            audio: a file or a stretch of one, or samples [S] or [S, channels], floats within ±1 or integers
                of full scale.
            sample_rate: of the samples [Hz]; ignored for a file, which says so itself.
            progress: called now and then with the seconds of audio that were read since the last call.

        Raises:
            AudioError: the audio cannot be read or holds NaN.
            NumericsError: the graph answered with NaN.
        """
        return self.transcribe_batch([audio], sample_rate, progress)[0]

    def transcribe_batch(
        self,
        audios: Sequence[Audio],
        sample_rate: int = SAMPLE_RATE,
        progress: Callable[[float], None] | None = None,
    ) -> list[Transcript]:
        """Turn several recordings into text in one run of the graph, padded to the longest of them.

        Those that are longer than a chunk are run one after the other, by themselves.

        Args:
            audios: as for `transcribe`.
            sample_rate: of those that are samples [Hz].
            progress: as for `transcribe`.

        Raises:
            AudioError: one of them cannot be read or holds NaN.
            NumericsError: the graph answered with NaN.
        """
        progress = progress or (lambda seconds: None)
        transcripts: dict[int, Transcript] = {}
        waveforms, reading, features, computing = {}, {}, {}, {}
        for row, audio in enumerate(audios):
            begin = time.perf_counter()
            if isinstance(audio, str | Path):
                audio = Stretch(Path(audio))
            if isinstance(audio, Stretch):
                where = (audio.start, audio.duration)
                length = (
                    probe(audio.audio).duration - audio.start if audio.duration is None else audio.duration
                )
                if length > self.chunking.seconds:
                    blocks = read_blocks(audio.audio, 10.0, *where, channel=audio.channel)
                    transcripts[row] = self._transcribe_long(blocks, 0.0, progress)
                    continue
                waveform = read_audio(audio.audio, *where, channel=audio.channel)
            else:
                waveform = to_mono(audio, sample_rate)
            read = time.perf_counter()
            if len(waveform) > self.chunking.seconds * SAMPLE_RATE:
                transcripts[row] = self._transcribe_long(_blocks(waveform), read - begin, progress)
                continue
            waveforms[row], reading[row] = waveform, read - begin
            features[row] = self.features(waveform if self.streaming is None else with_tail(waveform))
            computing[row] = time.perf_counter() - read
            progress(len(waveform) / SAMPLE_RATE)

        begin = time.perf_counter()
        posteriors = self.log_probs(list(features.values()))
        share = (time.perf_counter() - begin) / max(len(features), 1)

        for row, log_probs in zip(features, posteriors, strict=True):
            begin = time.perf_counter()
            hypothesis = self.decoder([log_probs], self.bundle.vocabulary)
            timings = Timings(reading[row], computing[row], share, 0.0)
            transcripts[row] = self._transcript(hypothesis, len(waveforms[row]), timings, begin)
        return [transcripts[row] for row in range(len(audios))]

    def _transcribe_long(
        self, blocks: Iterator[FloatArray], read: float, progress: Callable[[float], None]
    ) -> Transcript:
        samples, computed, ran = 0, 0.0, 0.0

        def counted() -> Iterator[FloatArray]:
            nonlocal samples, read
            while True:
                begin = time.perf_counter()
                block = next(blocks, None)
                read += time.perf_counter() - begin
                if block is None:
                    return
                samples += len(block)
                progress(len(block) / SAMPLE_RATE)
                yield block

        def posteriors(waveform: FloatArray) -> FloatArray:
            nonlocal computed, ran
            begin = time.perf_counter()
            features = self.features(waveform)
            between = time.perf_counter()
            [log_probs] = self.log_probs([features])
            computed, ran = computed + between - begin, ran + time.perf_counter() - between
            return log_probs

        vocabulary, frame_shift = self.bundle.vocabulary, self.bundle.frame_shift
        begin = time.perf_counter() - read
        if self.streaming is not None:
            pieces = posteriors_of(self.streaming, counted())
        else:
            pieces = joined(counted(), posteriors, vocabulary, frame_shift, self.chunking)
        hypothesis = self.decoder(pieces, vocabulary)
        timings = Timings(read, computed, ran, 0.0)
        return self._transcript(hypothesis, samples, timings, begin + read + computed + ran)

    def _transcript(self, hypothesis: Hypothesis, samples: int, timings: Timings, begin: float) -> Transcript:
        vocabulary, frame_shift = self.bundle.vocabulary, self.bundle.frame_shift
        tokens = tuple(hypothesis.tokens(vocabulary, frame_shift))
        words = tuple(words_of(tokens))
        text = " ".join([word.text for word in words])
        decoding = time.perf_counter() - begin
        timings = Timings(timings.audio, timings.features, timings.model, decoding)
        return Transcript(text, tokens, words, samples / SAMPLE_RATE, timings)

    def log_probs(self, features: Sequence[FloatArray]) -> list[FloatArray]:
        """Run the graph once on features [T, F] each; returns log posteriors [T', V] each."""
        padded, lengths = pad(features)
        empty = np.empty((0, len(self.bundle.vocabulary)), np.float32)
        if not padded.shape[1]:  # nothing as long as one frame: the graph need not be asked
            return [empty for _ in features]
        log_probs, frames = (self.streaming or self.session).run(padded, lengths)
        # A row without a frame may get anything; it is not looked at.
        return [
            log_probs[row, :count] if len(features[row]) else empty
            for row, count in enumerate(frames.tolist())
        ]


def pad(features: Sequence[FloatArray]) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Stack features [T, F] with zeros after their ends; returns [B, max T, F] and lengths [B]."""
    lengths = np.array([len(f) for f in features], np.int64)
    if len(features) == 1:
        return features[0][None], lengths
    width = features[0].shape[1] if features else 0
    frames = int(lengths.max(initial=0))
    if features and features[0].flags.f_contiguous:  # band by band in memory, as the graph wants them
        padded = np.zeros((len(features), width, frames), np.float32).transpose(0, 2, 1)
    else:
        padded = np.zeros((len(features), frames, width), np.float32)
    for row, values in zip(padded, features, strict=True):
        row[: len(values)] = values
    return padded, lengths


def _blocks(waveform: FloatArray, size: int = 10 * SAMPLE_RATE) -> Iterator[FloatArray]:
    for start in range(0, len(waveform), size):
        yield waveform[start : start + size]
