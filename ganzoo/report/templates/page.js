"use strict";
// Tables: a heading sorts; what is missing stays last, whichever way.
document.querySelectorAll("table.sortable").forEach((table) => {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const way = now === "none" ? button.dataset.first || "ascending" : now === "ascending" ? "descending" : "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", way);
      const sign = way === "ascending" ? 1 : -1;
      const value = (row) => row.cells[column].dataset.value;
      const text = button.dataset.kind === "text";
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        return sign * (text ? x.localeCompare(y) : Number(x) - Number(y));
      });
      table.tBodies[0].append(...rows);
      const status = document.querySelector(".sorted");
      if (status) status.textContent = `Sorted by ${button.firstChild.textContent.trim()}, ${way}.`;
    });
  });
});

const told = JSON.parse(document.getElementById("data").textContent);
const digits = (value) => Number(value.toPrecision(4)).toLocaleString("en-GB", { maximumSignificantDigits: 4 });

// Charts stand in the page as drawings: here their curves can be hidden, and their points read. Only points that were
// measured are read: nothing between two of them, and nothing beyond a curve's end.
document.querySelectorAll("figure.chart").forEach((figure) => {
  const chart = told.charts[figure.dataset.chart][Number(figure.dataset.number)];
  const plot = figure.querySelector(".plot"), reading = figure.querySelector(".reading");
  const off = new Set();
  let at = null;

  figure.querySelectorAll(".legend li").forEach((item) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.title = "show or hide";
    button.append(...item.childNodes);
    item.append(button);
    const line = item.dataset.line, curves = figure.querySelectorAll(`.curve[data-line="${line}"]`);
    const pick = (on) => curves.forEach((curve) => curve.classList.toggle("picked", on));
    ["pointerenter", "focus"].forEach((kind) => button.addEventListener(kind, () => pick(true)));
    ["pointerleave", "blur"].forEach((kind) => button.addEventListener(kind, () => pick(false)));
    button.addEventListener("click", () => {
      if (!off.delete(line)) off.add(line);
      button.setAttribute("aria-pressed", String(!off.has(line)));
      curves.forEach((curve) => curve.classList.toggle("off", off.has(line)));
      forget();
    });
  });

  const drawing = () => [...plot.querySelectorAll("svg")].find((svg) => svg.getClientRects().length);
  const shown = () => chart.series.filter((s) => !off.has(String(s.line)));
  // From values to a drawing's own coordinates, as it says itself; null for what cannot stand on its scale.
  const scale = (svg) => {
    const [x, y] = svg.dataset.scales.split(";").map((axis) => {
      const [low, high, start, end, log] = axis.split(",").map(Number);
      return (v) => (log && v <= 0 ? null : start + ((end - start) * ((log ? Math.log10(v) : v) - low)) / (high - low));
    });
    return { x, y };
  };

  function forget() {
    at = null;
    plot.querySelectorAll(".ring").forEach((ring) => ring.remove());
    reading.textContent = "";
  }

  function point(series, index) {
    const svg = drawing();
    if (!svg) return;
    const [x, y] = [series.points[0][index], series.points[1][index]];
    const { x: across, y: up } = scale(svg);
    forget();
    at = { series, index };
    if (up(y) !== null) {
      const ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      for (const [key, value] of Object.entries({ class: "ring", r: 6, cx: across(x), cy: up(y) })) ring.setAttribute(key, value);
      svg.append(ring);
    }
    let text = `${series.name}: ${chart.y} ${digits(y)} at ${digits(x)} ${chart.x}`;
    const within = series.band ? series.band[0].indexOf(x) : -1;
    if (within >= 0) text += `, seeds from ${digits(series.band[1][within])} to ${digits(series.band[2][within])}`;
    reading.textContent = text;
  }

  plot.addEventListener("pointermove", (event) => {
    const svg = drawing();
    if (!svg) return;
    const box = svg.getBoundingClientRect(), unit = box.width / svg.viewBox.baseVal.width;
    const [px, py] = [(event.clientX - box.left) / unit, (event.clientY - box.top) / unit];
    const { x: across, y: up } = scale(svg);
    let best = null, gap = 24;
    for (const series of shown()) {
      series.points[0].forEach((x, index) => {
        const height = up(series.points[1][index]);
        const far = height === null ? Infinity : Math.hypot(across(x) - px, height - py);
        if (far < gap) [best, gap] = [{ series, index }, far];
      });
    }
    if (!best) forget();
    else if (!at || at.series !== best.series || at.index !== best.index) point(best.series, best.index);
  });
  plot.addEventListener("pointerleave", forget);
  plot.addEventListener("keydown", (event) => {
    const all = shown();
    if (!all.length || !["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) return;
    event.preventDefault();
    if (!at || !all.includes(at.series)) return point(all[0], 0);
    const last = at.series.points[0].length - 1;
    const to = { ArrowLeft: at.index - 1, ArrowRight: at.index + 1, Home: 0, End: last }[event.key];
    if (to !== undefined) return point(at.series, Math.min(last, Math.max(0, to)));
    const other = all[(all.indexOf(at.series) + (event.key === "ArrowDown" ? 1 : all.length - 1)) % all.length];
    const x = at.series.points[0][at.index];
    let nearest = 0;
    other.points[0].forEach((value, i) => { if (Math.abs(value - x) < Math.abs(other.points[0][nearest] - x)) nearest = i; });
    point(other, nearest);
  });
  figure.querySelectorAll(".scales input").forEach((input) => input.addEventListener("change", forget));
});

// The grids of all lines at one step.
if (told.growth) {
  const place = document.querySelector(".growth"), range = place.querySelector("input"), output = place.querySelector("output");
  const show = () => {
    const number = Number(range.value), step = told.growth.steps[number].toLocaleString("en-GB");
    output.textContent = step;
    range.setAttribute("aria-valuetext", `step ${step}`);
    place.querySelectorAll("img").forEach((image) => {
      const line = told.growth.lines[Number(image.dataset.growth)], source = line.sources[number];
      image.hidden = !source;
      const missing = image.nextElementSibling, over = line.ended !== null && told.growth.steps[number] > line.ended;
      missing.hidden = Boolean(source);
      missing.textContent = over ? `${line.name} ended at step ${line.ended.toLocaleString("en-GB")}` : "no grid at this step";
      image.alt = source ? `samples of ${line.name} at step ${step}` : "";
      if (source) image.src = source;
      else image.removeAttribute("src");
    });
  };
  place.hidden = false;
  range.addEventListener("input", show);
  show();
}

// A button beside each command copies it.
document.querySelectorAll(".command code, code.said").forEach((code) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  const text = code.textContent;
  button.setAttribute("aria-label", `Copy: ${text.length > 60 ? `${text.slice(0, 60)}…` : text}`);
  button.addEventListener("click", async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      getSelection().selectAllChildren(code);
      done = document.execCommand("copy");
    }
    button.textContent = done ? "Copied" : "Select it and copy";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  const block = code.closest(".command");
  if (block) block.append(button);
  else if (/^ganzoo |^pytest /.test(text)) code.after(button);
});

