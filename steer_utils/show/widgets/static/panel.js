// What the controls of a panel lack in JupyterLab, for the box that this (empty) widget lies in:
//   - keys pressed in a control stay with it: else ↓ in a list selects the next cell, and b makes a new one;
//   - sliders have names for screen readers: theirs are drawn beside them, and tied to nothing.

function keep(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return; // save, copy, undo: as everywhere
  if (event.key === "Tab" || event.key === "Escape" || (event.key === "Enter" && event.shiftKey)) return;
  event.stopPropagation();
}

function name(box) {
  for (const slider of box.querySelectorAll(".widget-slider")) {
    const label = slider.querySelector(".widget-label")?.textContent.trim();
    if (!label) continue;
    const handles = [...slider.querySelectorAll(".noUi-handle")];
    handles.forEach((handle, place) => {
      handle.setAttribute("aria-label", handles.length === 1 ? label : `${label}, ${["from", "to"][place]}`);
    });
    const readout = slider.querySelector(".widget-readout");
    readout?.setAttribute("aria-label", `${label}, as a number`);
    readout?.setAttribute("role", "textbox");
  }
}

function render({ el }) {
  let box = null, frame = 0;
  const names = () => name(box);
  function begin() { // once the widget has come into the page
    box = el.isConnected ? el.closest(".widget-vbox") : null;
    if (!box) {
      frame = requestAnimationFrame(begin);
      return;
    }
    box.addEventListener("keydown", keep);
    box.addEventListener("focusin", names); // a slider that gets other limits makes its handles anew
    names();
  }
  begin();
  return () => {
    cancelAnimationFrame(frame);
    box?.removeEventListener("keydown", keep);
    box?.removeEventListener("focusin", names);
  };
}

export default { render };
