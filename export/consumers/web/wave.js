// The waveform of a card, which plays its recording.

const BARS = 96;
const SVG = "http://www.w3.org/2000/svg";

/** Draw samples into a card and let it play the file they are from. */
export function drawWave(card, file, samples) {
  const [sound, wave, button] = [".sound", ".wave", ".play"].map((selector) => card.querySelector(selector));
  // Once as it is, once for what has been played.
  wave.replaceChildren(bars(samples), bars(samples));
  sound.hidden = false;

  const audio = new Audio();
  const follow = () => {
    wave.style.setProperty("--played", audio.duration ? audio.currentTime / audio.duration : 0);
    if (!audio.paused) requestAnimationFrame(follow);
  };
  const play = () => {
    audio.src ||= URL.createObjectURL(file);
    for (const other of document.querySelectorAll(".play[aria-pressed=true]")) if (other !== button) other.click();
    return audio.play().catch(() => {});
  };
  button.onclick = () => (audio.paused ? play() : audio.pause());
  wave.onclick = async ({ clientX }) => {
    const { left, width } = wave.getBoundingClientRect();
    await play();
    audio.currentTime = ((clientX - left) / width) * audio.duration;
  };
  audio.onplay = audio.onpause = () => {
    button.ariaPressed = !audio.paused;
    button.ariaLabel = audio.paused ? "Play" : "Pause";
    follow();
  };
}

function bars(samples) {
  const loudest = [];
  const step = samples.length / BARS;
  for (let bar = 0; bar < BARS; bar++) {
    let most = 0;
    for (const sample of samples.subarray(Math.floor(bar * step), Math.floor((bar + 1) * step))) {
      most = Math.max(most, Math.abs(sample));
    }
    loudest.push(most);
  }
  const full = Math.max(...loudest, 0.01);
  const line = (peak, bar) => {
    const half = Math.max((peak / full) * 15, 0.6);
    return `M${bar * 4 + 2} ${16 - half}v${2 * half}`;
  };
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${BARS * 4} 32`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(SVG, "path"));
  svg.firstChild.setAttribute("d", loudest.map(line).join(""));
  return svg;
}
