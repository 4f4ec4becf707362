// One bar per window: up speaks for the label, down against it. For the keyboard and screen
// readers it is a slider, so that a song of a thousand windows is one stop of the Tab key.

import { signed, time } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const TALL = 100; // of the drawing's own units; it is stretched to fit

function svgElement(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

export class Chart {
  constructor(svg, on) {
    this.svg = svg;
    this.on = on;
    this.chosen = 0;
    svg.addEventListener("keydown", (event) => this.key(event));
    svg.addEventListener("click", (event) => {
      const box = svg.getBoundingClientRect();
      const seconds = (this.seconds * (event.clientX - box.left)) / box.width;
      this.on.choose(this.nearest(seconds));
      this.on.hear();
    });
  }

  show(windows, seconds) {
    Object.assign(this, { windows, seconds, chosen: 0 });
    this.svg.setAttribute("viewBox", `0 0 ${seconds} ${TALL}`);
    this.svg.setAttribute("aria-valuemin", "1");
    this.svg.setAttribute("aria-valuemax", String(windows.length));
  }

  // The window whose middle is nearest, which is where its bar stands.
  nearest(seconds) {
    let best = 0;
    const middle = (row) => (row.begin + row.finish) / 2;
    this.windows.forEach((row, k) => {
      const before = Math.abs(middle(this.windows[best]) - seconds);
      if (Math.abs(middle(row) - seconds) < before) best = k;
    });
    return best;
  }

  // `values[k]` is null for a window that is left out.
  draw(values, scale, label) {
    Object.assign(this, { values, scale, label });
    const below = values.some((value) => value < 0);
    const above = !below || values.some((value) => value > 0);
    const zero = !below ? TALL - 2 : above ? TALL / 2 : 2;
    const reach = below && above ? TALL / 2 - 2 : TALL - 4;
    const wide = this.step() * 0.82;
    const bars = this.windows.map((row, k) => {
      const value = values[k];
      const tall = value === null ? 3 : Math.max(1.5, (reach * Math.abs(value)) / scale);
      const kind = value === null ? "out" : value < 0 ? "against" : "for";
      return svgElement("rect", {
        x: (row.begin + row.finish - wide) / 2,
        y: value === null ? zero - 1.5 : value < 0 ? zero : zero - tall,
        width: wide,
        height: tall,
        class: k === this.chosen ? `${kind} chosen` : kind,
      });
    });
    const { begin, finish } = this.windows[this.chosen];
    const column = svgElement("rect", {
      x: (begin + finish - this.step()) / 2, y: 0, width: this.step(), height: TALL, class: "column",
    });
    const line = svgElement("rect", { x: 0, y: zero - 0.4, width: this.seconds, height: 0.8, class: "zero" });
    this.svg.replaceChildren(column, line, ...bars);
    this.say();
  }

  step() {
    const [first, second] = this.windows;
    return second ? second.begin - first.begin : first.finish - first.begin;
  }

  choose(number) {
    this.chosen = Math.min(this.windows.length - 1, Math.max(0, number));
    if (this.values) this.draw(this.values, this.scale, this.label);
  }

  say() {
    const row = this.windows[this.chosen];
    const value = this.values[this.chosen];
    const adds = value === null ? "left out" : `${signed(value)} for ${this.label}`;
    const text = `${this.chosen + 1} of ${this.windows.length}, ${time(row.begin, 2)} to ${time(row.finish, 2)}, ${adds}`;
    this.svg.setAttribute("aria-valuenow", String(this.chosen + 1));
    this.svg.setAttribute("aria-valuetext", text);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(2, Math.round(this.windows.length / 10));
    const moves = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: page, PageDown: -page };
    const act = {
      Home: () => this.on.choose(0),
      End: () => this.on.choose(this.windows.length - 1),
      Enter: () => this.on.hear(),
      " ": () => this.on.hear(),
      Delete: () => this.on.leave(),
      Backspace: () => this.on.leave(),
    }[event.key];
    if (event.key in moves) this.on.choose(this.chosen + moves[event.key]);
    else if (act) act();
    else return;
    event.preventDefault();
  }
}
