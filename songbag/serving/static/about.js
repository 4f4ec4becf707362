// What the model is: the sheet behind its name.

import { count, element, find, percent } from "./format.js";

function tested(figures) {
  const accuracy = figures.metrics?.accuracy;
  if (!accuracy || accuracy.value === null) {
    return "It was never tested on songs outside its training, so it is not known how often it is right.";
  }
  const range = accuracy.low === null
    ? "" : ` (95 % interval ${percent(accuracy.low)} to ${percent(accuracy.high)})`;
  return `Right on ${percent(accuracy.value)} of ${count(figures.songs, "song")} that were not in training${range}.`;
}

function heardBefore({ name, trained_on: trainedOn, remarks }) {
  return [trainedOn ? `${name}, trained on ${trainedOn}` : name, ...remarks].join(". ");
}

export function showModel(model) {
  const { recipe, labels, limits, split } = model;
  document.title = `Songbag · ${model.name}`;
  find("model-name").textContent = model.name;
  find("figures").textContent = tested(model.figures);
  const shown = labels.slice(0, 12).join(", ");
  const more = labels.length > 12 ? ` and ${labels.length - 12} more` : "";
  find("knows").textContent = `This model tells apart ${shown}${more}.`;
  const cut = recipe.excerpt.seconds;
  const facts = {
    Labels: labels.join(", "),
    Windows: `${recipe.windows.seconds} s, one every ${recipe.windows.hop_seconds} s` +
      (cut ? `, of the ${recipe.excerpt.place} ${cut} s` : ""),
    Network: `${recipe.training.network}, pooled by ${recipe.training.pooling.replaceAll("_", " ")}`,
    Features: `${recipe.sound.feature}, ${recipe.sound.sample_rate / 1000} kHz`,
    ...(model.encoder && { Encoder: heardBefore(model.encoder) }),
    Split: split ? `${split.method}; ${split.groups} groups` : "none",
    Accepts: `files up to ${limits.megabytes} MB, ${limits.hours} h of sound`,
    Model: model.hash,
  };
  const rows = Object.entries(facts).flatMap(([name, value]) => [
    element("dt", { textContent: name }),
    element("dd", { textContent: value }),
  ]);
  find("facts").replaceChildren(...rows);
}
