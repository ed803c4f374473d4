"use strict";
// The list of clips: filters, order, keyboard. Only the rows on the screen are in the document.

const ROW = 72;
const data = JSON.parse(document.getElementById("data").textContent);
const by = (id) => document.getElementById(id);
const list = by("list"), room = by("room"), view = by("view");
let shown = data.clips, chosen = null, ascending = true;
// The list has room for the second run; the detail shows all.
for (const clip of data.clips) clip.other = clip.others?.[0];

const SORTS = {
  "file and time": (clip) => [clip.name, clip.member ?? "", clip.start],
  "CLAP score": (clip) => [clip.score ?? -2],
  "caption": (clip) => [clip.caption],
  "length": (clip) => [clip.end - clip.start],
  ...(data.runs.length > 1 ? { "difference of scores": (clip) => [clip.other ? clip.other.score - clip.score : 0] } : {}),
  ...Object.fromEntries(data.metrics.map(({ metric }) => [metric, (clip) => [clip.metrics?.[metric] ?? -1]])),
};

function compare(a, b) {
  for (let i = 0; i < a.length; i++) {
    if (a[i] < b[i]) return -1;
    if (a[i] > b[i]) return 1;
  }
  return 0;
}

function haystack(clip) {
  clip.haystack ??= [clip.caption, ...(clip.others ?? []).map((other) => other?.caption ?? ""), clip.name, clip.member ?? "", ...clip.contexts.map((one) => one[0]),
    ...clip.labels.map((one) => one[0]), ...(clip.references ?? [])].join("\n").toLowerCase();
  return clip.haystack;
}

function filter() {
  const words = by("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const limit = (id, otherwise) => (by(id).value === "" ? otherwise : Number(by(id).value));
  const low = limit("low", -Infinity), high = limit("high", Infinity), short = limit("short", 0), long = limit("long", Infinity);
  const flag = by("flag").value, label = by("label").value, source = by("source").value;
  shown = data.clips.filter((clip) =>
    (clip.score ?? 0) >= low && (clip.score ?? 0) <= high && clip.end - clip.start >= short && clip.end - clip.start <= long
    && (!flag || clip.flags.includes(flag)) && (!label || clip.labels[0]?.[0] === label)
    && (!source || clip.contexts.some((one) => one[2] === source)) && words.every((word) => haystack(clip).includes(word)));
  const key = SORTS[by("sort").value];
  const keys = new Map(shown.map((clip) => [clip, key(clip)]));
  shown.sort((a, b) => compare(keys.get(a), keys.get(b)) * (ascending ? 1 : -1));
  by("status").textContent = shown.length === data.clips.length
    ? `${shown.length.toLocaleString()} clips` : `${shown.length.toLocaleString()} of ${data.clips.length.toLocaleString()} clips`;
  if (!shown.includes(chosen)) choose(shown[0] ?? null, false);
  room.style.height = `${shown.length * ROW}px`;
  list.scrollTop = 0;
  render();
}

function rowOf(clip, at) {
  const canvas = element("canvas", null, { "aria-hidden": "true" });
  const tags = clip.flags.filter((flag) => !data.informative.includes(flag)).map((flag) => element("span", flag, { class: "tag" }));
  const score = clip.score === null ? "" : number(clip.score, 2);
  const words = element("div", [element("div", clip.caption, { class: "caption" }),
    ...(clip.other ? [element("div", clip.other.caption, { class: "other" })] : []), element("div", [...tags, place(clip)], { class: "place" })], { class: "words" });
  const row = element("div", [canvas, words, element("div", clip.other ? `${score} / ${number(clip.other.score, 2)}` : score, { class: "score", title: "CLAP score" })], {
    class: "row", role: "option", id: `row-${at}`, "aria-selected": String(clip === chosen), "aria-posinset": at + 1, "aria-setsize": shown.length });
  row.style.top = `${at * ROW}px`;
  row.addEventListener("click", () => choose(clip));
  return row;
}

// The browser may scroll before this runs. The view sticks to the list, so that it then shows earlier rows and no blank.
let drawn = new Map();
function render(first = null, last = null) {
  first ??= Math.max(0, Math.floor(list.scrollTop / ROW) - 8);
  last ??= Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 8);
  const now = new Map();
  for (let at = first; at < last; at++) {
    const before = drawn.get(at);
    now.set(at, before?.clip === shown[at] ? before : { clip: shown[at], row: rowOf(shown[at], at) });
  }
  for (const [at, { row }] of drawn) if (now.get(at)?.row !== row) row.remove();
  for (const { clip, row } of now.values()) {
    row.setAttribute("aria-selected", String(clip === chosen));
    if (!row.isConnected) {
      view.append(row);
      drawWave(row.firstChild, clip.peaks);
    }
  }
  drawn = now;
  view.style.transform = `translateY(${-list.scrollTop}px)`;
  const at = shown.indexOf(chosen);
  if (at >= 0) list.setAttribute("aria-activedescendant", `row-${at}`);
  else list.removeAttribute("aria-activedescendant");
}

