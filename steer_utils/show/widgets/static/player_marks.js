// What all canvases share: sizes, ticks, and how the located, the true and other intervals are drawn.

function fitted(canvas, width, tall) { // a context in CSS pixels, sharp on any screen
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(tall * ratio);
  canvas.style.height = `${tall}px`;
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, tall);
  return pen;
}

const frameOf = (width) => ({ left: 56, right: width - 12 });

function timeAxis({ left, right }, { duration }) { // seconds -> pixels; the last token can end after the sound
  return (seconds) => left + ((right - left) * Math.min(Math.max(0, seconds), duration)) / duration;
}

function ticksOf(low, high, most) { // round numbers inside [low, high]
  const rough = (high - low) / Math.max(1, most), power = 10 ** Math.floor(Math.log10(rough || 1));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough) ?? power;
  const made = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9; i++) made.push(+(i * step).toPrecision(6));
  return made;
}

function marksOf(details, located) { // what is drawn over the sound: located, true, then the other events
  const marks = [], truth = details.truth;
  const same = (a, b) => Math.abs(a[0] - b[0]) < 1e-6 && Math.abs(a[1] - b[1]) < 1e-6;
  if (located) marks.push({ kind: "located", label: "located", start: located[0], end: located[1] });
  const named = details.events.find(([, start, end]) => truth && same([start, end], truth));
  if (truth) marks.push({ kind: "true", label: named ? `${named[0]}, true` : "true", start: truth[0], end: truth[1] });
  for (const each of details.events) {
    if (each !== named) marks.push({ kind: "event", label: each[0], start: each[1], end: each[2] });
  }
  return marks;
}

function placed(pen, marks, x, edge) { // a row for each mark, so that no label touches another
  const rows = [];
  for (const mark of marks) {
    const [a, b] = [x(mark.start), x(mark.end)];
    mark.text = shortened(pen, mark.label, edge.right - edge.left);
    const wide = pen.measureText(mark.text).width + 6;
    mark.middle = Math.min(Math.max((a + b) / 2, edge.left + wide / 2), edge.right - wide / 2);
    const taken = [Math.min(a, mark.middle - wide / 2), Math.max(b, mark.middle + wide / 2)];
    mark.row = rows.findIndex((row) => row.every(([from, to]) => taken[0] > to + 2 || taken[1] < from - 2));
    if (mark.row < 0) mark.row = rows.push([]) - 1;
    rows[mark.row].push(taken);
  }
  return rows.length;
}

function shortened(pen, text, wide) {
  if (pen.measureText(text).width <= wide - 8) return text;
  let kept = [...text];
  while (kept.length > 1 && pen.measureText(`${kept.join("")}…`).width > wide - 8) kept = kept.slice(0, -1);
  return `${kept.join("")}…`;
}

const DASHES = { located: [], true: [6, 3], event: [1.5, 2.5] };
const inkOf = (kind, colours) => ({ located: colours.found, true: colours.truth, event: colours.soft })[kind];

function drawBar(pen, mark, a, b, top, colours) { // located: solid; true: hatched; event: a dotted outline
  const tall = 6, colour = inkOf(mark.kind, colours);
  pen.save();
  pen.strokeStyle = pen.fillStyle = colour;
  if (mark.kind === "located") pen.fillRect(a, top, b - a, tall);
  else {
    pen.lineWidth = 1;
    pen.setLineDash(mark.kind === "event" ? DASHES.event : []);
    pen.strokeRect(a + 0.5, top + 0.5, Math.max(1, b - a - 1), tall - 1);
  }
  if (mark.kind === "true") {
    pen.beginPath();
    pen.rect(a, top, b - a, tall);
    pen.clip();
    pen.beginPath();
    for (let x = a - tall; x < b; x += 5) { pen.moveTo(x, top + tall); pen.lineTo(x + tall, top); }
    pen.lineWidth = 1.4;
    pen.stroke();
  }
  pen.restore();
}

function drawEdges(pen, marks, x, top, bottom, colours) {
  pen.save();
  for (const mark of marks) {
    pen.strokeStyle = inkOf(mark.kind, colours);
    pen.lineWidth = mark.kind === "located" ? 1.6 : 1.1;
    pen.setLineDash(DASHES[mark.kind]);
    for (const at of [x(mark.start), x(mark.end)]) {
      pen.beginPath();
      pen.moveTo(at, top);
      pen.lineTo(at, bottom);
      pen.stroke();
    }
  }
  pen.restore();
}

function coloursOf(root) { // the style sheet's colours as the browser resolves them here and now
  const probe = document.createElement("span");
  probe.hidden = true;
  root.append(probe);
  const resolved = (name) => {
    probe.style.color = `var(--steer-${name})`;
    return getComputedStyle(probe).color;
  };
  const names = ["ink", "soft", "paper", "rule", "found", "truth"];
  const made = Object.fromEntries(names.map((name) => [name, resolved(name)]));
  probe.remove();
  const numbers = (text) => (text.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
  made.paperRgb = numbers(made.paper).slice(0, 3);
  const [r, g, b, alpha = 1] = numbers(made.ink); // JupyterLab's ink is black at 87 %
  made.inkRgb = [r, g, b].map((each, c) => each * alpha + made.paperRgb[c] * (1 - alpha));
  made.foundRgb = numbers(made.found).slice(0, 3);
  made.truthRgb = numbers(made.truth).slice(0, 3);
  made.font = `12px ${getComputedStyle(root).fontFamily}`;
  return made;
}

const luminance = (rgb) => {
  const linear = (part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const [r, g, b] = rgb.map((each) => linear(each / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (a, b) => { // of WCAG
  const [one, other] = [luminance(a), luminance(b)];
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
};
const css = (rgb) => `rgb(${rgb.map(Math.round).join(" ")})`;
