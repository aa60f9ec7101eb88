// The model, beside the page and not in its way: requests {id, ask, …} come in, {id, answer | error | progress} go out.

import { fromFiles, fromServer, openBundle } from "./bundle.js";
import { LiveRecognizer } from "./live.js";
import { Recognizer } from "./recognizer.js";

const MOST_THREADS = 4; // more cores than this gain nothing on models this small

let ort;
let bundle;
let recognizer;
let listening;

const answers = {
  /** Load onnxruntime-web; browsers give threads to pages that are cross-origin isolated only. */
  async start({ onnxruntime }) {
    try {
      ort = await import(onnxruntime);
    } catch {
      throw new Error(`onnxruntime-web is not at ${onnxruntime}: run "npm install" in the folder of this page`);
    }
    ort.env.wasm.wasmPaths = new URL(".", onnxruntime).href;
    ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) : 1;
    ort.env.logLevel = "error";
    return { version: ort.env.versions.web, threads: ort.env.wasm.numThreads };
  },

  async open({ address, files }) {
    bundle = await openBundle(files ? fromFiles(files) : fromServer(address));
    const { variants, preferred, parameters, streaming } = bundle;
    return { variants, preferred, parameters, streaming };
  },

  async load({ variant }, onProgress) {
    await recognizer?.release();
    recognizer = null;
    recognizer = await (bundle.streaming ? LiveRecognizer : Recognizer).load(ort, bundle, variant, onProgress);
  },

  /** Of a bundle that streams: begin to listen, hear some samples, end; each but the first answers with the text. */
  async listen() {
    listening = { stream: recognizer.open(), spent: 0 };
  },

  async hear({ samples }) {
    return live((stream) => stream.hear(samples));
  },

  async end() {
    return live((stream) => stream.end());
  },

  async transcribe({ waveform }, onProgress) {
    if (!recognizer) throw new Error("no model is loaded");
    const begin = performance.now();
    const text = await recognizer.transcribe(waveform, onProgress);
    return { text, spent: (performance.now() - begin) / 1000 };
  },
};

async function live(step) {
  const begin = performance.now();
  const text = await step(listening.stream);
  listening.spent += (performance.now() - begin) / 1000;
  return { text, spent: listening.spent };
}

let last = Promise.resolve();
self.onmessage = ({ data: { id, ask, ...wishes } }) => {
  const onProgress = (progress) => self.postMessage({ id, progress });
  // One after the other: a model must not be replaced while it listens.
  last = last
    .then(() => answers[ask](wishes, onProgress))
    .then(
      (answer) => self.postMessage({ id, answer }),
      (error) => self.postMessage({ id, error: error.message ?? String(error) }),
    );
};
