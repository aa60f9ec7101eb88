// What is seen: the model's state, the two ways to bring sound, and a card for each recording.

import { readAudio, SAMPLE_RATE } from "./audio.js";
import { drawWave } from "./wave.js";
import { record } from "./microphone.js";

const $ = (selector, root = document) => root.querySelector(selector);
const wishes = new URLSearchParams(location.search); // ?bundle=FOLDER&variant=NAME

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const waiting = new Map();
let requests = 0;

/** Ask the worker; resolves to its answer. */
function ask(what, wish = {}, onProgress = () => {}) {
  const id = ++requests;
  worker.postMessage({ id, ask: what, ...wish });
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject, onProgress }));
}

worker.onmessage = ({ data: { id, progress, error, answer } }) => {
  const { resolve, reject, onProgress } = waiting.get(id);
  if (progress !== undefined) return onProgress(progress);
  waiting.delete(id);
  if (error === undefined) resolve(answer);
  else reject(new Error(error));
};
worker.onerror = (event) => fail(`The page's own files are incomplete: ${event.message ?? "worker.js cannot be loaded"}`);

// The model

let backend = "";
let variant = "";
let live = false; // the model gives text while somebody speaks

async function open(source) {
  show("Looking for a bundle");
  try {
    const { variants, preferred, parameters, streaming } = await ask("open", source);
    live = streaming;
    const size = ({ name, bytes }) => new Option(`${name} · ${(bytes / 1e6).toFixed(1)} MB`, name);
    $("#variant").replaceChildren(...variants.map(size));
    $(".model label").hidden = false;
    $("#variant").value = wishes.get("variant") ?? preferred;
    if (!$("#variant").value) {
      $("#variant").value = preferred;
      throw new Error(`the bundle has no variant ${wishes.get("variant")}`);
    }
    $("#status").dataset.parameters = parameters ? `${(parameters / 1e6).toFixed(2)} M parameters` : "";
  } catch (error) {
    return fail(error.message, true);
  }
  await load();
}

async function load() {
  variant = $("#variant").value;
  show(`Loading ${variant}`);
  try {
    await ask("load", { variant }, (share) => ($("#loading").value = share));
  } catch (error) {
    return fail(error.message, true);
  }
  $("#loading").hidden = true;
  $("#status").textContent = ["Ready", $("#status").dataset.parameters].filter(Boolean).join(" · ");
  enable(true);
}

function show(status) {
  $("#status").textContent = status;
  $("#trouble").hidden = true;
  $("#loading").hidden = false;
  $("#loading").removeAttribute("value");
  enable(false);
}

function fail(message, mayOpen = false) {
  $("#loading").hidden = true;
  $("#status").textContent = "No model";
  $("#trouble").hidden = false;
  $("#trouble p").textContent = message;
  $("#open").hidden = !mayOpen;
  $("#variant").disabled = $("#variant").options.length < 2;
}

function enable(ready) {
  for (const control of ["#variant", "#record", "#choose"]) $(control).disabled = !ready;
}

// Recordings

/** Add a card for a recording. */
function addCard(name) {
  const card = $("#result").content.firstElementChild.cloneNode(true);
  $("h2", card).textContent = name;
  $("#results").prepend(card);
  return card;
}

/** Add a card for a file, and put into it what was said. */
function transcribe(file) {
  const card = addCard(file.name);
  const bar = $("progress", card);
  return complete(card, file, (waveform) => ask("transcribe", { waveform }, (share) => (bar.value = share)));
}

/** Put into a card what `recognise` says of a file: {text, spent}. */
async function complete(card, file, recognise) {
  try {
    const waveform = await readAudio(await file.arrayBuffer(), file.name);
    const seconds = waveform.length / SAMPLE_RATE;
    drawWave(card, file, waveform);
    const heardBy = variant; // the worker keeps the order of requests
    const { text, spent } = await recognise(waveform);
    $(".text", card).textContent = text || "nothing was said";
    card.dataset.state = text ? "done" : "silent";
    const copy = $(".copy", card);
    copy.hidden = !text || !navigator.clipboard;
    copy.onclick = async () => {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
      setTimeout(() => (copy.textContent = "Copy"), 1500);
    };
    figures(card, {
      Audio: `${seconds.toFixed(seconds < 100 ? 2 : 0)} s`,
      Time: spent < 1 ? `${Math.round(spent * 1000)} ms` : `${spent.toFixed(1)} s`,
      RTF: (spent / seconds).toPrecision(2),
      Speed: `${(seconds / spent).toFixed(seconds > 10 * spent ? 0 : 1)}×`,
      Variant: heardBy,
      Backend: backend,
    });
  } catch (error) {
    card.dataset.state = "failed";
    $(".text", card).textContent = error.message;
    $(".text", card).role = "alert";
  }
  $("progress", card).remove();
}

