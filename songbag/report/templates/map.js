"use strict";
// Draw the songs on a canvas, move it by mouse, wheel, fingers and keys, search and show songs.
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const count = data.ids.length;
const colourings = data.colourings.length ? data.colourings
  : [{ title: "nothing", classes: [{ name: "songs", light: "#3486ff", dark: "#00d4ff", shape: 0 }],
    of: data.ids.map(() => 0), texts: data.ids.map(() => null) }];
const lowerIds = data.ids.map((id) => id.toLowerCase());
const canvas = byId("map");
const context = canvas.getContext("2d");
const dark = matchMedia("(prefers-color-scheme: dark)");
const EXTENT = 100000;
const MOST_FOUND = 50;
const NEAR = { mouse: 12, pen: 16, touch: 24 }; // pixels between a press and its song

let colouring = colourings[0];
let order = []; // songs by class, the largest class first, so that small ones lie on top
let hidden = new Set(); // numbers of classes
let matches = null; // songs that are searched for
let selected = null;
let view = { x: EXTENT / 2, y: EXTENT / 2, scale: 1 }; // the middle, and pixels per unit
let home = view; // that shows all songs
let least = 1; // the scale that shows all songs
let drawing = 0; // the frame that is asked for
let image = null;

// --- drawing ----------------------------------------------------------------------------

function outline(pen, shape, middle, radius) {
  pen.beginPath();
  if (shape === 0) pen.arc(middle, middle, radius, 0, 2 * Math.PI);
  else {
    const corners = shape === 2 ? 3 : 4;
    const turn = shape === 1 ? Math.PI / 4 : -Math.PI / 2;
    const reach = 1.25 * radius;
    for (let k = 0; k < corners; k++) {
      const angle = turn + (2 * Math.PI * k) / corners;
      pen.lineTo(middle + reach * Math.cos(angle), middle + reach * Math.sin(angle));
    }
    pen.closePath();
  }
}

const root = document.documentElement;
const colourOf = (name) => getComputedStyle(root).getPropertyValue(name);

function stamp(paint, radius, ratio, opacity = 1) {
  const size = Math.ceil(2 * ratio * (1.25 * radius + 1));
  const drawn = document.createElement("canvas");
  drawn.width = drawn.height = size;
  const pen = drawn.getContext("2d", { willReadFrequently: true });
  pen.globalAlpha = opacity;
  outline(pen, paint.shape, size / 2, radius * ratio);
  pen.fillStyle = dark.matches ? paint.dark : paint.light;
  pen.fill();
  pen.strokeStyle = colourOf("--card");
  pen.lineWidth = 0.6 * ratio;
  pen.stroke();
  return drawn;
}

function dotsOf(drawn) {
  const edge = drawn.width;
  const { data: bytes } = drawn.getContext("2d").getImageData(0, 0, edge, edge);
  return { edge, dots: new Uint32Array(bytes.buffer) };
}

const radius = () => {
  const plain = count < 500 ? 5.5 : count < 5000 ? 4 : 3;
  return Math.min(9, plain * (view.scale / least) ** 0.25);
};

// Points are copied into pixels by hand: 20,000 calls of drawImage take ten times as long.
function draw() {
  drawing = 0;
  const { width, height } = canvas;
  if (!width || !height) return;
  const ratio = devicePixelRatio;
  const scale = view.scale * ratio;
  const acrossOf = (song) => width / 2 + (data.x[song] - view.x) * scale;
  const downOf = (song) => height / 2 + (data.y[song] - view.y) * scale;
  if (image?.width !== width || image.height !== height) {
    image = context.createImageData(width, height);
  }
  const pixels = new Uint32Array(image.data.buffer).fill(0);
  const put = (song, stamps) => {
    const { edge, dots } = stamps[colouring.of[song]];
    const across = Math.round(acrossOf(song) - edge / 2);
    const down = Math.round(downOf(song) - edge / 2);
    const [first, last] = [Math.max(0, -across), Math.min(edge, width - across)];
    for (let row = Math.max(0, -down); row < Math.min(edge, height - down); row++) {
      const begin = (down + row) * width + across;
      for (let column = first; column < last; column++) {
        const dot = dots[row * edge + column];
        const opacity = dot >>> 24;
        const at = begin + column;
        if (opacity === 255 || (opacity && !pixels[at])) pixels[at] = dot;
        else if (opacity > 127) pixels[at] = dot | 0xff000000;
      }
    }
  };
  const stampsOf = (opacity) =>
    colouring.classes.map((paint) => dotsOf(stamp(paint, radius(), ratio, opacity)));
  const plain = stampsOf(1);
  const faint = matches ? stampsOf(0.2) : plain;
  for (const song of order) put(song, faint);
  for (const song of matches ?? []) put(song, plain);
  if (selected !== null) put(selected, plain);
  context.putImageData(image, 0, 0);
  if (selected === null) return;
  context.beginPath();
  context.arc(acrossOf(selected), downOf(selected), 11 * ratio, 0, 2 * Math.PI);
  context.strokeStyle = colourOf("--ink");
  context.lineWidth = 2.5 * ratio;
  context.stroke();
}

