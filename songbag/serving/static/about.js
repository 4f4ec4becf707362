// What the model says of itself, behind its name.

import { count, element, find, percent } from "./format.js";

function judged(figures) {
  const accuracy = figures.metrics?.accuracy;
  if (!accuracy || accuracy.value === null) {
    return "It was never judged on songs it had not heard, so how often it is right is unknown.";
  }
  const range = accuracy.low === null
    ? "" : ` (95 % interval ${percent(accuracy.low)} to ${percent(accuracy.high)})`;
  return `Right on ${percent(accuracy.value)} of ${count(figures.songs, "song")} it had not heard${range}.`;
}

export function showModel(model) {
  const { recipe, labels, limits, split } = model;
  document.title = `Songbag · ${model.name}`;
  find("model-name").textContent = model.name;
  find("figures").textContent = judged(model.figures);
  const shown = labels.slice(0, 12).join(", ");
  const more = labels.length > 12 ? ` and ${labels.length - 12} more` : "";
  find("knows").textContent = `This model tells apart ${shown}${more}.`;
  const cut = recipe.excerpt.seconds;
  const facts = {
    Labels: labels.join(", "),
    Hears: `${recipe.windows.seconds} s windows every ${recipe.windows.hop_seconds} s` +
      (cut ? `, of the ${recipe.excerpt.place} ${cut} s` : ""),
    Network: `${recipe.training.network}, pooled by ${recipe.training.pooling.replaceAll("_", " ")}`,
    Sound: `${recipe.sound.feature}, ${recipe.sound.sample_rate / 1000} kHz`,
    Split: split ? `${split.method}; ${split.groups} groups` : "none",
    Takes: `files up to ${limits.megabytes} MB, ${limits.hours} h of sound`,
    Model: model.hash,
  };
  const rows = Object.entries(facts).flatMap(([name, value]) => [
    element("dt", { textContent: name }),
    element("dd", { textContent: value }),
  ]);
  find("facts").replaceChildren(...rows);
}
