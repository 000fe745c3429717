// Sorts by a column, and opens a file's page under its line. Without it links lead to the pages.
const body = document.querySelector("tbody"), heads = [...document.querySelectorAll("th button")];
const close = (line) => {
  if (line.nextElementSibling?.matches(".player")) line.nextElementSibling.remove();
  line.querySelector("a")?.setAttribute("aria-expanded", "false");
};
heads.forEach((button, column) => button.addEventListener("click", () => {
  const head = button.parentElement, down = head.getAttribute("aria-sort") !== (column ? "descending" : "ascending");
  for (const other of heads) other.parentElement.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", down === (column > 0) ? "descending" : "ascending");
  const lines = [...body.children].filter((line) => !line.matches(".player"));
  lines.forEach(close);
  const value = (line) => column ? Number(line.children[column]?.dataset.value ?? -1) : line.children[0].textContent;
  const order = (a, b) => column ? value(a) - value(b) : value(a).localeCompare(value(b), undefined, { numeric: true });
  lines.sort((a, b) => (down === (column > 0) ? -1 : 1) * order(a, b));
  body.append(...lines);
}));
for (const link of body.querySelectorAll("a")) link.setAttribute("aria-expanded", "false");
body.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const line = link.closest("tr");
  if (line.nextElementSibling?.matches(".player")) return close(line);
  const row = document.createElement("tr"), cell = row.insertCell(), frame = document.createElement("iframe");
  row.className = "player";
  cell.colSpan = line.parentElement.previousElementSibling.rows[0].cells.length;
  frame.src = link.getAttribute("href");
  frame.title = link.getAttribute("aria-label");
  cell.append(frame);
  line.after(row);
  link.setAttribute("aria-expanded", "true");
});
addEventListener("message", ({ source, data }) => { // a page of ours says how tall it is
  const frame = [...document.querySelectorAll("iframe")].find((each) => each.contentWindow === source);
  if (frame && data?.steerHeight > 0) frame.style.height = `${Math.min(4000, data.steerHeight + 20)}px`;
});