const redraw = () => { drawing ||= requestAnimationFrame(draw); };

function sortSongs() {
  const sizes = colouring.classes.map(() => 0);
  for (const number of colouring.of) sizes[number] += 1;
  order = data.ids.map((_, song) => song).filter((song) => !hidden.has(colouring.of[song]));
  order.sort((a, b) => sizes[colouring.of[b]] - sizes[colouring.of[a]] || a - b);
  redraw();
  return sizes;
}

// --- moving -----------------------------------------------------------------------------

function fit() {
  const most = (values) => values.reduce((one, other) => Math.max(one, other), 1); // from 0
  const [width, height] = [most(data.x), most(data.y)];
  least = 0.9 * Math.min(canvas.clientWidth / width, canvas.clientHeight / height);
  view = { x: width / 2, y: height / 2, scale: least };
  home = { ...view };
  redraw();
}

const showsAll = () => ["x", "y", "scale"].every((part) => view[part] === home[part]);

// Zoom so that what lies at a place (pixels from the middle) stays there.
function zoom(factor, across = 0, down = 0) {
  const scale = Math.min(400 * least, Math.max(0.5 * least, view.scale * factor));
  view.x += across / view.scale - across / scale;
  view.y += down / view.scale - down / scale;
  view.scale = scale;
  redraw();
}

function pan(across, down) {
  view.x = Math.min(EXTENT, Math.max(0, view.x - across / view.scale));
  view.y = Math.min(EXTENT, Math.max(0, view.y - down / view.scale));
  redraw();
}

function fromMiddle(event) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
}

function songAt(event) {
  const [across, down] = fromMiddle(event);
  const [atX, atY] = [view.x + across / view.scale, view.y + down / view.scale];
  let [best, nearest] = [((NEAR[event.pointerType] ?? 12) / view.scale) ** 2, null];
  for (const song of order) {
    const distance = (data.x[song] - atX) ** 2 + (data.y[song] - atY) ** 2;
    if (distance <= best) [best, nearest] = [distance, song];
  }
  return nearest;
}

const fingers = new Map(); // where each pointer that is down was last
let moved = 0; // pixels since the first was pressed

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  if (!fingers.size) moved = 0;
  fingers.set(event.pointerId, fromMiddle(event));
});
canvas.addEventListener("pointermove", (event) => {
  const [across, down] = fromMiddle(event);
  const before = fingers.get(event.pointerId);
  if (!before) return showTip(event);
  moved += Math.hypot(across - before[0], down - before[1]);
  if (fingers.size === 1) pan(across - before[0], down - before[1]);
  if (fingers.size === 2) {
    const [[, other]] = [...fingers].filter(([id]) => id !== event.pointerId);
    const old = Math.hypot(before[0] - other[0], before[1] - other[1]);
    const now = Math.hypot(across - other[0], down - other[1]);
    pan((across - before[0]) / 2, (down - before[1]) / 2);
    zoom(now / Math.max(old, 1), (across + other[0]) / 2, (down + other[1]) / 2);
  }
  fingers.set(event.pointerId, [across, down]);
});
canvas.addEventListener("pointerup", (event) => {
  if (fingers.delete(event.pointerId) && !fingers.size && moved < 6) select(songAt(event));
});
canvas.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
canvas.addEventListener("pointerleave", () => { byId("tip").hidden = true; });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const pixels = event.deltaY * (event.deltaMode ? 30 : 1);
  zoom(1.002 ** -pixels, ...fromMiddle(event));
}, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const arrows = {
    ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60],
  };
  if (arrows[event.key]) pan(...arrows[event.key]);
  else if ("+=".includes(event.key)) zoom(1.4);
  else if (event.key === "-") zoom(1 / 1.4);
  else if (event.key === "Escape") select(null);
  else return;
  event.preventDefault();
});
byId("nearer").addEventListener("click", () => zoom(1.6));
byId("farther").addEventListener("click", () => zoom(1 / 1.6));
byId("whole").addEventListener("click", fit);

