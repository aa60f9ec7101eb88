// Where a recording may be cut: silences, found by level alone and from what has been heard so far.
// kdcompress/runtime/silences.py does the same, and says why.

import { SAMPLE_RATE } from "./audio.js";

export const FRAME = SAMPLE_RATE / 100; // samples of one level

const PAUSE = 80; // [levels] of silence that end a chunk
const CONTRAST = 18; // [dB] between silence and speech; with less there is only one of the two
const STEP = 6; // [dB]
const INAUDIBLE = -80; // [dB] of full scale
const LOOK = 10; // [levels] between two looks for a silence
const BEGUN = 40; // [levels] of silence until it is one; at the end of a recording that is enough
const FLOOR = 30; // [levels] whose median is the noise that speech rises from …
const RISE = 6; // [dB] … by so much

/** Return the power of each whole 10 ms [dB of full scale]. */
export function levels(waveform) {
  return Float64Array.from({ length: Math.floor(waveform.length / FRAME) }, (_, frame) => {
    let energy = 0;
    for (const sample of waveform.subarray(frame * FRAME, (frame + 1) * FRAME)) energy += sample * sample;
    return 10 * Math.log10(energy / FRAME + 1e-10);
  });
}

/** Return {start, threshold} of the first silence that may end a chunk, or null; `earliest` and start in samples. */
export function findPause(level, earliest, toTheEnd) {
  let begun = null;
  const from = () => Math.max(begun.start, earliest);
  for (let end = LOOK; end <= level.length; end += LOOK) {
    if (begun && level.subarray(end - LOOK, end).some((x) => x >= begun.threshold)) begun = null;
    begun ??= silenceBefore(level.subarray(0, end));
    if (begun && end - Math.floor(from() / FRAME) >= PAUSE) return { ...begun, start: from() };
  }
  const tail = level.subarray(Math.floor(level.length / LOOK) * LOOK);
  if (!toTheEnd || !begun || tail.some((x) => x >= begun.threshold)) return null;
  return level.length - Math.floor(from() / FRAME) >= BEGUN ? { ...begun, start: from() } : null;
}

/** Return where speech begins after the silence at the beginning [samples], or null where it does not. */
export function leadingSilence(level, threshold = null) {
  threshold ??= thresholdOf(level);
  for (let frame = 0; frame < level.length; frame++) {
    if (level[frame] >= threshold) return frame * FRAME;
    if (frame < FLOOR) continue;
    const noise = quantile(level.slice(frame - FLOOR, frame).sort(), 0.5);
    if (level[frame] >= Math.max(noise + RISE, INAUDIBLE)) return frame * FRAME;
  }
  return null;
}

function silenceBefore(level) {
  if (level.length < BEGUN) return null;
  const threshold = thresholdOf(level);
  let start = level.length;
  while (start > 0 && level[start - 1] < threshold) start--;
  return level.length - start < BEGUN ? null : { start: start * FRAME, threshold };
}

function thresholdOf(level) {
  if (!level.length) return INAUDIBLE;
  const sorted = level.slice().sort();
  const [quiet, loud] = [quantile(sorted, 0.05), quantile(sorted, 0.95)];
  if (loud - quiet < CONTRAST) return INAUDIBLE;
  return Math.max(Math.floor((quiet + (loud - quiet) / 3) / STEP) * STEP, INAUDIBLE);
}

function quantile(sorted, share) {
  const at = share * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}
