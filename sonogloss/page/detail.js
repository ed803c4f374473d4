"use strict";
// One clip: its player, captions and where they came from. Text from data is set as text, never as markup.

function element(name, content = null, properties = {}) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  if (Array.isArray(content)) made.append(...content);
  else if (content !== null) made.append(content);
  return made;
}

const number = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const seconds = (value) => `${value.toFixed(value % 1 ? 2 : 0)} s`;

function place(clip) {
  const part = clip.end - clip.start < clip.duration - 0.01 ? `, ${seconds(clip.start)} to ${seconds(clip.end)}` : "";
  return (clip.member ? `${clip.name} › ${clip.member}` : clip.name) + part;
}

// The words of `text`, those that `other` lacks marked: the longest common subsequence stays plain.
function marked(text, other) {
  const ours = text.split(/\s+/), theirs = other.split(/\s+/);
  const table = Array.from({ length: ours.length + 1 }, () => new Array(theirs.length + 1).fill(0));
  for (let i = ours.length - 1; i >= 0; i--)
    for (let j = theirs.length - 1; j >= 0; j--)
      table[i][j] = ours[i] === theirs[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
  const pieces = [];
  let j = 0;
  for (let i = 0; i < ours.length; i++) {
    while (j < theirs.length && ours[i] !== theirs[j] && table[i][j + 1] >= table[i + 1][j]) j++;
    if (j < theirs.length && ours[i] === theirs[j]) { pieces.push(`${ours[i]} `); j++; }
    else pieces.push(element("mark", ours[i], { title: "not in the other caption" }), " ");
  }
  return pieces;
}

const player = {
  audio: new Audio(), clip: null, canvas: null, sounds: null,
  source(clip) {
    if (clip.link) return clip.link;
    if (!clip.sound) return null;
    this.sounds ??= JSON.parse(document.getElementById("sounds").textContent);
    return `data:audio/ogg;base64,${this.sounds[clip.id]}`;
  },
  show(clip, canvas, button) {
    this.audio.pause();
    Object.assign(this, { clip, canvas, button });
    this.loaded = false;
    this.draw();
  },
  // A linked file is the whole recording: it plays from the clip's start to its end.
  get from() { return this.clip.link ? this.clip.start : 0; },
  get share() { return this.loaded ? (this.audio.currentTime - this.from) / (this.clip.end - this.clip.start) : null; },
  draw() {
    if (this.canvas?.isConnected) drawWave(this.canvas, this.clip.peaks, this.share);
    if (this.button) this.button.textContent = this.audio.paused ? "Play" : "Pause";
  },
  load() {
    if (this.loaded) return true;
    const source = this.source(this.clip);
    if (!source) return false;
    this.audio.src = source;
    this.audio.currentTime = this.from;
    return (this.loaded = true);
  },
  toggle() {
    if (!this.clip || !this.load()) return;
    if (!this.audio.paused) this.audio.pause();
    else {
      if (this.audio.ended || this.audio.currentTime >= this.from + this.clip.end - this.clip.start) this.audio.currentTime = this.from;
      this.audio.play().catch((error) => { this.button.textContent = `Cannot play: ${error.message}`; });
    }
  },
  seek(share) {
    if (this.load()) this.audio.currentTime = this.from + share * (this.clip.end - this.clip.start);
  },
};
for (const event of ["play", "pause", "ended", "seeked"]) player.audio.addEventListener(event, () => player.draw());
player.audio.addEventListener("timeupdate", () => {
  if (player.clip?.link && player.audio.currentTime >= player.clip.end) player.audio.pause();
  player.draw();
});

function scored(title, head, rows) {
  if (!rows?.length) return [];
  const body = rows.map((cells) => element("tr", cells.map((cell) =>
    typeof cell === "number" ? element("td", number(cell), { class: "number" }) : element("td", cell))));
  const heads = head.map((name) => element("th", name, name === "score" || name === "value" ? { class: "number", scope: "col" } : { scope: "col" }));
  return [element("h2", title), element("table", [element("thead", element("tr", heads)), element("tbody", body)])];
}

function showDetail(clip, data) {
  const panel = document.getElementById("detail");
  panel.replaceChildren();
  if (!clip) return;
  const canvas = element("canvas", null, { role: "img", "aria-label": "Waveform" });
  const button = element("button", "Play", { type: "button" });
  const close = element("button", "Close", { type: "button", id: "close" });
  close.addEventListener("click", () => panel.classList.remove("open"));
  button.addEventListener("click", () => player.toggle());
  canvas.addEventListener("click", (event) => player.seek(event.offsetX / canvas.getBoundingClientRect().width));
  const playable = clip.sound || clip.link;
  const bar = element("div", playable ? [button] : [element("span", "The sound is not in this page.", { class: "quiet" })], { class: "bar" });
  if (clip.link) bar.append(element("a", "the recording", { href: clip.link }));
  bar.append(close);
  const others = (clip.others ?? []).map((other, at) => ({ name: data.runs[at + 1].name, ...other })).filter((other) => "caption" in other);
  const captions = others.length
    ? [[clip.caption, others[0].caption, data.runs[0].name], ...others.map((other) => [other.caption, clip.caption, other.name])].flatMap(
      ([own, beside, name]) => [element("p", marked(own, beside), { class: "caption" }), element("p", name, { class: "quiet" })])
    : [element("p", clip.caption, { class: "caption" })];
  const facts = [["file", place(clip)], ["recording", `${seconds(clip.duration)}, ${clip.rate.toLocaleString()} Hz, ${clip.channels} ch`]];
  if (clip.score !== null) facts.push(["CLAP score", [clip, ...others].map((one) => number(one.score)).join(" / ")]);
  if (clip.flags.length) facts.push(["flags", clip.flags.join(", ")]);
  facts.push(["clip_id", clip.id]);
  const list = element("dl", facts.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  const metrics = Object.entries(clip.metrics ?? {}).map(([name, value]) => [name, value, ...others.map((other) => other.metrics?.[name])]);
  panel.append(
    ...(clip.peaks ? [canvas] : []), bar, ...captions, list,
    ...scored("References", ["text"], clip.references?.map((text) => [text])),
    ...scored("Retrieved contexts", ["text", "score"], clip.contexts.map(([text, score, source]) =>
      [element("div", [text, element("div", source, { class: "quiet" })]), score])),
    ...scored("Labels", ["label", "score"], clip.labels),
    ...scored("Metrics", ["metric", "value", ...others.map(() => "value")], metrics.map((row) => row.map((cell) => cell ?? "–"))),
  );
  player.show(clip, canvas, button);
}
