// Long recordings go through the model in chunks, and come out as one sequence of frames.
//
// A chunk ends where nobody speaks for a while, so that chunks are what students learned from, utterances. Where speech
// goes on for longer than a chunk may be, chunks overlap, and the frames of the one pass to those of the other where both
// are surest of a blank. kdcompress/runtime/chunks.py does the same, and says why.

import { SAMPLE_RATE } from "./audio.js";

const LONGEST = 30; // [s] of a chunk; what is not longer goes through the model whole
const OVERLAP = 4; // [s]
const PAUSE = 0.8; // [s] of silence that end a chunk …
const MARGIN = 0.25; // … of which so much stays at its ends
const SHORTEST = 1; // [s] of a chunk that a pause ends

const LEVEL_FRAME = SAMPLE_RATE / 100;
const CONTRAST = 18; // [dB] between silence and speech; with less there is only one of the two
const STEP = 6; // [dB]
const INAUDIBLE = -80; // [dB] of full scale

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
  for (let start = 0; start < waveform.length; ) {
    onProgress(start / waveform.length);
    const window = waveform.subarray(start, start + size);
    const last = start + size >= waveform.length;
    const silences = findSilences(window);
    if (held === null && silences[0]?.[0] === 0) {
      const end = silences[0][1];
      // Speech may begin right behind the window.
      const skipped = last && end === window.length ? window.length : Math.floor((end - margin) / grid) * grid;
      if (skipped > 0) {
        yield certain(Math.ceil(skipped / grid), vocabulary);
        start += skipped;
        continue;
      }
    }
    const earliest = Math.max(SHORTEST * SAMPLE_RATE, held === null ? 0 : overlap);
    const pause = silences.find(([from, to]) => from >= earliest && to - from >= 2 * margin + grid);
    if (pause) {
      const end = Math.ceil((pause[0] + margin) / grid);
      const resumed = Math.max(Math.floor((pause[1] - margin) / grid), end + 1);
      yield joint(held, cut(await hear(window.subarray(0, end * grid)), 0, end));
      yield certain(resumed - end, vocabulary, true);
      [start, held] = [start + resumed * grid, null];
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

/** Return [from, to] in samples of silences, those at the beginning of any length. */
export function findSilences(window) {
  const frames = Math.floor(window.length / LEVEL_FRAME);
  if (!frames) return [];
  const levels = Float32Array.from({ length: frames }, (_, frame) => {
    let energy = 0;
    for (const sample of window.subarray(frame * LEVEL_FRAME, (frame + 1) * LEVEL_FRAME)) energy += sample * sample;
    return 10 * Math.log10(energy / LEVEL_FRAME + 1e-10);
  });
  const sorted = Float32Array.from(levels).sort();
  const [quiet, loud] = [quantile(sorted, 0.05), quantile(sorted, 0.95)];
  let threshold = INAUDIBLE;
  if (loud - quiet >= CONTRAST) {
    threshold = Math.max(Math.floor((quiet + (loud - quiet) / 3) / STEP) * STEP, INAUDIBLE);
  }
  const found = [];
  for (let from = 0; from < frames; from++) {
    if (levels[from] >= threshold) continue;
    let to = from;
    while (to < frames && levels[to] < threshold) to++;
    const [begin, end] = [from * LEVEL_FRAME, to * LEVEL_FRAME];
    if (end - begin >= PAUSE * SAMPLE_RATE || from === 0) found.push([begin, to === frames ? window.length : end]);
    from = to;
  }
  return found;
}

function quantile(sorted, share) {
  const at = share * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

// Frames that are surely blank, or have a word boundary in their middle.
function certain(frames, vocabulary, boundary = false) {
  const best = new Int32Array(frames).fill(vocabulary.blank);
  const token = vocabulary.wordBoundary === null ? -1 : vocabulary.tokens.indexOf(vocabulary.wordBoundary);
  if (boundary && token >= 0) best[Math.floor(frames / 2)] = token;
  return { best, blanks: new Float32Array(frames) };
}
