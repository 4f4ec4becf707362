// The page: a song in, its answer and every window's drawn.
import { openModel } from "./model.js";
import { decode } from "./sound.js";

const element = (id) => document.getElementById(id);
const table = document.querySelector("table");
let model = null;

async function loadModel(read) {
  await saying("Loading the model …", async () => {
    model = await openModel(new Uint8Array(await read()));
    element("about").textContent = `${model.recipe}: ${model.labels.join(", ")}`;
    return "Ready.";
  });
}

async function classify(file) {
  table.hidden = true;
  await saying(`Listening to ${file.name} …`, async () => {
    const waveform = await decode(await file.arrayBuffer(), model.sampleRate);
    const began = performance.now();
    const answer = await model.classify(waveform);
    const seconds = waveform.length / model.sampleRate;
    draw(answer, seconds);
    window.answer = answer; // for the curious, and for tests
    const best = answer.probabilities.indexOf(Math.max(...answer.probabilities));
    const took = ((performance.now() - began) / 1000).toFixed(1);
    return `${file.name}: ${model.labels[best]} (${seconds.toFixed(0)} s of sound heard in ${took} s)`;
  });
}

function draw(answer, seconds) {
  table.tBodies[0].replaceChildren(...model.labels.map((label, k) => {
    const row = document.createElement("tr");
    const meter = Object.assign(document.createElement("meter"), { value: answer.probabilities[k] });
    const curve = windowCurve(answer, k, seconds);
    curve.setAttribute("aria-label", `${label} over time`);
    row.append(...[label, meter, answer.probabilities[k].toFixed(3), curve].map(cell));
    return row;
  }));
  element("seconds").replaceChildren(...[0, seconds / 2, seconds].map((at) => {
    return Object.assign(document.createElement("span"), { textContent: `${at.toFixed(0)} s` });
  }));
  table.hidden = false;
}

// One bar a window, as high as its probability, from its start to the next one's.
function windowCurve(answer, k, seconds) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${seconds} 1`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const starts = answer.starts_seconds;
  answer.window_probabilities.forEach((window, n) => {
    const bar = document.createElementNS(svg.namespaceURI, "rect");
    const end = n + 1 < starts.length ? starts[n + 1] : Math.min(seconds, starts[n] + model.windowSeconds);
    const place = { x: starts[n], width: end - starts[n], y: 1 - window[k], height: window[k], fill: "#06c" };
    for (const [name, value] of Object.entries(place)) bar.setAttribute(name, value);
    svg.append(bar);
  });
  return svg;
}

function cell(content) {
  const found = document.createElement("td");
  found.append(content);
  return found;
}

// Show what is going on, and what went wrong.
async function saying(text, work) {
  element("said").textContent = text;
  try {
    element("said").textContent = await work();
  } catch (error) {
    element("said").textContent = `That did not work: ${error.message || error}`;
  }
}

element("song").addEventListener("change", (event) => classify(event.target.files[0]));
element("model").addEventListener("change", (event) => loadModel(() => event.target.files[0].arrayBuffer()));
element("drop").addEventListener("dragover", (event) => {
  event.preventDefault();
  element("drop").classList.add("over");
});
element("drop").addEventListener("dragleave", () => element("drop").classList.remove("over"));
element("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  element("drop").classList.remove("over");
  classify(event.dataTransfer.files[0]);
});
await loadModel(async () => {
  const response = await fetch("genre.onnx");
  if (!response.ok) throw new Error("there is no genre.onnx beside this page; choose a model");
  return response.arrayBuffer();
});
