// The page of one view: its elements, which are data attributes to tests and names to the rest of the player.
//
// Labels come from files and users: they become text nodes or canvas text, never markup.

function made(tag, attributes = {}, ...children) { // text children become text nodes
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function createPage(id, map) {
  const button = (name, keys, label) =>
    made("button", { type: "button", "data-steer": name, "aria-keyshortcuts": keys }, label);
  const page = {
    title: made("strong", { class: "steer-title", "data-steer": "title" }),
    interval: made("span", { "data-steer": "interval" }),
    truth: made("span", { "data-steer": "truth" }),
    play: button("play", "Space", "Play"),
    playLocated: button("play-located", "L", "Play located span"),
    playTrue: button("play-true", "T", "Play true span"),
    shape: button("shape", null, "Show waveform"),
    time: made("span", { class: "steer-time", "data-steer": "time" }),
    sound: made("canvas", { "aria-hidden": "true", "data-steer": "sound" }),
    curve: made("canvas", { "aria-hidden": "true", "data-steer": "curve" }),
    needle: made("div", { class: "steer-needle", "aria-hidden": "true" }),
    picture: made("p", { class: "steer-unseen", id: `${id}-picture` }), // in words
    keys: made("p", { class: "steer-keys", id: `${id}-keys` }),
    choices: made("fieldset", { class: "steer-curves" }),
    which: made("select", { "data-steer": "map-span", id: `${id}-span` }),
    reset: button("reset", null, "Default read-out"),
    drawn: made("p", { class: "steer-choice", "data-steer": "choice" }),
    answers: made("dl", { class: "steer-answers", "data-steer": "answers" }),
    status: made("p", { class: "steer-status", "data-steer": "status" }),
    live: made("div", { class: "steer-unseen", role: "status", "aria-live": "polite", "data-steer": "live" }),
  };
  page.stage = made("div", {
    class: "steer-stage", role: "slider", tabindex: "0", "aria-label": "Playhead", "aria-orientation": "horizontal",
    "aria-describedby": `${id}-keys ${id}-picture`, "data-steer": "playhead",
  }, page.sound, page.curve, page.needle);
  page.mapPart = made("div", { class: "steer-part" },
    made("div", { class: "steer-row" },
      made("label", { for: `${id}-span` }, "Map: attention in the"), page.which, page.reset),
    made("div", { class: "steer-scroll" }, map));
  page.root = made("div", { class: "steer-player", role: "group", "data-steer": "player" },
    made("div", { class: "steer-row" }, page.title, page.interval, page.truth),
    made("div", { class: "steer-row", role: "group", "aria-label": "Sound" },
      page.play, page.playLocated, page.playTrue, page.shape, page.time),
    page.stage, page.picture, page.keys, page.choices,
    made("div", { class: "steer-below" },
      page.mapPart, made("div", { class: "steer-said" }, page.drawn, page.answers, page.status)),
    page.live);
  return page;
}

function radios(page, name, labels, chosen, choose) { // which curve is drawn thick
  const focused = page.choices.contains(document.activeElement);
  page.choices.replaceChildren(made("legend", {}, "Attention curve"), ...labels.map((label) => {
    const radio = made("input", { type: "radio", name });
    radio.value = label;
    radio.checked = label === chosen;
    radio.addEventListener("change", () => choose(label));
    return made("label", {}, radio, label);
  }));
  if (focused) page.choices.querySelector("input:checked")?.focus();
  page.choices.hidden = labels.length < 2;
}

function options(select, values) { // keeps what is chosen, where it is still there
  if ([...select.options].map((each) => each.value).join() === values.join()) return;
  const before = select.value;
  select.replaceChildren(...values.map((value) => made("option", { value }, `${value} span`)));
  select.value = values.includes(before) ? before : values[0] ?? "";
}
