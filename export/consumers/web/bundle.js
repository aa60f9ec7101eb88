// A bundle of the profile `waveform` or `streaming`: bundle.json, and the graphs that it lists.

import { SAMPLE_RATE } from "./audio.js";
import { readVocabulary } from "./ctc.js";

// The first there is. Where a file comes over the wire int4 is half of it at int8's time; kdcompress has int8 first.
const PREFERRED = ["auto", "int4", "int8-dynamic", "fp32"];

/** Read files of a folder on a server; `address` ends with a slash. */
export function fromServer(address) {
  return async (name, onBytes = () => {}) => {
    const url = new URL(encodeURIComponent(name), address);
    // A bundle may have been exported again since the last visit: ask whether what is cached is still so.
    const answer = await fetch(url, { cache: "no-cache" }).catch(() => null);
    if (!answer?.ok) {
      const found = answer ? `HTTP ${answer.status}` : "no answer";
      if (name !== "bundle.json") throw new Error(`${url} cannot be read (${found}): copy the whole bundle`);
      throw new Error(`There is no bundle at ${address} (${found}): copy one there, or run "python serve.py BUNDLE"`);
    }
    const pieces = [];
    let bytes = 0;
    for (const reader = answer.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value);
      onBytes((bytes += value.length));
    }
    return new Blob(pieces).arrayBuffer();
  };
}

/** Read files that were chosen from the disk. */
export function fromFiles(files) {
  return async (name) => {
    const file = files.find((candidate) => candidate.name === name);
    if (!file) throw new Error(`there is no ${name} among the chosen files`);
    return file.arrayBuffer();
  };
}

/**
 * Read and check bundle.json; `read` is one of the above.
 *
 * Returns {read, vocabulary, frameShift, factor, streaming, parameters, variants: [{name, file, bytes, sha256}], preferred}.
 */
export async function openBundle(read) {
  let record;
  const text = new TextDecoder().decode(await read("bundle.json"));
  try {
    record = JSON.parse(text);
  } catch {
    throw new Error("bundle.json is not JSON: export the run again");
  }
  if (record?.kind !== "kdcompress-bundle") throw new Error('bundle.json does not say "kind": "kdcompress-bundle"');
  if (record.schema !== 1) throw new Error(`bundle.json has schema ${record.schema}, this page reads 1`);
  const { kind, mel_bins: bands, normalize } = record.frontend ?? {};
  const streaming = record.profile === "streaming" && kind === "logmel" && bands === 80 && normalize === "none";
  if (!(record.input === "waveform" || streaming) || record.sample_rate !== SAMPLE_RATE) {
    throw new Error(
      `this bundle has the profile ${record.profile}: its graph takes ${record.input} and not a waveform at 16 kHz. ` +
        "Write one with: kdcompress export RUN --profile waveform (or --profile streaming)",
    );
  }
  const variants = Object.entries(record.variants ?? {}).map(([name, variant]) => ({ name, ...variant }));
  // A name with a separator would let a bundle from elsewhere ask for any file.
  const plain = ({ file, bytes, sha256 }) =>
    typeof file === "string" &&
    /^[^/\\:]+$/.test(file) &&
    ![".", ".."].includes(file) &&
    Number.isInteger(bytes) &&
    typeof sha256 === "string";
  if (!variants.length || !variants.every(plain) || !(record.frame_shift > 0)) {
    throw new Error("bundle.json is malformed: export the run again");
  }
  const names = variants.map(({ name }) => name);
  return {
    read,
    variants,
    preferred: PREFERRED.find((name) => names.includes(name)) ?? names[0],
    vocabulary: readVocabulary(record.vocabulary),
    frameShift: record.frame_shift,
    factor: record.subsampling_factor,
    streaming,
    parameters: record.provenance?.parameters,
  };
}

/** Read the graph of a variant and hold it against its size and, where the browser can, its checksum. */
export async function readGraph(bundle, { file, bytes, sha256 }, onProgress) {
  const graph = await bundle.read(file, (read) => onProgress(Math.min(read / bytes, 1)));
  if (graph.byteLength !== bytes) {
    throw new Error(`${file} has ${graph.byteLength} bytes where bundle.json says ${bytes}: it was altered or cut short`);
  }
  // Browsers hash on https and on localhost only.
  if (globalThis.crypto?.subtle) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", graph));
    const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (found !== sha256) throw new Error(`${file} is not what bundle.json says (sha256): it was altered`);
  }
  return new Uint8Array(graph);
}
