// From contributions to colours.

const largest = (windows, label) =>
  windows.reduce((most, row) => Math.max(most, Math.abs(row[`contribution_${label}`])), 0);

// What fills a bar: the label's own largest contribution, unless the label hardly matters
// beside the others, whose bars it must not outgrow.
export function scaleOf(windows, label, labels) {
  const overall = Math.max(...labels.map((name) => largest(windows, name)));
  return Math.max(largest(windows, label), overall / 5) || 1;
}

// 0 to 1, with small contributions lifted a little so that they can be seen.
export const strength = (value, scale) => Math.min(1, Math.abs(value) / scale) ** 0.8;

// The mean contribution of the windows over each of `count` equal spans; NaN where none is.
export function overTime(windows, values, seconds, count) {
  const sums = new Float64Array(count + 1);
  const covers = new Float64Array(count + 1);
  windows.forEach((row, k) => {
    const first = Math.max(0, Math.round((count * row.begin) / seconds));
    const last = Math.min(count, Math.round((count * row.finish) / seconds));
    if (last <= first) return;
    sums[first] += values[k];
    sums[last] -= values[k];
    covers[first] += 1;
    covers[last] -= 1;
  });
  const means = new Float64Array(count);
  let sum = 0;
  let cover = 0;
  for (let k = 0; k < count; k++) {
    sum += sums[k];
    cover += covers[k];
    means[k] = cover > 0.5 ? sum / cover : NaN;
  }
  return means;
}

export function palette() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return { positive: read("--for"), negative: read("--against"), rest: read("--wave") };
}
