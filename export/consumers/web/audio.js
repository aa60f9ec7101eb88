// Files become what the model hears: samples within ±1, mono, 16 kHz.

export const SAMPLE_RATE = 16_000;

const PCM = 1;
const FLOAT = 3;
const EXTENSIBLE = 0xfffe;
const PIPE_SIZE = 2 ** 31 - 4096; // and above: what programs write that cannot know the end

/** Return the samples of a file of any format that the browser decodes. */
export async function readAudio(buffer, name) {
  if (!buffer.byteLength) throw new Error(`${name} is empty`);
  // Browsers decode 16-bit samples to values a little off, each in its own way; the model's own format is read to the bit.
  const wave = parseWave(buffer, name);
  const mono = wave?.sampleRate === SAMPLE_RATE ? mixed(wave.channels) : await decodeAndResample(buffer, name);
  if (!mono.length) throw new Error(`${name} holds no samples`);
  if (!mono.every(Number.isFinite)) throw new Error(`${name} holds samples that are not numbers`);
  return mono;
}

/** Return {sampleRate, channels} of a WAV file of PCM or floats, or null for anything else. */
export function parseWave(buffer, name = "the file") {
  const view = new DataView(buffer);
  const tag = (at) => String.fromCharCode(...new Uint8Array(buffer, at, 4));
  if (view.byteLength < 12 || tag(0) !== "RIFF" || tag(8) !== "WAVE") return null;
  let format = null;
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const [id, size, start] = [tag(at), view.getUint32(at + 4, true), at + 8];
    if (id === "fmt " && start + 16 <= view.byteLength) {
      const code = view.getUint16(start, true);
      format = {
        code: code === EXTENSIBLE && size >= 26 ? view.getUint16(start + 24, true) : code,
        channels: view.getUint16(start + 2, true),
        sampleRate: view.getUint32(start + 4, true),
        bits: view.getUint16(start + 14, true),
      };
    } else if (id === "data") {
      const there = view.byteLength - start;
      if (there < size && size < PIPE_SIZE) {
        throw new Error(`${name} is cut short: its header promises ${size} bytes of samples, it has ${there}`);
      }
      const read = format && reader(view, format);
      return read && format.channels ? deinterleave(read, format, start, Math.min(size, there)) : null;
    }
    at = start + size + (size % 2);
  }
  return null;
}

// Integers become fractions of full scale, as in libsndfile.
function reader(view, { code, bits }) {
  return {
    [`${PCM} 8`]: (at) => (view.getUint8(at) - 128) / 2 ** 7,
    [`${PCM} 16`]: (at) => view.getInt16(at, true) / 2 ** 15,
    [`${PCM} 24`]: (at) => (view.getUint16(at, true) + view.getInt8(at + 2) * 2 ** 16) / 2 ** 23,
    [`${PCM} 32`]: (at) => view.getInt32(at, true) / 2 ** 31,
    [`${FLOAT} 32`]: (at) => view.getFloat32(at, true),
    [`${FLOAT} 64`]: (at) => view.getFloat64(at, true),
  }[`${code} ${bits}`];
}

function deinterleave(read, format, start, size) {
  const bytes = format.bits / 8;
  const frames = Math.floor(size / bytes / format.channels);
  const channels = Array.from({ length: format.channels }, (_, channel) =>
    Float32Array.from({ length: frames }, (_, frame) => read(start + (frame * format.channels + channel) * bytes)),
  );
  return { sampleRate: format.sampleRate, channels };
}

/** Return the mean of the channels, in single precision. */
export function mixed(channels) {
  if (channels.length === 1) return channels[0];
  const sum = Float32Array.from(channels[0]);
  for (const channel of channels.slice(1)) channel.forEach((sample, index) => (sum[index] += sample));
  return sum.map((sample) => sample / channels.length);
}

// decodeAudioData resamples to the rate of its context with the browser's best filter. (Playing a buffer into an
// offline context would resample, too, but in Chromium by linear interpolation, which aliases.)
async function decodeAndResample(buffer, name) {
  const context = new OfflineAudioContext(1, 1, SAMPLE_RATE);
  try {
    const decoded = await context.decodeAudioData(buffer);
    return mixed(Array.from({ length: decoded.numberOfChannels }, (_, index) => decoded.getChannelData(index)));
  } catch {
    throw new Error(`${name} is no audio that this browser decodes (wav, mp3, m4a, ogg, flac, webm are usual)`);
  }
}

/** Return a WAV file of 32-bit floats, for samples that have none. */
export function waveFile(samples, sampleRate) {
  const buffer = new ArrayBuffer(44 + 4 * samples.length);
  const view = new DataView(buffer);
  const put = (at, text) => [...text].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
  put(0, "RIFF");
  view.setUint32(4, buffer.byteLength - 8, true);
  put(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, FLOAT, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, 4 * sampleRate, true);
  view.setUint16(32, 4, true);
  view.setUint16(34, 32, true);
  put(36, "data");
  view.setUint32(40, 4 * samples.length, true);
  samples.forEach((sample, index) => view.setFloat32(44 + 4 * index, sample, true));
  return buffer;
}
