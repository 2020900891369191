"use strict";
{
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const cellRows = [...body.rows];

  // Sorting: numbers by data-sort, words by their text; what has no value stays last in both directions.
  const key = (row, column) => {
    const field = row.cells[column];
    if (field.classList.contains("n")) return field.dataset.sort === undefined ? null : Number(field.dataset.sort);
    return field.textContent.trim() || null;
  };
  const sort = (button) => {
    const heading = button.parentElement;
    const column = Number(button.dataset.column);
    const up = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of heading.parentElement.cells) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const keyed = cellRows.map((row, index) => [key(row, column), index, row]);
    keyed.sort(([a, i], [b, j]) => {
      if (a === null || b === null) return (a === null) - (b === null) || i - j;
      const order = typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
      return (up ? order : -order) || i - j;
    });
    body.append(...keyed.map(([, , row]) => row));
  };
  for (const button of all("button[data-column]", table)) button.addEventListener("click", () => { sort(button); keep(); });

  // Filtering: every word must occur in workload, contender, status, reason or problem, or be "noisy".
  const column = Object.fromEntries(all("th[data-key]", table).map((heading, index) => [heading.dataset.key, index]));
  const text = (row, name) => row.cells[column[name]].textContent;
  const words = (row) => [...["workload", "contender", "status", "reason"].map((name) => text(row, name)), row.cells[0].title, row.querySelector(".noisy") ? "noisy" : ""].join(" ");
  const texts = new Map(cellRows.map((row) => [row, words(row)]));
  const find = document.getElementById("find");
  const contender = document.getElementById("by-contender");
  const status = document.getElementById("by-status");
  const filter = () => {
    const asked = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of cellRows) {
      const fits = (!contender.value || row.dataset.contender === contender.value) && (!status.value || row.dataset.status === status.value);
      row.hidden = !(fits && asked.every((word) => texts.get(row).toLowerCase().includes(word)));
      shown += !row.hidden;
    }
    document.getElementById("shown").textContent = `${shown} of ${cellRows.length} cells`;
  };

  // What is filtered and how it is sorted stands in the address, behind #cells, so that a link shows the same table.
  const keep = () => {
    const asked = new URLSearchParams();
    for (const control of [find, contender, status]) if (control.value) asked.set(control.id, control.value);
    const sorted = table.tHead.querySelector('[aria-sort]:not([aria-sort="none"])');
    if (sorted) asked.set("sort", `${sorted.dataset.key}.${sorted.getAttribute("aria-sort")}`);
    const hash = String(asked) ? `#cells?${asked}` : "#cells";
    if (location.hash.startsWith("#cells?") || String(asked)) history.replaceState(null, "", hash);
  };
  const recall = () => {
    if (!location.hash.startsWith("#cells?")) return;
    const asked = new URLSearchParams(location.hash.slice("#cells?".length));
    for (const control of [find, contender, status]) control.value = asked.get(control.id) ?? "";
    const [name, direction] = (asked.get("sort") ?? "").split(".");
    const button = table.tHead.querySelector(`[data-key="${CSS.escape(name)}"] button`);
    if (button) for (let turns = 0; turns < 2 && button.parentElement.getAttribute("aria-sort") !== direction; turns++) sort(button);
    filter();
    document.getElementById("cells").scrollIntoView();
  };
  for (const control of [find, contender, status]) control.addEventListener("input", () => { filter(); keep(); });
  find.form.addEventListener("submit", (event) => event.preventDefault());

  // A link to a row that a filter hides takes the filter away first.
  const reveal = () => {
    const row = location.hash.startsWith("#cell-") && document.getElementById(location.hash.slice(1));
    if (!row || !row.hidden) return;
    find.form.reset();
    filter();
    row.scrollIntoView({ block: "center" });
  };
  addEventListener("hashchange", reveal);
  addEventListener("hashchange", recall);
  recall();
  addEventListener("beforeprint", () => all("details").forEach((each) => (each.open = true)));

  // The legends: one choice of contenders for all pictures that have one.
  const boxes = all(".legend input");
  const choose = (name, shown) => {
    for (const box of boxes) if (box.value === name) box.checked = shown;
    for (const group of all(".picture g[data-contender]")) if (group.dataset.contender === name) group.toggleAttribute("hidden", !shown);
  };
  for (const box of boxes) box.addEventListener("change", () => choose(box.value, box.checked));
  for (const button of all(".legend button")) button.addEventListener("click", () => boxes.forEach((box) => choose(box.value, !!button.dataset.all)));

  // The heat map is one stop for the Tab key; arrow keys, Home and End move inside.
  const squares = all(".heat tbody tr").map((row) => [...row.cells].slice(1).map((field) => field.querySelector("a")));
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -Infinity], End: [0, Infinity] };
  const links = squares.flat().filter(Boolean);
  links.forEach((link, index) => (link.tabIndex = index ? -1 : 0));
  squares.forEach((row, y) => row.forEach((link, x) => link?.addEventListener("keydown", (event) => {
    if (!(event.key in step)) return;
    event.preventDefault();
    const [down, right] = step[event.key];
    const inside = (value, length) => Math.max(0, Math.min(length - 1, value));
    let [i, j] = [inside(y + down, squares.length), inside(x + right, row.length)];
    while (!squares[i][j] && i + down in squares && j + right in row && isFinite(right)) [i, j] = [i + down, j + right];
    const next = squares[i][j];
    if (!next) return;
    link.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  })));

  // Tooltips that also come on focus and on touch; without JavaScript the plain titles remain. On touch the first tap tells, the second follows the link.
  const tip = document.getElementById("tip");
  const place = (element) => {
    const at = element.getBoundingClientRect();
    tip.hidden = false;
    const width = tip.offsetWidth;
    tip.style.left = `${Math.max(6, Math.min(at.left + at.width / 2 - width / 2, document.documentElement.clientWidth - width - 6))}px`;
    tip.style.top = at.top > tip.offsetHeight + 10 ? `${at.top - tip.offsetHeight - 6}px` : `${at.bottom + 6}px`;
  };
  let told = null;
  const point = (link) => {
    const row = document.getElementById(link.getAttribute("href").slice(1));
    return `${text(row, "workload")} · ${text(row, "contender")}: ${text(row, "time")}, ${text(row, "gflops")} GFLOP/s, ${text(row, "share")} of the limit, ${text(row, "peer")} vs best peer, error ${text(row, "error")}`;
  };
  const tell = (event) => {
    told = event.target.closest("[data-tip], svg a");
    if (told && !told.dataset.tip) told.dataset.tip = point(told);
    if (!told) return void (tip.hidden = true);
    tip.textContent = told.dataset.tip;
    place(told);
  };
  const give = (element, said) => {
    element.dataset.tip = said;
    element.setAttribute("aria-description", said);
  };
  for (const element of all("[title]")) {
    give(element, element.title);
    element.removeAttribute("title");
  }
  let touch = false;
  addEventListener("pointerdown", (event) => (touch = event.pointerType === "touch"), true);
  addEventListener("click", (event) => {
    if (!touch) return;
    const link = event.target.closest("a[data-tip], svg a");
    if (link && link !== told) event.preventDefault();
    tell(event);
  }, true);
  addEventListener("pointerover", (event) => event.pointerType === "mouse" && tell(event));
  addEventListener("focusin", (event) => event.target.matches(":focus-visible") && tell(event));
  addEventListener("scroll", () => (tip.hidden = true), { capture: true, passive: true });
  addEventListener("keydown", (event) => event.key === "Escape" && (tip.hidden = true));
}
