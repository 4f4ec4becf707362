// The waveform, in the colours of the contributions, and its sound.

import WaveSurfer from "./vendor/wavesurfer.esm.js";
import { overTime, palette, strength } from "./colours.js";

const BAR = 3; // pixels of a bar and its gap

export class Wave {
  constructor(place, nonce, on) {
    this.place = place;
    this.nonce = nonce;
    this.on = on;
    this.surfer = null;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  // `windows` have begin and finish in seconds of the file; `values` one number each.
  show(file, recording, windows) {
    this.close();
    Object.assign(this, { windows, values: null, seconds: recording.seconds });
    this.audio = new Audio(URL.createObjectURL(file));
    this.audio.preload = "metadata";
    this.surfer = WaveSurfer.create({
      container: this.place,
      media: this.audio,
      peaks: [recording.peaks],
      duration: recording.seconds,
      height: "auto",
      progressColor: "transparent",
      cursorColor: getComputedStyle(document.documentElement).getPropertyValue("--ink"),
      cursorWidth: 1,
      normalize: true,
      hideScrollbar: true,
      cspNonce: this.nonce,
      renderFunction: (channels, context) => this.paint(channels[0], context),
    });
    this.surfer.on("timeupdate", (seconds) => this.on.time(seconds));
    this.surfer.on("interaction", (seconds) => this.on.seek(seconds));
    for (const name of ["play", "pause", "finish"]) this.surfer.on(name, () => this.on.state());
    const { audio } = this; // one that was closed may still fail
    audio.addEventListener("error", () => audio === this.audio && this.on.unplayable());
  }

  colour(windows, values, scale) {
    Object.assign(this, { windows, values, scale });
    this.draw();
  }

  draw() {
    const cursorColor = getComputedStyle(document.documentElement).getPropertyValue("--ink");
    this.surfer?.setOptions({ cursorColor });
  }

  paint(peaks, context) {
    const { width, height } = context.canvas;
    const pixel = window.devicePixelRatio || 1;
    const step = BAR * pixel;
    const bars = Math.max(1, Math.floor(width / step));
    const colours = palette();
    const means = this.values && overTime(this.windows, this.values, this.seconds, bars);
    const loudest = Math.max(...peaks, 1e-6);
    for (let bar = 0; bar < bars; bar++) {
      const first = Math.floor((bar * peaks.length) / bars);
      const last = Math.max(first + 1, Math.floor(((bar + 1) * peaks.length) / bars));
      let peak = 0;
      for (let k = first; k < last; k++) peak = Math.max(peak, Math.abs(peaks[k] || 0));
      const tall = Math.max(2 * pixel, (peak / loudest) * height * 0.96);
      const box = [(bar * width) / bars, (height - tall) / 2, step * 0.66, tall];
      context.globalAlpha = 1;
      context.fillStyle = colours.rest;
      fill(context, box, pixel);
      const mean = means ? means[bar] : NaN;
      if (!Number.isFinite(mean)) continue;
      context.globalAlpha = strength(mean, this.scale);
      context.fillStyle = mean < 0 ? colours.negative : colours.positive;
      fill(context, box, pixel);
    }
    context.globalAlpha = 1;
  }

  get playing() {
    return Boolean(this.surfer?.isPlaying());
  }

  get now() {
    return this.surfer?.getCurrentTime() ?? 0;
  }

  toggle() {
    this.surfer?.playPause().catch(() => this.on.unplayable());
  }

  // Plays if the browser lets a page play by itself.
  start() {
    return this.surfer?.play().catch(() => {});
  }

  hear(begin, finish) {
    this.surfer?.play(begin, finish).catch(() => this.on.unplayable());
  }

  seek(seconds) {
    this.surfer?.setTime(seconds);
  }

  close() {
    this.surfer?.destroy();
    this.surfer = null;
    if (this.audio) {
      this.audio.pause();
      URL.revokeObjectURL(this.audio.src);
      this.audio = null;
    }
  }
}

function fill(context, [x, y, width, height], pixel) {
  context.beginPath();
  context.roundRect(x, y, width, height, pixel);
  context.fill();
}
