"use strict";
// The parts of the page beside the clips: what the run did, and what failed.

function showFailures(data) {
  const panel = document.getElementById("failures");
  const total = data.failures.reduce((sum, one) => sum + one.count, 0);
  document.getElementById("tab-failures").textContent = `Failures (${total.toLocaleString()})`;
  if (!total) return panel.append(element("p", "Nothing failed.", { class: "note" }));
  for (const failure of data.failures) {
    panel.append(element("h2", `${failure.code}: ${failure.count.toLocaleString()}`));
    const rows = failure.examples.map((one) => element("tr", [
      element("td", one.member ? `${one.uri} › ${one.member}` : one.uri), element("td", one.stage), element("td", one.message)]));
    const head = ["file", "step", "why"].map((name) => element("th", name, { scope: "col" }));
    panel.append(element("table", [element("thead", element("tr", head)), element("tbody", rows)]));
    const left = failure.count - failure.examples.length;
    if (left > 0) panel.append(element("p", `and ${left.toLocaleString()} more in dead_letters/`, { class: "quiet" }));
  }
}

function card(name, value, bad = false) {
  return element("div", [element("b", value), name], { class: bad ? "card bad" : "card" });
}

// A value with its 95 % interval, where corpora were resampled.
function withInterval(found) {
  const [value, low, high] = found ?? [null, null, null];
  const shown = number(value);
  return low === null ? shown : [shown, " ", element("span", `${number(low)} to ${number(high)}`, { class: "quiet" })];
}

function showSummary(data, choose) {
  const panel = document.getElementById("summary");
  data.runs.forEach((run, index) => {
    if (data.runs.length > 1) panel.append(element("h2", run.name));
    const cards = [card("clips", run.rows.toLocaleString()), card("hours of audio", run.hours.toFixed(run.hours < 10 ? 2 : 0))];
    const counts = run.record.counts ?? {};
    cards.push(card("failures", (counts.dead_letters ?? 0).toLocaleString(), counts.dead_letters > 0));
    if (counts.skipped) cards.push(card("left out", counts.skipped.toLocaleString()));
    if (run.record.wall_time_s) {
      cards.push(card("clips a second", (run.rows / run.record.wall_time_s).toFixed(1)));
      cards.push(card("times real time", ((run.hours * 3600) / run.record.wall_time_s).toFixed(0)));
    }
    panel.append(element("div", cards, { class: "cards" }));
    if (index === 0 && data.notes.length) panel.append(...data.notes.map((note) => element("p", note, { class: "note" })));
  });
  if (data.metrics.length) {
    const heads = ["metric", ...data.runs.map((run) => run.name), "clips"];
    const rows = data.metrics.map((row) => element("tr", [element("td", row.metric),
      ...row.values.map((value) => element("td", withInterval(value), { class: "number" })), element("td", row.n.toLocaleString(), { class: "number" })]));
    panel.append(element("h2", "Metrics"), element("table", [
      element("thead", element("tr", heads.map((name, at) => element("th", name, { scope: "col", class: at ? "number" : "" })))), element("tbody", rows)]));
  }
  const pictures = [];
  const scores = data.clips.map((clip) => clip.score).filter((score) => score !== null);
  if (scores.length) {
    const series = [{ values: scores }];
    if (data.runs.length > 1) series.push({ values: data.clips.filter((clip) => clip.other).map((clip) => clip.other.score) });
    const canvas = element("canvas", null, { class: "figure", role: "img", "aria-label": "How many clips have which CLAP score" });
    panel.append(element("h2", "CLAP scores"), canvas);
    if (series.length > 1) panel.append(element("p", data.runs.slice(0, 2).flatMap((run, at) => {
      const swatch = element("span", null, { class: "swatch" });
      swatch.style.background = `var(${at ? "--bad" : "--wave"})`;
      return [swatch, run.name];
    })));
    pictures.push(() => drawHistogram(canvas, series));
  }
  const flags = Object.entries(data.flags);
  if (flags.length) panel.append(...scored("Flags", ["flag", "clips"], flags.map(([flag, count]) => [flag, count.toLocaleString()])));
  if (data.map) {
    const canvas = element("canvas", null, { class: "figure", id: "map", role: "img", "aria-label": "Clips by the two main directions of their embeddings" });
    const words = element("p", "Point at a clip; a click opens it.", { class: "quiet" });
    panel.append(element("h2", "Embeddings"), canvas, words);
    let nearest = () => null;
    pictures.push(() => { nearest = drawMap(canvas, data.map, null); });
    canvas.addEventListener("pointermove", (event) => {
      const found = nearest(event.offsetX, event.offsetY);
      nearest = drawMap(canvas, data.map, found);
      words.textContent = found === null ? "Point at a clip; a click opens it." : `${data.clips[found].caption} (${place(data.clips[found])})`;
    });
    canvas.addEventListener("click", (event) => {
      const found = nearest(event.offsetX, event.offsetY);
      if (found !== null) choose(data.clips[found]);
    });
  }
  for (const run of data.runs) panel.append(element("h2", `The record of ${run.name}`), element("pre", JSON.stringify(run.record, null, 2), { tabindex: "0" }));
  return () => pictures.forEach((draw) => draw());
}
