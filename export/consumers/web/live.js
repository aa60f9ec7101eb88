// A variant of a bundle of the profile `streaming`, loaded and ready: samples as they come, the text so far.

import { SAMPLE_RATE } from "./audio.js";
import { bestTokens, pathText } from "./ctc.js";
import { BANDS, MelFrames } from "./logmel.js";
import { openSession } from "./recognizer.js";

const TAIL = 0.64; // [s] of silence behind the end: students print some frames after they were given the sound

export class LiveRecognizer {
  /** Load a variant with onnxruntime-web, `ort`; onProgress gets the share of the graph that has been read. */
  static async load(ort, bundle, name, onProgress) {
    const session = await openSession(ort, bundle, name, onProgress, "audio_signal", "logprobs");
    const recognizer = new LiveRecognizer(ort, bundle, session);
    // The first run also compiles, and tells how many frames there are from chunk to chunk.
    const { frames } = await recognizer.run(new Float32Array(BANDS * recognizer.window), recognizer.silence());
    recognizer.shift = frames * bundle.factor;
    return recognizer;
  }

  constructor(ort, bundle, session) {
    Object.assign(this, { ort, bundle, session });
    this.shapes = Object.fromEntries(session.inputMetadata.map(({ name, type, shape }) => [name, { type, shape }]));
    this.window = this.shapes.audio_signal.shape[2];
    this.given = session.inputNames.filter((name) => !["audio_signal", "length"].includes(name));
    this.returned = session.outputNames.slice(2); // in the same order
  }

  /** Return the states of a stream that has heard nothing yet. */
  silence() {
    return this.given.map((name) => {
      const { type, shape } = this.shapes[name];
      const dims = [1, ...shape.slice(1)];
      const size = dims.reduce((product, axis) => product * axis, 1);
      return new this.ort.Tensor(type, type === "int64" ? new BigInt64Array(size) : new Float32Array(size), dims);
    });
  }

  /** Run one chunk, [bands, window]; returns {best, frames, states}. */
  async run(chunk, states) {
    const { Tensor } = this.ort;
    const feeds = {
      audio_signal: new Tensor("float32", chunk, [1, BANDS, this.window]),
      length: new Tensor("int64", BigInt64Array.of(BigInt(this.window)), [1]),
    };
    this.given.forEach((name, index) => (feeds[name] = states[index]));
    const outputs = await this.session.run(feeds);
    const [, frames, width] = outputs.logprobs.dims;
    const { tokens } = this.bundle.vocabulary;
    if (width !== tokens.length) {
      throw new Error(`the graph answers with ${width} tokens where the vocabulary has ${tokens.length}`);
    }
    const { best } = bestTokens(outputs.logprobs.data, frames, this.bundle.vocabulary);
    return { best, frames, states: this.returned.map((name) => outputs[name]) };
  }

  /** Return a new stream. */
  open() {
    return new Stream(this);
  }

  /** Return the text of a waveform at 16 kHz; onProgress gets the share that has been heard. */
  async transcribe(waveform, onProgress) {
    const stream = this.open();
    for (let start = 0; start < waveform.length; start += SAMPLE_RATE) {
      await stream.hear(waveform.subarray(start, start + SAMPLE_RATE));
      onProgress(Math.min((start + SAMPLE_RATE) / waveform.length, 1));
    }
    return stream.end();
  }

  async release() {
    await this.session.release();
  }
}

/** One speaker. */
class Stream {
  mel = new MelFrames();
  frames = [];
  path = []; // repeats left out

  constructor(recognizer) {
    this.recognizer = recognizer;
    this.states = recognizer.silence();
  }

  /** Decode the chunks that are whole with these samples; returns the text so far. */
  async hear(samples) {
    const { window, shift, bundle } = this.recognizer;
    this.mel.push(samples);
    while (this.frames.length + this.mel.ready >= window) {
      this.frames.push(...this.mel.take(window - this.frames.length));
      const chunk = new Float32Array(BANDS * window);
      this.frames.forEach((frame, at) => frame.forEach((level, band) => (chunk[band * window + at] = level)));
      const { best, states } = await this.recognizer.run(chunk, this.states);
      this.states = states;
      for (const token of best) if (token !== this.path.at(-1)) this.path.push(token);
      this.frames.splice(0, shift);
    }
    return pathText(this.path, bundle.vocabulary);
  }

  /** Decode what is left, with silence behind; returns the text. */
  end() {
    const chunk = this.recognizer.window / 100; // [s]
    return this.hear(new Float32Array(Math.ceil((TAIL + chunk) * SAMPLE_RATE)));
  }
}
