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
  for (const button of all("button[data-column]", table)) button.addEventListener("click", () => sort(button));

  // Filtering: every word must occur in workload, contender, status, reason or problem.
  const texts = new Map(cellRows.map((row) => [row, [0, 1, 2, 13].map((i) => row.cells[i].textContent).join(" ") + ` ${row.cells[0].title}`]));
  const find = document.getElementById("find");
  const contender = document.getElementById("by-contender");
  const status = document.getElementById("by-status");
  const filter = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of cellRows) {
      const fits = (!contender.value || row.dataset.contender === contender.value) && (!status.value || row.dataset.status === status.value);
      row.hidden = !(fits && words.every((word) => texts.get(row).toLowerCase().includes(word)));
      shown += !row.hidden;
    }
    document.getElementById("shown").textContent = `${shown} of ${cellRows.length} cells`;
  };
  for (const control of [find, contender, status]) control.addEventListener("input", filter);
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

  // The roofline's legend.
  for (const box of all(".legend input")) {
    box.addEventListener("change", () => {
      for (const group of all(".roofline g[data-contender]")) if (group.dataset.contender === box.value) group.toggleAttribute("hidden", !box.checked);
    });
  }

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
  const tell = (event) => {
    told = event.target.closest("[data-tip]");
    if (!told) return void (tip.hidden = true);
    tip.textContent = told.dataset.tip;
    place(told);
  };
  const give = (element, text) => {
    element.dataset.tip = text;
    element.setAttribute("aria-description", text);
  };
  for (const element of all("[title]")) {
    give(element, element.title);
    element.removeAttribute("title");
  }
  for (const title of all("svg a > title")) {
    give(title.parentElement, title.textContent);
    title.remove();
  }
  let touch = false;
  addEventListener("pointerdown", (event) => (touch = event.pointerType === "touch"), true);
  addEventListener("click", (event) => {
    if (!touch) return;
    const link = event.target.closest("a[data-tip]");
    if (link && link !== told) event.preventDefault();
    tell(event);
  }, true);
  addEventListener("pointerover", (event) => event.pointerType === "mouse" && tell(event));
  addEventListener("focusin", (event) => event.target.matches(":focus-visible") && tell(event));
  addEventListener("scroll", () => (tip.hidden = true), { capture: true, passive: true });
  addEventListener("keydown", (event) => event.key === "Escape" && (tip.hidden = true));
}
