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

// Charts: drawn by uPlot in the page's own colours, again when those change.
const charts = JSON.parse(document.getElementById("data").textContent);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const digits = (value) => (value == null ? "–" : Number(value.toPrecision(4)).toLocaleString("en-GB", { maximumSignificantDigits: 4 }));
const drawn = new Map();

function draw(place) {
  const chart = charts[place.dataset.chart][Number(place.dataset.number)];
  const small = place.closest(".small");
  const size = () => ({ width: Math.max(220, place.clientWidth), height: small ? 190 : 290 });
  const ink = colour("--soft");
  const axis = (label, extra) => ({ label, labelSize: 22, labelFont: "12px system-ui, sans-serif", font: "12px system-ui, sans-serif",
    stroke: ink, grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, ...extra });
  const short = (u, values) => values.map((v) => (v == null ? "" : Math.abs(v) >= 1e6 ? `${digits(v / 1e6)}M` : Math.abs(v) >= 1e4 ? `${digits(v / 1e3)}k` : digits(v)));
  const xs = [...new Set(chart.series.flatMap((s) => s.points[0]))];
  const ys = chart.series.flatMap((s) => s.points[1]);
  const scales = { x: { time: false }, y: {} };
  const axes = [axis(chart.x, { values: short }), axis(chart.y, { values: short, size: 58, space: small ? 22 : 30 })];
  if (chart.xLog) {
    scales.x = { time: false, distr: 3, log: chart.xLog, range: [Math.min(...xs) / 1.3, Math.max(...xs) * 1.3] };
    axes[0].splits = () => [...xs].sort((a, b) => a - b);
    axes[0].filter = (u, splits) => splits;
  }
  if (chart.yLog) {
    const low = Math.min(...ys.filter((y) => y > 0)), high = Math.max(...ys);
    scales.y = { distr: 3, log: 10, range: [low / 1.15, high * 1.15] };
    const marks = ticks(low / 1.15, high * 1.15);
    axes[1].splits = () => marks;
    axes[1].filter = (u, splits) => splits;
  } else if (chart.points) {
    scales.y = { range: [0, Math.max(...ys) * 1.08] };
  }
  const tables = chart.series.map((s) => [s.points[0], s.points[1].map((y) => (chart.yLog && y <= 0 ? null : y))]);
  const data = uPlot.join(tables);
  const series = chart.series.map((s) => ({ label: s.name, stroke: colour(`--c${s.colour % 8}`), width: 2, spanGaps: true,
    dash: s.dash ? s.dash : s.colour >= 8 ? [2, 3] : undefined, points: { show: chart.points || s.points[0].length < 30, size: 6 },
    value: (u, v) => digits(v) }));
  const old = drawn.get(place);
  if (old) old.destroy();
  const plot = new uPlot({ ...size(), scales, axes, series: [{ label: chart.x, value: (u, v) => digits(v) }, ...series],
    // Curves have points of their own: the nearest one of each is read, wherever the pointer is.
    cursor: { y: false, dataIdx: (u, i, hovered) => nearest(u.data[0], u.data[i], hovered) }, legend: { live: true, markers: { width: 3, dash: (u, i) => mark(chart.series[i - 1]) } } }, data, place);
  plot.root.querySelectorAll("canvas").forEach((c) => c.setAttribute("aria-hidden", "true"));
  place.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const last = data[0].length - 1;
    const index = Math.min(last, Math.max(0, (plot.cursor.idx ?? (step > 0 ? -1 : last + 1)) + step));
    plot.setCursor({ left: plot.valToPos(data[0][index], "x"), top: 10 });
    // A picture's inside is not read out: what the arrows point at is said beside it.
    const told = series.map((s, i) => [s.label, data[i + 1][nearest(data[0], data[i + 1], index)]]).filter(([, v]) => v != null);
    place.parentElement.querySelector("[role=status]").textContent =
      `${chart.x} ${digits(data[0][index])}: ${told.map(([name, v]) => `${name} ${digits(v)}`).join("; ")}`;
  };
  drawn.set(place, plot);
}

// Marks of a logarithmic axis: 1, 2, 5 of each power of ten; even steps where that gives too few.
function ticks(low, high) {
  const marks = [];
  for (let e = -6; e < 9; e++) for (const m of [1, 2, 5]) { const v = m * 10 ** e; if (v >= low && v <= high) marks.push(v); }
  if (marks.length > 2) return marks;
  const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const even = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) even.push(i * step);
  return even;
}

// How a curve is drawn, as the border of its mark in the legend.
function mark(s) {
  if (!s || !s.dash) return "solid";
  return s.dash[0] < 4 ? "dotted" : "dashed";
}

function nearest(xs, ys, at) {
  if (ys == null || ys[at] != null) return at;
  let best = at, gap = Infinity;
  for (let i = 0; i < ys.length; i++) {
    if (ys[i] != null && Math.abs(xs[i] - xs[at]) < gap) [best, gap] = [i, Math.abs(xs[i] - xs[at])];
  }
  return best;
}

const places = [...document.querySelectorAll(".plot")];
const seen = new IntersectionObserver((entries) => entries.forEach((e) => {
  if (e.isIntersecting && !drawn.has(e.target)) draw(e.target);
}), { rootMargin: "400px" });
places.forEach((place) => seen.observe(place));
let width = window.innerWidth;
const again = () => [...drawn.keys()].forEach(draw);
window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; again(); } });
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
window.addEventListener("beforeprint", () => { document.querySelectorAll("details").forEach((d) => { d.open = true; }); places.forEach(draw); });
window.addEventListener("afterprint", again);
