// Bytes to numbers (the other end of payloads.py), and numbers to words.

function bytes(value) { // a DataView (ipywidgets), a typed array or a buffer
  if (!value) return new Uint8Array(0);
  return value.buffer ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : new Uint8Array(value);
}

function int16(value) {
  const view = new DataView(bytes(value).slice().buffer);
  return Int16Array.from({ length: view.byteLength >> 1 }, (_, i) => view.getInt16(2 * i, true));
}

function half(bits) { // IEEE float16
  const exponent = (bits >> 10) & 31, fraction = bits & 1023, sign = bits >> 15 ? -1 : 1;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : (2 ** -14 * fraction) / 1024);
}

function decodedCurves(value, details) { // label -> {gained, values: Float32Array (blocks, heads, tokens)}
  const raw = bytes(value), size = details.blocks * details.heads * details.tokens;
  const made = new Map();
  let at = 0;
  for (const { label, gained, minus } of details.curves.filter((each) => !each.minus.length)) {
    const values = new Float32Array(size);
    for (let i = 0; i < size; i++, at += 2) values[i] = half(raw[at] | (raw[at + 1] << 8));
    made.set(label, { label, gained, values });
  }
  const all = new Map();
  for (const { label, gained, minus } of details.curves) {
    if (!minus.length) { all.set(label, made.get(label)); continue; }
    const [first, second] = minus.map((name) => made.get(name).values);
    all.set(label, { label, gained, values: first.map((each, i) => each - second[i]) });
  }
  return all;
}

function cellsOf(details, block, head) { // as Listening.cells
  if (block === null && head === null) return details.read_cells;
  const blocks = block === null ? [...Array(details.blocks).keys()] : [block];
  const heads = head === null ? [...Array(details.heads).keys()] : [head];
  return blocks.flatMap((b) => heads.map((h) => [b, h]));
}

function meanCurve(track, details, cells) { // (tokens,), in units of its own even share; a difference as it is
  const { tokens, heads } = details, made = new Float64Array(tokens);
  for (const [b, h] of cells) {
    const first = (b * heads + h) * tokens;
    for (let t = 0; t < tokens; t++) made[t] += track.values[first + t] / cells.length;
  }
  if (track.gained) return made;
  const mean = made.reduce((sum, each) => sum + each, 0) / tokens;
  return mean > 0 ? made.map((each) => each / mean) : made;
}

function inside(values, details, span) { // the mean over the tokens whose middle lies in [start, end)
  let sum = 0, count = 0;
  for (let t = 0; t < values.length; t++) {
    const middle = (t + 0.5) * details.token_seconds;
    if (middle >= span[0] && middle < span[1]) { sum += values[t]; count += 1; }
  }
  return count ? sum / count : 0;
}

function checksum(text) { // FNV-1a: tells a test, or a curious reader, whether what is drawn has changed
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return hash.toString(16).padStart(8, "0");
}

const said = (from, to, start = 0) => `${(from + start).toFixed(2)}-${(to + start).toFixed(2)} s`; // `start`: details

function height(value, gained) {
  return gained ? `${value < 0 ? "lost" : "gained"} ${Math.abs(value).toFixed(1)} even shares`
    : `${value.toFixed(1)} times even share`;
}

function choiceWords(details, block, head) {
  if (details.blocks * details.heads === 1) { // it came as one, of no block or head
    return !details.range ? "the method's own curve" : "read as the settings say";
  }
  if (block !== null && head !== null) return `block ${block}, head ${head}`;
  if (block !== null) return `block ${block}, mean of its heads`;
  if (head !== null) return `head ${head}, mean over blocks`;
  const blocks = [...new Set(details.read_cells.map(([b]) => b))];
  if (details.read_cells.length !== blocks.length * details.heads) {
    return `read-out: ${details.read_cells.length} chosen head${details.read_cells.length === 1 ? "" : "s"}`;
  }
  const [low, high] = [Math.min(...blocks), Math.max(...blocks)];
  if (blocks.length === 1) return `read-out: block ${low}, all heads`;
  const run = high - low + 1 === blocks.length;
  return `read-out: blocks ${run ? `${low} to ${high}` : blocks.join(", ")}, all heads`;
}
