// Log-mel frames as sherpa-onnx computes NVIDIA NeMo's, of samples in pieces: 25 ms every 10 ms at 16 kHz, 80 bands.

export const HOP = 160;
export const BANDS = 80;
const WINDOW = 400;
const POINTS = 512;
const BINS = POINTS / 2 + 1;
const FLOOR = 2 ** -23; // the least energy

const hann = Float64Array.from({ length: WINDOW }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / WINDOW));
const turns = Array.from({ length: POINTS / 2 }, (_, k) => (-2 * Math.PI * k) / POINTS);
const [cosines, sines] = [turns.map(Math.cos), turns.map(Math.sin)];
const reversed = Array.from({ length: POINTS }, (_, n) => parseInt(n.toString(2).padStart(9, "0").split("").reverse().join(""), 2));

// Slaney's triangles, each of unit area, as [first bin, weights].
const bands = (() => {
  const step = Math.log(6.4) / 27;
  const top = 15 + Math.log(8) / step;
  const edges = Array.from({ length: BANDS + 2 }, (_, n) => {
    const mel = (top * n) / (BANDS + 1);
    return mel < 15 ? (mel * 200) / 3 : 1000 * Math.exp(step * (mel - 15));
  });
  return edges.slice(0, BANDS).map((low, band) => {
    const [middle, high] = edges.slice(band + 1, band + 3);
    const weights = Array.from({ length: BINS }, (_, bin) => {
      const hertz = (8000 * bin) / (BINS - 1);
      return Math.max(0, Math.min((hertz - low) / (middle - low), (high - hertz) / (high - middle))) * (2 / (high - low));
    });
    const first = weights.findIndex((weight) => weight > 0);
    return [first, weights.slice(first, weights.findLastIndex((weight) => weight > 0) + 1)];
  });
})();

/** Gives frames as soon as their samples are there; before the first sample is silence. */
export class MelFrames {
  samples = new Float32Array(WINDOW / 2 + 1); // of the first window one half, and the sample before it
  real = new Float64Array(POINTS);
  imaginary = new Float64Array(POINTS);

  /** Add samples at 16 kHz. */
  push(samples) {
    const joined = new Float32Array(this.samples.length + samples.length);
    joined.set(this.samples);
    joined.set(samples, this.samples.length);
    this.samples = joined;
  }

  /** Return how many frames can be taken. */
  get ready() {
    return Math.max(Math.floor((this.samples.length - WINDOW - 1) / HOP) + 1, 0);
  }

  /** Return the oldest frames, an array of bands each, and forget them. */
  take(count) {
    const frames = Array.from({ length: count }, (_, frame) => this.frame(frame * HOP));
    this.samples = this.samples.slice(count * HOP);
    return frames;
  }

  frame(start) {
    const { samples, real, imaginary } = this;
    real.fill(0);
    imaginary.fill(0);
    for (let n = 0; n < WINDOW; n++) {
      real[reversed[n]] = (samples[start + n + 1] - 0.97 * samples[start + n]) * hann[n];
    }
    for (let half = 1; half < POINTS; half *= 2) {
      for (let from = 0; from < POINTS; from += 2 * half) {
        for (let k = 0; k < half; k++) {
          const turn = (k * POINTS) / (2 * half);
          const [a, b] = [from + k, from + k + half];
          const re = real[b] * cosines[turn] - imaginary[b] * sines[turn];
          const im = real[b] * sines[turn] + imaginary[b] * cosines[turn];
          real[b] = real[a] - re;
          imaginary[b] = imaginary[a] - im;
          real[a] += re;
          imaginary[a] += im;
        }
      }
    }
    return bands.map(([first, weights]) => {
      const energy = weights.reduce((sum, weight, i) => {
        const bin = first + i;
        return sum + weight * (real[bin] ** 2 + imaginary[bin] ** 2);
      }, 0);
      return Math.log(Math.max(energy, FLOOR));
    });
  }
}