function figures(card, values) {
  const list = $(".figures", card);
  list.hidden = false;
  for (const [name, value] of Object.entries(values)) {
    const pair = document.createElement("div");
    pair.append(document.createElement("dt"), document.createElement("dd"));
    [pair.firstChild.textContent, pair.lastChild.textContent] = [name, value];
    list.append(pair);
  }
}

let queue = Promise.resolve();
function add(files) {
  // One after the other: each is decoded when its turn comes, so that many need no more memory than one.
  for (const file of files) queue = queue.then(() => transcribe(file));
}

$("#variant").onchange = load;
$("#choose").onclick = () => $("#files").click();
$("#files").onchange = ({ target }) => {
  add([...target.files]);
  target.value = ""; // the same file may be chosen again
};
$("#open").onclick = () => $("#folder").click();
$("#folder").onchange = ({ target }) => open({ files: [...target.files] });

document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.toggle("dropping", !$("#choose").disabled);
};
document.ondragleave = ({ relatedTarget }) => relatedTarget ?? document.body.classList.remove("dropping");
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (!$("#choose").disabled) add([...event.dataTransfer.files]);
};

// The microphone

let stop = null;
let clock;
let takes = 0;
let spoken = null; // the card of what is being said

/** Begin to record, and to show what is said while it is said. */
async function listen(onLevel) {
  await ask("listen");
  let card = null;
  const hear = async (samples) => {
    try {
      const { text } = await ask("hear", { samples });
      if (card?.dataset.state === "working") $(".text", card).textContent = text;
    } catch (error) {
      if (card) $(".text", card).textContent = error.message;
    }
  };
  const end = await record(onLevel, hear, SAMPLE_RATE);
  spoken = card = addCard("Listening");
  return end;
}

$("#record").onclick = async () => {
  const button = $("#record");
  button.disabled = true;
  try {
    if (stop) {
      clearInterval(clock);
      const [end, name] = [stop, `Recording ${++takes}`];
      stop = null;
      recording(false);
      const file = new File([await end()], name, { type: "audio/wav" });
      if (!live) add([file]);
      else {
        $("h2", spoken).textContent = name;
        complete(spoken, file, () => ask("end"));
      }
    } else {
      const onLevel = (level) => button.style.setProperty("--level", stop ? level : 0);
      stop = live ? await listen(onLevel) : await record(onLevel);
      recording(true);
    }
  } catch (error) {
    recording(false);
    $("#hint").textContent = error.message;
  }
  button.disabled = false;
};

function recording(on) {
  $("#record").ariaPressed = on;
  $("#record").style.setProperty("--level", 0);
  $("#variant").disabled = on;
  $(".choose").style.visibility = on ? "hidden" : "";
  const begin = Date.now();
  const tick = () => ($("#hint").textContent = `Listening · ${Math.floor((Date.now() - begin) / 1000)} s`);
  if (on) clock = setInterval(tick, 250);
  if (on) tick();
  else $("#hint").textContent = "Speak";
}

// All begins here

try {
  const onnxruntime = new URL($("meta[name=onnxruntime-web]").content, location).href;
  const { version, threads } = await ask("start", { onnxruntime });
  backend = `wasm, ${threads} thread${threads > 1 ? "s" : ""}`;
  $("#backend").textContent = `onnxruntime-web ${version} · ${backend}`;
  const address = new URL(`${(wishes.get("bundle") ?? "bundle").replace(/\/*$/, "")}/`, location).href;
  await open({ address });
} catch (error) {
  fail(error.message);
}
