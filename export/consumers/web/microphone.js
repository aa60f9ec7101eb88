// The microphone, uncompressed: what students learned from has been through no codec and no noise gate.

import { waveFile } from "./audio.js";

/**
 * Begin to record; onLevel gets the loudness within 0 and 1 about twelve times a second, onBlock the samples.
 *
 * Returns a function that ends it and gives a WAV file, at `sampleRate` or, where there is none, that of the device.
 */
export async function record(onLevel, onBlock = () => {}, sampleRate = undefined) {
  const stream = await openMicrophone();
  const context = new AudioContext(sampleRate ? { sampleRate } : {});
  const close = () => {
    for (const track of stream.getTracks()) track.stop();
    return context.close();
  };
  const blocks = [];
  let onEnd;
  let capture;
  try {
    await context.audioWorklet.addModule(new URL("capture.js", import.meta.url));
    capture = new AudioWorkletNode(context, "capture", { channelCount: 1, channelCountMode: "explicit" });
    capture.port.onmessage = ({ data: block }) => {
      if (block === null) return onEnd();
      blocks.push(block);
      onBlock(block);
      onLevel(loudness(block));
    };
    // It plays silence; what leads to no loudspeaker, some browsers do not run.
    context.createMediaStreamSource(stream).connect(capture).connect(context.destination);
  } catch (error) {
    close();
    throw error;
  }

  return async () => {
    const ended = new Promise((resolve) => (onEnd = resolve));
    capture.port.postMessage(null);
    await ended;
    const { sampleRate } = context;
    await close();
    const samples = new Float32Array(blocks.reduce((sum, block) => sum + block.length, 0));
    let at = 0;
    for (const block of blocks) {
      samples.set(block, at);
      at += block.length;
    }
    return waveFile(samples, sampleRate);
  };
}

async function openMicrophone() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error("Browsers give the microphone to pages on https or localhost only");
  }
  const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    const reasons = { NotAllowedError: "it was not allowed", NotFoundError: "there is none" };
    throw new Error(`The microphone cannot be used: ${reasons[error.name] ?? error.message}`);
  }
}

// −60 dB of full scale is 0, −10 dB is 1.
function loudness(block) {
  const energy = block.reduce((sum, sample) => sum + sample * sample, 0) / Math.max(block.length, 1);
  return Math.min(Math.max((10 * Math.log10(energy + 1e-10) + 60) / 50, 0), 1);
}