// --- songs ------------------------------------------------------------------------------

function showTip(event) {
  const song = songAt(event);
  const tip = byId("tip");
  canvas.style.cursor = song === null ? "grab" : "pointer";
  tip.hidden = song === null;
  if (song === null) return;
  tip.textContent = data.ids[song];
  const [across, down] = fromMiddle(event);
  const rightHalf = across > 0;
  tip.style.left = rightHalf ? "" : `${across + canvas.clientWidth / 2 + 14}px`;
  tip.style.right = rightHalf ? `${canvas.clientWidth / 2 - across + 14}px` : "";
  tip.style.top = `${down + canvas.clientHeight / 2 + (down > 0 ? -34 : 14)}px`;
}

function select(song) {
  selected = song;
  redraw();
  byId("player").pause();
  byId("card").hidden = song === null;
  if (song === null) return;
  byId("song").textContent = data.ids[song];
  byId("facts").replaceChildren(...data.colourings.filter((one) => one.texts[song] !== null)
    .flatMap((one) => [element("dt", one.title), element("dd", one.texts[song])]));
  byId("player").src = byId("file").href = data.files[song];
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

function search() {
  const text = byId("search").value.trim().toLowerCase();
  const songs = data.ids.map((_, song) => song);
  matches = text ? songs.filter((song) => lowerIds[song].includes(text)) : null;
  byId("found").hidden = !matches;
  byId("found").replaceChildren(...(matches ?? []).slice(0, MOST_FOUND).map((song) => {
    const item = document.createElement("li");
    const button = element("button", data.ids[song]);
    button.type = "button";
    button.addEventListener("click", () => goTo(song));
    item.append(button);
    return item;
  }));
  if (matches && (!matches.length || matches.length > MOST_FOUND)) {
    const rest = `and ${matches.length - MOST_FOUND} more`;
    byId("found").append(element("li", matches.length ? rest : "no song has that in its name"));
  }
  redraw();
}

function goTo(song) {
  byId("found").hidden = true;
  byId("search").blur(); // a phone's keyboard would cover the map
  [view.x, view.y] = [data.x[song], data.y[song]];
  view.scale = Math.max(view.scale, 3 * least);
  select(song);
  const card = byId("card"); // on a phone it covers the lower half
  if (card.offsetWidth > canvas.clientWidth / 2) view.y += card.offsetHeight / 2 / view.scale;
}

byId("search").addEventListener("input", search);
byId("search").addEventListener("focus", search);
byId("search").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && matches?.length) goTo(matches[0]);
  if (event.key === "Escape") { byId("search").value = ""; search(); }
});
byId("close").addEventListener("click", () => select(null));

// --- the legend -------------------------------------------------------------------------

function showLegend() {
  const sizes = sortSongs();
  byId("classes").replaceChildren(...colouring.classes.map((paint, number) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", String(!hidden.has(number)));
    const name = element("span", paint.name);
    button.append(stamp(paint, 5, 2), name, element("small", sizes[number]));
    button.addEventListener("click", () => {
      if (!hidden.delete(number)) hidden.add(number);
      showLegend();
      byId("classes").querySelectorAll("button")[number].focus();
    });
    item.append(button);
    return item;
  }));
  byId("toggle").textContent = hidden.size ? "show all" : "hide all";
}

byId("toggle").addEventListener("click", () => {
  hidden = new Set(hidden.size ? [] : colouring.classes.keys());
  showLegend();
});
byId("colouring").append(...colourings.map((one) => element("option", one.title)));
byId("colouring").addEventListener("change", (event) => {
  colouring = colourings[event.target.selectedIndex];
  hidden = new Set();
  showLegend();
});
dark.addEventListener("change", showLegend);
new ResizeObserver(() => {
  canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
  canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
  if (showsAll()) fit(); // at first, and when a phone is turned
  draw();
  canvas.dataset.sized = "yes";
}).observe(canvas);
showLegend();
