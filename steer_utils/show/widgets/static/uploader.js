// The uploader in a browser: one file, its bytes and its name sent to the kernel; too large a file is refused here.

function made(tag, attributes = {}, text = "") {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

const sizeOf = (bytes) => (bytes < 2 ** 19 ? `${Math.ceil(bytes / 1024)} kiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`);

function render({ model, el }) {
  const chooser = made("input", { type: "file", accept: model.get("formats"), "data-steer": "upload" });
  const label = made("label", {}, `A sound file, at most ${Math.floor(model.get("most") / 2 ** 20)} MiB: `);
  const status = made("p", { role: "status", "data-steer": "upload-status" });
  const root = made("div", { class: "steer-recorder", role: "group", "aria-label": "Upload" });
  label.append(chooser);
  root.append(label, status);
  el.append(root);

  let current = 0;
  const paint = () => { status.textContent = model.get("status"); };
  const tell = (text) => {
    model.set("status", text);
    model.save_changes();
    paint();
  };

  async function chosen() {
    const file = chooser.files[0], mine = ++current;
    if (!file) return;
    if (file.size > model.get("most")) {
      const limit = `a browser can hand over ${sizeOf(model.get("most"))}`;
      tell(`${file.name} has ${sizeOf(file.size)}, and ${limit}: cut it, save it as OGG or MP3, or pass its path.`);
      return;
    }
    try {
      const content = new DataView(await file.arrayBuffer());
      if (mine !== current) return; // another one was chosen meanwhile
      model.set("content", content);
      model.set("name", file.name);
      model.set("take", model.get("take") + 1);
      tell(`Handed over: ${file.name} (${sizeOf(file.size)}).`);
    } catch (error) {
      tell(`${file.name} cannot be read (${error?.message || error}).`);
    }
  }

  const keep = (event) => { if (event.key !== "Tab" && !(event.key === "Enter" && event.shiftKey)) event.stopPropagation(); };
  const again = () => { chooser.value = ""; }; // the same file may be chosen once more, after it was mended
  chooser.addEventListener("click", again);
  chooser.addEventListener("change", chosen);
  root.addEventListener("keydown", keep); // Space and Enter here are not the notebook's
  model.on("change:status", paint);
  paint();

  return () => {
    current += 1;
    model.off("change:status", paint);
    root.remove();
  };
}

export default { render };
