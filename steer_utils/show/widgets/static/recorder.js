// The recorder in a browser: microphone -> AudioWorklet -> mono float32, sent to the kernel as bytes with its rate.
//
// Nothing is stored or sent anywhere else, and the microphone is let go as soon as recording stops.

const UPLOAD = "Upload a sound file instead.";
const LEVELS = ["silent", "very quiet", "quiet", "good", "loud", "too loud"];

// Runs in the audio thread: passes on what it hears, all channels averaged.
const TAP = `registerProcessor("steer-tap", class extends AudioWorkletProcessor {
  process([channels]) {
    if (channels.length) {
      const mono = new Float32Array(channels[0].length);
      for (const channel of channels) for (let i = 0; i < mono.length; i++) mono[i] += channel[i] / channels.length;
      this.port.postMessage(mono, [mono.buffer]);
    }
    return true;
  }
});`;

function made(tag, attributes = {}, text = "") {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

function why(error) { // a refusal in plain words
  const reason = {
    NotAllowedError: "The browser was not allowed to use the microphone.",
    SecurityError: "The browser does not allow the microphone on this page.",
    NotFoundError: "There is no microphone.",
    NotReadableError: "The microphone is in use by another program.",
  }[error?.name];
  return `${reason ?? `The microphone cannot be used (${error?.message || error}).`} ${UPLOAD}`;
}

function missing() { // what this browser lacks, or ""
  if (!window.isSecureContext) return `A browser lends the microphone to https pages and localhost only. ${UPLOAD}`;
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) return `This browser cannot record. ${UPLOAD}`;
  return "";
}

function levelOf(peak) {
  if (peak >= 0.99) return 5;
  return [1e-6, 0.01, 0.05, 0.6].filter((limit) => peak > limit).length;
}

async function opened(hear) { // -> {rate, close}; `hear` gets each block of samples
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  });
  const context = new AudioContext();
  const close = () => {
    stream.getTracks().forEach((track) => track.stop());
    context.close();
  };
  try {
    const module = URL.createObjectURL(new Blob([TAP], { type: "text/javascript" }));
    await context.audioWorklet.addModule(module).finally(() => URL.revokeObjectURL(module));
    const tap = new AudioWorkletNode(context, "steer-tap", { numberOfOutputs: 0 });
    tap.port.onmessage = ({ data }) => hear(data);
    context.createMediaStreamSource(stream).connect(tap);
    if (context.state !== "running") await context.resume();
    return { rate: context.sampleRate, close };
  } catch (error) {
    close();
    throw error;
  }
}

function render({ model, el }) {
  const button = made("button", { type: "button", "data-steer": "record" });
  const time = made("span", { class: "steer-recorder-time", "data-steer": "recorded" });
  const meter = made("meter", { min: "0", max: "1", low: "0.05", high: "0.98", optimum: "0.5", "aria-hidden": "true" });
  const level = made("span", { "data-steer": "level" });
  const status = made("p", { role: "status", "data-steer": "recorder-status" });
  const row = made("div", { class: "steer-recorder-row" });
  const root = made("div", { class: "steer-recorder", role: "group", "aria-label": "Microphone" });
  row.append(button, time, meter, level);
  root.append(row, status);
  el.append(root);

  let source = null, blocks = [], count = 0, peak = 0, shown = 0, asking = false, gone = false;
  const most = () => Math.floor(model.get("longest") * source.rate);

  function paint() {
    const on = source !== null, longest = model.get("longest");
    button.textContent = on ? "Stop recording" : asking ? "Waiting for the microphone" : `Record (at most ${longest} s)`;
    button.disabled = asking || Boolean(missing());
    time.textContent = on ? `${(count / source.rate).toFixed(1)} s` : "";
    meter.hidden = !on;
    meter.value = peak;
    level.textContent = on ? `level: ${LEVELS[levelOf(peak)]}` : "";
    status.textContent = missing() || model.get("status");
  }

  function tell(text) {
    model.set("status", text);
    paint();
  }

  function hear(samples) {
    if (!source) return;
    blocks.push(samples.subarray(0, Math.max(0, most() - count)));
    count += blocks.at(-1).length;
    for (const each of samples) peak = Math.max(peak, Math.abs(each));
    if (count >= most()) { stop(); return; }
    if (performance.now() - shown > 200) { // a meter, not a flicker
      paint();
      shown = performance.now();
      peak = 0;
    }
  }

  async function start() {
    if (source || asking || missing()) return;
    asking = true;
    [blocks, count, peak] = [[], 0, 0];
    tell("Allow the microphone if the browser asks.");
    try {
      const found = await opened(hear);
      if (gone) { found.close(); return; }
      source = found;
      model.set("recording", true);
      asking = false;
      tell("Recording.");
    } catch (error) {
      asking = false;
      model.set("recording", false);
      tell(why(error));
    }
    model.save_changes();
  }

  function stop() {
    if (!source) return;
    const { rate } = source;
    source.close();
    source = null;
    const whole = new DataView(new ArrayBuffer(4 * count));
    let at = 0;
    for (const block of blocks) for (const each of block) { whole.setFloat32(at, each, true); at += 4; }
    model.set("recording", false);
    if (count) {
      model.set("pcm", whole);
      model.set("rate", Math.round(rate));
      model.set("take", model.get("take") + 1);
      tell(`Recorded ${(count / rate).toFixed(1)} s.`);
    } else tell(`Nothing was recorded. Try again, or: ${UPLOAD}`);
    blocks = [];
    model.save_changes();
  }

  const pressed = () => (source ? stop() : start());
  const asked = () => { if (!model.get("recording") && source) stop(); };
  const keep = (event) => { if (event.key !== "Tab" && !(event.key === "Enter" && event.shiftKey)) event.stopPropagation(); };
  button.addEventListener("click", pressed);
  root.addEventListener("keydown", keep); // Space on the button is not the notebook's
  model.on("change:recording", asked);
  for (const name of ["change:longest", "change:status"]) model.on(name, paint);
  paint();

  return () => {
    gone = true;
    source?.close();
    source = null;
    model.off("change:recording", asked);
    for (const name of ["change:longest", "change:status"]) model.off(name, paint);
    root.remove();
  };
}

export default { render };