function choose(clip, open = true) {
  chosen = clip;
  by("detail").classList.toggle("open", open && clip !== null);
  showDetail(clip, data);
  if (open) render();
}

function move(step) {
  const at = Math.min(shown.length - 1, Math.max(0, shown.indexOf(chosen) + step));
  if (!shown.length) return;
  const top = at * ROW;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
  choose(shown[at]);
}

function options(id, all, names) {
  if (!names.length) by(id).parentElement.hidden = true;
  by(id).append(element("option", all, { value: "" }), ...names.map((name) => element("option", name, { value: name })));
}

const tabs = [...document.querySelectorAll("[role=tab]")];
let drawPictures = () => {};
function openTab(tab) {
  for (const one of tabs) {
    one.setAttribute("aria-selected", String(one === tab));
    one.tabIndex = one === tab ? 0 : -1;
    by(one.getAttribute("aria-controls")).hidden = one !== tab;
  }
  if (tab.id === "tab-summary") drawPictures();
  if (tab.id === "tab-clips") render();
}
for (const tab of tabs) {
  tab.addEventListener("click", () => openTab(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    next.focus();
    openTab(next);
  });
}

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || by("clips").hidden) return;
  const page = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
  const steps = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -shown.length, End: shown.length };
  if (event.key in steps) move(steps[event.key]);
  else if (event.key === " " && !event.target.matches("button, a")) player.toggle();
  else if (event.key === "/") by("search").focus();
  else if (event.key === "Escape") by("detail").classList.remove("open");
  else return;
  event.preventDefault();
});

by("title").textContent = data.title;
by("subtitle").textContent = data.subtitle;
options("flag", "any", Object.keys(data.flags));
options("label", "any", data.labels);
options("source", "any", data.sources);
by("sort").append(...Object.keys(SORTS).map((name) => element("option", name)));
by("controls").addEventListener("input", filter);
by("controls").addEventListener("submit", (event) => event.preventDefault());
by("controls").addEventListener("reset", () => setTimeout(filter));
by("direction").addEventListener("click", () => {
  ascending = !ascending;
  by("direction").textContent = ascending ? "Ascending" : "Descending";
  by("direction").setAttribute("aria-pressed", String(!ascending));
  filter();
});
let waiting = false;
list.addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; render(); });
});
window.addEventListener("resize", () => { render(); drawPictures(); player.draw(); });
window.addEventListener("beforeprint", () => { render(0, Math.min(shown.length, 500)); });
window.addEventListener("afterprint", () => render());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { drawn.forEach(({ row, clip }) => drawWave(row.firstChild, clip.peaks)); player.draw(); });

drawPictures = showSummary(data, (clip) => { openTab(by("tab-clips")); choose(clip); move(0); });
showFailures(data);
filter();
