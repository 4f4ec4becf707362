// A song's bytes to mono samples at a model's rate, as the library hears them.
//
// A browser resamples while it decodes, with a short filter that is already falling well below
// the highest band a model hears: window probabilities then differ by up to 0.7. So the song
// is decoded at its own rate and resampled here, with a filter like soxr's.

const REJECTION = 126; // dB, as soxr's high quality
const PASSBAND = 0.913; // of the lower half rate: nothing below is touched, nothing beyond 1 kept

export async function decode(bytes, sampleRate) {
  const own = ownRate(bytes) ?? 96000; // twice what songs have: the browser's filter does no harm
  const context = new OfflineAudioContext(1, 1, own);
  const sound = await context.decodeAudioData(bytes);
  const mono = new Float32Array(sound.length);
  for (let channel = 0; channel < sound.numberOfChannels; channel++) {
    const samples = sound.getChannelData(channel);
    for (let n = 0; n < mono.length; n++) mono[n] += samples[n] / sound.numberOfChannels;
  }
  return resample(mono, own, sampleRate);
}

// The rate a file states, in Hz; null where it is not found.
export function ownRate(bytes) {
  const view = new DataView(bytes);
  const head = String.fromCharCode(...new Uint8Array(bytes.slice(0, 4096)));
  if (head.startsWith("RIFF")) return view.getUint32(24, true);
  if (head.startsWith("fLaC")) return view.getUint32(18) >>> 12;
  if (head.includes("OpusHead")) return 48000;
  if (head.includes("\x01vorbis")) return view.getUint32(head.indexOf("\x01vorbis") + 12, true);
  return head.startsWith("ftyp", 4) ? mp4Rate(view) : mp3Rate(view);
}

// In the description of the samples, a box "stsd" somewhere: its first entry states the rate.
function mp4Rate(view) {
  for (let at = 0; at + 46 < view.byteLength; at++) {
    if (view.getUint32(at) === 0x73747364 && view.getUint32(at + 16) === 0x6d703461) {
      return view.getUint16(at + 44) || null;
    }
  }
  return null;
}

function mp3Rate(view) {
  let at = 0;
  if (view.byteLength > 10 && view.getUint32(0) >>> 8 === 0x494433) { // ID3: 28 bits of length
    at = 10 + [6, 7, 8, 9].reduce((size, place) => size * 128 + view.getUint8(place), 0);
  }
  if (at + 4 > view.byteLength) return null;
  const header = view.getUint32(at);
  const [version, layer, rate] = [(header >>> 19) & 3, (header >>> 17) & 3, (header >>> 10) & 3];
  if (header >>> 21 !== 0x7ff || version === 1 || layer !== 1 || rate === 3) return null;
  return [44100, 48000, 32000][rate] / { 3: 1, 2: 2, 0: 4 }[version];
}

// Resample by a windowed sinc, one row of the table for each place between two samples.
export function resample(samples, from, to) {
  if (from === to) return samples;
  const divisor = gcd(from, to);
  const [up, down] = [to / divisor, from / divisor];
  const { half, rows } = filter(up, down);
  const found = new Float32Array(Math.round((samples.length * up) / down));
  for (let n = 0; n < found.length; n++) {
    const first = Math.floor((n * down) / up) - half + 1;
    const row = rows[(n * down) % up];
    const [low, high] = [Math.max(0, -first), Math.min(row.length, samples.length - first)];
    let sum = 0;
    for (let k = low; k < high; k++) sum += row[k] * samples[first + k];
    found[n] = sum;
  }
  return found;
}

function filter(up, down) {
  const narrow = Math.min(1, up / down); // the lower half rate, of the input's
  const cut = (narrow * (1 + PASSBAND)) / 2;
  // Kaiser's formulas for the length and the shape of a window
  const half = Math.ceil((REJECTION - 8) / (2.285 * Math.PI * (1 - PASSBAND) * narrow) / 2);
  const beta = 0.1102 * (REJECTION - 8.7);
  const rows = Array.from({ length: up }, (_, phase) => {
    return Float64Array.from({ length: 2 * half }, (_, k) => {
      const time = k - half + 1 - phase / up;
      const inside = Math.max(0, 1 - (time / half) ** 2);
      const sinc = time === 0 ? 1 : Math.sin(Math.PI * cut * time) / (Math.PI * cut * time);
      return (cut * sinc * bessel(beta * Math.sqrt(inside))) / bessel(beta);
    });
  });
  return { half, rows };
}

// The modified Bessel function of order zero, by its series.
function bessel(x) {
  let [sum, term] = [1, 1];
  for (let k = 1; term > 1e-12 * sum; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

function gcd(a, b) {
  return b ? gcd(b, a % b) : a;
}
