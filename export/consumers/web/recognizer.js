// A variant of a bundle, loaded and ready: samples in, text out.

import { SAMPLE_RATE } from "./audio.js";
import { readGraph } from "./bundle.js";
import { heardInChunks } from "./chunks.js";
import { bestTokens, pathText } from "./ctc.js";

const HOP = SAMPLE_RATE / 100;

/** Read the graph of a variant and check that it maps `input` to `output`. */
export async function openSession(ort, bundle, name, onProgress, input, output) {
  const variant = bundle.variants.find((candidate) => candidate.name === name);
  if (!variant) {
    const known = bundle.variants.map((candidate) => candidate.name).join(", ");
    throw new Error(`the bundle has no variant ${name}; it has ${known}`);
  }
  const graph = await readGraph(bundle, variant, onProgress);
  let session;
  try {
    session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"], logSeverityLevel: 3 });
  } catch (error) {
    throw new Error(`${variant.file} cannot be loaded by onnxruntime-web: ${error.message ?? error}`);
  }
  if (!session.inputNames.includes(input) || !session.outputNames.includes(output)) {
    throw new Error(`${variant.file} maps ${session.inputNames} to ${session.outputNames}, not ${input} to ${output}`);
  }
  return session;
}

export class Recognizer {
  /** Load a variant with onnxruntime-web, `ort`; onProgress gets the share of the graph that has been read. */
  static async load(ort, bundle, name, onProgress = () => {}) {
    const session = await openSession(ort, bundle, name, onProgress, "input_values", "logits");
    const recognizer = new Recognizer(ort, bundle, session);
    await recognizer.hear(new Float32Array(SAMPLE_RATE).fill(1e-3)); // the first run also compiles and allocates
    return recognizer;
  }

  constructor(ort, bundle, session) {
    Object.assign(this, { ort, bundle, session });
  }

  /** Return the text of a waveform at 16 kHz; onProgress gets the share that has been heard. */
  async transcribe(waveform, onProgress) {
    const { vocabulary, frameShift } = this.bundle;
    const pieces = [];
    const hear = (chunk) => this.hear(chunk);
    for await (const { best } of heardInChunks(waveform, hear, vocabulary, frameShift, onProgress)) pieces.push(...best);
    return pathText(pieces, vocabulary);
  }

  /** Return the frames {best, blanks} of a chunk: the best tokens, and the blank's log-probabilities. */
  async hear(chunk) {
    const { tokens } = this.bundle.vocabulary;
    if (chunk.length < HOP) return { best: new Int32Array(), blanks: new Float32Array() }; // not one frame
    const samples = new Float32Array(Math.ceil(chunk.length / HOP) * HOP); // zeros behind the end are not heard
    samples.set(chunk);
    const input = new this.ort.Tensor("float32", samples, [1, samples.length]);
    const { logits } = await this.session.run({ input_values: input }, ["logits"]);
    const [, frames, width] = logits.dims;
    if (width !== tokens.length) {
      throw new Error(`the graph answers with ${width} tokens where the vocabulary has ${tokens.length}`);
    }
    const heard = bestTokens(logits.data, frames, this.bundle.vocabulary);
    logits.dispose();
    return heard;
  }

  async release() {
    await this.session.release();
  }
}
