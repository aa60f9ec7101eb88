// In the audio thread: hands the microphone's samples to the page, about a twelfth of a second at a time.

const BLOCK = 2 ** Math.round(Math.log2(sampleRate / 12));

class Capture extends AudioWorkletProcessor {
  block = new Float32Array(BLOCK);
  filled = 0;

  constructor() {
    super();
    this.port.onmessage = () => {
      this.send();
      this.port.postMessage(null); // that was all
    };
  }

  process([[channel]]) {
    if (channel) {
      this.block.set(channel, this.filled);
      this.filled += channel.length; // 128, of which a block is a multiple
      if (this.filled === BLOCK) this.send();
    }
    return true;
  }

  send() {
    this.port.postMessage(this.block.slice(0, this.filled));
    this.filled = 0;
  }
}

registerProcessor("capture", Capture);
