// The sound of one model: play, pause, seek. One engine for all views of it.
// (Part of the player; the parts are joined in the order of player.PARTS.)

const SAVE_EVERY = 250; // ms between two playheads sent to the kernel while playing
const OTHER_PLAYS = "steer-utils-player-plays"; // one player sounds at a time

function createEngine(model) {
  const views = new Set(); // functions called with each change
  let context = null, buffer = null, source = null;
  let position = 0, startedAt = 0, stopAt = 0, playing = false, attempt = 0;
  let frame = 0, sentAt = 0, sentPosition = 0;

  const duration = () => model.get("details").duration ?? 0;
  const now = () => (playing ? Math.min(stopAt, position + Math.max(0, context.currentTime - startedAt)) : position);
  const tell = (what) => views.forEach((view) => view(what));

  function send(force) {
    const at = performance.now();
    if (!force && at - sentAt < SAVE_EVERY) return;
    sentAt = at;
    sentPosition = now();
    model.set("playhead", sentPosition);
    model.set("playing", playing);
    model.save_changes();
  }

  function tick() {
    frame = 0;
    if (!playing) return;
    send(false);
    tell("time");
    frame = requestAnimationFrame(tick);
  }

  function silence() {
    if (source) {
      source.onended = null;
      source.stop();
      source.disconnect();
      source = null;
    }
    cancelAnimationFrame(frame);
    frame = 0;
  }

  function halt(where) {
    attempt += 1; // a start that still waits for the browser is void
    position = where;
    playing = false;
    silence();
    send(true);
    tell("playing");
  }

  function pause() {
    if (playing) halt(now());
    else attempt += 1;
  }

  async function play(stop = duration()) {
    const mine = ++attempt;
    if (playing) {
      position = now();
      playing = false;
      silence();
    }
    if (position >= stop - 1e-3) position = 0;
    context ??= new AudioContext();
    if (context.state !== "running") {
      await Promise.race([context.resume(), new Promise((done) => setTimeout(done, 1000))]);
    }
    if (mine !== attempt || !context) return;
    if (context.state !== "running") {
      send(true);
      tell("blocked"); // the browser wants a click first
      return;
    }
    buffer ??= bufferOf(context, model);
    window.dispatchEvent(new CustomEvent(OTHER_PLAYS, { detail: engine }));
    source = context.createBufferSource();
    source.buffer = buffer;
    source.connect(context.destination);
    source.onended = () => halt(stopAt);
    stopAt = Math.min(stop, duration());
    startedAt = context.currentTime;
    source.start(0, position, stopAt - position);
    playing = true;
    send(true);
    tell("playing");
    frame = requestAnimationFrame(tick);
  }

  function seek(seconds) {
    const target = Math.min(Math.max(0, seconds), duration());
    if (playing) {
      const stop = target < stopAt ? stopAt : duration();
      position = target;
      playing = false;
      silence();
      play(stop);
    } else {
      position = target;
      send(false);
    }
    tell("time");
  }

  const soundChanged = () => {
    buffer = null;
    if (playing) halt(0);
    position = Math.min(position, duration());
    tell("time");
  };
  const playingAsked = () => {
    if (model.get("playing") === playing) return;
    if (model.get("playing")) play();
    else pause();
  };
  const playheadAsked = () => {
    if (Math.abs(model.get("playhead") - sentPosition) < 1e-6) return; // our own, come back
    seek(model.get("playhead"));
  };
  const otherPlays = (event) => event.detail !== engine && pause();

  model.on("change:sound", soundChanged);
  model.on("change:playing", playingAsked);
  model.on("change:playhead", playheadAsked);
  window.addEventListener(OTHER_PLAYS, otherPlays);
  position = sentPosition = model.get("playhead") ?? 0;
  if (model.get("playing")) { // of a page that is gone: nothing sounds before somebody asks for it here
    model.set("playing", false);
    model.save_changes();
  }

  function release() { // nobody looks: no sound, no context
    pause();
    context?.close();
    context = buffer = null;
  }

  const engine = {
    now, play, pause, seek, duration,
    get playing() { return playing; },
    settle() { send(true); },
    toggle() { if (playing) pause(); else play(); },
    playSpan(start, end) {
      pause();
      position = Math.min(Math.max(0, start), duration());
      play(Math.min(end, duration()));
    },
    subscribe(view) {
      views.add(view);
      return () => {
        views.delete(view);
        if (!views.size) release();
      };
    },
    close() {
      release();
      model.off("change:sound", soundChanged);
      model.off("change:playing", playingAsked);
      model.off("change:playhead", playheadAsked);
      window.removeEventListener(OTHER_PLAYS, otherPlays);
    },
  };
  return engine;
}

function bufferOf(context, model) {
  const pcm = int16(model.get("sound"));
  const made = context.createBuffer(1, Math.max(1, pcm.length), model.get("details").rate);
  const channel = made.getChannelData(0);
  for (let i = 0; i < pcm.length; i++) channel[i] = pcm[i] / 32768;
  return made;
}