// Where a table is wider than its place, that is said.
function hint() {
  document.querySelectorAll(".scroll").forEach((place) => {
    const wide = place.scrollWidth > place.clientWidth + 2;
    const before = place.previousElementSibling;
    const there = before && before.classList.contains("hint") ? before : null;
    if (!wide && there) there.remove();
    if (!wide || there) return;
    const line = document.createElement("p");
    line.className = "hint";
    line.textContent = "More columns to the right: scroll, or focus the table and use the arrow keys →";
    place.before(line);
  });
}
hint();
window.addEventListener("resize", hint);
document.querySelectorAll("details").forEach((part) => part.addEventListener("toggle", hint));

// Browsers leave what has the focus where it is as long as a part of it can be seen.
document.querySelectorAll("th button, nav a").forEach((part) => part.addEventListener("focus", () =>
  part.scrollIntoView({ block: "nearest", inline: "nearest" })));

// The contents show where one is.
const links = new Map([...document.querySelectorAll(".contents a")].map((link) => [link.hash.slice(1), link]));
const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
  if (!entry.isIntersecting) return;
  links.forEach((link) => link.removeAttribute("aria-current"));
  links.get(entry.target.id).setAttribute("aria-current", "true");
}), { rootMargin: "-20% 0px -70% 0px" });
links.forEach((_, id) => seen.observe(document.getElementById(id)));
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
