"use strict";
const facts = JSON.parse(document.getElementById("facts").textContent);
const $ = (id) => document.getElementById(id);
const all = (query) => [...document.querySelectorAll(query)];
const token = new URLSearchParams(location.search).get("token");
const fault = (text) => { document.querySelector(".fault").textContent = text; };
const newSeed = () => { $("seed").value = Math.floor(Math.random() * 2 ** 31); };

// What an option of drawing is set to; an empty text leaves it as it is.
function chosen(option) {
  if (option.type === "checkbox") return option.checked;
  if (option.type === "range") return Number(option.value);
  return option.tagName === "SELECT" ? JSON.parse(option.value) : option.value;
}

// The checkpoints that a slider chooses from; undefined of any other control.
const choices = (e) => (e.id.startsWith("checkpoint") ? facts.sides[e.dataset.side].checkpoints : undefined);

function common(extra, side = 0) {
  const query = new URLSearchParams({ seed: $("seed").value || 0, ...extra });
  if (side) query.set("run", side);
  // Always by number: a run that trains on while the page is open has other weights.
  const from = document.querySelector(`[id^=checkpoint][data-side="${side}"]`), step = (from && choices(from)[from.value].step) || facts.sides[side].begun;
  if (step) query.set("checkpoint", step);
  if (token) query.set("token", token);
  const values = Object.fromEntries(all("[data-attribute]").map((a) => [a.dataset.attribute, Number(a.value)]));
  if (Object.keys(values).length) query.set("values", JSON.stringify(values));
  const options = Object.fromEntries(all("[data-option]").map((o) => [o.dataset.option, chosen(o)]).filter(([, v]) => v !== ""));
  if (Object.keys(options).length) query.set("sampling", JSON.stringify(options));
  return query;
}
const label = () => document.querySelector("[name=label]:checked")?.value ?? 0;

// A picture, and what was done that nobody asked for.
async function picture(address, request) {
  const answer = await fetch(address, request);
  if (!answer.ok) throw new Error(await answer.text());
  return { blob: await answer.blob(), notes: decodeURIComponent(answer.headers.get("X-Notes") ?? "") };
}

async function show(image, blob) {
  const old = image.src, url = URL.createObjectURL(blob);
  image.src = url;
  await image.decode();
  if (old.startsWith("blob:")) URL.revokeObjectURL(old);
  return url;
}

let jobs = 0;
function working(more) {
  jobs += more;
  document.querySelector("main").setAttribute("aria-busy", jobs > 0);
}

// One job at a time; of what is asked for meanwhile, only the last.
function latest(job) {
  let busy = false, again = false;
  return async function run() {
    if (busy) { again = true; return; }
    busy = true;
    working(1);
    try {
      fault("");
      await job();
    } catch (error) {
      fault(`No picture: ${error.message}`);
    }
    busy = false;
    working(-1);
    if (again) { again = false; run(); }
  };
}

// What is chosen stands in the address, as far as it differs from how the page begins: reloading and sharing keep it.
const kept = () => all("form input:not([type=file]), form select");
const keyOf = (e) => (e.dataset.option ? `option.${e.dataset.option}` : e.dataset.attribute ? `attribute.${e.dataset.attribute}` : e.name || e.id);
const setTo = (e) => (["checkbox", "radio"].includes(e.type) ? e.checked : e.value);
[...document.forms].forEach((form) => form.reset());
const begun = new Map(kept().map((e) => [e, setTo(e)]));
let writing = null;
function write() {
  const state = new URLSearchParams();
  for (const e of kept()) {
    if (setTo(e) === begun.get(e) || (e.type === "radio" && !e.checked)) continue;
    state.set(keyOf(e), e.type === "checkbox" ? Number(e.checked) : choices(e)?.[e.value].step || e.value);
  }
  const text = String(state);
  history.replaceState(null, "", `${location.pathname}${location.search}${text && "#"}${text}`);
}
function remember() {
  clearTimeout(writing);
  writing = setTimeout(write, 200);
}
function recall() {
  const state = new URLSearchParams(location.hash.slice(1));
  for (const e of kept()) {
    const value = state.get(keyOf(e)), first = begun.get(e);
    if (e.type === "checkbox") e.checked = value === null ? first : value === "1";
    else if (e.type === "radio") e.checked = all(`[name=${e.name}]`).some((r) => r.value === value) ? e.value === value : first;
    else if (choices(e)) {
      const at = choices(e).findIndex((one) => one.step && one.step === value);
      e.value = at < 0 ? first : at;
    } else if (e.tagName !== "SELECT") e.value = value ?? first;
    else e.value = [...e.options].some((o) => o.value === value) ? value : first;
  }
}
// What a slider says, and the part of it that is filled: from its zero, where that lies inside.
function tell() {
  for (const slider of all(".slider")) {
    const e = slider.querySelector("input[type=range]"), list = choices(e), [low, high, value] = [e.min, e.max, e.value].map(Number);
    const text = list ? list[value].text : e.step === "1" ? e.value : value.toFixed(2), at = (v) => `${(100 * (v - low)) / (high - low || 1)}%`;
    slider.querySelector("output").textContent = text;
    if (list) {  // What is said of the weights that it began with is said of no others.
      const of = (name) => $(`${name}${Number(e.dataset.side) || ""}`);
      e.setAttribute("aria-valuetext", text);
      of("at").textContent = text;
      of("other").hidden = !list[value].step;
      of("begun").hidden = Boolean(list[value].step);
    }
    const zero = Math.min(Math.max(0, low), high);
    e.style.setProperty("--from", at(Math.min(zero, value)));
    e.style.setProperty("--to", at(Math.max(zero, value)));
  }
}
all("form").forEach((form) => form.addEventListener("submit", (event) => event.preventDefault()));
