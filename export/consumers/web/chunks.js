// Long recordings go through the model in chunks, and come out as one sequence of frames.
//
// A chunk ends where nobody speaks for a while, so that chunks are what students learned from, utterances. Where speech
// goes on for longer than a chunk may be, chunks overlap, and the frames of the one pass to those of the other where both
// are surest of a blank. kdcompress/runtime/chunks.py does the same, and says why.

import { SAMPLE_RATE } from "./audio.js";
import { findPause, leadingSilence, levels } from "./silences.js";

const LONGEST = 30; // [s] of a chunk; what is not longer goes through the model whole
const OVERLAP = 4; // [s]
const MARGIN = 0.25; // [s] of silence that stay at a chunk's ends
const SHORTEST = 1; // [s] of a chunk that a pause ends

/**
 * Yield the frames {best, blanks} of a waveform piece by piece; `hear` gives those of a chunk.
 */
export async function* heardInChunks(waveform, hear, vocabulary, frameShift, onProgress = () => {}) {
  if (waveform.length <= LONGEST * SAMPLE_RATE) {
    yield await hear(waveform);
    return;
  }
  const grid = Math.round(frameShift * SAMPLE_RATE);
  const size = Math.max(Math.floor((LONGEST * SAMPLE_RATE) / grid), 2) * grid;
  const overlap = Math.min(Math.floor((OVERLAP * SAMPLE_RATE) / grid) * grid, size - grid);
  const margin = Math.ceil((MARGIN * SAMPLE_RATE) / grid) * grid;
  let held = null; // frames of the chunk before, from `start` on
  let [silent, threshold] = [true, null]; // speech has not begun; what it must be louder than
  for (let start = 0; start < waveform.length; ) {
    onProgress(start / waveform.length);
    const window = waveform.subarray(start, start + size);
    const last = start + size >= waveform.length;
    const level = levels(window);
    if (silent) {
      const end = leadingSilence(level, threshold);
      // Speech may begin right behind the window.
      const rest = Math.floor(((end ?? window.length) - margin) / grid) * grid;
      const skipped = end === null && last ? window.length : rest;
      silent = end === null;
      if (skipped > 0) {
        yield certain(Math.ceil(skipped / grid), vocabulary);
        start += skipped;
        continue;
      }
    }
    const pause = findPause(level, Math.max(SHORTEST * SAMPLE_RATE, held === null ? 0 : overlap), last);
    if (pause) {
      const end = Math.ceil((pause.start + margin) / grid);
      yield joint(held, cut(await hear(window.subarray(0, end * grid)), 0, end));
      // Where the silence ends is found as it is for the one that a recording begins with.
      yield certain(1, vocabulary, true);
      [start, held] = [start + (end + 1) * grid, null];
      [silent, threshold] = [true, pause.threshold];
    } else if (last) {
      yield joint(held, await hear(window));
      return;
    } else {
      const frames = joint(held, cut(await hear(window), 0, size / grid));
      const step = (size - overlap) / grid;
      yield cut(frames, 0, step);
      [start, held] = [start + step * grid, cut(frames, step)];
    }
  }
}

function cut({ best, blanks }, from, to) {
  return { best: best.subarray(from, to), blanks: blanks.subarray(from, to) };
}

// Frames of two chunks that begin alike: of the one up to the surest blank, then of the other.
function joint(before, after) {
  if (before === null) return after;
  const common = Math.min(before.best.length, after.best.length);
  // Only the middle half has context on both sides in both chunks.
  const first = Math.floor(common / 4);
  const stop = Math.max(common - first, first + 1);
  const sureness = (frame) => Math.min(before.blanks[frame], after.blanks[frame]);
  // Ties, as in silence, are decided for the middle.
  const distance = (frame) => Math.abs(frame - Math.floor(common / 2));
  let seam = first;
  for (let frame = first; frame < Math.min(stop, common); frame++) {
    const gain = sureness(frame) - sureness(seam);
    if (gain > 0 || (gain === 0 && distance(frame) < distance(seam))) seam = frame;
  }
  const spliced = (x, y) => {
    const both = y.slice();
    both.set(x.subarray(0, seam));
    return both;
  };
  return { best: spliced(before.best, after.best), blanks: spliced(before.blanks, after.blanks) };
}

// Frames that are surely blank, or have a word boundary in their middle.
function certain(frames, vocabulary, boundary = false) {
  const best = new Int32Array(frames).fill(vocabulary.blank);
  const token = vocabulary.wordBoundary === null ? -1 : vocabulary.tokens.indexOf(vocabulary.wordBoundary);
  if (boundary && token >= 0) best[Math.floor(frames / 2)] = token;
  return { best, blanks: new Float32Array(frames) };
}
