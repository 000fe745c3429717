// The listening player in a browser: draws what player.py sends, plays the sound, sends back what a reader chooses.
//
// One module, kept in parts that player.py joins (player.PARTS): sound, numbers, marks, drawing, map, page, needle, this
// one, the view, which listens to the model and the engine, redraws, and cleans up after itself; and the widget's entry.
// Without a kernel standalone.js takes the place of the entry, and of the model.

let views = 0; // makes the names of radio groups unique

function createView(model, el, engine) {
  const id = `steer-${views++}-${Math.random().toString(36).slice(2, 9)}`;
  const listeners = new AbortController(), on = { signal: listeners.signal };
  const map = createMap((block, head) => choose(block, head));
  const page = createPage(id, map.element);
  const data = { details: {}, pcm: null, mel: null, tracks: new Map(), located: null, current: null, width: 640 };
  const needle = createNeedle(page, engine, data, on);
  let colours = null, shown = "spectrogram", stale = new Set(), waiting = 0, quiet = 0;

  // -- what a reader does
  const span = (name) => (name === "true" ? data.details.truth : data.located);

  function choose(block, head) {
    model.set("block", block);
    model.set("head", head);
    model.save_changes();
  }

  function playSpan(name) {
    const chosen = span(name);
    if (chosen) engine.playSpan(...chosen);
    else say(name === "true" ? "The true span is not known." : "Nothing is located.");
  }

  function switchShape() {
    shown = shown === "waveform" ? "spectrogram" : "waveform";
    page.shape.textContent = shown === "waveform" ? "Show spectrogram" : "Show waveform";
    say(`Shown: ${shown}.`);
    refresh("size");
  }

  page.play.addEventListener("click", () => engine.toggle(), on);
  page.playLocated.addEventListener("click", () => playSpan("located"), on);
  page.playTrue.addEventListener("click", () => playSpan("true"), on);
  page.shape.addEventListener("click", switchShape, on);
  page.reset.addEventListener("click", () => choose(null, null), on);
  page.which.addEventListener("change", () => refresh("size"), on);
  page.root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.key === "Tab") return;
    if (event.key === "Enter" && event.shiftKey) return; // runs the cell, as everywhere
    event.stopPropagation(); // the notebook has its own meaning for letters, Space and arrows
    const name = { l: "located", t: "true" }[event.key.toLowerCase()];
    if (!name || event.repeat || event.target === page.which) return;
    event.preventDefault();
    playSpan(name);
  }, on);

  function say(text) { // to a screen reader, once things have settled: a slider that moves must not chatter
    clearTimeout(quiet);
    quiet = setTimeout(() => { page.live.textContent = text; }, 300);
  }

  // -- redrawing: many changes at once cost one
  function refresh(what) {
    stale.add(what);
    waiting ||= requestAnimationFrame(() => {
      waiting = 0;
      const changed = stale;
      stale = new Set();
      redraw(changed);
    });
  }

  function redraw(changed) {
    const is = (...names) => changed.has("all") || names.some((name) => changed.has(name));
    if (is("sound")) data.pcm = int16(model.get("sound"));
    if (is("mel")) data.mel = bytes(model.get("mel"));
    if (is("details", "curves")) {
      data.details = model.get("details");
      data.tracks = decodedCurves(model.get("curves"), data.details);
      describe();
    }
    const found = [model.get("located_start"), model.get("located_end")];
    data.located = found.every((each) => typeof each === "number") ? found : null;
    if (is("theme")) colours = coloursOf(page.root);
    words();
    draw();
    needle.show(true);
  }

  function describe() { // what only a new picture changes
    const { title, duration, truth, events, answers, curves, start } = data.details;
    page.title.textContent = title || "Sound";
    page.root.setAttribute("aria-label", `Listening player: ${title || "sound"}`);
    page.truth.textContent = truth ? `true ${said(...truth, start)}` : "";
    page.playTrue.hidden = !truth;
    const sounds = events.map(([name, ...span]) => `${name} ${said(...span, start)}`).join(", ");
    page.picture.textContent = `Sound of ${duration.toFixed(2)} seconds. ${sounds}`;
    page.answers.replaceChildren(...answers.flatMap(([label, text]) =>
      [made("dt", {}, label), made("dd", {}, text || "(nothing)")]));
    radios(page, `${id}-curve`, curves.map(({ label }) => label), model.get("curve"), (label) => {
      model.set("curve", label);
      model.save_changes();
    });
  }

  function words() { // what also changes without a new picture
    const { located, details: { truth, start } } = data;
    const text = located ? `located ${said(...located, start)}` : "nothing located";
    if (page.interval.textContent && page.interval.textContent !== text) say(text);
    page.interval.textContent = text;
    page.playLocated.hidden = !located;
    page.keys.textContent = "Keys: Space plays and pauses, ← → move by 0.1 s (with Shift by 1 s), Home and End" +
      (located ? ", L plays the located span" : "") + (truth ? ", T the true span" : "") + ".";
    page.status.textContent = model.get("status") ?? "";
    for (const radio of page.choices.querySelectorAll("input")) radio.checked = radio.value === model.get("curve");
    options(page.which, [located && "located", truth && "true"].filter(Boolean));
  }

  function draw() {
    const { details } = data;
    data.width = Math.max(280, page.stage.clientWidth || data.width); // 0 while it is not on the page
    for (const canvas of [page.sound, page.curve]) canvas.style.width = `${data.width}px`;
    drawSound(page.sound, data, shown, colours);
    const track = data.tracks.get(model.get("curve")) ?? data.tracks.get(details.read);
    page.curve.hidden = !track;
    page.mapPart.hidden = !track || details.blocks * details.heads < 2 || !page.which.value;
    if (track) drawTrack(track);
    else data.current = null;
    page.needle.style.height = `${page.stage.clientHeight - (track ? 32 : 4)}px`; // down to the time axis
  }

  function drawTrack(track) {
    const { details } = data, block = model.get("block") ?? null, head = model.get("head") ?? null;
    const cells = cellsOf(details, block, head);
    const together = [...data.tracks.values()].filter((each) => each === track || !(track.gained || each.gained));
    const thin = together.filter((each) => each !== track);
    const line = (each) => ({
      label: each.label, values: meanCurve(each, details, cells), thick: each === track,
      dash: [[], [7, 3], [8, 3, 2, 3]][thin.indexOf(each) % 3],
    });
    const lines = [...thin, track].map(line); // the thick one on top
    data.current = { track, values: lines.at(-1).values };
    drawCurves(page.curve, data, lines, track.gained, colours);
    page.curve.dataset.drawn = checksum(lines.map(({ label, thick, values }) =>
      `${label}|${thick}|${Array.from(values, (each) => each.toFixed(3))}`).join("\n"));
    if (!page.mapPart.hidden) {
      map.paint(data, track, span(page.which.value), page.which.value, [block, head], colours);
    }
    tell(track, choiceWords(details, block, head));
    page.reset.disabled = block === null && head === null;
  }

  function tell(track, chosen) {
    const target = data.located ?? data.details.truth, name = data.located ? "located" : "true";
    const level = target ? inside(data.current.values, data.details, target) : 0;
    const text = `${track.label}, ${chosen}${target ? `: ${height(level, track.gained)} in the ${name} span` : ""}`;
    if (page.drawn.textContent && page.drawn.textContent !== text) say(text);
    page.drawn.textContent = text;
  }

  // -- changes from outside
  const synced = [
    "sound", "mel", "curves", "details", "block", "head", "curve", "located_start", "located_end", "status",
  ];
  const changes = synced.map((name) => [`change:${name}`, () => refresh(name)]);
  for (const [name, react] of changes) model.on(name, react);
  const heard = (what) => {
    if (what === "blocked") say("The browser has not started sound yet: press Play.");
    page.play.textContent = engine.playing ? "Pause" : "Play";
    needle.show(what !== "time");
  };
  const unsubscribe = engine.subscribe(heard);
  const sized = new ResizeObserver(() => { // also when the page is first attached, or shown again
    if (page.stage.clientWidth === data.width) return;
    refresh("size");
    refresh("theme"); // colours and fonts are known only once it is on the page
  });
  const themed = new MutationObserver(() => refresh("theme"));
  for (const part of [document.documentElement, document.body]) {
    themed.observe(part, { attributeFilter: ["class", "data-jp-theme-name", "data-jp-theme-light", "data-theme"] });
  }
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => refresh("theme"), on);
  const density = () => window.matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`)
    .addEventListener("change", () => { refresh("size"); density(); }, { once: true, ...on });
  density(); // zooming, or another screen

  el.append(page.root);
  redraw(new Set(["all"]));
  heard("playing"); // another view may have started it
  sized.observe(page.root);

  return () => {
    listeners.abort();
    for (const [name, react] of changes) model.off(name, react);
    unsubscribe();
    sized.disconnect();
    themed.disconnect();
    cancelAnimationFrame(waiting);
    clearTimeout(quiet);
    page.root.remove();
  };
}
