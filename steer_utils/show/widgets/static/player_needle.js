// The playhead: where it stands, in pixels and in words, and how pointer and keys move it.

const STEP = 0.1, LEAP = 1.0; // seconds of an arrow key, and with Shift

function createNeedle(page, engine, data, on) {
  const { stage, needle, time } = page;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  let last = -1, dragged = null;

  function show(force) {
    const { details } = data, seconds = engine.now();
    if (!details.duration) return;
    const step = Math.floor(seconds * 4); // where motion is unwanted: four steps a second
    if (!force && engine.playing && still.matches && step === last) return;
    last = step;
    needle.style.transform = `translateX(${timeAxis(frameOf(data.width), details)(seconds)}px)`;
    const from = details.start;
    const text = `${(from + seconds).toFixed(2)} / ${(from + details.duration).toFixed(2)} s`;
    if (time.textContent !== text) time.textContent = text;
    stage.dataset.seconds = seconds.toFixed(3);
    stage.dataset.playing = String(engine.playing);
    stage.setAttribute("aria-valuemin", "0");
    stage.setAttribute("aria-valuemax", details.duration.toFixed(2));
    stage.setAttribute("aria-valuenow", seconds.toFixed(2));
    stage.setAttribute("aria-valuetext", where(seconds));
  }

  function where(seconds) { // in words, for a screen reader
    const { details, located, current } = data, from = details.start;
    const parts = [`${(from + seconds).toFixed(2)} of ${(from + details.duration).toFixed(2)} seconds`];
    const within = (start, end) => seconds >= start && seconds < end;
    if (located && within(...located)) parts.push("in the located span");
    if (details.truth && within(...details.truth)) parts.push("in the true span");
    parts.push(...details.events.filter(([, start, end]) => within(start, end)).map(([name]) => name));
    const token = Math.min(details.tokens - 1, Math.floor(seconds / details.token_seconds));
    if (current) parts.push(`${current.track.label} ${height(current.values[token], current.track.gained)}`);
    return parts.join(", ");
  }

  const secondsAt = (event) => {
    const box = stage.getBoundingClientRect(), edge = frameOf(data.width);
    return (data.details.duration * (event.clientX - box.left - edge.left)) / (edge.right - edge.left);
  };
  const dropped = () => {
    if (!dragged) return;
    const { playing } = dragged;
    dragged = null;
    engine.settle();
    if (playing) engine.play();
  };
  stage.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    dragged = { playing: engine.playing };
    engine.pause();
    stage.setPointerCapture(event.pointerId);
    engine.seek(secondsAt(event));
  }, on);
  stage.addEventListener("pointermove", (event) => { if (dragged) engine.seek(secondsAt(event)); }, on);
  for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, dropped, on);

  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? LEAP : STEP, seconds = engine.now();
    const target = {
      ArrowLeft: seconds - step, ArrowDown: seconds - step, ArrowRight: seconds + step, ArrowUp: seconds + step,
      PageDown: seconds - LEAP, PageUp: seconds + LEAP, Home: 0, End: data.details.duration,
    }[event.key];
    if (event.key === " ") engine.toggle();
    else if (target !== undefined) {
      engine.seek(target);
      engine.settle();
    } else return;
    event.preventDefault();
  }, on);

  return { show };
}
