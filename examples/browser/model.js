// A model file from `songbag export`, run with onnxruntime-web alone.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

ort.env.wasm.numThreads = 1; // more need cross-origin isolation

// Open a model from its bytes: what it says about itself, and a way to ask it.
export async function openModel(bytes) {
  const about = metadata(bytes);
  const session = await ort.InferenceSession.create(bytes);
  return {
    labels: JSON.parse(about["songbag.labels"]),
    sampleRate: JSON.parse(about["songbag.sample_rate"]),
    windowSeconds: JSON.parse(about["songbag.window_seconds"]),
    recipe: about["songbag.recipe"],
    // {probabilities, window_probabilities (one array a window), starts_seconds, ...}
    async classify(waveform) {
      const found = await session.run({ waveform: new ort.Tensor("float32", waveform, [waveform.length]) });
      return Object.fromEntries(Object.entries(found).map(([name, value]) => [name, rows(value)]));
    },
  };
}

function rows({ data, dims }) {
  if (dims.length < 2) return Array.from(data);
  const [count, width] = dims;
  return Array.from({ length: count }, (_, row) => Array.from(data.subarray(row * width, (row + 1) * width)));
}

// onnxruntime-web does not show a model's metadata, so they are read from the file: an ONNX
// file is a protocol buffer, and field 14 of it holds pairs of key (1) and value (2).
function metadata(bytes) {
  const text = new TextDecoder();
  const found = {};
  for (const [field, pair] of fields(bytes)) {
    if (field !== 14) continue;
    const { 1: key, 2: value } = Object.fromEntries(fields(pair));
    found[text.decode(key)] = value ? text.decode(value) : "";
  }
  if (!("songbag.labels" in found)) throw new Error("this file was not written by songbag export");
  return found;
}

function* fields(bytes) {
  let at = 0;
  const number = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      if (at >= bytes.length) throw new Error("this is not an ONNX file");
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = number();
    const [field, kind] = [Math.floor(tag / 8), tag % 8];
    if (kind === 0) yield [field, number()];
    else if (kind === 2) {
      const length = number();
      yield [field, bytes.subarray(at, (at += length))];
    } else throw new Error("this is not an ONNX file");
  }
}
