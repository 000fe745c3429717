// The map of blocks and heads: a grid of cells, one of which is chosen by click or arrow keys.

function createMap(choose) { // the grid of blocks and heads; `choose(block, head)` is called, null meaning all
  const grid = made("table", { role: "grid", class: "steer-map", "data-steer": "map" });
  let cells = [], here = null, shape = "";

  const cellAt = (row, column) => cells[row]?.[column];
  const focusable = (cell) => {
    cells.flat().forEach((each) => { each.tabIndex = each === cell ? 0 : -1; });
    here = cell;
  };

  grid.addEventListener("click", (event) => {
    const cell = event.target.closest("[role=gridcell]");
    if (!cell) return;
    focusable(cell);
    cell.focus();
    choose(...cell.steer.choice);
  });
  grid.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const cell = event.target.closest("[role=gridcell]");
    if (!cell) return;
    const { row, column } = cell.steer, last = [cells.length - 1, cells[0].length - 1];
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    let target = null;
    if (step) target = cellAt(row + step[0], column + step[1]);
    else if (event.key === "Home") target = cellAt(row, 0);
    else if (event.key === "End") target = cellAt(row, last[1]);
    else if (event.key === "Escape") target = cellAt(...last);
    else if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    target ??= cell;
    focusable(target);
    target.focus();
    choose(...target.steer.choice);
  });

  function build(details) {
    const { blocks, heads } = details, kept = document.activeElement === here;
    const read = new Set(details.read_cells.map(([b]) => b));
    const wide = heads <= 12 && blocks <= 16;
    grid.classList.toggle("steer-small", !wide);
    const names = [...Array(heads).keys()].map(String);
    const header = made("tr", {},
      made("th", { scope: "col" }, "block"),
      ...names.map((name, h) =>
        made("th", { scope: "col", "aria-label": `head ${h}` }, wide || h % 4 === 0 ? name : "")),
      made("th", { scope: "col" }, "mean"));
    const rows = [...Array(blocks + 1).keys()].map((b) => {
      const mean = b === blocks;
      const label = mean ? "mean" : `${b}${read.has(b) ? " read" : ""}`;
      const words = mean ? "mean over blocks" : `block ${label}`;
      const row = made("tr", {}, made("th", { scope: "row", "aria-label": words }, label));
      for (let h = 0; h <= heads; h++) {
        const cell = made("td", { role: "gridcell", tabindex: "-1" });
        cell.steer = { row: b, column: h, choice: [mean ? null : b, h === heads ? null : h] };
        if (mean || h === heads) cell.classList.add("steer-mean");
        row.append(cell);
      }
      return row;
    });
    grid.replaceChildren(made("thead", {}, header), made("tbody", {}, ...rows));
    cells = rows.map((row) => [...row.querySelectorAll("td")]);
    here = null;
    if (kept) cells.at(-1).at(-1).focus();
  }

  function paint(data, track, span, spanName, choice, colours) {
    const { details } = data;
    const key = `${details.blocks}x${details.heads}:${details.read_cells}`;
    if (key !== shape) build(details);
    shape = key;
    const values = cells.map((row) => row.map(({ steer }) =>
      inside(meanCurve(track, details, cellsOf(details, ...steer.choice)), details, span)));
    const most = Math.max(1e-9, ...values.flat().map(Math.abs));
    grid.setAttribute("aria-label", `${track.label}: mean attention in the ${spanName} span by block and head`);
    const small = grid.classList.contains("steer-small");
    cells.forEach((row, b) => row.forEach((cell, h) => {
      const value = values[b][h], [block, head] = cell.steer.choice;
      const amount = Math.abs(value) / most, base = value < 0 ? colours.truthRgb : colours.foundRgb;
      const back = base.map((each, c) => amount * each + (1 - amount) * colours.paperRgb[c]);
      cell.style.backgroundColor = css(back);
      const [ink, paper] = [[0, 0, 0], [255, 255, 255]]; // on any colour one of the two can be read
      cell.style.color = css(contrast(ink, back) >= contrast(paper, back) ? ink : paper);
      const number = value.toFixed(1).replace(/^-0\.0$/, "0.0").replace("-", "−");
      cell.textContent = !small || h === details.heads ? number : number.startsWith("−") ? "−" : "";
      const words = `${choiceWords(details, block, head)}: ${height(value, track.gained)}`;
      cell.setAttribute("aria-label", words);
      cell.title = words;
      const chosen = block === choice[0] && head === choice[1];
      cell.setAttribute("aria-selected", String(chosen));
      if (chosen && (!here || document.activeElement !== here)) focusable(cell);
    }));
    return values;
  }

  return { element: grid, paint };
}
