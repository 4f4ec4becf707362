// Numbers and times as text. Times are those of the server.

export function time(seconds, decimals = 0) {
  const rounded = Number(Math.max(0, seconds).toFixed(decimals));
  const minutes = Math.floor(rounded / 60);
  const rest = (rounded - 60 * minutes).toFixed(decimals).padStart(decimals ? 3 + decimals : 2, "0");
  if (minutes < 60) return `${minutes}:${rest}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

export function percent(share, decimals = 0) {
  if (share === null || share === undefined) return "–";
  const value = 100 * share;
  if (value > 99 && value < 100) return `${Math.min(99.9, value).toFixed(1)}\u00a0%`;
  if (value > 0 && value < 1) return value < 0.1 ? "<\u00a00.1\u00a0%" : `${value.toFixed(1)}\u00a0%`;
  return `${value.toFixed(decimals)}\u00a0%`;
}

export function signed(value) {
  const digits = Math.abs(value) < 0.0995 ? 3 : 2;
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
}

export function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

// The answer in words; of several labels a song, the set as people write one.
export function verdict(row) {
  if (row.status === "unknown") return "unknown";
  const single = row[`p_${row.predicted}`] !== undefined;
  return single ? row.predicted : (row.predicted || "none of the labels").split(";").join(", ");
}

// Only as text, never as HTML: names of files and labels are not trusted.
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || name === "role" || name === "scope" || name === "for") {
      node.setAttribute(name, value);
    } else {
      node[name] = value;
    }
  }
  node.append(...children);
  return node;
}

export const find = (id) => document.getElementById(id);
