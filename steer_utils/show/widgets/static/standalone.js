// The player without a kernel: all that there is was saved by standalone.py, which joins this to the player's parts.
//
// A host holds a picture (all that is seen where scripts are off) and json. Sound is Ogg/Opus, curves are float16, both
// in base64; the spectrogram is read off the picture. Nothing is fetched, nothing is worked out that was not measured:
// the strength moves in the steps that were read, and each has its interval.

function savedModel(state) { // what a view and an engine ask of a widget's model
  const reactions = new Map();
  return {
    get: (name) => state[name],
    set(name, value) {
      if (state[name] === value) return;
      state[name] = value;
      for (const react of reactions.get(`change:${name}`) ?? []) react();
    },
    save_changes() {},
    on(event, react) {
      if (!reactions.has(event)) reactions.set(event, new Set());
      reactions.get(event).add(react);
    },
    off(event, react) { reactions.get(event)?.delete(react); },
  };
}

const decoded = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

async function soundOf({ sound, samples, details }) { // 16-bit PCM, as many samples as there were
  const context = new OfflineAudioContext(1, 1, details.rate);
  const heard = (await context.decodeAudioData(decoded(sound).buffer)).getChannelData(0);
  const pcm = new Int16Array(samples);
  for (let i = 0; i < Math.min(samples, heard.length); i++) {
    pcm[i] = Math.round(32767 * Math.min(1, Math.max(-1, heard[i])));
  }
  return new Uint8Array(pcm.buffer);
}

async function spectrogramOf(picture) { // the picture is white where it is quiet, and has its high bands on top
  await picture.decode();
  const { naturalWidth: frames, naturalHeight: bands } = picture, canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [frames, bands];
  const pen = canvas.getContext("2d");
  pen.drawImage(picture, 0, 0);
  const { data } = pen.getImageData(0, 0, frames, bands), mel = new Uint8Array(bands * frames);
  for (let band = 0; band < bands; band++) {
    for (let at = 0; at < frames; at++) mel[band * frames + at] = 255 - data[4 * ((bands - 1 - band) * frames + at)];
  }
  return mel;
}

function controlsOf(saved, id, choose) {
  const query = made("select", { id: `${id}-query`, "data-steer": "query" },
    ...saved.queries.map(({ details }, place) => made("option", { value: place }, details.title)));
  query.value = saved.first;
  const strength = made("input", {
    type: "range", id: `${id}-strength`, min: 0, max: saved.strengths.length - 1, step: 1, "data-steer": "strength",
  });
  strength.value = saved.own;
  const number = made("output", { for: `${id}-strength`, "data-steer": "strength-number" });
  const chosen = () => {
    const step = Number(strength.value), words = saved.strengths[step].toFixed(2);
    number.textContent = words + (step === saved.own ? ", as it is set" : "");
    strength.setAttribute("aria-valuetext", `strength ${number.textContent}`);
    choose(saved.queries[Number(query.value)], step);
  };
  query.addEventListener("change", chosen);
  strength.addEventListener("input", chosen);
  const bar = made("div", { class: "steer-player steer-saved-controls", role: "group", "aria-label": "Steering" },
    made("label", { for: `${id}-query` }, "Sound that is sought"), query,
    made("label", { for: `${id}-strength` }, "Strength"), strength, number);
  bar.addEventListener("keydown", (event) => { // an open notebook has its own meaning for arrows and letters
    if (event.key !== "Tab" && event.key !== "Escape") event.stopPropagation();
  });
  return { bar, chosen };
}

function overlapWords(found, truth) {
  if (!found || !truth) return "";
  const shared = Math.min(found[1], truth[1]) - Math.max(found[0], truth[0]);
  return `overlap ${Math.round((100 * Math.max(0, shared)) / (truth[1] - truth[0]))} %`;
}

let hosts = 0; // makes names of controls unique on a page

async function mountSaved(host) {
  host.dataset.mounted = "";
  const saved = JSON.parse(host.querySelector("script").textContent), id = `steer-saved-${hosts++}`;
  const curves = decoded(saved.curves), bytesOfOne = 2 * saved.details.tokens;
  const mel = await spectrogramOf(host.querySelector("img"));
  const sound = await soundOf(saved).catch(() => null);
  const model = savedModel({
    sound: sound ?? new Uint8Array(2), mel, curves: null, details: saved.details, block: null, head: null,
    curve: saved.details.read, playhead: 0, playing: false, located_start: null, located_end: null, status: "",
  });

  function choose(query, step) { // the plain curve comes first, then each query's, strength by strength
    const place = 1 + saved.queries.indexOf(query) * saved.strengths.length + step, both = new Uint8Array(2 * bytesOfOne);
    both.set(curves.subarray(0, bytesOfOne));
    both.set(curves.subarray(place * bytesOfOne, (place + 1) * bytesOfOne), bytesOfOne);
    const found = query.located[step], details = { ...saved.details, ...query.details };
    if (model.get("details").title !== details.title || !model.get("curves")) model.set("details", details);
    model.set("curves", both);
    model.set("located_start", found ? found[0] : null);
    model.set("located_end", found ? found[1] : null);
    const words = overlapWords(found, details.truth);
    model.set("status", sound ? [query.words, words].filter(Boolean).join("; ")
      : "This browser does not play Ogg/Opus: the picture moves, without sound.");
  }

  const { bar, chosen } = controlsOf(saved, id, choose), place = document.createElement("div");
  chosen();
  host.append(bar, place);
  createView(model, place, createEngine(model));
  host.querySelector("figure").hidden = true;
  host.dataset.mounted = "yes";
}

for (const host of document.querySelectorAll(".steer-saved:not([data-mounted])")) {
  mountSaved(host).catch((error) => console.error(`The player could not be shown: ${error}`)); // the picture stays
}

if (window.parent !== window) { // in a frame, as in a report on a folder: whoever holds it learns how tall it must be
  const tell = () => window.parent.postMessage({ steerHeight: document.documentElement.offsetHeight }, "*");
  new ResizeObserver(tell).observe(document.documentElement);
}
